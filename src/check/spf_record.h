/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_SPF_RECORD_H
#define BLEY_CHECK_SPF_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/ipaddr.h"

struct arena;

/*
 * SPF records by the grammar of RFC 7208 section 12. Pure: text in, terms or what is wrong out.
 */

#define SPF_RECORD_MOST 4096 /* octets; a longer record is wrong by our word */

enum spf_kind {
	SPF_KIND_ALL,
	SPF_KIND_INCLUDE,
	SPF_KIND_A,
	SPF_KIND_MX,
	SPF_KIND_PTR,
	SPF_KIND_IP4,
	SPF_KIND_IP6,
	SPF_KIND_EXISTS,
	SPF_KIND_REDIRECT
};

struct spf_term {
	enum spf_kind kind;
	char qualifier;	       /* + - ~ ? */
	const char *target;    /* domain-spec as written, or NULL: the domain checked */
	unsigned bits4, bits6; /* prefix lengths of a, mx, ip4 and ip6 */
	struct ipaddr address; /* ip4 and ip6 */
	const char *text;      /* as written, perhaps shortened, for people */
};

/* `exp=` and unknown modifiers are checked and then gone: no decision depends on them. */
struct spf_record {
	struct spf_term *terms; /* the mechanisms, in order */
	size_t count;
	struct spf_term *redirect; /* or NULL; also where an `all` makes it void */
};

/* Whether a TXT record is an SPF record at all: `v=spf1`, then a space or the end (section 4.5). */
bool spf_record_is(const unsigned char *data, size_t len);

/*
 * Reads a record that spf_record_is() one. Returns NULL, or what is wrong in a few clean words, in
 * the arena; *out is then untouched.
 */
const char *spf_record_parse(struct arena *arena, const unsigned char *data, size_t len,
			     struct spf_record *out);

#endif
