/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "store/sql.h"
#include "store/stat_sql.h"

/* What sql.c lists, forgets and counts, in MySQL's words. */

/* Values of 4 or of 16 bytes, which compare as they count. */
#define INSIDE "(length(INET6_ATON(ip)) = length(INET6_ATON("

static void copy_values(struct my_value *values, const struct sql_query *query)
{
	for (size_t i = 0; i < query->count; i++)
		values[i] = (struct my_value){.text = query->values[i].text,
					      .number = query->values[i].number};
}

/* The network's last address: the bits behind the prefix set. */
static struct ipaddr last_of(const struct ipnet *net)
{
	unsigned all = net->addr.family == AF_INET ? 32 : 128;
	struct ipaddr last = net->addr;

	for (unsigned bit = net->bits; bit < all; bit++)
		last.bytes[bit / 8] |= (unsigned char)(0x80U >> bit % 8);
	return last;
}

static void add_net(struct sql_query *query, const struct ipnet *net)
{
	struct ipaddr last = last_of(net);
	char *first_text = query->net[0], *last_text = query->net[1];

	ipaddr_format(&net->addr, first_text);
	ipaddr_format(&last, last_text);
	sql_add_text(query, INSIDE, first_text, "))");
	sql_add_text(query, " AND INET6_ATON(ip) BETWEEN INET6_ATON(", first_text, ")");
	sql_add_text(query, " AND INET6_ATON(", last_text, "))");
}

static enum store_result stream(struct store *store, const struct sql_query *query, sql_take *take,
				void *context)
{
	struct my_value values[SQL_VALUES_MOST];
	enum store_result rc;

	copy_values(values, query);
	my_begin(store);
	rc = my_ready(store);
	if (rc != STORE_OK)
		return rc;
	return my_stream(store, query->sql.buf, values, query->count, query->columns, take,
			 context);
}

static enum store_result begin(struct store *store)
{
	enum store_result rc;

	my_begin(store);
	rc = my_ready(store);
	return rc == STORE_OK ? my_query(store, "START TRANSACTION") : rc;
}

static enum store_result change(struct store *store, const struct sql_query *query, int64_t *rows)
{
	struct my_value values[SQL_VALUES_MOST];
	struct my_answer answer;
	enum store_result rc;

	copy_values(values, query);
	rc = my_run_once(store, query->sql.buf, values, query->count, query->columns, &answer);
	if (rc == STORE_OK)
		*rows = query->columns ? answer.column[0] : answer.changed;
	return rc;
}

static enum store_result end(struct store *store, enum store_result rc)
{
	if (rc == STORE_OK)
		rc = my_query(store, "COMMIT");
	if (rc != STORE_OK)
		my_disconnect(store); /* which rolls back */
	return rc;
}

/* A short key: with a tuple's three columns the temporary table would not fit into memory. */
#define TUPLES_END                                                                  \
	" GROUP BY CAST(CONV(left(MD5(concat_ws(' ', ip, sender, recipient)), 16)," \
	" 16, 10) AS unsigned)) AS t WHERE first IS NOT NULL) AS w GROUP BY 3 ORDER BY 3"

static void add_tuples(struct sql_query *q, int64_t since_us)
{
	sql_add_ago(q,
		    "SELECT count(*), '', CASE WHEN waited < 3600 THEN waited"
		    " ELSE waited DIV 60 * 60 END, 0, 0 FROM (SELECT coalesce(greatest(0,"
		    " TIMESTAMPDIFF(SECOND, first, back)), -1) AS waited" STAT_TUPLES,
		    since_us);
	strbuf_addstr(&q->sql, TUPLES_END);
}

static void add_clients(struct sql_query *q, int64_t since_us, int count)
{
	/* The busiest first, by sorting the addresses alone: wider rows are neither sorted
	 * nor held in memory. */
	sql_add_ago(q,
		    "SELECT max(n), ip, 0, sum(action LIKE 'DEFER%'), 0 FROM"
		    " (SELECT SQL_BIG_RESULT count(*) AS n, ip FROM bley_log"
		    " WHERE logtime >= ",
		    since_us);
	sql_add_number(q, " GROUP BY ip ORDER BY 1 DESC, ip LIMIT ", count,
		       ") AS busiest JOIN bley_log USING (ip)");
	sql_add_ago(q, " WHERE logtime >= ", since_us);
	strbuf_addstr(&q->sql, " GROUP BY ip ORDER BY 1 DESC, ip");
}

const struct sql_server sql_server = {
    .integer = "",
    .now = "UTC_TIMESTAMP(6)",
    .microseconds = {"INTERVAL ", " MICROSECOND"},
    .age = {"greatest(0, TIMESTAMPDIFF(MICROSECOND, ", ", UTC_TIMESTAMP(6)))"},
    .since_1970 = {"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ", ")"},
    .start_of_1970 = "TIMESTAMP('1970-01-01')",
    .divided_by = "DIV",
    .make = my_make,
    .close = my_close,
    .error = my_error,
    .connect = my_connect,
    .see_to_schema = my_schema_check,
    .add_net = add_net,
    .stream = stream,
    .begin = begin,
    .change = change,
    .end = end,
    .wants_retry = my_wants_retry,
    .unexpected = my_unexpected,
    .add_tuples = add_tuples,
    .add_clients = add_clients,
};

enum store_result my_stats(struct store *store, const struct store_stat_query *query,
			   store_take_stat *take, void *context)
{
	enum store_result rc = my_take_time(store);

	return rc == STORE_OK ? sql_stats(store, query, take, context) : rc;
}

enum store_result my_graph(struct store *store, const struct store_graph_query *query,
			   store_take_graph *take, void *context)
{
	enum store_result rc = my_take_time(store);

	return rc == STORE_OK ? sql_graph(store, query, take, context) : rc;
}
