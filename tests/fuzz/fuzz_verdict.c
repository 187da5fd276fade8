/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The policy beside a second telling of it (model_verdict.c). The input is settings, then mails and
 * the time between them, also two mails decided at the same moment, and rows as damage may leave
 * them. Answers, log rows and what is remembered must be the same throughout.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "fuzz.h"
#include "model_verdict.h"
#include "policy/reply.h"
#include "policy/verdict.h"

#define RENEW_US (60 * US_PER_S)
#define STEPS_MOST 8
#define MINUTES_MOST 525600
#define PAUSE_MOST (2 * MINUTES_MOST * INT64_C(60) * US_PER_S)
#define BEGIN_US (INT64_C(1700000000) * US_PER_S)
#define OPERATIONS_MOST 64

/* What verdict.c's handler would have: its settings, and a store that does what store.h says. */
struct engine {
	struct conf conf;
	struct verdict_policy policy;
	int64_t cache_us;
	struct model_row rows[MODEL_TUPLES];
	struct {
		enum store_client client;
		int64_t at;
	} cache[MODEL_CLIENTS];
};

/* A mail that has been decided and is not committed yet. */
struct pending {
	struct verdict verdict;
	bool lists_asked, spf_asked;
};

struct game {
	struct engine engine;
	struct model model;
	struct arena arena;
	int64_t now;
};

static struct store_memory recall(const struct engine *e, const struct model_mail *mail,
				  int64_t now)
{
	const struct model_row *row = &e->rows[mail->tuple];
	struct store_memory memory = {.status = STORE_UNKNOWN};

	if (row->there)
		memory = (struct store_memory){.status = row->status,
					       .fail_count = row->fail_count,
					       .waited_us = now - row->last_action};
	memory.client = STORE_CLIENT_NONE;
	if (e->cache_us && now - e->cache[mail->client].at <= e->cache_us)
		memory.client = e->cache[mail->client].client;
	return memory;
}

static void remember(struct engine *e, const struct model_mail *mail, struct verdict *v,
		     int64_t now)
{
	struct model_row *row = &e->rows[mail->tuple];

	switch (v->change) {
	case STORE_KEEP:
		break;
	case STORE_INSERT:
		if (row->there) {
			verdict_follow(v, row->status);
			return;
		}
		*row = (struct model_row){.there = true, .status = v->status, .last_action = now};
		break;
	case STORE_PASS:
		row->status = STORE_CLEAN;
		row->last_action = now;
		break;
	case STORE_TOUCH:
		row->last_action = now;
		break;
	case STORE_AGAIN:
		row->fail_count += row->status >= STORE_GREY && row->fail_count < INT_MAX;
		break;
	}
	if (v->client == STORE_CLIENT_NONE)
		return;
	e->cache[mail->client].client = v->client;
	e->cache[mail->client].at = now;
}

/* Whatever the checks that are still to come say: where SPF would decide, that must be known. */
static void check_foresight(const struct game *g, const struct model_mail *mail,
			    const struct verdict_facts *facts)
{
	struct model_mail with = *mail, without = *mail;
	struct model_verdict verdict, other;
	struct model model = g->model;

	with.spf = 1;
	without.spf = 0;
	model_decide(&model, &with, g->now, &verdict);
	model = g->model;
	model_decide(&model, &without, g->now, &other);
	if (strcmp(verdict.answer, other.answer) != 0)
		fuzz_require(verdict_spf_may_decide(&g->engine.policy, facts));
}

static void answer(int *fact, int value)
{
	fuzz_require(*fact == VERDICT_UNASKED);
	*fact = value;
}

static void add_fact(struct game *g, enum verdict_step step, const struct model_mail *mail,
		     struct verdict_facts *facts)
{
	const struct verdict_policy *policy = &g->engine.policy;

	switch (step) {
	case VERDICT_WHITELIST:
		answer(&facts->whitelisted, mail->whitelisted);
		break;
	case VERDICT_RECALL:
		fuzz_require(!facts->recalled);
		facts->recalled = true;
		facts->memory = recall(&g->engine, mail, g->now);
		break;
	case VERDICT_DNSL:
		check_foresight(g, mail, facts);
		answer(&facts->dnswl, policy->dnswl_threshold > 0 ? mail->dnswl : 0);
		answer(&facts->dnsbl, policy->dnsbl_threshold > 0 ? mail->dnsbl : 0);
		break;
	case VERDICT_HELO:
		answer(&facts->helo, mail->helo);
		break;
	case VERDICT_DYN:
		answer(&facts->dyn, mail->dyn);
		break;
	case VERDICT_S_EQ_R:
		answer(&facts->s_eq_r, mail->s_eq_r);
		break;
	case VERDICT_SPF:
		answer(&facts->spf, mail->spf);
		break;
	case VERDICT_DONE:
		break;
	}
}

static struct pending decide(struct game *g, const struct model_mail *mail)
{
	struct verdict untouched;
	struct pending pending = {.lists_asked = false};
	struct verdict_facts facts;
	enum verdict_step step;
	int steps = 0;

	memset(&untouched, 0x5a, sizeof(untouched));
	memcpy(&pending.verdict, &untouched, sizeof(untouched));
	verdict_facts_init(&facts);
	while ((step = verdict_step(&g->engine.policy, &facts, &pending.verdict)) != VERDICT_DONE) {
		fuzz_require(++steps <= STEPS_MOST);
		fuzz_require(!memcmp(&pending.verdict, &untouched, sizeof(untouched)));
		pending.lists_asked |= step == VERDICT_DNSL;
		pending.spf_asked |= step == VERDICT_SPF;
		add_fact(g, step, mail, &facts);
	}
	return pending;
}

static void compare_log(const int *checks, const struct model_verdict *expected)
{
	fuzz_require(checks[STORE_LOG_DNSWL] == expected->check_dnswl);
	fuzz_require(checks[STORE_LOG_DNSBL] == expected->check_dnsbl);
	fuzz_require(checks[STORE_LOG_HELO] == expected->check_helo);
	fuzz_require(checks[STORE_LOG_DYN] == expected->check_dyn);
	fuzz_require(checks[STORE_LOG_DB] == expected->check_db);
	fuzz_require(checks[STORE_LOG_SPF] == expected->check_spf);
	fuzz_require(checks[STORE_LOG_S_EQ_R] == expected->check_s_eq_r);
	fuzz_require(checks[STORE_LOG_POSTMASTER] == expected->check_postmaster);
	fuzz_require(checks[STORE_LOG_CACHE] == expected->check_cache);
}

static void compare_memory(const struct game *g)
{
	for (size_t i = 0; i < MODEL_TUPLES; i++) {
		const struct model_row *a = &g->engine.rows[i], *b = &g->model.rows[i];

		fuzz_require(a->there == b->there && a->status == b->status);
		fuzz_require(a->fail_count == b->fail_count && a->last_action <= b->last_action);
		/* A clean tuple's time need not be written again at once. */
		fuzz_require(b->last_action - a->last_action <
			     (a->status < STORE_GREY ? RENEW_US : 1));
	}
	for (size_t i = 0; i < MODEL_CLIENTS; i++) {
		enum store_client client = g->engine.cache[i].client;

		fuzz_require(g->model.cache[i].there == (client != STORE_CLIENT_NONE));
		if (client == STORE_CLIENT_NONE)
			continue;
		fuzz_require(g->model.cache[i].bad == (client == STORE_CLIENT_BAD));
		fuzz_require(g->model.cache[i].at == g->engine.cache[i].at);
	}
}

static const char *commit(struct game *g, const struct model_mail *mail, struct pending *pending)
{
	remember(&g->engine, mail, &pending->verdict, g->now);
	return reply_text(&g->arena, &g->engine.conf, &pending->verdict,
			  (time_t)(g->now / US_PER_S));
}

static void one_mail(struct game *g, const struct model_mail *mail)
{
	struct pending pending = decide(g, mail);
	struct model_verdict expected;

	model_decide(&g->model, mail, g->now, &expected);
	fuzz_require(!strcmp(commit(g, mail, &pending), expected.answer));
	fuzz_require(pending.lists_asked == expected.lists_asked);
	fuzz_require(pending.spf_asked == expected.spf_asked);
	compare_log(pending.verdict.checks, &expected);
	compare_memory(g);
}

/* Two hosts see the same new mail in the same instant, and DNS tells them different things: one
 * row, and the same answer to both. */
static void two_at_once(struct game *g, const struct model_mail *mail, struct model_mail second)
{
	struct pending pending[2];
	struct model_verdict expected;

	if (g->model.rows[mail->tuple].there)
		return;
	second.client = mail->client;
	second.tuple = mail->tuple;
	second.whitelisted = mail->whitelisted;
	pending[0] = decide(g, mail);
	pending[1] = decide(g, &second);
	model_decide(&g->model, mail, g->now, &expected);
	fuzz_require(!strcmp(commit(g, mail, &pending[0]), expected.answer));
	fuzz_require(!strcmp(commit(g, &second, &pending[1]), expected.answer));
	compare_memory(g);
}

static struct model_mail read_mail(struct fuzz_input *in)
{
	uint8_t who = fuzz_byte(in), scores = fuzz_byte(in);
	struct model_mail mail = {.tuple = who % MODEL_TUPLES,
				  .client = who % MODEL_TUPLES % MODEL_CLIENTS,
				  .whitelisted = who >= 0xf0,
				  .helo = scores % 3,
				  .dyn = scores >> 2 & 1,
				  .s_eq_r = scores >> 3 & 1,
				  .spf = scores >> 4 & 1};

	mail.dnswl = scores & 0x20 ? (int8_t)fuzz_byte(in) : 0;
	mail.dnsbl = scores & 0x40 ? (int8_t)fuzz_byte(in) : 0;
	return mail;
}

/* Times of all sizes: small ones, whole minutes, and any. */
static int64_t read_pause(struct fuzz_input *in)
{
	uint8_t kind = fuzz_byte(in);
	int64_t number = fuzz_short(in);

	switch (kind % 4) {
	case 0:
		return 0;
	case 1:
		return number * US_PER_S;
	case 2: /* around a whole minute */
		return number % 2048 * 60 * US_PER_S + number / 2048 % 3;
	default:
		return (fuzz_long(in) & INT64_MAX) % PAUSE_MOST;
	}
}

static void damage(struct game *g, struct fuzz_input *in)
{
	static const int counts[] = {0, 1, 1000, INT_MAX, INT_MAX - 1, -1, INT_MIN, 70};
	uint8_t which = fuzz_byte(in), what = fuzz_byte(in);
	struct model_row row = {.there = true,
				.status = what & 0x80 ? 32767 : what % 4,
				.fail_count = counts[what >> 4 & 7],
				.last_action = g->now - read_pause(in)};

	g->engine.rows[which % MODEL_TUPLES] = row;
	g->model.rows[which % MODEL_TUPLES] = row;
}

static void read_settings(struct game *g, struct fuzz_input *in)
{
	uint8_t flags = fuzz_byte(in);
	struct model_settings *s = &g->model.settings;

	*s = (struct model_settings){.dnswl_threshold = fuzz_byte(in) % 8,
				     .dnsbl_threshold = fuzz_byte(in) % 8,
				     .rfc_threshold = fuzz_byte(in) % 8,
				     .use_spf = flags & 1,
				     .reject_msg = "come back",
				     .greylist_header = flags & 2 ? "" : "X-Late: %(delta)s s"};
	s->greylist_period = flags & 4 ? fuzz_short(in) * 60 : 29 * 60;
	s->greylist_penalty = flags & 8 ? fuzz_short(in) * 60 : 10 * 60;
	s->greylist_max = flags & 16 ? fuzz_short(in) * 60 : 720 * 60;
	s->cache_valid = flags & 32 ? fuzz_short(in) : 60;
	g->engine.conf.reject_msg = s->reject_msg;
	g->engine.conf.greylist_header = s->greylist_header;
	g->engine.cache_us = s->cache_valid * US_PER_S;
	g->engine.policy = (struct verdict_policy){
	    .dnswl_threshold = s->dnswl_threshold,
	    .dnsbl_threshold = s->dnsbl_threshold,
	    .rfc_threshold = s->rfc_threshold,
	    .period_us = s->greylist_period * US_PER_S,
	    .penalty_us = s->greylist_penalty * US_PER_S,
	    .max_us = s->greylist_max * US_PER_S,
	    .use_spf = s->use_spf,
	    .use_cache = s->cache_valid > 0,
	};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct game g = {.now = BEGIN_US};

	read_settings(&g, &in);
	for (int i = 0; in.size && i < OPERATIONS_MOST; i++) {
		uint8_t operation = fuzz_byte(&in);
		struct model_mail mail;

		g.now += read_pause(&in);
		if (operation % 8 == 0) {
			damage(&g, &in);
			continue;
		}
		mail = read_mail(&in);
		if (operation % 8 == 1)
			two_at_once(&g, &mail, read_mail(&in));
		else
			one_mail(&g, &mail);
	}
	arena_release(&g.arena);
	return 0;
}
