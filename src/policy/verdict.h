/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_VERDICT_H
#define BLEY_POLICY_VERDICT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/*
 * The policy (bley(8), `How a request is decided'), whole and pure: no clock, no I/O, no
 * allocation. The handler asks verdict_step() what it needs, does that one thing, adds the fact and
 * asks again, until the step is VERDICT_DONE. tests/verdict.rows has each case.
 */

#define VERDICT_UNASKED INT_MIN /* a fact not known yet; sums of weights may be negative */

/* The settings that decide. */
struct verdict_policy {
	int dnswl_threshold, dnsbl_threshold, rfc_threshold; /* 0: off */
	int64_t period_us, penalty_us, max_us;
	bool use_spf;
	bool use_cache;
};

struct verdict_facts {
	int whitelisted; /* 0 or 1 */
	bool recalled;	 /* `memory` is known */
	struct store_memory memory;
	int dnswl, dnsbl; /* sums of weights; found together */
	int helo, dyn, s_eq_r, spf;
};

enum verdict_step {
	VERDICT_WHITELIST, /* look the client and the recipient up in the whitelists */
	VERDICT_RECALL,	   /* recall the tuple and the client's cached verdict */
	VERDICT_DNSL,	   /* ask the DNS lists: fills dnswl and dnsbl */
	VERDICT_HELO,
	VERDICT_DYN,
	VERDICT_S_EQ_R,
	VERDICT_SPF,
	VERDICT_DONE
};

enum verdict_action { VERDICT_DUNNO, VERDICT_DEFER, VERDICT_PREPEND };

enum verdict_reason {
	VERDICT_BY_WHITELIST,
	VERDICT_BY_CACHE,
	VERDICT_KNOWN,	   /* clean, or on a DNS whitelist when first seen */
	VERDICT_WAITED,	   /* greylisted and waited long enough */
	VERDICT_TOO_EARLY, /* greylisted and back too early */
	VERDICT_BY_DNSWL,
	VERDICT_BY_DNSBL,
	VERDICT_BY_CHECKS, /* HELO, DYN, S_EQ_R, SPF */
	VERDICT_UNSUSPECTED
};

struct verdict {
	enum verdict_action action;
	enum verdict_reason reason;
	enum store_change change;
	int status;		      /* for STORE_INSERT */
	enum store_client client;     /* how the client is remembered; NONE: not at all */
	int64_t waited_us;	      /* of a known greylisted tuple */
	int64_t left_us;	      /* how long it still has to wait */
	int checks[STORE_LOG_CHECKS]; /* for the log row */
};

void verdict_facts_init(struct verdict_facts *facts);

/* What is needed next; for VERDICT_DONE *out is the verdict, else it is untouched. */
enum verdict_step verdict_step(const struct verdict_policy *policy,
			       const struct verdict_facts *facts, struct verdict *out);

/* Whether SPF, not asked yet, could still bring the sum to the RFC threshold: whether it is worth
 * sending its first question together with those to the DNS lists. */
bool verdict_spf_may_decide(const struct verdict_policy *policy, const struct verdict_facts *facts);

/* How long a greylisted tuple with so many failures has to have waited: more than this. */
int64_t verdict_wait_us(const struct verdict_policy *policy, int fail_count);

/* Someone else stored the same new tuple first, with this status: both get the same answer. */
void verdict_follow(struct verdict *verdict, int status);

#endif
