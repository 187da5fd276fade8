/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/text.h"
#include "conf/conf.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/select.h"
#include "ctl/table.h"
#include "policy/explain.h"
#include "policy/reply.h"
#include "policy/request.h"
#include "policy/sandbox.h"
#include "policy/session.h"

#define US_PER_MS 1000.0

enum { IP, SENDER, RECIPIENT, ARGUMENTS };
enum { HELO, NAME, JSON };

static const struct ctl_option options[] = {
    [HELO] = {"helo", "NAME", "what the client says in HELO (default: its name)"},
    [NAME] = {"name", "NAME", "the client's verified host name (default: unknown)"},
    [JSON] = {"json", NULL, "print JSON"},
    {NULL, NULL, NULL},
};

/* All there is to tell. */
struct why {
	const struct conf *conf;
	const struct session *session;
	const struct request *request;
	const struct decision *decision;
	const char *reason, *answer;
	int64_t now_us;
	struct arena *arena;
	struct table table;
};

/* The checks in the order in which they are told. */
#define CHECKS 6
struct told {
	const char *name, *key;
	const struct check_score *score;
	int fact;
};

static void list_checks(const struct decision *d, struct told out[CHECKS])
{
	const struct verdict_facts *f = &d->facts;
	const struct told all[CHECKS] = {
	    {"DNS whitelists", "dnswl", &d->dnswl, f->dnswl},
	    {"DNS blacklists", "dnsbl", &d->dnsbl, f->dnsbl},
	    {"HELO", "helo", &d->helo, f->helo},
	    {"dynamic name", "dyn", &d->dyn, f->dyn},
	    {"sender is recipient", "s_eq_r", &d->s_eq_r, f->s_eq_r},
	    {"SPF", "spf", &d->spf, f->spf},
	};

	memcpy(out, all, sizeof(all));
}

static int counted(int fact)
{
	return fact == VERDICT_UNASKED ? 0 : fact;
}

static int rfc_sum(const struct verdict_facts *f)
{
	return counted(f->helo) + counted(f->dyn) + counted(f->s_eq_r) + counted(f->spf);
}

static int64_t seen_us(const struct why *w)
{
	return w->now_us - w->decision->facts.memory.waited_us;
}

/* When a greylisted tuple would pass. */
static int64_t passes_us(const struct why *w)
{
	return seen_us(w) +
	       verdict_wait_us(&w->session->policy, w->decision->facts.memory.fail_count);
}

static void say(struct why *w, const char *what, const char *text)
{
	table_row(&w->table, (const char *const[]){what, text});
}

static const char *matched_file(const struct why *w)
{
	return w->decision->matched_list == WHITELIST_CLIENTS ? w->conf->whitelist_clients_file
							      : w->conf->whitelist_recipients_file;
}

static void say_whitelist(struct why *w)
{
	const struct whitelist_match *match = &w->decision->match;

	if (!w->decision->facts.whitelisted)
		say(w, "whitelists", "no entry matches");
	else if (!match->line)
		say(w, "whitelists", arena_printf(w->arena, "%s (built in)", match->entry));
	else
		say(w, "whitelists",
		    arena_printf(w->arena, "%s (%s:%u)", match->entry, matched_file(w),
				 match->line));
}

static const char *client_text(const struct why *w)
{
	switch (w->decision->facts.memory.client) {
	case STORE_CLIENT_GOOD:
		return "the client was let through a moment ago";
	case STORE_CLIENT_BAD:
		return "the client was deferred a moment ago";
	case STORE_CLIENT_NONE:
		break;
	}
	return w->session->policy.use_cache ? "nothing" : "off (cache_valid)";
}

static void say_memory(struct why *w)
{
	const struct store_memory *m = &w->decision->facts.memory;
	struct arena *arena = w->arena;
	int64_t left_us = passes_us(w) - w->now_us;

	if (!w->decision->facts.recalled)
		return;
	say(w, "cache", client_text(w));
	if (m->status == STORE_UNKNOWN) {
		say(w, "database", w->session->nothing_stored ? "there is none yet" : "not known");
		return;
	}
	say(w, "database", select_status_name(m->status));
	if (m->status < STORE_GREY) {
		say(w, "  last seen", table_time(arena, seen_us(w)));
		return;
	}
	say(w, "  first seen",
	    arena_printf(arena, "%s, %s ago", table_time(arena, seen_us(w)),
			 table_duration(arena, m->waited_us / US_PER_S)));
	say(w, "  too early", arena_printf(arena, "%d times", m->fail_count));
	if (left_us < 0)
		say(w, "  passes",
		    arena_printf(arena, "since %s", table_time(arena, passes_us(w))));
	else
		say(w, "  passes",
		    arena_printf(arena, "after %s, %s (%lld s) from now",
				 table_time(arena, passes_us(w)),
				 table_duration(arena, left_us / US_PER_S),
				 (long long)(left_us / US_PER_S)));
}

static void say_lists(struct why *w)
{
	for (const struct check_list *list = w->decision->lists; list; list = list->next)
		say(w, list->white ? "  DNS whitelist" : "  DNS blacklist",
		    arena_printf(w->arena, "%s: %s%s%s", list->name, list->answer,
				 list->counted ? arena_printf(w->arena, ", counts %d", list->weight)
				 : list->hit   ? ", decided without it"
					       : "",
				 list->elapsed_us < 0
				     ? ""
				     : arena_printf(w->arena, " (%.1f ms)",
						    (double)list->elapsed_us / US_PER_MS)));
}

static void say_checks(struct why *w)
{
	const struct verdict_policy *policy = &w->session->policy;
	struct told checks[CHECKS];

	list_checks(w->decision, checks);
	for (int i = 0; i < CHECKS; i++) {
		const char *why = checks[i].score->why;
		int threshold = i == 0 ? policy->dnswl_threshold : policy->dnsbl_threshold;

		if (checks[i].fact == VERDICT_UNASKED)
			say(w, checks[i].name, "not asked");
		else if (i < 2)
			say(w, checks[i].name,
			    arena_printf(w->arena, "%d of %d: %s", checks[i].fact, threshold, why));
		else
			say(w, checks[i].name,
			    arena_printf(w->arena, "%d: %s", checks[i].fact, why));
		if (i == 1)
			say_lists(w);
	}
	say(w, "sum without DNS lists",
	    arena_printf(w->arena, "%d of %d", rfc_sum(&w->decision->facts),
			 policy->rfc_threshold));
}

static void print_text(struct why *w)
{
	const struct verdict_facts *f = &w->decision->facts;

	table_init(&w->table, stdout, NULL, 2);
	say(w, "client", w->request->client_address);
	say(w, "name", w->request->client_name);
	say(w, "HELO", w->request->helo_name);
	say(w, "sender", table_address(w->arena, w->request->sender));
	say(w, "recipient", table_address(w->arena, w->request->recipient));
	say_whitelist(w);
	say_memory(w);
	if (f->recalled && f->memory.status == STORE_UNKNOWN &&
	    f->memory.client == STORE_CLIENT_NONE)
		say_checks(w);
	say(w, "verdict", w->reason);
	say(w, "answer", arena_printf(w->arena, "action=%s", w->answer));
	table_end(&w->table);
}

static void json_whitelist(const struct why *w, struct json *j)
{
	const struct whitelist_match *match = &w->decision->match;

	if (!w->decision->facts.whitelisted) {
		json_text(j, "whitelist", NULL);
		return;
	}
	json_open(j, "whitelist", '{');
	json_text(j, "entry", match->entry);
	json_text(j, "file", match->line ? matched_file(w) : NULL);
	json_int(j, "line", match->line);
	json_close(j);
}

static void json_memory(const struct why *w, struct json *j)
{
	static const char *const clients[] = {
	    [STORE_CLIENT_NONE] = NULL, [STORE_CLIENT_GOOD] = "good", [STORE_CLIENT_BAD] = "bad"};
	const struct store_memory *m = &w->decision->facts.memory;
	int64_t left_us = passes_us(w) - w->now_us;

	json_text(j, "cache", clients[m->client]);
	if (m->status == STORE_UNKNOWN) {
		json_text(j, "database", NULL);
		return;
	}
	json_open(j, "database", '{');
	json_text(j, "status", select_status_name(m->status));
	json_int(j, "failures", m->fail_count);
	json_time(j, "last_action", seen_us(w));
	if (m->status >= STORE_GREY) {
		json_time(j, "passes_after", passes_us(w));
		json_int(j, "seconds_left", left_us > 0 ? left_us / US_PER_S : 0);
	}
	json_close(j);
}

static void json_checks(const struct why *w, struct json *j)
{
	struct told checks[CHECKS];

	json_open(j, "lists", '[');
	for (const struct check_list *list = w->decision->lists; list; list = list->next) {
		json_open(j, NULL, '{');
		json_text(j, "name", list->name);
		json_text(j, "kind", list->white ? "whitelist" : "blacklist");
		json_text(j, "answer", list->answer);
		json_bool(j, "hit", list->hit);
		json_bool(j, "counted", list->counted);
		json_int(j, "weight", list->weight);
		json_int(j, "microseconds", list->elapsed_us);
		json_close(j);
	}
	json_close(j);
	list_checks(w->decision, checks);
	json_open(j, "checks", '{');
	for (int i = 0; i < CHECKS; i++) {
		if (checks[i].fact == VERDICT_UNASKED) {
			json_text(j, checks[i].key, NULL);
			continue;
		}
		json_open(j, checks[i].key, '{');
		json_int(j, "score", checks[i].fact);
		json_text(j, "why", checks[i].score->why);
		json_close(j);
	}
	json_close(j);
}

static void print_json(const struct why *w)
{
	struct json j = JSON_INIT(stdout);

	json_open(&j, NULL, '{');
	json_text(&j, "client_address", w->request->client_address);
	json_text(&j, "client_name", w->request->client_name);
	json_text(&j, "helo_name", w->request->helo_name);
	json_text(&j, "sender", w->request->sender);
	json_text(&j, "recipient", w->request->recipient);
	json_whitelist(w, &j);
	json_memory(w, &j);
	json_checks(w, &j);
	json_int(&j, "dnswl_threshold", w->session->policy.dnswl_threshold);
	json_int(&j, "dnsbl_threshold", w->session->policy.dnsbl_threshold);
	json_int(&j, "rfc_sum", rfc_sum(&w->decision->facts));
	json_int(&j, "rfc_threshold", w->session->policy.rfc_threshold);
	json_text(&j, "reason", w->reason);
	json_text(&j, "answer", w->answer);
	json_close(&j);
}

static void complain(void *context, enum log_level level, const char *key, const char *text)
{
	(void)context;
	(void)key;
	ctl_complain("%s%s", level == LOG_LEVEL_WARNING ? "warning: " : "", text);
}

static enum ctl_status explain(const struct conf *conf, const struct request *request,
			       struct arena *arena, bool use_json)
{
	struct session session;
	struct decision decision;
	struct why w = {.conf = conf,
			.session = &session,
			.request = request,
			.decision = &decision,
			.arena = arena};
	bool decided;

	session_init(&session, conf, complain, NULL);
	session.replay = true;
	session_load(&session);
	decided = ctl_give_up_root(conf);
	if (decided) {
		sandbox_enter(conf);
		decided = session_decide(&session, request, arena, &decision);
	}
	if (decided) {
		w.now_us = table_now();
		w.reason = explain_reason(arena, conf, &decision);
		w.answer = reply_text(arena, conf, &decision.verdict,
				      (time_t)(w.now_us / US_PER_S));
		if (use_json)
			print_json(&w);
		else
			print_text(&w);
	}
	session_release(&session);
	return decided && !fflush(stdout) && !ferror(stdout) ? CTL_OK : CTL_WRONG;
}

static const char *cleaned(struct arena *arena, const char *text)
{
	return text_clean(arena, text, strlen(text));
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	const char *name = args->option[NAME] ? args->option[NAME] : "unknown";
	const struct conf *conf = ctl_conf(ctl);
	struct arena arena = ARENA_INIT;
	enum ctl_status status = CTL_WRONG;
	struct request request;
	struct request_values values = {
	    .client_address = cleaned(&arena, args->item[IP]),
	    .sender = cleaned(&arena, select_bare(&arena, args->item[SENDER])),
	    .recipient = cleaned(&arena, select_bare(&arena, args->item[RECIPIENT])),
	    .client_name = cleaned(&arena, name),
	    .helo_name = cleaned(&arena, args->option[HELO] ? args->option[HELO] : name),
	    .instance = "",
	};

	if (!request_normalise(&arena, &values, &request)) {
		ctl_complain("why: %s", request.problem);
		status = CTL_USAGE;
	} else if (conf) {
		status = explain(conf, &request, &arena, args->option[JSON] != NULL);
	}
	arena_release(&arena);
	return status;
}

const struct ctl_command ctl_why = {
    .name = "why",
    .arguments = "IP SENDER RECIPIENT",
    .arguments_min = ARGUMENTS,
    .arguments_max = ARGUMENTS,
    .summary = "tell what bley would answer now, and why; changes nothing",
    .options = options,
    .run = run,
};
