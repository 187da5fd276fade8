/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_STRBUF_H
#define BLEY_BASE_STRBUF_H

#include <stddef.h>

/* A string that grows. `buf` always ends in NUL and is never NULL. */
struct strbuf {
	char *buf;
	size_t len; /* without the NUL */
	size_t cap;
};

extern char strbuf_empty[]; /* what an unused strbuf points to; never written */
#define STRBUF_INIT ((struct strbuf){.buf = strbuf_empty})

void strbuf_add(struct strbuf *sb, const char *data, size_t len);
void strbuf_addstr(struct strbuf *sb, const char *s);
void strbuf_addch(struct strbuf *sb, char c);
void strbuf_addf(struct strbuf *sb, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Empties it and keeps the memory. */
void strbuf_clear(struct strbuf *sb);

/* Gives the memory back; the strbuf can be used again. */
void strbuf_release(struct strbuf *sb);

#endif
