/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_DNS_PACKET_H
#define BLEY_DNS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dns/resolver.h"

struct arena;

/* Packets of DNS (RFC 1035, RFC 6891), built and read with ldns; internal to the module
 * `resolver_ldns`. No I/O. */

#define PACKET_NAME_MOST 255	/* octets of a name on the wire */
#define PACKET_QUERY_MOST 512	/* octets of a query */
#define PACKET_UDP_SIZE 1232	/* what we say we take over UDP: no fragments on any usual path */
#define PACKET_RECORDS_MOST 512 /* records kept of one answer; further ones are left out */

/* What a query asks, and what its answer is checked against. */
struct packet_query {
	uint16_t id;
	enum dns_type type;
	unsigned char name[PACKET_NAME_MOST]; /* wire form, letters in the case they are sent in */
	size_t name_len;
	bool any_case; /* the answer may spell the name with letters in another case */
};

/* Makes a query from a name in text form; id and case are left for the caller. False where the name
 * cannot be asked. */
bool packet_query_init(struct packet_query *query, const char *name, enum dns_type type);

/* Gives each letter of the name the case that `bits` (one for each octet of the name) says, or
 * lower case for NULL. */
void packet_query_case(struct packet_query *query, const unsigned char *bits);

/* Whether both ask the same, whatever the case. */
bool packet_query_equal(const struct packet_query *a, const struct packet_query *b);

/* Writes the query, recursion desired. Returns its length, or 0 where ldns could not. */
size_t packet_write(const struct packet_query *query, bool edns,
		    unsigned char out[PACKET_QUERY_MOST]);

enum packet_verdict {
	PACKET_FOREIGN, /* no answer to this query (another id or question, not an answer at all):
			   ignore it */
	PACKET_OTHER_CASE, /* would be one, but the name came back with letters in another case */
	PACKET_TRUNCATED,  /* ask again over TCP */
	PACKET_NO_EDNS,	   /* the server did not understand: ask again without EDNS */
	PACKET_FAILED, /* no use: an error, no server for this (lame), unreadable; `status` is what
			  to tell */
	PACKET_ANSWER  /* DNS_OK, DNS_NXDOMAIN or DNS_NODATA */
};

struct packet_answer {
	enum dns_status status;
	const struct dns_record *records; /* in the arena */
	size_t count;
};

/*
 * Reads what came in for a query. Records are those of the asked type at the end of the CNAMEs that
 * start at the asked name. `stream`: it came over TCP, where neither truncation nor the case of
 * letters matters. *out is set for PACKET_FAILED and PACKET_ANSWER.
 */
enum packet_verdict packet_read(struct arena *arena, const struct packet_query *query, bool stream,
				const unsigned char *wire, size_t len, struct packet_answer *out);

#endif
