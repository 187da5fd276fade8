/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/text.h"

#include <stdint.h>
#include <string.h>

#include "base/arena.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool text_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

void text_lower(char *s)
{
	for (; *s; s++)
		*s = lower(*s);
}

bool text_equal_nocase(const char *a, const char *b)
{
	while (*a && lower(*a) == lower(*b)) {
		a++;
		b++;
	}
	return lower(*a) == lower(*b);
}

bool text_starts_nocase(const char *s, const char *prefix)
{
	while (*prefix && lower(*s) == lower(*prefix)) {
		s++;
		prefix++;
	}
	return !*prefix;
}

char *text_trim(char *s)
{
	size_t len;

	while (text_is_space(*s))
		s++;
	len = strlen(s);
	while (len && text_is_space(s[len - 1]))
		len--;
	s[len] = '\0';
	return s;
}

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

size_t text_utf8_length(const char *s, size_t len)
{
	unsigned char first, second;
	size_t n;

	if (!len)
		return 0;
	first = (unsigned char)s[0];
	if (first < 0x80)
		return 1;
	n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	if (first < 0xc2 || first > 0xf4 || len < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if (!is_continuation(s[i]))
			return 0;
	/* overlong forms, surrogates, and what lies beyond U+10FFFF (RFC 3629 section 4) */
	second = (unsigned char)s[1];
	if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
	    (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
		return 0;
	return n;
}

/* Length of the character at s that may stand anywhere, or 0. */
static size_t clean_length(const char *s, size_t len)
{
	size_t n = text_utf8_length(s, len);
	unsigned char c = n ? (unsigned char)s[0] : 0;

	if (n == 1)
		return c >= 0x20 && c != 0x7f ? 1 : 0;
	if (n == 2 && c == 0xc2 && (unsigned char)s[1] < 0xa0) /* C1 */
		return 0;
	if (n == 3 && (!memcmp(s, "\xe2\x80\xa8", 3) || !memcmp(s, "\xe2\x80\xa9", 3)))
		return 0;
	return n;
}

/* Length of the part of s that is clean already. */
static size_t clean_prefix(const char *s, size_t len)
{
	size_t i = 0, n;

	for (; i < len; i += n) {
		n = clean_length(s + i, len - i);
		if (!n)
			break;
	}
	return i;
}

bool text_is_clean(const char *s, size_t len)
{
	return clean_prefix(s, len) == len;
}

const char *text_clean(struct arena *a, const char *s, size_t len)
{
	size_t clean = clean_prefix(s, len), n;
	char *copy, *to;

	if (clean == len)
		return s;
	copy = arena_alloc(a, clean + (len - clean) * TEXT_REPLACEMENT_LENGTH + 1);
	memcpy(copy, s, clean);
	to = copy + clean;
	for (size_t i = clean; i < len; i += n) {
		n = clean_length(s + i, len - i);
		if (n) {
			memcpy(to, s + i, n);
			to += n;
		} else {
			/* one mark a character, not one for each byte of a control character */
			n = text_utf8_length(s + i, len - i);
			n = n ? n : 1;
			memcpy(to, TEXT_REPLACEMENT, TEXT_REPLACEMENT_LENGTH);
			to += TEXT_REPLACEMENT_LENGTH;
		}
	}
	*to = '\0';
	return copy;
}

size_t text_cut(const char *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max && is_continuation(s[max]))
		max--;
	return max;
}

const char *text_folder(struct arena *a, const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return ".";
	return slash == path ? "/" : arena_strndup(a, path, (size_t)(slash - path));
}
