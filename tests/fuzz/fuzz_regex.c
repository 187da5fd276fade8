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

/* Behind what is to be read stands what must not be. */
static struct regex *compile(struct fuzz_input pattern, char *error, size_t size)
{
	static const char behind[] = ")(*UTF)";
	char *text = malloc(pattern.size + sizeof(behind));
	struct regex *regex;

	fuzz_require(text != NULL);
	if (pattern.size)
		memcpy(text, pattern.data, pattern.size);
	memcpy(text + pattern.size, behind, sizeof(behind));
	regex = regex_compile(text, pattern.size, error, size);
	free(text);
	return regex;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size}, pattern = fuzz_line(&in);
	char *text = fuzz_text(in.data, in.size);
	char error[256] = UNTOUCHED;
	struct regex *regex = compile(pattern, error, sizeof(error));
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
