/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A value of `dnsbls`: a list of entries. What is read is written down again and read again: it
 * must be the same.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "conf/dnsl_entry.h"
#include "conf/dnsl_name.h"
#include "fuzz.h"

#define OCTETS 4
#define ZONE_MOST 189 /* an IPv6 address's nibbles stand before it in a name */
#define WEIGHT_MOST 10000
#define KEY_LEAST 16 /* characters of what is hidden */

static void write_field(struct strbuf *out, const uint32_t bits[8])
{
	const char *before = "[";

	for (unsigned value = 0; value < 256; value++) {
		if (!(bits[value / 32] >> value % 32 & 1))
			continue;
		strbuf_addf(out, "%s%u", before, value);
		before = ";";
	}
	strbuf_addch(out, ']');
}

static void write_entry(struct strbuf *out, const struct dnsl_entry *entry)
{
	strbuf_addf(out, ",\t%s", entry->zone);
	for (size_t i = 0; entry->filtered && i < OCTETS; i++) {
		strbuf_addch(out, i ? '.' : '=');
		write_field(out, entry->filter[i]);
	}
	strbuf_addf(out, "*%+d ", entry->weight);
}

static void check_zone(struct arena *arena, const char *zone)
{
	const char *shown = dnsl_public_name(arena, zone);
	char *lower = arena_strdup(arena, zone);

	text_lower(lower);
	fuzz_require(*zone && strlen(zone) <= ZONE_MOST && !strcmp(zone, lower));
	fuzz_require(text_is_clean(zone, strlen(zone)) && !strpbrk(zone, "=*, \t[]/"));
	fuzz_require(zone[0] != '.' && zone[strlen(zone) - 1] != '.' && !strstr(zone, ".."));
	/* What looks like a key is never shown. */
	fuzz_require(shown == zone ||
		     (!strncmp(shown, "KEY.", 4) && !strcmp(shown + 3, strchr(zone, '.')) &&
		      strcspn(zone, ".") >= KEY_LEAST));
}

static void check_entry(struct arena *arena, const struct dnsl_entry *entry)
{
	static const unsigned char any[OCTETS] = {10, 0, 0, 1};

	check_zone(arena, entry->zone);
	fuzz_require(entry->weight && abs(entry->weight) <= WEIGHT_MOST);
	fuzz_require(entry->filtered || dnsl_entry_matches(entry, any));
}

static void check_again(struct arena *arena, const struct dnsl_entries *entries)
{
	struct strbuf text = STRBUF_INIT;
	struct dnsl_entries again;

	for (size_t i = 0; i < entries->count; i++)
		write_entry(&text, &entries->items[i]);
	fuzz_require(!dnsl_entries_parse(arena, text.buf, &again));
	fuzz_require(again.count == entries->count);
	for (size_t i = 0; i < again.count; i++) {
		const struct dnsl_entry *a = &entries->items[i], *b = &again.items[i];

		fuzz_require(!strcmp(a->zone, b->zone) && a->weight == b->weight);
		fuzz_require(a->filtered == b->filtered);
		fuzz_require(!memcmp(a->filter, b->filter, sizeof(a->filter)));
	}
	strbuf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = ARENA_INIT;
	char *text = fuzz_text(data, size);
	struct dnsl_entries entries;
	const char *error = dnsl_entries_parse(&arena, text, &entries);

	fuzz_require(!error || *error);
	for (size_t i = 0; i < entries.count; i++)
		check_entry(&arena, &entries.items[i]);
	check_again(&arena, &entries);
	free(text);
	arena_release(&arena);
	return 0;
}
