/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ARENA_BLOCK 8000 /* with malloc's own bytes just under two pages */

struct arena_block {
	struct arena_block *next;
	size_t used, size;
	max_align_t data[];
};

static struct arena_block *arena_add_block(struct arena *a, size_t size)
{
	struct arena_block *block;

	if (size < ARENA_BLOCK)
		size = ARENA_BLOCK;
	if (size > SIZE_MAX - sizeof(*block))
		mem_exhausted();
	/* Zeroed piece by piece as it is given out: pages that nobody gets are never touched. */
	block = mem_resize(NULL, sizeof(*block) + size);
	block->size = size;
	block->used = 0;
	block->next = a->head;
	a->head = block;
	return block;
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *block = a->head;
	void *p;

	if (size > SIZE_MAX - _Alignof(max_align_t))
		mem_exhausted();
	size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
	if (!block || block->size - block->used < size)
		block = arena_add_block(a, size);
	p = (char *)block->data + block->used;
	block->used += size;
	return memset(p, 0, size);
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
	char *copy = arena_alloc(a, len + 1);

	memcpy(copy, s, len);
	return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_strndup(a, s, strlen(s));
}

char *arena_vprintf(struct arena *a, const char *format, va_list ap)
{
	va_list again;
	char *text;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (len < 0)
		return arena_strdup(a, "");
	text = arena_alloc(a, (size_t)len + 1);
	vsnprintf(text, (size_t)len + 1, format, ap);
	return text;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	va_list ap;
	char *text;

	va_start(ap, format);
	text = arena_vprintf(a, format, ap);
	va_end(ap);
	return text;
}

void arena_reset(struct arena *a)
{
	struct arena_block *block = a->head, *next;

	if (!block)
		return;
	/* The oldest block is of the usual size unless the first wish was larger: keep that one. */
	for (; (next = block->next); block = next)
		free(block);
	a->head = block;
	if (block->size > ARENA_BLOCK) {
		free(block);
		a->head = NULL;
		return;
	}
	block->used = 0;
}

void arena_release(struct arena *a)
{
	struct arena_block *block, *next;

	for (block = a->head; block; block = next) {
		next = block->next;
		free(block);
	}
	a->head = NULL;
}
