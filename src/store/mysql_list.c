/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

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
#define ADDRESSES 2

/* A statement that grows. */
struct query {
	struct strbuf sql;
	struct my_value values[VALUES_MOST];
	char addresses[ADDRESSES][IPADDR_TEXT_SIZE]; /* the first and the last of a network */
	size_t count;
};

#define QUERY_INIT ((struct query){.sql = STRBUF_INIT})
#define US " MICROSECOND"
#define NOW "UTC_TIMESTAMP(6)"
#define AGE(column) "greatest(0, TIMESTAMPDIFF(MICROSECOND, " column ", " NOW "))"
/* Values of 4 or of 16 bytes, which compare as they count. */
#define INSIDE "length(INET6_ATON(ip)) = length(INET6_ATON("

/* Adds `before`, the value's place and `after`. The value must outlive the query. */
static void add_text(struct query *q, const char *before, const char *value, const char *after)
{
	q->values[q->count++].text = value;
	strbuf_addf(&q->sql, "%s?%s", before, after);
}

static void add_number(struct query *q, const char *before, int64_t value, const char *after)
{
	q->values[q->count].text = NULL;
	q->values[q->count++].number = value;
	strbuf_addf(&q->sql, "%s?%s", before, after);
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

static void add_net(struct query *q, const struct ipnet *net)
{
	struct ipaddr last = last_of(net);
	char *first_text = q->addresses[0], *last_text = q->addresses[1];

	ipaddr_format(&net->addr, first_text);
	ipaddr_format(&last, last_text);
	if (!strcmp(first_text, last_text)) {
		add_text(q, "ip = ", first_text, "");
		return;
	}
	add_text(q, "(" INSIDE, first_text, "))");
	add_text(q, " AND INET6_ATON(ip) BETWEEN INET6_ATON(", first_text, ")");
	add_text(q, " AND INET6_ATON(", last_text, "))");
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
		strbuf_addf(&q->sql, " AND %s >= " NOW " - INTERVAL ", column);
		add_number(q, "", filter->since_us, US);
	}
	if (filter->status >= STORE_CLEAN && !strcmp(column, "last_action"))
		add_number(q, filter->status >= STORE_GREY ? " AND status >= " : " AND status = ",
			   filter->status, "");
}

static enum store_result stream(struct store *store, struct query *q,
				bool (*take)(void *, char *const *), void *context)
{
	enum store_result rc;

	my_begin(store);
	rc = my_stream(store, q->sql.buf, q->values, q->count, take, context);
	strbuf_release(&q->sql);
	return rc;
}

static int64_t number(char *const *row, int column)
{
	return strtoll(row[column], NULL, 10);
}

static struct store_tuple tuple_of(char *const *row)
{
	return (struct store_tuple){.ip = row[0], .sender = row[1], .recipient = row[2]};
}

struct taker {
	store_take_row *row;
	store_take_log *log;
	store_take_stat *stat;
	enum store_stat_kind kind;
	void *context;
};

static bool take_row(void *context, char *const *result)
{
	const struct taker *taker = context;
	const struct store_row row = {.tuple = tuple_of(result),
				      .status = (int)number(result, 3),
				      .fail_count = (int)number(result, 4),
				      .age_us = number(result, 5)};

	return taker->row(taker->context, &row);
}

enum store_result my_list(struct store *store, const struct store_filter *filter,
			  store_take_row *take, void *context)
{
	struct taker taker = {.row = take, .context = context};
	struct query q = QUERY_INIT;

	strbuf_addstr(&q.sql, "SELECT ip, sender, recipient, status, fail_count, " AGE(
				  "last_action") " FROM bley_status WHERE true");
	add_filter(&q, filter, "last_action");
	if (filter->limit)
		add_number(&q, " ORDER BY last_action DESC LIMIT ", filter->limit, "");
	else
		strbuf_addstr(&q.sql, " ORDER BY ip, sender, recipient");
	return stream(store, &q, take_row, &taker);
}

static bool take_log(void *context, char *const *result)
{
	const struct taker *taker = context;
	struct store_log_row row = {
	    .tuple = tuple_of(result), .action = result[3], .age_us = number(result, 5)};

	for (int i = 0; i < STORE_LOG_CHECKS; i++)
		row.checks[i] = (int)number(result, 6 + i);
	return taker->log(taker->context, &row, number(result, 4));
}

enum store_result my_read_log(struct store *store, const struct store_filter *filter,
			      int64_t after_us, int64_t lag_us, store_take_log *take, void *context)
{
	struct taker taker = {.log = take, .context = context};
	struct query q = QUERY_INIT;

	strbuf_addstr(&q.sql,
		      "SELECT ip, sender, recipient, action,"
		      " TIMESTAMPDIFF(MICROSECOND, '1970-01-01', logtime), " AGE(
			  "logtime") ", check_dnswl, check_dnsbl, check_helo, check_dyn, check_db,"
				     " check_spf, check_s_eq_r, check_postmaster, check_cache"
				     " FROM bley_log WHERE");
	add_number(&q, " logtime > '1970-01-01' + INTERVAL ", after_us, "" US);
	if (lag_us)
		add_number(&q, " AND logtime <= " NOW " - INTERVAL ", lag_us, "" US);
	add_filter(&q, filter, "logtime");
	if (filter->limit)
		add_number(&q, " ORDER BY logtime DESC LIMIT ", filter->limit, "");
	else
		strbuf_addstr(&q.sql, " ORDER BY logtime");
	return stream(store, &q, take_log, &taker);
}

static enum store_result run(struct store *store, struct query *q, bool dry_run, int64_t *count)
{
	struct my_answer answer;
	enum store_result rc = my_run_once(store, q->sql.buf, q->values, q->count, &answer);

	strbuf_release(&q->sql);
	if (rc == STORE_OK)
		*count = dry_run ? answer.column[0] : answer.changed;
	return rc;
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

enum store_result my_forget(struct store *store, const struct store_filter *filter, bool dry_run,
			    struct store_forgotten *out)
{
	struct store_forgotten done = {.tuples = 0};
	enum store_result rc;

	my_begin(store);
	rc = my_ready(store);
	if (rc == STORE_OK && mysql_query(store->conn, "START TRANSACTION"))
		rc = my_failed(store, mysql_errno(store->conn), mysql_error(store->conn));
	if (rc == STORE_OK)
		rc = forget_rows(store, filter, dry_run, &done);
	if (rc == STORE_OK && mysql_query(store->conn, "COMMIT"))
		rc = my_failed(store, mysql_errno(store->conn), mysql_error(store->conn));
	if (rc == STORE_OK)
		*out = done;
	else
		my_disconnect(store); /* which rolls back */
	return rc;
}

/* The numbers of enum store_stat_reason, from what was written down about a decision. */
#define REASON_BEGIN                                                               \
	" CASE WHEN check_postmaster > 0 THEN 0 WHEN check_cache > 0 THEN 1"       \
	" WHEN check_db IN (0, 1) THEN 2"                                          \
	" WHEN check_db > 1 THEN CASE WHEN action LIKE 'DEFER%' THEN 4 ELSE 3 END" \
	" WHEN check_dnswl >= "
#define REASON_END " THEN 6 WHEN action LIKE 'DEFER%' THEN 7 ELSE 8 END"
#define SINCE " logtime >= " NOW " - INTERVAL "
#define TUPLES                                                                               \
	" FROM (SELECT min(CASE WHEN check_db = -1 THEN logtime END) AS first,"              \
	" min(CASE WHEN check_db > 1 AND action NOT LIKE 'DEFER%' THEN logtime END) AS back" \
	" FROM bley_log WHERE check_cache = 0"                                               \
	" AND (check_db > 1 OR (check_db = -1 AND action LIKE 'DEFER%')) AND" SINCE
/* A short key: with those three columns the temporary table would not fit into memory. */
#define TUPLES_END                                                                     \
	US " GROUP BY CAST(CONV(left(MD5(concat_ws(' ', ip, sender, recipient)), 16)," \
	   " 16, 10) AS unsigned)) AS t WHERE first IS NOT NULL"

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
			   threshold(query->dnswl_threshold), " THEN 5 WHEN check_dnsbl >= ");
		add_number(q, "", threshold(query->dnsbl_threshold),
			   "" REASON_END " FROM bley_log WHERE");
		add_number(q, SINCE, since_us, "" US " GROUP BY 2, 5");
		break;
	case STORE_STAT_TUPLES:
		add_number(q,
			   "SELECT count(*), '', CASE WHEN waited < 3600 THEN waited"
			   " ELSE waited DIV 60 * 60 END, 0, 0 FROM (SELECT coalesce(greatest(0,"
			   " TIMESTAMPDIFF(SECOND, first, back)), -1) AS waited" TUPLES,
			   since_us, "" TUPLES_END ") AS w GROUP BY 3 ORDER BY 3");
		break;
	case STORE_STAT_CLIENT:
		/* The busiest first, by sorting the addresses alone: wider rows are neither sorted
		 * nor held in memory. */
		add_number(q,
			   "SELECT max(n), ip, 0, sum(action LIKE 'DEFER%'), 0 FROM"
			   " (SELECT SQL_BIG_RESULT count(*) AS n, ip FROM bley_log WHERE" SINCE,
			   since_us, US " GROUP BY ip ORDER BY 1 DESC, ip LIMIT ");
		add_number(q, "", query->clients, ") AS busiest JOIN bley_log USING (ip) WHERE");
		add_number(q, SINCE, since_us, US " GROUP BY ip ORDER BY 1 DESC, ip");
		break;
	}
}

static bool take_stat(void *context, char *const *row)
{
	const struct taker *taker = context;
	const struct store_stat stat = {.kind = taker->kind,
					.name = row[1],
					.count = number(row, 0),
					.seconds = number(row, 2),
					.deferred = number(row, 3),
					.reason = (enum store_stat_reason)number(row, 4)};

	taker->stat(taker->context, &stat);
	return true;
}

enum store_result my_stats(struct store *store, const struct store_stat_query *query,
			   store_take_stat *take, void *context)
{
	const int64_t always_us = INT64_C(100) * 365 * 86400 * 1000000;
	struct taker taker = {.stat = take, .context = context};
	enum store_result rc = my_take_time(store);

	for (int kind = STORE_STAT_DECISIONS; rc == STORE_OK && kind <= STORE_STAT_CLIENT; kind++) {
		struct query q = QUERY_INIT;

		taker.kind = (enum store_stat_kind)kind;
		if (!store_stat_wants(query, taker.kind))
			continue;
		add_stat(&q, taker.kind, query, query->since_us ? query->since_us : always_us);
		rc = stream(store, &q, take_stat, &taker);
	}
	return rc;
}
