/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/sql.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "store/graph_sql.h"
#include "store/stat_sql.h"

#define EXPRESSION_SIZE 200
#define FORGET_US (10 * US_PER_S) /* to try again against handlers that change the same rows */

static enum store_result open_with(const struct store_config *config, int timeout_ms,
				   struct store_schema_report *report, struct store **out,
				   char *error, size_t size)
{
	struct store *store = sql_server.make(config, timeout_ms);
	enum store_result rc = sql_server.connect(store);

	if (rc == STORE_OK)
		rc = sql_server.see_to_schema(store, report);
	if (rc == STORE_OK) {
		*out = store;
		return rc;
	}
	snprintf(error, size, "%s", sql_server.error(store));
	sql_server.close(store);
	return rc;
}

enum store_result sql_open(const struct store_config *config, struct store **out, char *error,
			   size_t size)
{
	return open_with(config, config->timeout_ms, NULL, out, error, size);
}

enum store_result sql_init(const struct store_config *config, struct store_schema_report *report,
			   char *error, size_t size)
{
	const int timeout_ms = 60 * 60 * 1000; /* a large database may be taken over */
	struct store *store = NULL;
	enum store_result rc = open_with(config, timeout_ms, report, &store, error, size);

	sql_server.close(store);
	return rc;
}

static void add_place(struct sql_query *q, const char *before, const char *type, const char *after)
{
	q->count++;
	if (sql_server.numbered)
		strbuf_addf(&q->sql, "%s$%zu%s%s", before, q->count, type, after);
	else
		strbuf_addf(&q->sql, "%s?%s%s", before, type, after);
}

void sql_add_text(struct sql_query *query, const char *before, const char *value, const char *after)
{
	query->values[query->count].text = value;
	add_place(query, before, "", after);
}

void sql_add_number(struct sql_query *query, const char *before, int64_t value, const char *after)
{
	struct sql_value *v = &query->values[query->count];

	v->number = value;
	snprintf(v->digits, sizeof(v->digits), "%lld", (long long)value);
	add_place(query, before, sql_server.integer, after);
}

static void add_interval(struct sql_query *q, int64_t us)
{
	sql_add_number(q, sql_server.microseconds[0], us, sql_server.microseconds[1]);
}

void sql_add_ago(struct sql_query *query, const char *before, int64_t age_us)
{
	strbuf_addf(&query->sql, "%s%s - ", before, sql_server.now);
	add_interval(query, age_us);
}

static void add_expression(struct sql_query *q, const char *const around[2], const char *expression)
{
	strbuf_addf(&q->sql, "%s%s%s", around[0], expression, around[1]);
}

static void add_net(struct sql_query *q, const struct ipnet *net)
{
	if (net->bits != (net->addr.family == AF_INET ? 32 : 128)) {
		sql_server.add_net(q, net);
		return;
	}
	ipaddr_format(&net->addr, q->net[0]);
	sql_add_text(q, "ip = ", q->net[0], "");
}

static void add_filter(struct sql_query *q, const struct store_filter *filter, const char *column)
{
	if (filter->net) {
		strbuf_addstr(&q->sql, " AND ");
		add_net(q, filter->net);
	}
	if (filter->sender)
		sql_add_text(q, " AND sender LIKE ", filter->sender, " ESCAPE '" STORE_ESCAPE "'");
	if (filter->recipient)
		sql_add_text(q, " AND recipient LIKE ", filter->recipient,
			     " ESCAPE '" STORE_ESCAPE "'");
	if (filter->address)
		sql_add_text(q, " AND ", filter->address, " IN (sender, recipient)");
	if (filter->since_us) {
		strbuf_addf(&q->sql, " AND %s", column);
		sql_add_ago(q, " >= ", filter->since_us);
	}
	if (filter->status >= STORE_CLEAN && !strcmp(column, "last_action"))
		sql_add_number(q,
			       filter->status >= STORE_GREY ? " AND status >= " : " AND status = ",
			       filter->status, "");
}

int sql_status(int64_t value)
{
	return value < STORE_CLEAN ? STORE_CLEAN : value > INT_MAX ? INT_MAX : (int)value;
}

int sql_fail_count(int64_t value)
{
	return value < 0 ? 0 : value > INT_MAX ? INT_MAX : (int)value;
}

int64_t sql_age(int64_t value)
{
	return value < 0 ? 0 : value;
}

static int64_t number(char *const *row, int column)
{
	return strtoll(row[column], NULL, 10);
}

/* A score, which others may have written. */
static int score(char *const *row, int column)
{
	int64_t value = number(row, column);

	return value < INT_MIN ? INT_MIN : value > INT_MAX ? INT_MAX : (int)value;
}

static struct store_tuple tuple_of(char *const *row)
{
	return (struct store_tuple){.ip = row[0], .sender = row[1], .recipient = row[2]};
}

/* Where rows go to, as what they are. */
struct taker {
	store_take_row *row;
	store_take_log *log;
	store_take_stat *stat;
	store_take_graph *graph;
	enum store_stat_kind kind;
	const struct store_graph_query *pictures;
	bool unexpected; /* a row was none that the statement can give */
	void *context;
};

static bool take_row(void *context, char *const *result)
{
	const struct taker *taker = context;
	const struct store_row row = {.tuple = tuple_of(result),
				      .status = sql_status(number(result, 3)),
				      .fail_count = sql_fail_count(number(result, 4)),
				      .age_us = sql_age(number(result, 5))};

	return taker->row(taker->context, &row);
}

enum store_result sql_list(struct store *store, const struct store_filter *filter,
			   store_take_row *take, void *context)
{
	struct taker taker = {.row = take, .context = context};
	struct sql_query q = SQL_QUERY_INIT;
	enum store_result rc;

	q.columns = 6;
	strbuf_addstr(&q.sql, "SELECT ip, sender, recipient, status, fail_count, ");
	add_expression(&q, sql_server.age, "last_action");
	strbuf_addstr(&q.sql, " FROM bley_status WHERE true");
	add_filter(&q, filter, "last_action");
	if (filter->limit)
		sql_add_number(&q, " ORDER BY last_action DESC LIMIT ", filter->limit, "");
	else
		strbuf_addstr(&q.sql, " ORDER BY ip, sender, recipient");
	rc = sql_server.stream(store, &q, take_row, &taker);
	strbuf_release(&q.sql);
	return rc;
}

static bool take_log(void *context, char *const *result)
{
	const struct taker *taker = context;
	struct store_log_row row = {
	    .tuple = tuple_of(result), .action = result[3], .age_us = sql_age(number(result, 5))};

	for (int i = 0; i < STORE_LOG_CHECKS; i++)
		row.checks[i] = score(result, 6 + i);
	return taker->log(taker->context, &row, number(result, 4));
}

enum store_result sql_read_log(struct store *store, const struct store_filter *filter,
			       int64_t after_us, int64_t lag_us, store_take_log *take,
			       void *context)
{
	struct taker taker = {.log = take, .context = context};
	struct sql_query q = SQL_QUERY_INIT;
	enum store_result rc;

	q.columns = 6 + STORE_LOG_CHECKS;
	strbuf_addstr(&q.sql, "SELECT ip, sender, recipient, action, ");
	add_expression(&q, sql_server.since_1970, "logtime");
	strbuf_addstr(&q.sql, ", ");
	add_expression(&q, sql_server.age, "logtime");
	strbuf_addf(&q.sql,
		    ", check_dnswl, check_dnsbl, check_helo, check_dyn, check_db, check_spf,"
		    " check_s_eq_r, check_postmaster, check_cache FROM bley_log"
		    " WHERE logtime > %s + ",
		    sql_server.start_of_1970);
	add_interval(&q, after_us);
	if (lag_us)
		sql_add_ago(&q, " AND logtime <= ", lag_us);
	add_filter(&q, filter, "logtime");
	if (filter->limit)
		sql_add_number(&q, " ORDER BY logtime DESC LIMIT ", filter->limit, "");
	else
		strbuf_addstr(&q.sql, " ORDER BY logtime");
	rc = sql_server.stream(store, &q, take_log, &taker);
	strbuf_release(&q.sql);
	return rc;
}

/* Cached verdicts first, as they are found by the rows of bley_status. */
static enum store_result forget_rows(struct store *store, const struct store_filter *filter,
				     bool dry_run, struct store_forgotten *out)
{
	const char *verb = dry_run ? "SELECT count(*)" : "DELETE";
	/* of nothing but a network: also clients without tuples */
	bool of_net = filter->net && !filter->sender && !filter->recipient && !filter->address &&
		      !filter->since_us && filter->status == STORE_UNKNOWN;
	struct sql_query q = SQL_QUERY_INIT;
	enum store_result rc;

	q.columns = dry_run;
	strbuf_addf(&q.sql, "%s FROM bley_cache WHERE ip IN (SELECT ip FROM bley_status WHERE true",
		    verb);
	add_filter(&q, filter, "last_action");
	strbuf_addstr(&q.sql, ")");
	if (of_net) {
		strbuf_addstr(&q.sql, " OR ");
		add_net(&q, filter->net);
	}
	rc = sql_server.change(store, &q, &out->clients);
	strbuf_release(&q.sql);
	if (rc != STORE_OK)
		return rc;
	q = SQL_QUERY_INIT;
	q.columns = dry_run;
	strbuf_addf(&q.sql, "%s FROM bley_status WHERE true", verb);
	add_filter(&q, filter, "last_action");
	rc = sql_server.change(store, &q, &out->tuples);
	strbuf_release(&q.sql);
	return rc;
}

enum store_result sql_forget(struct store *store, const struct store_filter *filter, bool dry_run,
			     struct store_forgotten *out)
{
	int64_t until_us = clock_us() + FORGET_US;
	struct store_forgotten done;
	enum store_result rc;

	do {
		done = (struct store_forgotten){.tuples = 0};
		rc = sql_server.begin(store);
		if (rc != STORE_OK)
			return rc;
		rc = sql_server.end(store, forget_rows(store, filter, dry_run, &done));
	} while (rc == STORE_RETRY && sql_server.wants_retry(store) && clock_us() < until_us);
	if (rc == STORE_OK)
		*out = done;
	return rc;
}

static bool take_stat(void *context, char *const *row)
{
	struct taker *taker = context;
	int64_t reason = number(row, 4);
	const struct store_stat stat = {.kind = taker->kind,
					.name = row[1],
					.count = number(row, 0),
					.seconds = number(row, 2),
					.deferred = number(row, 3),
					.reason = (enum store_stat_reason)reason};

	taker->unexpected = reason < 0 || reason >= STORE_REASONS || stat.count < 0 ||
			    stat.seconds < -1 || stat.deferred < 0;
	if (!taker->unexpected)
		taker->stat(taker->context, &stat);
	return !taker->unexpected;
}

static void add_decisions(struct sql_query *q, const struct store_stat_query *wanted,
			  int64_t since_us)
{
	sql_add_number(q, "SELECT count(*), action, 0, 0," STAT_REASON_BEGIN,
		       stat_threshold(wanted->dnswl_threshold), STAT_REASON_MIDDLE);
	sql_add_number(q, "", stat_threshold(wanted->dnsbl_threshold),
		       STAT_REASON_END " FROM bley_log");
	sql_add_ago(q, " WHERE logtime >= ", since_us);
	strbuf_addstr(&q->sql, " GROUP BY 2, 5");
}

enum store_result sql_stats(struct store *store, const struct store_stat_query *wanted,
			    store_take_stat *take, void *context)
{
	const int64_t always_us = INT64_C(100) * 365 * 86400 * 1000000;
	int64_t since_us = wanted->since_us ? wanted->since_us : always_us;
	struct taker taker = {.stat = take, .context = context};
	enum store_result rc = STORE_OK;

	for (int kind = STORE_STAT_DECISIONS;
	     rc == STORE_OK && !taker.unexpected && kind <= STORE_STAT_CLIENT; kind++) {
		struct sql_query q = SQL_QUERY_INIT;

		q.columns = 5;
		taker.kind = (enum store_stat_kind)kind;
		if (!store_stat_wants(wanted, taker.kind))
			continue;
		if (taker.kind == STORE_STAT_DECISIONS)
			add_decisions(&q, wanted, since_us);
		else if (taker.kind == STORE_STAT_TUPLES)
			sql_server.add_tuples(&q, since_us);
		else
			sql_server.add_clients(&q, since_us, wanted->clients);
		rc = sql_server.stream(store, &q, take_stat, &taker);
		strbuf_release(&q.sql);
	}
	return rc == STORE_OK && taker.unexpected ? sql_server.unexpected(store) : rc;
}

static bool take_sum(void *context, char *const *row)
{
	struct taker *taker = context;

	taker->unexpected = !graph_take(taker->pictures, number(row, 0), number(row, 1),
					number(row, 2), taker->graph, taker->context);
	return !taker->unexpected;
}

enum store_result sql_graph(struct store *store, const struct store_graph_query *wanted,
			    store_take_graph *take, void *context)
{
	const struct sql_server *s = &sql_server;
	long long start_us = wanted->start_s * US_PER_S, slot_us = wanted->slot_s * US_PER_S;
	struct taker taker = {.graph = take, .pictures = wanted, .context = context};
	char start[EXPRESSION_SIZE], slot[EXPRESSION_SIZE];
	struct sql_query q = SQL_QUERY_INIT;
	enum store_result rc;

	snprintf(start, sizeof(start), "%s + %s%lld%s", s->start_of_1970, s->microseconds[0],
		 start_us, s->microseconds[1]);
	snprintf(slot, sizeof(slot), "greatest(0, least(%d, (%slogtime%s - %lld) %s %lld))",
		 wanted->slots - 1, s->since_1970[0], s->since_1970[1], start_us, s->divided_by,
		 slot_us);
	q.columns = 3;
	graph_sql(&q.sql, wanted, start, slot);
	rc = s->stream(store, &q, take_sum, &taker);
	strbuf_release(&q.sql);
	return rc == STORE_OK && taker.unexpected ? s->unexpected(store) : rc;
}
