/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/module.h"

/* A sane expression takes some dozens of steps on a host name. The bound holds for each place in
 * the text where a match may begin: the worst expression costs a tenth of a second on the longest
 * address. */
#define STEPS_MOST 20000
#define DEPTH_MOST 5000 /* of what it may come back to: some for each character of a text */
#define HEAP_MOST 4096	/* KiB */
#define PATTERN_MOST 65536
#define TEXT_MOST 512

struct regex {
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *limits;
};

static pcre2_code *parse(const char *pattern, size_t len, int *code, size_t *offset)
{
	pcre2_code *compiled;
	char *copy;
	/* Texts come from outside: one that is not UTF-8 is searched as far as it is (this implies
	 * PCRE2_UTF). */
	const uint32_t options = PCRE2_MATCH_INVALID_UTF | PCRE2_CASELESS |
				 PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;

	*offset = 0;
	*code = PCRE2_ERROR_PATTERN_TOO_COMPLICATED;
	if (len > PATTERN_MOST)
		return NULL;
	/* At the end of `(*LIMIT_DEPTH=1` PCRE2 10.42 looks for the parenthesis behind the pattern:
	 * let it find a NUL there. */
	copy = mem_alloc(len + 1);
	memcpy(copy, pattern, len);
	compiled = pcre2_compile((PCRE2_SPTR)copy, len, options, code, offset, NULL);
	free(copy);
	return compiled;
}

static struct regex *compile(const char *pattern, size_t len, char *error, size_t size)
{
	struct regex *regex;
	PCRE2_UCHAR reason[200];
	size_t offset;
	int code;
	pcre2_code *compiled = parse(pattern, len, &code, &offset);

	if (!compiled) {
		offset = offset < len ? offset : len;
		pcre2_get_error_message(code, reason, sizeof(reason));
		snprintf(error, size, "%s at character %zu", (const char *)reason, offset + 1);
		return NULL;
	}
	regex = mem_alloc(sizeof(*regex));
	regex->code = compiled;
	regex->match = pcre2_match_data_create(1, NULL);
	regex->limits = pcre2_match_context_create(NULL);
	if (!regex->match || !regex->limits)
		mem_exhausted();
	pcre2_set_match_limit(regex->limits, STEPS_MOST);
	pcre2_set_depth_limit(regex->limits, DEPTH_MOST);
	pcre2_set_heap_limit(regex->limits, HEAP_MOST);
	return regex;
}

static void release(struct regex *regex)
{
	pcre2_match_context_free(regex->limits);
	pcre2_match_data_free(regex->match);
	pcre2_code_free(regex->code);
	free(regex);
}

static enum regex_result search(const struct regex *regex, const char *text)
{
	size_t len = strlen(text);
	int found;

	if (len > TEXT_MOST)
		return REGEX_MISS;
	found = pcre2_match(regex->code, (PCRE2_SPTR)text, len, 0, 0, regex->match, regex->limits);
	if (found >= 0)
		return REGEX_MATCH;
	return found == PCRE2_ERROR_NOMATCH ? REGEX_MISS : REGEX_LIMIT;
}

static const struct regex_module regex_ops = {
    .compile = compile,
    .release = release,
    .search = search,
};

MODULE_EXPORT extern const struct module bley_module;
const struct module bley_module = {.abi = MODULE_ABI, .name = "regex", .ops = &regex_ops};
