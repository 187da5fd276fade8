/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CONF_DNSL_ENTRY_H
#define BLEY_CONF_DNSL_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/*
 * One entry of `dnsbls` or `dnswls` in the syntax of postconf(5) postscreen_dnsbl_sites:
 * zone[=filter][*weight]. A filter is four fields, each a number or `[member;member]` with members
 * `n` or `n..m`.
 */
struct dnsl_entry {
	const char *zone; /* lower case, no final dot */
	bool filtered;
	uint32_t filter[4][8]; /* per octet, a bit for each value that matches */
	int weight;	       /* default 1 */
};

struct dnsl_entries {
	const struct dnsl_entry *items;
	size_t count;
};

/* Reads one entry. NULL, or in the arena what is wrong with it (then *out is untouched). */
const char *dnsl_entry_parse(struct arena *arena, const char *text, struct dnsl_entry *out);

/* Reads a list separated by commas or white space; entries that are wrong are left out and the
 * first error is returned, else NULL. */
const char *dnsl_entries_parse(struct arena *arena, const char *text, struct dnsl_entries *out);

/* Whether an answer passes the entry's filter; true where it has none. */
bool dnsl_entry_matches(const struct dnsl_entry *entry, const unsigned char octets[4]);

#endif
