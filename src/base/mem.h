/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_MEM_H
#define BLEY_BASE_MEM_H

#include <stddef.h>

/*
 * Memory that is there or ends the process. Callers never see NULL: when memory runs out, the hook
 * set by the program runs (the handler answers the request in hand with its failure action, so that
 * mail flows) and the process exits with status 75 (EX_TEMPFAIL, sysexits(3)).
 * The caller owns what it gets and gives it back with free(3).
 */
void *mem_alloc(size_t size);				 /* zeroed */
void *mem_resize(void *old, size_t size);		 /* like realloc(3) */
void *mem_grow(void *old, size_t *count, size_t member); /* doubles an array of *count members */
char *mem_strdup(const char *s);

/* Sets the function to call once before the exit; what it fails to allocate ends the
 * process at once. */
void mem_on_exhaustion(void (*hook)(void));

/* Ends the process as a failed allocation does. */
_Noreturn void mem_exhausted(void);

#endif
