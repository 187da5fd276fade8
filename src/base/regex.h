/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_REGEX_H
#define BLEY_BASE_REGEX_H

#include <stdbool.h>
#include <stddef.h>

/* Expressions that people write (PCRE2): UTF-8, case ignored, bounded in time and memory, so that a
 * bad one cannot hang the mail. */
struct regex;

/* NULL where the expression cannot be compiled, or the module that does it cannot be loaded, with
 * the reason in error. */
struct regex *regex_compile(const char *pattern, size_t len, char *error, size_t size);
void regex_free(struct regex *regex);

/* Whether the module is loaded: what does not compile now never will. */
bool regex_loaded(void);

enum regex_result {
	REGEX_LIMIT = -1, /* gave up: the expression needs too many steps on this text */
	REGEX_MISS = 0,
	REGEX_MATCH = 1
};

/* Searches the text for the expression. One of more than 512 bytes matches nothing: names and
 * addresses are shorter. */
enum regex_result regex_search(const struct regex *regex, const char *text);

/* Table of the module `regex` (PCRE2): the functions above. */
struct regex_module {
	struct regex *(*compile)(const char *pattern, size_t len, char *error, size_t size);
	void (*release)(struct regex *regex); /* not NULL */
	enum regex_result (*search)(const struct regex *regex, const char *text);
};

#endif
