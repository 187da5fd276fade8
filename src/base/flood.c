/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/flood.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* FNV-1a. Two kinds with the same value would be told as one: of no consequence. */
static uint32_t hash(const char *text)
{
	uint32_t h = UINT32_C(0x811c9dc5);

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT32_C(0x01000193);
	return h ? h : 1;
}

/* Where this kind is, or is to be: in place of the one that was told the longest ago, best of all
 * one whose count is none. */
static size_t find(struct flood *f, uint32_t kind, bool *known)
{
	size_t best = 0;
	uint32_t best_since = UINT32_MAX;

	*known = true;
	for (size_t i = 0; i < FLOOD_KINDS; i++)
		if (atomic_load(&f->kind[i]) == kind)
			return i;
	*known = false;
	for (size_t i = 0; i < FLOOD_KINDS; i++) {
		uint32_t since = atomic_load(&f->since_s[i]);

		if (!atomic_load(&f->kind[i]))
			return i;
		if (since < best_since) {
			best = i;
			best_since = since;
		}
	}
	return best;
}

/* From now on those like it are counted. Where two processes do so at the same time, both tell, or
 * the text is a mixture of two: it is cut to its place in any case. */
static void begin(struct flood *f, size_t i, int64_t now_s, int level, const char *text)
{
	atomic_store(&f->since_s[i], (uint32_t)now_s);
	f->level[i] = level;
	snprintf(f->text[i], FLOOD_TEXT, "%s", text);
}

bool flood_passes(struct flood *f, int64_t now_s, const char *kind, int level, const char *text)
{
	uint32_t h = hash(kind);
	bool known;
	size_t i = find(f, h, &known);

	if (known && now_s - atomic_load(&f->since_s[i]) < FLOOD_PERIOD_S) {
		atomic_fetch_add(&f->more[i], 1);
		return false;
	}
	if (!known) {
		atomic_store(&f->more[i], 0);
		atomic_store(&f->kind[i], h);
	}
	begin(f, i, now_s, level, text);
	return true;
}

bool flood_take_rest(struct flood *f, int64_t now_s, bool all, struct flood_rest *out)
{
	for (size_t i = 0; i < FLOOD_KINDS; i++) {
		uint32_t since = atomic_load(&f->since_s[i]);
		unsigned more;

		if (!atomic_load(&f->more[i]) || (!all && now_s - since < FLOOD_PERIOD_S))
			continue;
		/* of several processes one tells it */
		if (!atomic_compare_exchange_strong(&f->since_s[i], &since, (uint32_t)now_s))
			continue;
		more = atomic_exchange(&f->more[i], 0);
		if (!more)
			continue;
		out->level = f->level[i];
		out->more = more;
		out->seconds = now_s - since;
		memcpy(out->text, f->text[i], FLOOD_TEXT);
		out->text[FLOOD_TEXT - 1] = '\0';
		return true;
	}
	return false;
}

void flood_forget(struct flood *f)
{
	for (size_t i = 0; i < FLOOD_KINDS; i++) {
		atomic_store(&f->kind[i], 0);
		atomic_store(&f->more[i], 0);
	}
}
