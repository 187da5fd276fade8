/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An expression out of a whitelist or the configuration (the first line) and a text out of a mail
 * (the rest). The fuzzer's own time limit watches that none takes long.
 */
#include <stdlib.h>
#include <string.h>

#include "base/regex.h"
#include "fuzz.h"

#define UNTOUCHED "untouched"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size}, pattern = fuzz_line(&in);
	char *text = fuzz_text(in.data, in.size);
	char error[256] = UNTOUCHED;
	struct regex *regex = regex_compile((const char *)pattern.data, pattern.size, error,
					    sizeof(error));
	enum regex_result result;

	if (!regex) {
		fuzz_require(!strstr(error, "module")); /* that of PCRE2 is there */
		fuzz_require(*error && strcmp(error, UNTOUCHED) != 0);
	} else {
		fuzz_require(!strcmp(error, UNTOUCHED));
		result = regex_search(regex, text);
		fuzz_require(result == REGEX_LIMIT || result == REGEX_MISS ||
			     result == REGEX_MATCH);
		fuzz_require(regex_search(regex, text) == result);
	}
	regex_free(regex);
	free(text);
	return 0;
}
