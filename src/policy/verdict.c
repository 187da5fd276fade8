/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/verdict.h"

/* A clean tuple's time says when to purge it, in days: in the same minute it is not written again.
 */
#define RENEW_US INT64_C(60000000)

void verdict_facts_init(struct verdict_facts *facts)
{
	*facts = (struct verdict_facts){
	    .whitelisted = VERDICT_UNASKED,
	    .memory = {.status = STORE_UNKNOWN},
	    .dnswl = VERDICT_UNASKED,
	    .dnsbl = VERDICT_UNASKED,
	    .helo = VERDICT_UNASKED,
	    .dyn = VERDICT_UNASKED,
	    .s_eq_r = VERDICT_UNASKED,
	    .spf = VERDICT_UNASKED,
	};
}

/* A score that was not asked for counts as 0, here and in the log. */
static int known(int fact)
{
	return fact == VERDICT_UNASKED ? 0 : fact;
}

static bool reaches(int score, int threshold)
{
	return threshold > 0 && known(score) >= threshold;
}

static int rfc_sum(const struct verdict_facts *facts)
{
	return known(facts->helo) + known(facts->dyn) + known(facts->s_eq_r) + known(facts->spf);
}

/* How long a tuple has to wait after its first attempt: never more than max, whatever the
 * penalties. */
int64_t verdict_wait_us(const struct verdict_policy *policy, int fail_count)
{
	int64_t room = policy->max_us - policy->period_us;

	if (room <= 0)
		return policy->max_us;
	if (fail_count <= 0)
		return policy->period_us;
	if (policy->penalty_us > room / fail_count)
		return policy->max_us;
	return policy->period_us + fail_count * policy->penalty_us;
}

static void decide_grey(const struct verdict_policy *policy, const struct store_memory *memory,
			struct verdict *v)
{
	v->waited_us = memory->waited_us;
	if (memory->waited_us > verdict_wait_us(policy, memory->fail_count)) {
		v->action = VERDICT_PREPEND;
		v->reason = VERDICT_WAITED;
		v->change = STORE_PASS;
		v->client = STORE_CLIENT_GOOD;
		return;
	}
	v->action = VERDICT_DEFER;
	v->reason = VERDICT_TOO_EARLY;
	v->change = STORE_AGAIN;
	v->client = STORE_CLIENT_BAD;
	/* this attempt costs a penalty, too */
	v->left_us = verdict_wait_us(policy, memory->fail_count < INT_MAX ? memory->fail_count + 1
									  : INT_MAX) -
		     memory->waited_us;
}

static void decide_known(const struct verdict_policy *policy, const struct store_memory *memory,
			 struct verdict *v)
{
	v->checks[STORE_LOG_DB] = memory->status;
	if (memory->status >= STORE_GREY) {
		decide_grey(policy, memory, v);
		return;
	}
	v->reason = VERDICT_KNOWN;
	/* the age 0 may be a time that lies in the future: that one is mended */
	if (memory->waited_us == 0 || memory->waited_us >= RENEW_US)
		v->change = STORE_TOUCH;
	v->client = STORE_CLIENT_GOOD;
}

static void decide_cached(const struct store_memory *memory, struct verdict *v)
{
	v->reason = VERDICT_BY_CACHE;
	v->checks[STORE_LOG_CACHE] = 1;
	if (memory->client == STORE_CLIENT_BAD)
		v->action = VERDICT_DEFER;
}

/* A new tuple, all facts that matter known. */
static void decide_new(const struct verdict_policy *policy, const struct verdict_facts *facts,
		       struct verdict *v)
{
	v->change = STORE_INSERT;
	v->checks[STORE_LOG_DNSWL] = known(facts->dnswl);
	if (reaches(facts->dnswl, policy->dnswl_threshold)) {
		v->reason = VERDICT_BY_DNSWL;
		v->status = STORE_LISTED;
		return;
	}
	v->checks[STORE_LOG_DNSBL] = known(facts->dnsbl);
	v->checks[STORE_LOG_HELO] = known(facts->helo);
	v->checks[STORE_LOG_DYN] = known(facts->dyn);
	v->checks[STORE_LOG_S_EQ_R] = known(facts->s_eq_r);
	v->checks[STORE_LOG_SPF] = known(facts->spf);
	if (reaches(facts->dnsbl, policy->dnsbl_threshold))
		v->reason = VERDICT_BY_DNSBL;
	else if (reaches(rfc_sum(facts), policy->rfc_threshold))
		v->reason = VERDICT_BY_CHECKS;
	else
		v->reason = VERDICT_UNSUSPECTED;
	if (v->reason == VERDICT_UNSUSPECTED) {
		v->status = STORE_CLEAN;
		v->client = STORE_CLIENT_GOOD;
		return;
	}
	v->action = VERDICT_DEFER;
	v->status = STORE_GREY;
	v->client = STORE_CLIENT_BAD;
}

/*
 * What a new tuple still has to be asked. The checks that cost nothing come first: with them it is
 * known whether SPF can matter, so that its first question may go out with those to the lists.
 */
static enum verdict_step next_check(const struct verdict_policy *policy,
				    const struct verdict_facts *facts)
{
	bool lists = policy->dnswl_threshold > 0 || policy->dnsbl_threshold > 0;
	bool rfc = policy->rfc_threshold > 0;

	if (rfc && facts->helo == VERDICT_UNASKED)
		return VERDICT_HELO;
	if (rfc && facts->dyn == VERDICT_UNASKED)
		return VERDICT_DYN;
	if (rfc && facts->s_eq_r == VERDICT_UNASKED)
		return VERDICT_S_EQ_R;
	if (lists && facts->dnswl == VERDICT_UNASKED)
		return VERDICT_DNSL;
	if (reaches(facts->dnswl, policy->dnswl_threshold) ||
	    reaches(facts->dnsbl, policy->dnsbl_threshold))
		return VERDICT_DONE;
	if (rfc && policy->use_spf && facts->spf == VERDICT_UNASKED &&
	    rfc_sum(facts) < policy->rfc_threshold)
		return VERDICT_SPF;
	return VERDICT_DONE;
}

bool verdict_spf_may_decide(const struct verdict_policy *policy, const struct verdict_facts *facts)
{
	int sum = rfc_sum(facts);

	return policy->use_spf && sum < policy->rfc_threshold && sum + 1 >= policy->rfc_threshold;
}

enum verdict_step verdict_step(const struct verdict_policy *policy,
			       const struct verdict_facts *facts, struct verdict *out)
{
	struct verdict v = {.action = VERDICT_DUNNO,
			    .change = STORE_KEEP,
			    .client = STORE_CLIENT_NONE,
			    .checks = {[STORE_LOG_DB] = STORE_UNKNOWN}};
	enum verdict_step step;

	if (facts->whitelisted == VERDICT_UNASKED)
		return VERDICT_WHITELIST;
	if (facts->whitelisted) {
		v.reason = VERDICT_BY_WHITELIST;
		v.checks[STORE_LOG_POSTMASTER] = 1;
	} else if (!facts->recalled) {
		return VERDICT_RECALL;
	} else if (policy->use_cache && facts->memory.client != STORE_CLIENT_NONE) {
		decide_cached(&facts->memory, &v);
	} else if (facts->memory.status != STORE_UNKNOWN) {
		decide_known(policy, &facts->memory, &v);
	} else {
		step = next_check(policy, facts);
		if (step != VERDICT_DONE)
			return step;
		decide_new(policy, facts, &v);
	}
	if (!policy->use_cache)
		v.client = STORE_CLIENT_NONE;
	*out = v;
	return VERDICT_DONE;
}

void verdict_follow(struct verdict *verdict, int status)
{
	enum verdict_action action = status >= STORE_GREY ? VERDICT_DEFER : VERDICT_DUNNO;

	if (action != verdict->action)
		verdict->reason = action == VERDICT_DEFER ? VERDICT_TOO_EARLY : VERDICT_KNOWN;
	verdict->action = action;
	verdict->status = status;
	verdict->change = STORE_KEEP;
	verdict->client = STORE_CLIENT_NONE;
}
