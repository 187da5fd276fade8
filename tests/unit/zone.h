/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_TESTS_UNIT_ZONE_H
#define BLEY_TESTS_UNIT_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dns/resolver.h"

/*
 * A fixed zone behind the resolver seam, for unit tests: it answers from a table, in virtual time,
 * without network and without sleeping.
 */

#define ZONE_CNAME ((enum dns_type)5)

struct zone_record {
	/* Without a final dot, case ignored; a first label `*` stands for any labels where nothing
	 * else matches. */
	const char *name;
	enum dns_type type;
	/* A and AAAA: an address; MX: `10 mx.example.com`; PTR and ZONE_CNAME: a host name; TXT:
	 * the text. */
	const char *data;
	size_t len; /* of a TXT that holds NUL bytes; 0: it ends in NUL */
	/* Anything but DNS_PENDING (the default) and DNS_OK: the question gets this status, data
	 * does not matter. DNS_TIMEOUT stays silent until the deadline. */
	enum dns_status status;
	int64_t delay_ms; /* until the answer comes; questions with the same delay are answered as
			     asked */
};

struct zone;

/* The records stay the caller's and must outlive the zone. A name that is not there is
 * DNS_NXDOMAIN, one that is there or has names below it with other types only is DNS_NODATA. Freed
 * by the destroy() of its resolver. */
struct zone *zone_new(const struct zone_record *records, size_t count);
struct resolver *zone_resolver(struct zone *zone);

/* Since the last begin(): questions (equal ones count once), those answered, and the virtual time
 * that has passed. */
size_t zone_asked(const struct zone *zone);
size_t zone_answered(const struct zone *zone);
int64_t zone_elapsed_ms(const struct zone *zone);

/* Whether this was asked since the last begin(). */
bool zone_was_asked(const struct zone *zone, const char *name, enum dns_type type);

#endif
