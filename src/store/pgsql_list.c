/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sql.h"
#include "store/stat_sql.h"

/* What sql.c lists, forgets and counts, in PostgreSQL's words. */

#define COLUMNS_MOST 16
/* the same for all rows, however long it takes */
#define AGE_BEGIN "greatest(0, (extract(epoch FROM (statement_timestamp() AT TIME ZONE 'UTC') - "

/* A call with what the query has bound; its values lie in `values`. */
static struct pg_call call_of(const struct sql_query *query, const char **values)
{
	for (size_t i = 0; i < query->count; i++)
		values[i] = query->values[i].text ? query->values[i].text : query->values[i].digits;
	return (struct pg_call){.sql = query->sql.buf,
				.count = (int)query->count,
				.values = values,
				.columns = (int)query->columns};
}

/* Only what is an address can be cast to one. */
static void add_net(struct sql_query *query, const struct ipnet *net)
{
	char *text = query->net[0];
	size_t len;

	ipaddr_format(&net->addr, text);
	len = strlen(text);
	snprintf(text + len, SQL_NET_SIZE - len, "/%u", net->bits);
	sql_add_text(
	    query,
	    "CASE WHEN ip ~ '^([0-9]{1,3}[.]){3}[0-9]{1,3}$|^[0-9a-f]{4}(:[0-9a-f]{4}){7}$'"
	    " THEN ip::inet <<= ",
	    text, "::inet ELSE false END");
}

struct taker {
	sql_take *take;
	void *context;
};

static bool take_row(void *context, const PGresult *result)
{
	const struct taker *taker = context;
	char *row[COLUMNS_MOST];

	for (int i = 0; i < PQnfields(result); i++) /* as many as the query says */
		row[i] = PQgetvalue(result, 0, i);
	return taker->take(taker->context, row);
}

static enum store_result stream(struct store *store, const struct sql_query *query, sql_take *take,
				void *context)
{
	struct taker taker = {.take = take, .context = context};
	const char *values[SQL_VALUES_MOST];
	const struct pg_call call = call_of(query, values);

	pg_begin(store);
	return pg_stream(store, &call, take_row, &taker);
}

static enum store_result begin(struct store *store)
{
	const struct pg_call call = {.sql = "BEGIN"};
	PGresult *result;
	enum store_result rc;

	pg_begin(store);
	rc = pg_run(store, &call, &result);
	if (rc == STORE_OK)
		PQclear(result);
	return rc;
}

static enum store_result change(struct store *store, const struct sql_query *query, int64_t *rows)
{
	const char *values[SQL_VALUES_MOST];
	struct pg_call call = call_of(query, values);
	enum store_result rc;
	PGresult *result;

	call.row = call.columns > 0;
	rc = pg_run_here(store, &call, &result);
	if (rc != STORE_OK)
		return rc;
	*rows = strtoll(call.row ? PQgetvalue(result, 0, 0) : PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return rc;
}

static enum store_result end(struct store *store, enum store_result rc)
{
	const struct pg_call call = {.sql = "COMMIT"};
	PGresult *result;

	if (rc == STORE_OK)
		rc = pg_run_here(store, &call, &result);
	if (rc == STORE_OK)
		PQclear(result);
	else
		pg_disconnect(store); /* which rolls back */
	return rc;
}

static void add_tuples(struct sql_query *q, int64_t since_us)
{
	sql_add_ago(q,
		    "SELECT count(*), '', CASE WHEN waited < 3600 THEN waited"
		    " ELSE waited / 60 * 60 END, 0, 0 FROM (SELECT CASE WHEN back IS NULL"
		    " THEN -1 ELSE greatest(0, extract(epoch FROM back - first)::bigint)"
		    " END AS waited" STAT_TUPLES,
		    since_us);
	strbuf_addstr(&q->sql, " GROUP BY ip, sender, recipient) AS t"
			       " WHERE first IS NOT NULL) AS w GROUP BY 3 ORDER BY 3");
}

static void add_clients(struct sql_query *q, int64_t since_us, int count)
{
	sql_add_ago(q,
		    "SELECT count(*), ip, 0, sum((action LIKE 'DEFER%')::int), 0"
		    " FROM bley_log WHERE logtime >= ",
		    since_us);
	sql_add_number(q, " GROUP BY ip ORDER BY 1 DESC, ip LIMIT ", count, "");
}

const struct sql_server sql_server = {
    .numbered = true,
    .integer = "::bigint",
    .now = PG_NOW,
    .microseconds = {"", " * interval '1 microsecond'"},
    .age = {AGE_BEGIN, ") * 1000000)::bigint)"},
    .since_1970 = {"(extract(epoch FROM ", ") * 1000000)::bigint"},
    .start_of_1970 = "timestamp 'epoch'",
    .divided_by = "/",
    .make = pg_make,
    .close = pg_close,
    .error = pg_error,
    .connect = pg_connect,
    .see_to_schema = pg_schema_check,
    .add_net = add_net,
    .stream = stream,
    .begin = begin,
    .change = change,
    .end = end,
    .wants_retry = pg_wants_retry,
    .unexpected = pg_unexpected,
    .add_tuples = add_tuples,
    .add_clients = add_clients,
};

enum store_result pg_stats(struct store *store, const struct store_stat_query *query,
			   store_take_stat *take, void *context)
{
	enum store_result rc = pg_report_begin(store);

	if (rc != STORE_OK)
		return rc;
	return pg_report_end(store, sql_stats(store, query, take, context));
}

enum store_result pg_graph(struct store *store, const struct store_graph_query *query,
			   store_take_graph *take, void *context)
{
	enum store_result rc = pg_report_begin(store);

	if (rc != STORE_OK)
		return rc;
	return pg_report_end(store, sql_graph(store, query, take, context));
}
