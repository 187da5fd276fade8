/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/dnsl_name.h"

#include <string.h>

#include "base/arena.h"

#define DNSL_KEY_LEAST 16 /* the keys in use have 26 (Spamhaus) and 32 (Abusix) characters */
#define DNSL_KEY_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

const char *dnsl_public_name(struct arena *arena, const char *zone)
{
	size_t key = strspn(zone, DNSL_KEY_CHARACTERS);

	if (key < DNSL_KEY_LEAST || zone[key] != '.' || !strchr(zone + key + 1, '.'))
		return zone;
	return arena_printf(arena, "KEY%s", zone + key);
}
