/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/dnsl_entry.h"

#include <string.h>

#include "base/arena.h"
#include "base/text.h"

#define OCTETS 4
#define OCTET_MOST 255
#define WEIGHT_MOST 10000 /* as the thresholds */
#define LABEL_MOST 63
/* A name has 253 characters in text form (RFC 1035 section 2.3.4), and 32 nibbles with their dots
 * stand before the zone. */
#define ZONE_MOST (253 - 64)

#define FILTER_FORM "write four fields such as 127.0.0.[2..11], each a number or [number;from..to]"
#define WEIGHT_FORM "write a whole number from -10000 to 10000 that is not 0, as in zone*2"

/* What is read, and how far; `s` stays where the text does not fit. */
struct scan {
	const char *s;
};

static bool scan_char(struct scan *scan, char c)
{
	if (*scan->s != c)
		return false;
	scan->s++;
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool scan_number(struct scan *scan, unsigned most, unsigned *out)
{
	const char *s = scan->s;
	unsigned n = 0;

	for (; is_digit(*s); s++) {
		n = n * 10 + (unsigned)(*s - '0');
		if (n > most)
			return false;
	}
	if (s == scan->s)
		return false;
	scan->s = s;
	*out = n;
	return true;
}

/* `7`, or inside brackets also `2..11`. */
static bool scan_member(struct scan *scan, bool ranges, uint32_t bits[8])
{
	unsigned from, to;

	if (!scan_number(scan, OCTET_MOST, &from))
		return false;
	to = from;
	if (ranges && scan_char(scan, '.') &&
	    (!scan_char(scan, '.') || !scan_number(scan, OCTET_MOST, &to) || to < from))
		return false;
	for (unsigned n = from; n <= to; n++)
		bits[n / 32] |= UINT32_C(1) << n % 32;
	return true;
}

static bool scan_field(struct scan *scan, uint32_t bits[8])
{
	if (!scan_char(scan, '['))
		return scan_member(scan, false, bits);
	do {
		if (!scan_member(scan, true, bits))
			return false;
	} while (scan_char(scan, ';'));
	return scan_char(scan, ']');
}

static bool scan_fields(struct scan *scan, uint32_t filter[OCTETS][8])
{
	for (size_t i = 0; i < OCTETS; i++)
		if ((i > 0 && !scan_char(scan, '.')) || !scan_field(scan, filter[i]))
			return false;
	return true;
}

static bool read_filter(const char *text, bool bracketed, uint32_t filter[OCTETS][8])
{
	struct scan scan = {text};

	memset(filter, 0, OCTETS * sizeof(*filter));
	return (!bracketed || scan_char(&scan, '[')) && scan_fields(&scan, filter) &&
	       (!bracketed || scan_char(&scan, ']')) && !*scan.s;
}

/* Postfix also takes the whole pattern in brackets: `[127.0.0.[2..11]]`. */
static bool parse_filter(const char *text, uint32_t filter[OCTETS][8])
{
	return read_filter(text, false, filter) || read_filter(text, true, filter);
}

static bool parse_weight(const char *text, int *out)
{
	struct scan scan = {text};
	bool negative = scan_char(&scan, '-');
	unsigned weight;

	if (!negative)
		scan_char(&scan, '+');
	if (!scan_number(&scan, WEIGHT_MOST, &weight) || *scan.s || !weight)
		return false;
	*out = negative ? -(int)weight : (int)weight;
	return true;
}

static bool is_zone_char(char c)
{
	return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
}

/* What is wrong with a zone (lower case, no final dot), or NULL. */
static const char *zone_fault(const char *zone)
{
	const char *last = strrchr(zone, '.');
	size_t label = 0;

	if (!*zone)
		return "the zone is missing";
	if (strlen(zone) > ZONE_MOST)
		return "the zone is too long: an address in front of it would not fit into a name";
	for (const char *s = zone; *s; s++) {
		label = *s == '.' ? 0 : label + 1;
		if (*s == '.' ? s == zone || s[1] == '.' || !s[1] : !is_zone_char(*s))
			return "the zone is no domain name (letters, digits, - and _, with dots "
			       "between)";
		if (label > LABEL_MOST)
			return "the zone has a part of more than 63 characters";
	}
	last = last ? last + 1 : zone;
	if (!last[strspn(last, "0123456789")])
		return "an address stands where the list's zone belongs";
	return NULL;
}

/* Cuts the text at the first c; returns what stands behind it, or NULL. */
static char *cut_at(char *text, char c)
{
	char *at = strchr(text, c);

	if (!at)
		return NULL;
	*at = '\0';
	return at + 1;
}

const char *dnsl_entry_parse(struct arena *arena, const char *text, struct dnsl_entry *out)
{
	struct dnsl_entry entry = {.weight = 1};
	char *zone = arena_strdup(arena, text);
	const char *weight = cut_at(zone, '*'), *filter = cut_at(zone, '='), *fault;
	size_t len = strlen(zone);

	if (len && zone[len - 1] == '.')
		zone[len - 1] = '\0';
	text_lower(zone);
	entry.zone = zone;
	entry.filtered = filter != NULL;
	fault = zone_fault(zone);
	if (fault)
		return arena_printf(arena, "`%s`: %s", text, fault);
	if (filter && !parse_filter(filter, entry.filter))
		return arena_printf(arena, "`%s`: the filter `%s` cannot be read: " FILTER_FORM,
				    text, filter);
	if (weight && !parse_weight(weight, &entry.weight))
		return arena_printf(arena, "`%s`: the weight `%s` cannot be used: " WEIGHT_FORM,
				    text, weight);
	*out = entry;
	return NULL;
}

/* The length of the item at *text, which is moved to its begin; 0 at the end. */
static size_t next_item(const char **text)
{
	size_t len = 0;

	while (**text == ',' || text_is_space(**text))
		++*text;
	while ((*text)[len] && (*text)[len] != ',' && !text_is_space((*text)[len]))
		len++;
	return len;
}

static size_t count_items(const char *text)
{
	size_t count = 0, len;

	for (; (len = next_item(&text)) > 0; text += len)
		count++;
	return count;
}

const char *dnsl_entries_parse(struct arena *arena, const char *text, struct dnsl_entries *out)
{
	struct dnsl_entry *items = arena_alloc(arena, count_items(text) * sizeof(*items));
	const char *first_error = NULL;
	size_t count = 0, len;

	for (; (len = next_item(&text)) > 0; text += len) {
		const char *error = dnsl_entry_parse(arena, arena_strndup(arena, text, len),
						     &items[count]);

		if (!error)
			count++;
		else if (!first_error)
			first_error = error;
	}
	*out = (struct dnsl_entries){.items = items, .count = count};
	return first_error;
}

bool dnsl_entry_matches(const struct dnsl_entry *entry, const unsigned char octets[4])
{
	if (!entry->filtered)
		return true;
	for (size_t i = 0; i < OCTETS; i++)
		if (!(entry->filter[i][octets[i] / 32] >> octets[i] % 32 & 1))
			return false;
	return true;
}
