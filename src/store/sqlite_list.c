/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/sqlite.h"

#include <string.h>
#include <sys/socket.h>

#include "base/ipaddr.h"
#include "base/strbuf.h"
#include "store/sqlite_time.h"

/* What bleyctl lists and forgets. Statements are made for the filter in hand: what it does not name
 * is not in them, so that SQLite can use the table's key. */

enum {
	PARAM_SENDER = 1,
	PARAM_RECIPIENT,
	PARAM_ADDRESS,
	PARAM_SINCE,
	PARAM_AFTER,
	PARAM_UNTIL,
	PARAM_LIMIT,
	PARAM_STATUS,
	PARAM_IP
};

#define STATUS_COLUMNS "SELECT ip, sender, recipient, status, fail_count, last_action"
#define LOG_COLUMNS                                                                    \
	"SELECT ip, sender, recipient, action, logtime, check_dnswl, check_dnsbl,"     \
	" check_helo, check_dyn, check_db, check_spf, check_s_eq_r, check_postmaster," \
	" check_cache"
enum { LOG_ACTION = 3, LOG_TIME, LOG_CHECKS };

/* bley_within(ip): whether the address lies in the filter's network. */
static void sql_within(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	const struct ipnet *net = sqlite3_user_data(context);
	const char *text = (const char *)sqlite3_value_text(argv[0]);
	struct ipaddr ip;

	(void)argc;
	sqlite3_result_int(context, text && ipaddr_parse(text, &ip) && ipnet_contains(net, &ip));
}

static bool is_address(const struct ipnet *net)
{
	return net->bits == (net->addr.family == AF_INET ? 32 : 128);
}

static void add_filter(struct strbuf *sql, const struct store_filter *filter, const char *time)
{
	if (filter->net)
		strbuf_addstr(sql,
			      is_address(filter->net) ? " AND ip = ?9" : " AND bley_within(ip)");
	if (filter->sender)
		strbuf_addstr(sql, " AND sender LIKE ?1 ESCAPE '" STORE_ESCAPE "'");
	if (filter->recipient)
		strbuf_addstr(sql, " AND recipient LIKE ?2 ESCAPE '" STORE_ESCAPE "'");
	if (filter->address)
		strbuf_addstr(sql, " AND (sender = ?3 OR recipient = ?3)");
	if (filter->since_us)
		strbuf_addf(sql, " AND %s >= ?4", time);
	if (filter->status != STORE_UNKNOWN && !strcmp(time, "last_action"))
		strbuf_addf(sql, " AND status %s ?8", filter->status >= STORE_GREY ? ">=" : "=");
}

static void bind_time(sqlite3_stmt *stmt, int index, int64_t us)
{
	char text[SQLITE_TIME_SIZE];

	if (index > sqlite3_bind_parameter_count(stmt))
		return;
	sqlite_time_format(us, text);
	sqlite3_bind_text(stmt, index, text, -1, SQLITE_TRANSIENT);
}

/* Parameters that the statement lacks are refused by SQLite, which is as good. */
static void bind_filter(sqlite3_stmt *stmt, const struct store_filter *filter)
{
	char ip[IPADDR_TEXT_SIZE];

	sqlite3_bind_text(stmt, PARAM_SENDER, filter->sender, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, PARAM_RECIPIENT, filter->recipient, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, PARAM_ADDRESS, filter->address, -1, SQLITE_STATIC);
	bind_time(stmt, PARAM_SINCE, sqlite_time_now() - filter->since_us);
	sqlite3_bind_int64(stmt, PARAM_LIMIT, filter->limit);
	sqlite3_bind_int(stmt, PARAM_STATUS, filter->status);
	if (!filter->net)
		return;
	ipaddr_format(&filter->net->addr, ip);
	sqlite3_bind_text(stmt, PARAM_IP, ip, -1, SQLITE_TRANSIENT);
}

/* The statement, bound; to be finalized by the caller also where this fails. */
static int prepare(struct store *store, const struct strbuf *sql, const struct store_filter *filter,
		   sqlite3_stmt **out)
{
	int flags = SQLITE_UTF8 | SQLITE_DIRECTONLY | SQLITE_DETERMINISTIC;
	void *net = (void *)(uintptr_t)filter->net;
	int rc = SQLITE_OK;

	*out = NULL;
	if (net)
		rc = sqlite3_create_function(store->db, "bley_within", 1, flags, net, sql_within,
					     NULL, NULL);
	if (!rc)
		rc = sqlite3_prepare_v2(store->db, sql->buf, -1, out, NULL);
	if (!rc)
		bind_filter(*out, filter);
	return rc;
}

static const char *text_of(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return text ? text : "";
}

static int64_t time_of(sqlite3_stmt *stmt, int column)
{
	int64_t us;

	return sqlite_time_parse(text_of(stmt, column), &us) ? us : sqlite_time_now();
}

static struct store_tuple tuple_of(sqlite3_stmt *stmt)
{
	return (struct store_tuple){
	    .ip = text_of(stmt, 0), .sender = text_of(stmt, 1), .recipient = text_of(stmt, 2)};
}

static int take_rows(sqlite3_stmt *stmt, store_take_row *take, void *context)
{
	int64_t now_us = sqlite_time_now(); /* the same for all, however long it takes */
	bool more = true;

	while (more && sqlite3_step(stmt) == SQLITE_ROW) {
		int64_t age_us = now_us - time_of(stmt, 5);
		struct store_row row = {.tuple = tuple_of(stmt),
					.status = sqlite3_column_int(stmt, 3),
					.fail_count = sqlite3_column_int(stmt, 4),
					.age_us = age_us > 0 ? age_us : 0};

		more = take(context, &row);
	}
	return sqlite3_reset(stmt);
}

enum store_result lite_list(struct store *store, const struct store_filter *filter,
			    store_take_row *take, void *context)
{
	enum store_result result = lite_ready(store);
	struct strbuf sql = STRBUF_INIT;
	sqlite3_stmt *stmt;
	int rc;

	if (result != STORE_OK)
		return result;
	strbuf_addstr(&sql, STATUS_COLUMNS " FROM bley_status WHERE true");
	add_filter(&sql, filter, "last_action");
	strbuf_addstr(&sql, filter->limit ? " ORDER BY last_action DESC LIMIT ?7"
					  : " ORDER BY ip, sender, recipient");
	rc = prepare(store, &sql, filter, &stmt);
	if (!rc)
		rc = take_rows(stmt, take, context);
	result = lite_result(store, rc);
	sqlite3_finalize(stmt);
	strbuf_release(&sql);
	return result;
}

static int take_log(sqlite3_stmt *stmt, store_take_log *take, void *context)
{
	bool more = true;

	while (more && sqlite3_step(stmt) == SQLITE_ROW) {
		int64_t time_us = time_of(stmt, LOG_TIME), age_us = sqlite_time_now() - time_us;
		struct store_log_row row = {.tuple = tuple_of(stmt),
					    .action = text_of(stmt, LOG_ACTION),
					    .age_us = age_us > 0 ? age_us : 0};

		for (int i = 0; i < STORE_LOG_CHECKS; i++)
			row.checks[i] = sqlite3_column_int(stmt, LOG_CHECKS + i);
		more = take(context, &row, time_us);
	}
	return sqlite3_reset(stmt);
}

enum store_result lite_read_log(struct store *store, const struct store_filter *filter,
				int64_t after_us, int64_t lag_us, store_take_log *take,
				void *context)
{
	enum store_result result = lite_ready(store);
	struct strbuf sql = STRBUF_INIT;
	sqlite3_stmt *stmt;
	int rc;

	if (result != STORE_OK)
		return result;
	strbuf_addstr(&sql, LOG_COLUMNS " FROM bley_log WHERE logtime > ?5 AND logtime <= ?6");
	add_filter(&sql, filter, "logtime");
	strbuf_addstr(&sql,
		      filter->limit ? " ORDER BY logtime DESC LIMIT ?7" : " ORDER BY logtime");
	rc = prepare(store, &sql, filter, &stmt);
	if (!rc) {
		bind_time(stmt, PARAM_AFTER, after_us);
		/* what a clock that was set back has left in the future is there, too */
		bind_time(stmt, PARAM_UNTIL, lag_us ? sqlite_time_now() - lag_us : INT64_MAX);
		rc = take_log(stmt, take, context);
	}
	result = lite_result(store, rc);
	sqlite3_finalize(stmt);
	strbuf_release(&sql);
	return result;
}

/* Runs `begin`, the filter and `end`, and gives its count: a SELECT's value or the rows changed. */
static int run_filtered(struct store *store, const char *begin, const struct store_filter *filter,
			const char *end, int64_t *count)
{
	struct strbuf sql = STRBUF_INIT;
	sqlite3_stmt *stmt;
	int rc;

	strbuf_addstr(&sql, begin);
	add_filter(&sql, filter, "last_action");
	strbuf_addstr(&sql, end);
	rc = prepare(store, &sql, filter, &stmt);
	if (!rc) {
		rc = lite_run(stmt, count);
		if (!rc && !sqlite3_stmt_readonly(stmt))
			*count = sqlite3_changes64(store->db);
	}
	sqlite3_finalize(stmt);
	strbuf_release(&sql);
	return rc;
}

#define OF_CACHE " FROM bley_cache WHERE ip IN (SELECT ip FROM bley_status WHERE true"
#define OF_STATUS " FROM bley_status WHERE true"

/* Cached verdicts first, as they are found by the rows of bley_status. */
static int forget_rows(struct store *store, const struct store_filter *filter,
		       const struct store_filter *of_net, bool dry_run, struct store_forgotten *out)
{
	static const char *const cache[] = {"DELETE" OF_CACHE, "SELECT count(*)" OF_CACHE},
				 *const status[] = {"DELETE" OF_STATUS,
						    "SELECT count(*)" OF_STATUS};
	const char *end = of_net ? " UNION SELECT ip FROM bley_cache WHERE ip = ?9)" : ")";
	int rc;

	if (of_net && !is_address(of_net->net))
		end = " UNION SELECT ip FROM bley_cache WHERE bley_within(ip))";
	rc = run_filtered(store, cache[dry_run], filter, end, &out->clients);
	if (!rc)
		rc = run_filtered(store, status[dry_run], filter, "", &out->tuples);
	return rc;
}

enum store_result lite_forget(struct store *store, const struct store_filter *filter, bool dry_run,
			      struct store_forgotten *out)
{
	enum store_result result = lite_ready(store);
	struct store_forgotten done = {.tuples = 0};
	/* a filter of nothing but a network is about the clients in it, also those without tuples
	 */
	bool of_net = filter->net && !filter->sender && !filter->recipient && !filter->address &&
		      !filter->since_us && filter->status == STORE_UNKNOWN;
	int rc;

	if (result != STORE_OK)
		return result;
	rc = lite_exec(store, dry_run ? "BEGIN" : "BEGIN IMMEDIATE");
	if (!rc)
		rc = forget_rows(store, filter, of_net ? filter : NULL, dry_run, &done);
	result = lite_finish(store, rc);
	if (result == STORE_OK)
		*out = done;
	return result;
}
