/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/check.h"

#include <stdarg.h>

#include "base/arena.h"

void check_note(struct check *check, const char *key, const char *format, ...)
{
	struct check_note *note = arena_alloc(check->arena, sizeof(*note));
	va_list ap;

	va_start(ap, format);
	note->text = arena_vprintf(check->arena, format, ap);
	va_end(ap);
	note->key = key;
	note->next = check->notes;
	check->notes = note;
}
