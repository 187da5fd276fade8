/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/explain.h"

#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "policy/request.h"
#include "policy/session.h"

static long long seconds(int64_t us)
{
	return us / US_PER_S;
}

static const char *explain_whitelist(struct arena *arena, const struct conf *conf,
				     const struct decision *d)
{
	bool clients = d->matched_list == WHITELIST_CLIENTS;

	if (!d->match.line)
		return arena_printf(arena, "recipient whitelisted by %s (built in)",
				    d->match.entry);
	return arena_printf(
	    arena, "%s whitelisted by %s (%s:%u)", clients ? "client" : "recipient", d->match.entry,
	    clients ? conf->whitelist_clients_file : conf->whitelist_recipients_file,
	    d->match.line);
}

/* Those checks that gave a score, as `HELO 2 (why), DYN 1 (why)`. */
static const char *explain_checks(struct arena *arena, const struct decision *d)
{
	const struct {
		const char *name;
		const struct check_score *score;
		int fact;
	} checks[] = {
	    {"HELO", &d->helo, d->facts.helo},
	    {"DYN", &d->dyn, d->facts.dyn},
	    {"S_EQ_R", &d->s_eq_r, d->facts.s_eq_r},
	    {"SPF", &d->spf, d->facts.spf},
	};
	const char *text = "";

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (checks[i].fact != VERDICT_UNASKED && checks[i].fact > 0)
			text = arena_printf(arena, "%s%s%s %d (%s)", text, *text ? ", " : "",
					    checks[i].name, checks[i].fact, checks[i].score->why);
	return text;
}

const char *explain_reason(struct arena *arena, const struct conf *conf,
			   const struct decision *decision)
{
	const struct verdict *v = &decision->verdict;

	switch (v->reason) {
	case VERDICT_BY_WHITELIST:
		return explain_whitelist(arena, conf, decision);
	case VERDICT_BY_CACHE:
		return arena_printf(arena, "client was %s within the last %lld s",
				    v->action == VERDICT_DEFER ? "deferred" : "let through",
				    (long long)conf->cache_valid);
	case VERDICT_KNOWN:
		return "known to be clean";
	case VERDICT_WAITED:
		return arena_printf(arena, "waited %lld s", seconds(v->waited_us));
	case VERDICT_TOO_EARLY:
		return arena_printf(arena, "greylisted, back too early, %lld s still to wait",
				    seconds(v->left_us));
	case VERDICT_BY_DNSWL:
		return arena_printf(arena, "DNS whitelist: %s", decision->dnswl.why);
	case VERDICT_BY_DNSBL:
		return arena_printf(arena, "DNS blacklist: %s", decision->dnsbl.why);
	case VERDICT_BY_CHECKS:
		return arena_printf(arena, "suspicious: %s", explain_checks(arena, decision));
	case VERDICT_UNSUSPECTED:
		break;
	}
	return "nothing suspicious";
}

static const char *number(struct arena *arena, bool known, long long value)
{
	return known ? arena_printf(arena, "%lld", value) : NULL;
}

static const char *fact(struct arena *arena, int value)
{
	return number(arena, value != VERDICT_UNASKED, value);
}

void explain_log(struct arena *arena, const struct conf *conf, const struct request *request,
		 const struct decision *decision, const char *answer, bool failure)
{
	struct decision none = {.verdict = {.action = VERDICT_DUNNO}};
	const struct decision *d = failure ? &none : decision;
	const struct verdict_facts *facts;
	bool waited;

	if (failure)
		verdict_facts_init(&none.facts);
	facts = &d->facts;
	waited = !failure &&
		 (d->verdict.reason == VERDICT_WAITED || d->verdict.reason == VERDICT_TOO_EARLY);
	log_event(
	    LOG_LEVEL_INFO, "decided",
	    (const struct log_field[]){
		{"action", "BLEY_ACTION", arena_strndup(arena, answer, strcspn(answer, " "))},
		{"reason", "BLEY_REASON",
		 failure ? "could not decide" : explain_reason(arena, conf, d)},
		{"client_address", "BLEY_CLIENT_ADDRESS", request->client_address},
		{"client_name", "BLEY_CLIENT_NAME", request->client_name},
		{"helo_name", "BLEY_HELO", request->helo_name},
		{"sender", "BLEY_SENDER", request->sender},
		{"recipient", "BLEY_RECIPIENT", request->recipient},
		{"instance", "BLEY_INSTANCE", *request->instance ? request->instance : NULL},
		{"waited", "BLEY_WAITED", number(arena, waited, seconds(d->verdict.waited_us))},
		{"dnswl", "BLEY_SCORE_DNSWL", fact(arena, facts->dnswl)},
		{"dnsbl", "BLEY_SCORE_DNSBL", fact(arena, facts->dnsbl)},
		{"helo", "BLEY_SCORE_HELO", fact(arena, facts->helo)},
		{"dyn", "BLEY_SCORE_DYN", fact(arena, facts->dyn)},
		{"s_eq_r", "BLEY_SCORE_S_EQ_R", fact(arena, facts->s_eq_r)},
		{"spf", "BLEY_SCORE_SPF", fact(arena, facts->spf)},
	    },
	    15);
}
