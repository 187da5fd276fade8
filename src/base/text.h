/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_TEXT_H
#define BLEY_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct arena;

/* ASCII only: a locale never changes what bley decides. */
bool text_is_space(char c);
void text_lower(char *s); /* in place */
bool text_equal_nocase(const char *a, const char *b);
bool text_starts_nocase(const char *s, const char *prefix);
char *text_trim(char *s); /* in place; returns the first non-blank */

/* Length in bytes (1-4) of the valid UTF-8 sequence at s (RFC 3629: no surrogates, no overlong
 * forms), or 0 where there is none within len bytes. */
size_t text_utf8_length(const char *s, size_t len);

/*
 * Whether the len bytes at s may stand in an answer, a log line, a terminal or the database as they
 * are: valid UTF-8 without control characters (C0, DEL, C1, and the line separators U+2028 and
 * U+2029).
 */
bool text_is_clean(const char *s, size_t len);

/* U+FFFD, which stands for what cannot be shown. */
#define TEXT_REPLACEMENT "\xef\xbf\xbd"
#define TEXT_REPLACEMENT_LENGTH 3

/* The same text with each offending byte or character replaced by TEXT_REPLACEMENT; s itself where
 * it is clean (then it must end in NUL at s[len] already), else a copy in the arena. */
const char *text_clean(struct arena *a, const char *s, size_t len);

/* The folder that a path leads into: "." for a bare name. Constant, or in the arena. */
const char *text_folder(struct arena *a, const char *path);

/* The largest length <= max at which s (len bytes, valid UTF-8) can be cut without splitting a
 * character. */
size_t text_cut(const char *s, size_t len, size_t max);

#endif
