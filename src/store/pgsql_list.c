/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/ipaddr.h"
#include "base/strbuf.h"

/* What bleyctl lists, forgets and counts. Statements are made for the filter in hand; each value of
 * it is bound. */

#define VALUES_MOST 12
#define VALUE_SIZE 64

/* A statement that grows. */
struct query {
	struct strbuf sql;
	const char *values[VALUES_MOST];
	char numbers[VALUES_MOST][VALUE_SIZE];
	int count;
};

#define QUERY_INIT ((struct query){.sql = STRBUF_INIT})
#define US " * interval '1 microsecond'"
/* the same for all rows, however long it takes */
#define AGE(column)                                                                            \
	"greatest(0, (extract(epoch FROM (statement_timestamp() AT TIME ZONE 'UTC') - " column \
	") * 1000000)::bigint)"
/* only what is an address can be cast to one */
#define INSIDE                                                                           \
	"CASE WHEN ip ~ '^([0-9]{1,3}[.]){3}[0-9]{1,3}$|^[0-9a-f]{4}(:[0-9a-f]{4}){7}$'" \
	" THEN ip::inet <<= "

/* Adds `before`, the value's number and `after`. The value must outlive the query. */
static void add_text(struct query *q, const char *before, const char *value, const char *after)
{
	q->values[q->count++] = value;
	strbuf_addf(&q->sql, "%s$%d%s", before, q->count, after);
}

static void add_number(struct query *q, const char *before, int64_t value, const char *after)
{
	char *text = q->numbers[q->count];

	snprintf(text, VALUE_SIZE, "%lld", (long long)value);
	add_text(q, before, text, after);
}

static void add_net(struct query *q, const struct ipnet *net)
{
	char *text = q->numbers[q->count];
	size_t len;

	ipaddr_format(&net->addr, text);
	if (net->bits == (net->addr.family == AF_INET ? 32 : 128)) {
		add_text(q, "ip = ", text, "");
		return;
	}
	len = strlen(text);
	snprintf(text + len, VALUE_SIZE - len, "/%u", net->bits);
	add_text(q, INSIDE, text, "::inet ELSE false END");
}

static void add_filter(struct query *q, const struct store_filter *filter, const char *column)
{
	if (filter->net) {
		strbuf_addstr(&q->sql, " AND ");
		add_net(q, filter->net);
	}
	if (filter->sender)
		add_text(q, " AND sender LIKE ", filter->sender, " ESCAPE '" STORE_ESCAPE "'");
	if (filter->recipient)
		add_text(q, " AND recipient LIKE ", filter->recipient,
			 " ESCAPE '" STORE_ESCAPE "'");
	if (filter->address)
		add_text(q, " AND ", filter->address, " IN (sender, recipient)");
	if (filter->since_us) {
		strbuf_addf(&q->sql, " AND %s >= " PG_NOW " - ", column);
		add_number(q, "", filter->since_us, "::bigint" US);
	}
	if (filter->status >= STORE_CLEAN && !strcmp(column, "last_action"))
		add_number(q, filter->status >= STORE_GREY ? " AND status >= " : " AND status = ",
			   filter->status, "::int");
}

static enum store_result stream(struct store *store, struct query *q,
				bool (*take)(void *, const PGresult *), void *context)
{
	const struct pg_call call = {.sql = q->sql.buf, .count = q->count, .values = q->values};
	enum store_result rc;

	pg_begin(store);
	rc = pg_stream(store, &call, take, context);
	strbuf_release(&q->sql);
	return rc;
}

static int64_t number(const PGresult *row, int column)
{
	return strtoll(PQgetvalue(row, 0, column), NULL, 10);
}

static struct store_tuple tuple_of(const PGresult *row)
{
	return (struct store_tuple){.ip = PQgetvalue(row, 0, 0),
				    .sender = PQgetvalue(row, 0, 1),
				    .recipient = PQgetvalue(row, 0, 2)};
}

struct taker {
	store_take_row *row;
	store_take_log *log;
	store_take_stat *stat;
	enum store_stat_kind kind;
	void *context;
};

static bool take_row(void *context, const PGresult *result)
{
	const struct taker *taker = context;
	const struct store_row row = {.tuple = tuple_of(result),
				      .status = (int)number(result, 3),
				      .fail_count = (int)number(result, 4),
				      .age_us = number(result, 5)};

	return taker->row(taker->context, &row);
}

enum store_result pg_list(struct store *store, const struct store_filter *filter,
			  store_take_row *take, void *context)
{
	struct taker taker = {.row = take, .context = context};
	struct query q = QUERY_INIT;

	strbuf_addstr(&q.sql, "SELECT ip, sender, recipient, status, fail_count, " AGE(
				  "last_action") " FROM bley_status WHERE true");
	add_filter(&q, filter, "last_action");
	if (filter->limit)
		add_number(&q, " ORDER BY last_action DESC LIMIT ", filter->limit, "::bigint");
	else
		strbuf_addstr(&q.sql, " ORDER BY ip, sender, recipient");
	return stream(store, &q, take_row, &taker);
}

static bool take_log(void *context, const PGresult *result)
{
	const struct taker *taker = context;
	struct store_log_row row = {.tuple = tuple_of(result),
				    .action = PQgetvalue(result, 0, 3),
				    .age_us = number(result, 5)};

	for (int i = 0; i < STORE_LOG_CHECKS; i++)
		row.checks[i] = (int)number(result, 6 + i);
	return taker->log(taker->context, &row, number(result, 4));
}

enum store_result pg_read_log(struct store *store, const struct store_filter *filter,
			      int64_t after_us, int64_t lag_us, store_take_log *take, void *context)
{
	struct taker taker = {.log = take, .context = context};
	struct query q = QUERY_INIT;

	strbuf_addstr(&q.sql,
		      "SELECT ip, sender, recipient, action,"
		      " (extract(epoch FROM logtime) * 1000000)::bigint, " AGE(
			  "logtime") ", check_dnswl, check_dnsbl, check_helo, check_dyn, check_db,"
				     " check_spf, check_s_eq_r, check_postmaster, check_cache"
				     " FROM bley_log WHERE");
	add_number(&q, " logtime > timestamp 'epoch' + ", after_us, "::bigint" US);
	if (lag_us)
		add_number(&q, " AND logtime <= " PG_NOW " - ", lag_us, "::bigint" US);
	add_filter(&q, filter, "logtime");
	if (filter->limit)
		add_number(&q, " ORDER BY logtime DESC LIMIT ", filter->limit, "::bigint");
	else
		strbuf_addstr(&q.sql, " ORDER BY logtime");
	return stream(store, &q, take_log, &taker);
}

static enum store_result run(struct store *store, struct query *q, bool dry_run, int64_t *count)
{
	const struct pg_call call = {.sql = q->sql.buf, .count = q->count, .values = q->values};
	PGresult *result;
	enum store_result rc = pg_run_here(store, &call, &result);

	strbuf_release(&q->sql);
	if (rc != STORE_OK)
		return rc;
	*count = dry_run ? number(result, 0) : strtoll(PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return STORE_OK;
}

static enum store_result forget_rows(struct store *store, const struct store_filter *filter,
				     bool dry_run, struct store_forgotten *out)
{
	const char *verb = dry_run ? "SELECT count(*)" : "DELETE";
	/* of nothing but a network: also clients without tuples */
	bool of_net = filter->net && !filter->sender && !filter->recipient && !filter->address &&
		      !filter->since_us && filter->status == STORE_UNKNOWN;
	struct query q = QUERY_INIT;
	enum store_result rc;

	strbuf_addf(&q.sql, "%s FROM bley_cache WHERE ip IN (SELECT ip FROM bley_status WHERE true",
		    verb);
	add_filter(&q, filter, "last_action");
	strbuf_addstr(&q.sql, ")");
	if (of_net) {
		strbuf_addstr(&q.sql, " OR ");
		add_net(&q, filter->net);
	}
	rc = run(store, &q, dry_run, &out->clients);
	if (rc != STORE_OK)
		return rc;
	q = QUERY_INIT;
	strbuf_addf(&q.sql, "%s FROM bley_status WHERE true", verb);
	add_filter(&q, filter, "last_action");
	return run(store, &q, dry_run, &out->tuples);
}

enum store_result pg_forget(struct store *store, const struct store_filter *filter, bool dry_run,
			    struct store_forgotten *out)
{
	const struct pg_call begin = {.sql = "BEGIN"}, commit = {.sql = "COMMIT"};
	struct store_forgotten done = {.tuples = 0};
	enum store_result rc;
	PGresult *result;

	pg_begin(store);
	rc = pg_run(store, &begin, &result);
	if (rc != STORE_OK)
		return rc;
	PQclear(result);
	rc = forget_rows(store, filter, dry_run, &done);
	if (rc == STORE_OK)
		rc = pg_run_here(store, &commit, &result);
	if (rc != STORE_OK) {
		pg_disconnect(store); /* which rolls back */
		return rc;
	}
	PQclear(result);
	*out = done;
	return STORE_OK;
}

/* The numbers of enum store_stat_reason, from what was written down about a decision. */
#define REASON_BEGIN                                                               \
	" CASE WHEN check_postmaster > 0 THEN 0 WHEN check_cache > 0 THEN 1"       \
	" WHEN check_db IN (0, 1) THEN 2"                                          \
	" WHEN check_db > 1 THEN CASE WHEN action LIKE 'DEFER%' THEN 4 ELSE 3 END" \
	" WHEN check_dnswl >= "
#define REASON_END " THEN 6 WHEN action LIKE 'DEFER%' THEN 7 ELSE 8 END"
#define SINCE " logtime >= " PG_NOW " - "
#define TUPLES                                                                               \
	" FROM (SELECT min(CASE WHEN check_db = -1 THEN logtime END) AS first,"              \
	" min(CASE WHEN check_db > 1 AND action NOT LIKE 'DEFER%' THEN logtime END) AS back" \
	" FROM bley_log WHERE check_cache = 0"                                               \
	" AND (check_db > 1 OR (check_db = -1 AND action LIKE 'DEFER%')) AND" SINCE
#define TUPLES_END US " GROUP BY ip, sender, recipient) AS t WHERE first IS NOT NULL"

static int threshold(int value)
{
	return value > 0 ? value : INT_MAX;
}

static void add_stat(struct query *q, enum store_stat_kind kind,
		     const struct store_stat_query *query, int64_t since_us)
{
	switch (kind) {
	case STORE_STAT_DECISIONS:
		add_number(q, "SELECT count(*), action, 0, 0," REASON_BEGIN,
			   threshold(query->dnswl_threshold), "::int THEN 5 WHEN check_dnsbl >= ");
		add_number(q, "", threshold(query->dnsbl_threshold),
			   "::int" REASON_END " FROM bley_log WHERE");
		add_number(q, SINCE, since_us, "::bigint" US " GROUP BY 2, 5");
		break;
	case STORE_STAT_TUPLES:
		add_number(q,
			   "SELECT count(*), '', CASE WHEN waited < 3600 THEN waited"
			   " ELSE waited / 60 * 60 END, 0, 0 FROM (SELECT CASE WHEN back IS NULL"
			   " THEN -1 ELSE greatest(0, extract(epoch FROM back - first)::bigint)"
			   " END AS waited" TUPLES,
			   since_us, "::bigint" TUPLES_END ") AS w GROUP BY 3 ORDER BY 3");
		break;
	case STORE_STAT_CLIENT:
		add_number(q,
			   "SELECT count(*), ip, 0, sum((action LIKE 'DEFER%')::int), 0"
			   " FROM bley_log WHERE" SINCE,
			   since_us, "::bigint" US " GROUP BY ip ORDER BY 1 DESC, ip LIMIT ");
		add_number(q, "", query->clients, "::int");
		break;
	}
}

static bool take_stat(void *context, const PGresult *row)
{
	const struct taker *taker = context;
	const struct store_stat stat = {.kind = taker->kind,
					.name = PQgetvalue(row, 0, 1),
					.count = number(row, 0),
					.seconds = number(row, 2),
					.deferred = number(row, 3),
					.reason = (enum store_stat_reason)number(row, 4)};

	taker->stat(taker->context, &stat);
	return true;
}

enum store_result pg_stats(struct store *store, const struct store_stat_query *query,
			   store_take_stat *take, void *context)
{
	const int64_t always_us = INT64_C(100) * 365 * 86400 * 1000000;
	struct taker taker = {.stat = take, .context = context};
	enum store_result rc = pg_report_begin(store);

	if (rc != STORE_OK)
		return rc;
	for (int kind = STORE_STAT_DECISIONS; rc == STORE_OK && kind <= STORE_STAT_CLIENT; kind++) {
		struct query q = QUERY_INIT;

		taker.kind = (enum store_stat_kind)kind;
		if (!store_stat_wants(query, taker.kind))
			continue;
		add_stat(&q, taker.kind, query, query->since_us ? query->since_us : always_us);
		rc = stream(store, &q, take_stat, &taker);
	}
	return pg_report_end(store, rc);
}
