/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_DNS_RESOLVER_H
#define BLEY_DNS_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/*
 * The one seam to DNS: questions asked together, answers as they come, one deadline for all of a
 * request's. In life ldns stands behind it (module `resolver_ldns`), in unit tests a fixed zone.
 * Nothing else reads /etc/resolv.conf or sends a query.
 */

enum dns_type { DNS_A = 1, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28 };

enum dns_status {
	DNS_PENDING, /* asked, not answered yet */
	DNS_OK,	     /* at least one record of the type, CNAMEs followed */
	DNS_NXDOMAIN,
	DNS_NODATA,   /* the name exists, without such a record */
	DNS_SERVFAIL, /* also any other error code, and answers that cannot be read */
	DNS_REFUSED,
	DNS_TIMEOUT /* silence until the deadline or from every server */
};

struct dns_record {
	/* A: 4 bytes; AAAA: 16 bytes; TXT: all character-strings joined, may hold any byte;
	 * MX and PTR: the host name in text form, lower case, without the final dot */
	const unsigned char *data;
	size_t len;
	unsigned preference; /* MX */
};

/* Filled by the asker down to `type`, by the resolver from there. */
struct dns_question {
	const char *
	    name; /* text form, with or without a final dot; labels may hold escaped bytes (\046) */
	enum dns_type type;
	enum dns_status status;
	const struct dns_record *records;
	size_t count;
	int64_t elapsed_us; /* from asking to answer */
};

struct resolver {
	const struct resolver_ops *ops;
};

struct resolver_ops {
	/* Begins a request's DNS work; whatever was pending before is forgotten. Records and copies
	 * live in the arena. timeout_ms 0: nothing is asked until the next begin(), and no socket
	 * stays open. */
	void (*begin)(struct resolver *r, struct arena *arena, int64_t timeout_ms);

	/*
	 * Asks. The question stays the asker's, must live until the next begin() and not be changed
	 * while pending. A name that cannot be asked (label over 63, name over 255 octets, empty
	 * label) is DNS_NXDOMAIN at once. The same name and type asked twice in one request goes
	 * out once: both get the answer.
	 */
	void (*ask)(struct resolver *r, struct dns_question *q);

	/*
	 * Waits for the next question that gets its answer and returns it, in the order of answers,
	 * each exactly once; at the deadline those still pending come out as DNS_TIMEOUT. NULL when
	 * none is left, or none was answered within patience_ms (negative: as long as it takes).
	 */
	struct dns_question *(*next)(struct resolver *r, int64_t patience_ms);

	/* Waits until this one question is answered or the deadline; it does not come out of next()
	 * any more, others answered meanwhile still do. */
	void (*wait)(struct resolver *r, struct dns_question *q);

	/* Queries sent since the resolver was made (packets, retransmissions included). */
	unsigned long (*sent)(const struct resolver *r);

	void (*destroy)(struct resolver *r);
};

struct resolver_config {
	/* `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`; count 0: the name servers of
	 * /etc/resolv.conf */
	const char *const *servers;
	size_t count;
};

/* Table of the module `resolver_ldns`. */
struct resolver_module {
	/* NULL with a message where no server can be used. */
	struct resolver *(*create)(const struct resolver_config *config, char *error, size_t size);
};

#endif
