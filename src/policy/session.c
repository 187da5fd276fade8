/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/session.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "dns/resolver.h"
#include "policy/request.h"
#include "policy/resolving.h"
#include "policy/storage.h"

#define WHITELIST_COMPLAINTS_MOST 5 /* a file */
/* How long a database that could not be opened, or a resolver that could not be made, is left
 * alone. */
#define RETRY_US US_PER_S

struct verdict_policy session_policy(const struct conf *conf)
{
	return (struct verdict_policy){
	    .dnswl_threshold = conf->dnswl_threshold,
	    .dnsbl_threshold = conf->dnsbl_threshold,
	    .rfc_threshold = conf->rfc_threshold,
	    .period_us = conf->greylist_period * US_PER_S,
	    .penalty_us = conf->greylist_penalty * US_PER_S,
	    .max_us = conf->greylist_max * US_PER_S,
	    .use_spf = conf->use_spf,
	    .use_cache = conf->cache_valid > 0,
	};
}

void session_init(struct session *s, const struct conf *conf, session_complain *complain,
		  void *context)
{
	*s = (struct session){.conf = conf, .complain = complain, .context = context};
	s->policy = session_policy(conf);
	store_config_from(conf, &s->store_config, &s->arena);
}

void session_release(struct session *s)
{
	if (s->store)
		s->driver->close(s->store);
	if (s->resolver)
		s->resolver->ops->destroy(s->resolver);
	whitelist_free(s->clients);
	whitelist_free(s->recipients);
	check_release();
	arena_release(&s->arena);
}

/* Each process reads the whitelists: of a file full of rubbish only the beginning is told. */
static void complain_whitelist(void *context, const char *file, unsigned line, const char *message)
{
	struct session *s = context;
	unsigned *told = &s->told_of_whitelist[file == s->conf->whitelist_clients_file];
	char text[1024];

	if (++*told > WHITELIST_COMPLAINTS_MOST + 1)
		return;
	if (*told > WHITELIST_COMPLAINTS_MOST)
		snprintf(text, sizeof(text), "%s: and more; 'bleyctl check' tells all", file);
	else if (line)
		snprintf(text, sizeof(text), "%s:%u: %s", file, line, message);
	else
		snprintf(text, sizeof(text), "%s: %s", file, message);
	s->complain(s->context, LOG_LEVEL_WARNING, text, text);
}

static void load_recipients(struct session *s)
{
	if (!s->recipients)
		s->recipients = whitelist_load(WHITELIST_RECIPIENTS,
					       s->conf->whitelist_recipients_file,
					       complain_whitelist, s);
}

static void load_clients(struct session *s)
{
	if (!s->clients)
		s->clients = whitelist_load(WHITELIST_CLIENTS, s->conf->whitelist_clients_file,
					    complain_whitelist, s);
}

/* Recipient, then client name and address (bley(8), `How a request is decided'). */
static bool find_whitelisted(struct session *s, const struct request *request, struct decision *d)
{
	load_recipients(s);
	d->matched_list = WHITELIST_RECIPIENTS;
	if (whitelist_recipient(s->recipients, request->recipient, &d->match))
		return true;
	load_clients(s);
	d->matched_list = WHITELIST_CLIENTS;
	return whitelist_client(s->clients, request->client_name, &request->client, &d->match);
}

static struct store_tuple tuple_of(const struct request *request)
{
	return (struct store_tuple){.ip = request->client_address,
				    .sender = request->sender,
				    .recipient = request->recipient};
}

static void load_driver(struct session *s)
{
	if (!s->driver)
		s->driver = store_driver(s->store_config.type, s->store_error,
					 sizeof(s->store_error));
}

static bool open_store(struct session *s)
{
	int64_t now = clock_us();
	enum store_result result;

	if (s->store)
		return true;
	if (now < s->store_retry_us)
		return false;
	load_driver(s);
	if (s->driver) {
		s->store_config.must_exist = s->replay;
		result = s->driver->open(&s->store_config, &s->store, s->store_error,
					 sizeof(s->store_error));
		if (result == STORE_OK)
			return true;
		s->nothing_stored = result == STORE_NOT_FOUND;
	}
	if (s->driver && s->driver->remote)
		s->store_retry_us = clock_us() + RETRY_US;
	s->complain(s->context, s->nothing_stored ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR, NULL,
		    s->store_error);
	return false;
}

/* Tells what went wrong. A store that is broken is opened anew for the next request. */
static bool store_failed(struct session *s, enum store_result result)
{
	if (result == STORE_OK)
		return false;
	s->complain(s->context, LOG_LEVEL_ERROR, NULL, s->driver->error(s->store));
	if (result == STORE_BROKEN) {
		s->driver->close(s->store);
		s->store = NULL;
	}
	return true;
}

static bool recall(struct session *s, const struct request *request, struct verdict_facts *facts)
{
	struct store_tuple tuple = tuple_of(request);
	int64_t age_us = s->conf->cache_valid * US_PER_S;

	facts->memory = (struct store_memory){.status = STORE_UNKNOWN};
	if (!s->nothing_stored && !open_store(s) && !s->nothing_stored)
		return false;
	if (!s->nothing_stored &&
	    store_failed(s, s->driver->recall(s->store, &tuple, age_us, &facts->memory)))
		return false;
	facts->recalled = true;
	return true;
}

/* The resolver, with this request's time running from now. NULL where it cannot be had. */
static struct resolver *begin_dns(struct session *s, struct arena *arena)
{
	char error[512];

	if (!s->resolver && clock_us() >= s->resolver_retry_us) {
		s->resolver = resolver_from_conf(s->conf, error, sizeof(error));
		if (!s->resolver) {
			s->resolver_retry_us = clock_us() + RETRY_US;
			s->complain(s->context, LOG_LEVEL_ERROR, NULL, error);
		}
	}
	if (s->resolver)
		s->resolver->ops->begin(s->resolver, arena, s->conf->dns_timeout * 1000);
	return s->resolver;
}

static void ask_lists(struct session *s, struct check *check, struct decision *d)
{
	if (!check->resolver)
		check->resolver = begin_dns(s, check->arena);
	check_dnsl(check, verdict_spf_may_decide(&s->policy, &d->facts), &d->dnswl, &d->dnsbl);
}

static void ask_spf(struct session *s, struct check *check, struct decision *d)
{
	if (!check->resolver)
		check->resolver = begin_dns(s, check->arena);
	d->spf = check_spf(check);
}

/* A score that could not be had counts as none. */
static int fact_of(struct check_score score)
{
	return score.score == CHECK_UNKNOWN ? 0 : score.score;
}

static void run_check(struct session *s, enum verdict_step step, struct check *check,
		      struct decision *d)
{
	struct verdict_facts *facts = &d->facts;

	switch (step) {
	case VERDICT_HELO:
		d->helo = check_helo(check);
		facts->helo = fact_of(d->helo);
		break;
	case VERDICT_DYN:
		d->dyn = check_dyn(check);
		facts->dyn = fact_of(d->dyn);
		break;
	case VERDICT_S_EQ_R:
		d->s_eq_r = check_s_eq_r(check);
		facts->s_eq_r = fact_of(d->s_eq_r);
		break;
	case VERDICT_DNSL:
		ask_lists(s, check, d);
		facts->dnswl = fact_of(d->dnswl);
		facts->dnsbl = fact_of(d->dnsbl);
		break;
	case VERDICT_SPF:
		ask_spf(s, check, d);
		facts->spf = fact_of(d->spf);
		break;
	case VERDICT_WHITELIST:
	case VERDICT_RECALL:
	case VERDICT_DONE:
		break;
	}
}

static bool run_steps(struct session *s, const struct request *request, struct check *check,
		      struct decision *d)
{
	enum verdict_step step;

	while ((step = verdict_step(&s->policy, &d->facts, &d->verdict)) != VERDICT_DONE) {
		if (step == VERDICT_WHITELIST)
			d->facts.whitelisted = find_whitelisted(s, request, d);
		else if (step == VERDICT_RECALL && !recall(s, request, &d->facts))
			return false;
		else
			run_check(s, step, check, d);
	}
	return true;
}

bool session_decide(struct session *s, const struct request *request, struct arena *arena,
		    struct decision *out)
{
	struct check_subject subject = {
	    .client = request->client,
	    .client_name = request->client_name,
	    .helo_name = request->helo_name,
	    .sender = request->sender,
	    .recipient = request->recipient,
	    .raw_sender = request->raw_sender,
	};
	struct check check = {.conf = s->conf, .subject = &subject, .arena = arena};
	struct decision d = {.match = {.entry = NULL}};
	struct check_report report = {.lists = NULL};
	bool decided;

	if (s->replay)
		check.report = &report;

	verdict_facts_init(&d.facts);
	decided = run_steps(s, request, &check, &d);
	for (const struct check_note *note = check.notes; note; note = note->next)
		s->complain(s->context, LOG_LEVEL_WARNING, note->key, note->text);
	/* Questions that no longer mattered are forgotten: a connection that waits holds no
	 * sockets. */
	if (check.resolver)
		check.resolver->ops->begin(check.resolver, arena, 0);
	d.lists = report.lists;
	if (decided)
		*out = d;
	return decided;
}

bool session_commit(struct session *s, const struct request *request, struct decision *decision)
{
	const struct verdict *v = &decision->verdict;
	struct store_decision change = {.tuple = tuple_of(request),
					.change = v->change,
					.status = v->status,
					.client = v->client};
	bool lost_race = false;
	int status = v->status;

	if (v->change == STORE_KEEP && v->client == STORE_CLIENT_NONE)
		return true;
	if (!open_store(s) ||
	    store_failed(s, s->driver->remember(s->store, &change, &status, &lost_race)))
		return false;
	if (lost_race)
		verdict_follow(&decision->verdict, status);
	return true;
}

void session_load(struct session *s)
{
	load_recipients(s);
	load_clients(s);
	/* Where that fails, the request that needs it tells. */
	load_driver(s);
}

void session_prepare(struct session *s)
{
	session_load(s);
	whitelist_compile(s->recipients);
	whitelist_compile(s->clients);
}

void session_connect(struct session *s)
{
	open_store(s);
}

void session_log(struct session *s, const struct store_log_row *rows, size_t count)
{
	if (count && open_store(s))
		store_failed(s, s->driver->log(s->store, rows, count));
}
