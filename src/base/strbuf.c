/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

char strbuf_empty[1] = "";

/* Makes room for `extra` bytes and the NUL. */
static void strbuf_reserve(struct strbuf *sb, size_t extra)
{
	size_t cap = sb->cap ? sb->cap : 64;

	if (extra > SIZE_MAX / 2 - sb->len - 1)
		mem_exhausted();
	while (cap < sb->len + extra + 1)
		cap *= 2;
	if (cap == sb->cap)
		return;
	sb->buf = mem_resize(sb->cap ? sb->buf : NULL, cap);
	sb->cap = cap;
	sb->buf[sb->len] = '\0';
}

void strbuf_add(struct strbuf *sb, const char *data, size_t len)
{
	strbuf_reserve(sb, len);
	memcpy(sb->buf + sb->len, data, len);
	sb->len += len;
	sb->buf[sb->len] = '\0';
}

void strbuf_addstr(struct strbuf *sb, const char *s)
{
	strbuf_add(sb, s, strlen(s));
}

void strbuf_addch(struct strbuf *sb, char c)
{
	strbuf_add(sb, &c, 1);
}

void strbuf_addf(struct strbuf *sb, const char *format, ...)
{
	va_list ap;
	int len;

	va_start(ap, format);
	len = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	if (len <= 0)
		return;
	strbuf_reserve(sb, (size_t)len);
	va_start(ap, format);
	vsnprintf(sb->buf + sb->len, (size_t)len + 1, format, ap);
	va_end(ap);
	sb->len += (size_t)len;
}

void strbuf_clear(struct strbuf *sb)
{
	sb->len = 0;
	if (sb->cap)
		sb->buf[0] = '\0';
}

void strbuf_release(struct strbuf *sb)
{
	if (sb->cap)
		free(sb->buf);
	*sb = STRBUF_INIT;
}
