/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/module.h"
#include "base/strbuf.h"
#include "store/sql.h"

/*
 * One statement, one round trip, for each thing that is asked or changed; each is a transaction of
 * its own. Ages are the server's: several mail hosts need not agree on the time.
 */

#define NUMBER_SIZE 24
#define LOG_MOST 1000 /* rows a statement */
#define LOG_COLUMNS (5 + STORE_LOG_CHECKS)
#define US_SINCE(column) "(extract(epoch FROM " PG_NOW " - " column ") * 1000000)::bigint"
#define AGE(column) "greatest(0, " US_SINCE(column) ")"

static const char recall_sql[] = "SELECT s.status, s.fail_count, " AGE(
    "s.last_action") ", c.status"
		     " FROM (SELECT 1) one"
		     " LEFT JOIN bley_status s ON s.ip = $1 AND s.sender = $2 AND s.recipient = $3"
		     " LEFT JOIN bley_cache c ON c.ip = $1 AND $4::bigint > 0 AND abs(" US_SINCE(
			 "c.last_action") ") < $4::bigint";

/* $4: the client's status for the cache, -1: leave it alone; $5: the tuple's. */
#define CLIENT(condition)                                                                   \
	"INSERT INTO bley_cache (ip, status, last_action) SELECT $1, $4::smallint, " PG_NOW \
	" WHERE $4::smallint >= 0" condition " ON CONFLICT (ip) DO UPDATE SET status = "    \
	"excluded.status, last_action = excluded.last_action"
#define ROW(status, fail_count)                                                                  \
	"INSERT INTO bley_status (ip, sender, recipient, last_action, status, fail_count)"       \
	" VALUES ($1, $2, $3, " PG_NOW ", " status ", " fail_count ") ON CONFLICT (ip, sender, " \
	"recipient) DO "
#define CHANGE(insert) \
	"WITH s AS (" insert " RETURNING status), c AS (" CLIENT("") ") SELECT status, 0 FROM s"

static const char *const remember_sql[] = {
    [STORE_KEEP] = CLIENT(" AND $2::text IS NOT NULL AND $3::text IS NOT NULL"),
    [STORE_INSERT] =
	"WITH s AS (" ROW("$5::smallint", "0") "NOTHING RETURNING status), c AS (" CLIENT(
	    " AND EXISTS (SELECT 1 FROM s)") ") SELECT status, 0 FROM s UNION ALL"
					     " SELECT b.status, 1 FROM bley_status b"
					     " WHERE b.ip = $1 AND b.sender = $2 AND b.recipient = "
					     "$3"
					     " AND NOT EXISTS (SELECT 1 FROM s)",
    [STORE_TOUCH] = CHANGE(ROW("0", "0") "UPDATE SET last_action = excluded.last_action"),
    [STORE_PASS] = CHANGE(
	ROW("0", "0") "UPDATE SET last_action = excluded.last_action, status = 0"),
    [STORE_AGAIN] = CHANGE(
	ROW("2", "1") "UPDATE SET"
		      " fail_count = bley_status.fail_count + (bley_status.status >= 2)::int,"
		      " last_action = least(bley_status.last_action, excluded.last_action)"),
};

static const char status_sql[] =
    "SELECT status, 1 FROM bley_status WHERE ip = $1 AND sender = $2 AND recipient = $3";

struct store *pg_make(const struct store_config *config, int timeout_ms)
{
	struct store *store = mem_alloc(sizeof(*store));

	store->config = *config;
	store->config.timeout_ms = timeout_ms;
	pg_begin(store);
	return store;
}

void pg_close(struct store *store)
{
	if (!store)
		return;
	pg_disconnect(store);
	free(store);
}

const char *pg_error(struct store *store)
{
	return store->error;
}

static int64_t number(const PGresult *result, int row, int column)
{
	return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

static enum store_result store_recall(struct store *store, const struct store_tuple *tuple,
				      int64_t client_age_us, struct store_memory *out)
{
	struct store_memory found = {.status = STORE_UNKNOWN, .client = STORE_CLIENT_NONE};
	char age[NUMBER_SIZE];
	const char *const values[] = {tuple->ip, tuple->sender, tuple->recipient, age};
	const struct pg_call call = {.sql = recall_sql,
				     .count = 4,
				     .values = values,
				     .lasting = PG_RECALL,
				     .columns = 4,
				     .row = true};
	enum store_result rc;
	PGresult *result;

	snprintf(age, sizeof(age), "%lld", (long long)client_age_us);
	pg_begin(store);
	rc = pg_run(store, &call, &result);
	if (rc != STORE_OK)
		return rc;
	if (!PQgetisnull(result, 0, 0)) {
		found.status = sql_status(number(result, 0, 0));
		found.fail_count = sql_fail_count(number(result, 0, 1));
		found.waited_us = sql_age(number(result, 0, 2));
	}
	if (!PQgetisnull(result, 0, 3))
		found.client = number(result, 0, 3) == STORE_CLEAN ? STORE_CLIENT_GOOD
								   : STORE_CLIENT_BAD;
	PQclear(result);
	*out = found;
	return STORE_OK;
}

static const char *cache_status(enum store_client client)
{
	return client == STORE_CLIENT_NONE ? "-1" : client == STORE_CLIENT_GOOD ? "0" : "2";
}

static enum store_result store_remember(struct store *store, const struct store_decision *decision,
					int *status, bool *lost_race)
{
	const struct store_tuple *tuple = &decision->tuple;
	char new_status[NUMBER_SIZE];
	const char *const values[] = {tuple->ip, tuple->sender, tuple->recipient,
				      cache_status(decision->client), new_status};
	bool insert = decision->change == STORE_INSERT;
	struct pg_call call = {.sql = remember_sql[decision->change],
			       .count = insert ? 5 : 4,
			       .values = values,
			       .lasting = PG_REMEMBER + decision->change,
			       .columns = decision->change == STORE_KEEP ? 0 : 2};
	enum store_result rc;
	PGresult *result;
	int after = STORE_UNKNOWN;
	bool lost = false;

	snprintf(new_status, sizeof(new_status), "%d", decision->status);
	pg_begin(store);
	rc = pg_run(store, &call, &result);
	if (rc == STORE_OK && insert && PQntuples(result) == 0) {
		/* The winner committed after this statement had begun, and could not be seen by it.
		 */
		PQclear(result);
		call = (struct pg_call){
		    .sql = status_sql, .count = 3, .values = values, .columns = 2};
		rc = pg_run(store, &call, &result);
	}
	if (rc != STORE_OK)
		return rc;
	if (PQntuples(result) > 0) {
		after = sql_status(number(result, 0, 0));
		lost = number(result, 0, 1) != 0;
	}
	PQclear(result);
	*status = after;
	*lost_race = lost;
	return STORE_OK;
}

static void add_row(struct strbuf *sql, size_t row)
{
	size_t first = row * LOG_COLUMNS + 1;

	strbuf_addf(sql, "%s(" PG_NOW " - $%zu::bigint * interval '1 microsecond'", row ? ", " : "",
		    first);
	for (size_t i = 1; i < LOG_COLUMNS; i++)
		strbuf_addf(sql, ", $%zu%s", first + i, i < 5 ? "" : "::int");
	strbuf_addch(sql, ')');
}

/* One statement for up to LOG_MOST rows. */
static enum store_result
insert_rows(struct store *store, const struct store_log_row *rows, size_t count,
	    enum store_result (*run)(struct store *, const struct pg_call *, PGresult **))
{
	size_t n = count * LOG_COLUMNS;
	const char **values = mem_alloc(n * sizeof(*values));
	char(*numbers)[NUMBER_SIZE] = mem_alloc(n * sizeof(*numbers));
	struct strbuf sql = STRBUF_INIT;
	struct pg_call call = {.count = (int)n,
			       .values = values,
			       .lasting = count == 1 && run == pg_run ? PG_LOG_ROW : PG_ONCE};
	enum store_result rc;
	PGresult *result;

	strbuf_addstr(&sql,
		      "INSERT INTO bley_log (logtime, ip, sender, recipient, action, check_dnswl,"
		      " check_dnsbl, check_helo, check_dyn, check_db, check_spf, check_s_eq_r,"
		      " check_postmaster, check_cache) VALUES ");
	for (size_t i = 0, v = 0; i < count; i++) {
		add_row(&sql, i);
		snprintf(numbers[v], NUMBER_SIZE, "%lld", (long long)rows[i].age_us);
		values[v] = numbers[v];
		values[v + 1] = rows[i].tuple.ip;
		values[v + 2] = rows[i].tuple.sender;
		values[v + 3] = rows[i].tuple.recipient;
		values[v + 4] = rows[i].action;
		v += 5;
		for (int check = 0; check < STORE_LOG_CHECKS; check++, v++) {
			snprintf(numbers[v], NUMBER_SIZE, "%d", rows[i].checks[check]);
			values[v] = numbers[v];
		}
	}
	call.sql = sql.buf;
	rc = run(store, &call, &result);
	if (rc == STORE_OK)
		PQclear(result);
	strbuf_release(&sql);
	free(numbers);
	free(values);
	return rc;
}

/* More rows than a statement holds parameters for: a transaction of several statements. */
static enum store_result insert_many(struct store *store, const struct store_log_row *rows,
				     size_t count)
{
	const struct pg_call begin = {.sql = "BEGIN"}, commit = {.sql = "COMMIT"};
	enum store_result rc;
	PGresult *result;

	rc = pg_run(store, &begin, &result);
	if (rc != STORE_OK)
		return rc;
	PQclear(result);
	for (size_t i = 0; rc == STORE_OK && i < count; i += LOG_MOST)
		rc = insert_rows(store, rows + i, count - i < LOG_MOST ? count - i : LOG_MOST,
				 pg_run_here);
	if (rc == STORE_OK)
		rc = pg_run_here(store, &commit, &result);
	if (rc == STORE_OK)
		PQclear(result);
	else
		pg_disconnect(store); /* which rolls back */
	return rc;
}

static enum store_result store_log(struct store *store, const struct store_log_row *rows,
				   size_t count)
{
	pg_begin(store);
	if (count > LOG_MOST)
		return insert_many(store, rows, count);
	return count ? insert_rows(store, rows, count, pg_run) : STORE_OK;
}

static const struct store_driver driver = {
    .remote = true,
    .open = sql_open,
    .close = pg_close,
    .error = pg_error,
    .recall = store_recall,
    .remember = store_remember,
    .log = store_log,
    .purge = pg_purge,
    .init = sql_init,
    .list = sql_list,
    .read_log = sql_read_log,
    .forget = sql_forget,
    .stats = pg_stats,
    .graph = pg_graph,
    .check = pg_check,
};

MODULE_EXPORT extern const struct module bley_module;
const struct module bley_module = {.abi = MODULE_ABI, .name = "store_pgsql", .ops = &driver};
