/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_SPF_STATE_H
#define BLEY_CHECK_SPF_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "check/spf.h"
#include "check/spf_eval.h"
#include "check/spf_record.h"
#include "dns/resolver.h"

/*
 * One SPF check under way; internal to the module `spf`. spf_check.c walks the records,
 * spf_lookup.c asks DNS for their mechanisms.
 */

/* RFC 7208 section 4.6.4. */
#define SPF_LOOKUPS_MOST 10
#define SPF_VOIDS_MOST 2
#define SPF_HOSTS_MOST 10 /* of an mx or of a client's address */

/* Each record has at most one number for each lookup that is left and one more, and at most one
 * record is read for each lookup. */
#define SPF_STEPS_MOST ((SPF_LOOKUPS_MOST + 2) * (SPF_LOOKUPS_MOST + 1))

/* A domain whose record is evaluated. */
struct spf_level {
	const char *domain; /* any byte but NUL, no final dot */
	struct spf_record record;
};

/* A term that asks DNS, under the number that stands for its name. */
struct spf_step {
	const struct spf_level *level; /* where the term stands */
	const struct spf_term *term;
	const struct dns_record *records; /* the addresses that libspf2 is given */
	size_t count;
	bool matches;		 /* a, mx, ptr, exists */
	struct spf_level *below; /* include and redirect: what was found there */
};

struct spf_state {
	struct spf_source source; /* first: libspf2's questions come back with it */
	struct resolver *resolver;
	struct arena *arena;
	const struct ipaddr *client;
	const char *local, *domain, *helo; /* of the sender; `local` is never empty */
	struct spf_step steps[SPF_STEPS_MOST];
	unsigned step_count;
	unsigned lookups, voids;
	unsigned ahead; /* questions asked before it was known whether they would be needed */
	/* the client's own names, asked for once at most: its reverse lookup and their addresses */
	const struct dns_question *reverse;
	struct dns_question *names[SPF_HOSTS_MOST];
	bool names_asked[SPF_HOSTS_MOST];
	bool over; /* by our word, with this result: */
	enum spf_result result;
	const char *why;
};

/* Ends the check. Always false. */
bool spf_state_end(struct spf_state *state, enum spf_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The prefix length of a term for this client's kind of address. */
unsigned spf_state_bits(const struct spf_state *state, const struct spf_term *term);

/* Whether the client is in the network. */
bool spf_state_in_network(const struct spf_state *state, const unsigned char *address,
			  unsigned bits);

/* The name that a term is about. */
const char *spf_lookup_target(struct spf_state *state, const struct spf_level *level,
			      const struct spf_term *term);

/* Asks and waits; a name that is none does not exist. */
const struct dns_question *spf_lookup(struct spf_state *state, const char *name,
				      enum dns_type type);

/* Whether the answer is neither records nor that there are none. */
bool spf_lookup_failed(const struct dns_question *question);

/* Ends the check with a temperror for such an answer. Always false. */
bool spf_lookup_end(struct spf_state *state, const struct dns_question *question,
		    const struct spf_level *level);

/*
 * Asks a term's first question and does not wait, so that all of a record's terms are answered in
 * the time of one. Where it is asked again in earnest, the resolver has it already. No more than
 * ten are asked ahead in a check.
 */
void spf_lookup_ahead(struct spf_state *state, const struct spf_step *step);

/* Asks for the addresses of an a, mx, ptr or exists. False where that ends the check. */
bool spf_lookup_addresses(struct spf_state *state, struct spf_step *step);

#endif
