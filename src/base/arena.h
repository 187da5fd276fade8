/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_ARENA_H
#define BLEY_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

/*
 * A region for everything that belongs to one request (or one configuration): allocate as you go,
 * free all at once. Never returns NULL (see mem.h). Not for sharing between threads.
 */
struct arena_block;
struct arena {
	struct arena_block *head; /* newest block first */
};

#define ARENA_INIT ((struct arena){.head = NULL})

/* Zeroed memory, aligned for any type, valid until arena_reset() or arena_release(). */
void *arena_alloc(struct arena *a, size_t size);

/* Copies into the arena; the result of arena_strndup() always ends in NUL. */
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t len);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *a, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));

/* Forgets everything but keeps one block for the next round, so that a lasting process stays flat.
 */
void arena_reset(struct arena *a);

/* Gives all memory back. Safe on an arena that was never used. */
void arena_release(struct arena *a);

#endif
