/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/module.h"
#include "base/trust.h"
#include "store/sqlite.h"
#include "store/sqlite_time.h"

/* What is asked and changed. Files, locks and the connection: sqlite_connect.c. */

/* Rows that begin with 0 are of bley_status, those with 1 of bley_cache. (A join of both takes half
 * as long again to prepare.) */
#define RECALL_TUPLE                                                 \
	"SELECT 0, status, fail_count, last_action FROM bley_status" \
	" WHERE ip = ?1 AND sender = ?2 AND recipient = ?3"

static const char *const statements[LITE_STATEMENTS] = {
    [LITE_BEGIN] = "BEGIN IMMEDIATE",
    [LITE_COMMIT] = "COMMIT",
    [LITE_ROLLBACK] = "ROLLBACK",
    [LITE_RECALL] = RECALL_TUPLE,
    [LITE_RECALL_BOTH] = RECALL_TUPLE
    " UNION ALL SELECT 1, status, 0, last_action FROM bley_cache WHERE ip = ?1",
    [LITE_STATUS] =
	"SELECT status FROM bley_status WHERE ip = ?1 AND sender = ?2 AND recipient = ?3",
    [LITE_INSERT] =
	"INSERT INTO bley_status (ip, sender, recipient, last_action, status, fail_count)"
	" VALUES (?1, ?2, ?3, ?4, ?5, 0) ON CONFLICT DO NOTHING",
    [LITE_TOUCH] =
	"INSERT INTO bley_status (ip, sender, recipient, last_action, status, fail_count)"
	" VALUES (?1, ?2, ?3, ?4, 0, 0)"
	" ON CONFLICT DO UPDATE SET last_action = excluded.last_action RETURNING status",
    [LITE_PASS] = "INSERT INTO bley_status (ip, sender, recipient, last_action, status, fail_count)"
		  " VALUES (?1, ?2, ?3, ?4, 0, 0)"
		  " ON CONFLICT DO UPDATE SET last_action = excluded.last_action, status = 0 "
		  "RETURNING status",
    [LITE_AGAIN] =
	"INSERT INTO bley_status (ip, sender, recipient, last_action, status, fail_count)"
	" VALUES (?1, ?2, ?3, ?4, 2, 1)"
	" ON CONFLICT DO UPDATE SET fail_count = fail_count + (status >= 2),"
	" last_action = min(last_action, excluded.last_action) RETURNING status",
    [LITE_CLIENT] = "INSERT INTO bley_cache (ip, last_action, status) VALUES (?1, ?2, ?3)"
		    " ON CONFLICT DO UPDATE SET status = excluded.status,"
		    " last_action = excluded.last_action",
    [LITE_LOG] = "INSERT INTO bley_log (logtime, ip, sender, recipient, action, check_dnswl,"
		 " check_dnsbl, check_helo, check_dyn, check_db, check_spf, check_s_eq_r,"
		 " check_postmaster, check_cache)"
		 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
};

int lite_prepare(struct store *store, enum lite_statement which, sqlite3_stmt **out)
{
	int rc = SQLITE_OK;

	if (!store->statements[which])
		rc = sqlite3_prepare_v3(store->db, statements[which], -1, SQLITE_PREPARE_PERSISTENT,
					&store->statements[which], NULL);
	*out = store->statements[which];
	return rc;
}

int lite_run(sqlite3_stmt *stmt, int64_t *value)
{
	while (sqlite3_step(stmt) == SQLITE_ROW)
		if (value)
			*value = sqlite3_column_int64(stmt, 0);
	return sqlite3_reset(stmt);
}

static int run_plain(struct store *store, enum lite_statement which)
{
	sqlite3_stmt *stmt;
	int rc = lite_prepare(store, which, &stmt);

	return rc ? rc : lite_run(stmt, NULL);
}

enum store_result lite_finish(struct store *store, int rc)
{
	enum store_result result;

	if (!rc && !sqlite3_get_autocommit(store->db))
		rc = run_plain(store, LITE_COMMIT);
	result = lite_result(store, rc);
	if (!sqlite3_get_autocommit(store->db))
		run_plain(store, LITE_ROLLBACK);
	return result;
}

static struct store *new_store(const struct store_config *config, int timeout_ms)
{
	struct store *store = mem_alloc(sizeof(*store));

	/* No threads here: no locks around every call, and no bookkeeping of memory. Without effect
	 * (SQLITE_MISUSE) from the second store on. */
	sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	/* Nothing set aside in advance: to string its pieces together touches some 30 pages, few of
	 * which are ever used. */
	sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
	sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
	store->config = *config;
	store->timeout_ms = timeout_ms;
	lite_deadline(store);
	store->jitter = (uint32_t)getpid() * 2654435761U ^ (uint32_t)store->deadline_us;
	return store;
}

static void store_close(struct store *store)
{
	if (!store)
		return;
	lite_close(store);
	free(store);
}

static enum store_result store_open(const struct store_config *config, struct store **out,
				    char *error, size_t size)
{
	struct store *store = new_store(config, config->timeout_ms);
	enum store_result result = lite_connect(store, NULL);

	if (result != STORE_OK) {
		snprintf(error, size, "%s", store->error);
		store_close(store);
		return result;
	}
	*out = store;
	return STORE_OK;
}

static enum store_result store_init(const struct store_config *config,
				    struct store_schema_report *report, char *error, size_t size)
{
	/* Long enough for another process to take a large database over. */
	const int timeout_ms = 10 * 60 * 1000;
	struct store *store = new_store(config, timeout_ms);
	struct store_schema_report done = {.from = 0};
	enum store_result result = lite_connect(store, &done);

	if (result == STORE_OK)
		*report = done;
	else
		snprintf(error, size, "%s", store->error);
	store_close(store);
	return result;
}

static const char *store_error(struct store *store)
{
	return store->error;
}

/* Below zero for what lies in the future. What is no time at all counts as now. */
static int64_t us_since(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);
	int64_t then;

	if (!text || !sqlite_time_parse(text, &then))
		return 0;
	return sqlite_time_now() - then;
}

/* Binding a text that outlives the run allocates nothing and cannot fail. */
static void bind_text(sqlite3_stmt *stmt, int index, const char *text)
{
	sqlite3_bind_text(stmt, index, text, -1, SQLITE_STATIC);
}

static void bind_tuple(sqlite3_stmt *stmt, int first, const struct store_tuple *tuple)
{
	bind_text(stmt, first, tuple->ip);
	bind_text(stmt, first + 1, tuple->sender);
	bind_text(stmt, first + 2, tuple->recipient);
}

static void take_memory(sqlite3_stmt *stmt, int64_t client_age_us, struct store_memory *found)
{
	bool is_client = sqlite3_column_int(stmt, 0);
	int status = sqlite3_column_int(stmt, 1);
	int64_t age_us = us_since(stmt, 3);

	if (!is_client) {
		found->status = status;
		found->fail_count = sqlite3_column_int(stmt, 2);
		found->waited_us = age_us > 0 ? age_us : 0;
	} else if (age_us < client_age_us && age_us > -client_age_us) {
		found->client = status == STORE_CLEAN ? STORE_CLIENT_GOOD : STORE_CLIENT_BAD;
	}
}

static enum store_result store_recall(struct store *store, const struct store_tuple *tuple,
				      int64_t client_age_us, struct store_memory *out)
{
	struct store_memory found = {.status = STORE_UNKNOWN, .client = STORE_CLIENT_NONE};
	enum store_result result = lite_ready_bounded(store);
	sqlite3_stmt *stmt;
	int rc;

	if (result != STORE_OK)
		return result;
	rc = lite_prepare(store, client_age_us > 0 ? LITE_RECALL_BOTH : LITE_RECALL, &stmt);
	if (rc)
		return lite_result(store, rc);
	bind_tuple(stmt, 1, tuple);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		take_memory(stmt, client_age_us, &found);
	rc = sqlite3_reset(stmt);
	if (rc)
		return lite_result(store, rc);
	*out = found;
	return STORE_OK;
}

static int change_status(struct store *store, const struct store_decision *decision,
			 const char *now, int64_t *status)
{
	static const enum lite_statement of_change[] = {
	    [STORE_INSERT] = LITE_INSERT,
	    [STORE_TOUCH] = LITE_TOUCH,
	    [STORE_PASS] = LITE_PASS,
	    [STORE_AGAIN] = LITE_AGAIN,
	};
	sqlite3_stmt *stmt;
	int rc = lite_prepare(store, of_change[decision->change], &stmt);

	if (rc)
		return rc;
	bind_tuple(stmt, 1, &decision->tuple);
	bind_text(stmt, 4, now);
	if (decision->change == STORE_INSERT)
		sqlite3_bind_int(stmt, 5, decision->status);
	return lite_run(stmt, status);
}

static int read_status(struct store *store, const struct store_tuple *tuple, int64_t *status)
{
	sqlite3_stmt *stmt;
	int rc = lite_prepare(store, LITE_STATUS, &stmt);

	if (rc)
		return rc;
	bind_tuple(stmt, 1, tuple);
	return lite_run(stmt, status);
}

static int change_client(struct store *store, const struct store_decision *decision,
			 const char *now)
{
	sqlite3_stmt *stmt;
	int rc = lite_prepare(store, LITE_CLIENT, &stmt);

	if (rc)
		return rc;
	bind_text(stmt, 1, decision->tuple.ip);
	bind_text(stmt, 2, now);
	sqlite3_bind_int(stmt, 3, decision->client == STORE_CLIENT_GOOD ? STORE_CLEAN : STORE_GREY);
	return lite_run(stmt, NULL);
}

static enum store_result store_remember(struct store *store, const struct store_decision *decision,
					int *status, bool *lost_race)
{
	bool client = decision->client != STORE_CLIENT_NONE;
	bool tuple = decision->change != STORE_KEEP;
	enum store_result result = STORE_OK;
	int64_t after = decision->change == STORE_INSERT ? decision->status : STORE_UNKNOWN;
	char now[SQLITE_TIME_SIZE];
	bool lost = false;
	int rc = SQLITE_OK;

	if (client || tuple)
		result = lite_ready_bounded(store);
	if (result != STORE_OK)
		return result;
	if (client && tuple)
		rc = run_plain(store, LITE_BEGIN);
	/* After BEGIN, which may have waited. */
	sqlite_time_format(sqlite_time_now(), now);
	if (!rc && tuple)
		rc = change_status(store, decision, now, &after);
	lost = !rc && decision->change == STORE_INSERT && sqlite3_changes(store->db) == 0;
	if (lost)
		rc = read_status(store, &decision->tuple, &after);
	else if (!rc && client)
		rc = change_client(store, decision, now);
	if (client || tuple)
		result = lite_finish(store, rc);
	if (result != STORE_OK)
		return result;
	*status = (int)after;
	*lost_race = lost;
	return STORE_OK;
}

static int insert_log(struct store *store, const struct store_log_row *row)
{
	char logtime[SQLITE_TIME_SIZE];
	sqlite3_stmt *stmt;
	int rc = lite_prepare(store, LITE_LOG, &stmt);

	if (rc)
		return rc;
	sqlite_time_format(sqlite_time_now() - row->age_us, logtime);
	bind_text(stmt, 1, logtime);
	bind_tuple(stmt, 2, &row->tuple);
	bind_text(stmt, 5, row->action);
	for (int i = 0; i < STORE_LOG_CHECKS; i++)
		sqlite3_bind_int(stmt, 6 + i, row->checks[i]);
	return lite_run(stmt, NULL);
}

static enum store_result store_log(struct store *store, const struct store_log_row *rows,
				   size_t count)
{
	enum store_result result = count ? lite_ready_bounded(store) : STORE_OK;
	int rc = SQLITE_OK;

	if (result != STORE_OK || !count)
		return result;
	if (count > 1)
		rc = run_plain(store, LITE_BEGIN);
	for (size_t i = 0; !rc && i < count; i++)
		rc = insert_log(store, &rows[i]);
	result = lite_finish(store, rc);
	store->logged = true;
	/* Here nobody waits for an answer. */
	if (store->checkpoint_due)
		lite_checkpoint(store);
	return result;
}

/* libsqlite3 believes what a database says of itself: nobody else is to put one there. */
static enum store_result store_check(struct store *store, store_take_lack *take, void *context)
{
	struct arena arena = ARENA_INIT;
	const char *doubt = NULL;
	struct stat st;

	if (!stat(store->config.name, &st))
		doubt = trust_doubt(&arena, store->config.name, &st);
	if (doubt)
		take(context, true, doubt);
	arena_release(&arena);
	return STORE_OK;
}

static const struct store_driver driver = {
    .open = store_open,
    .close = store_close,
    .error = store_error,
    .recall = store_recall,
    .remember = store_remember,
    .log = store_log,
    .purge = lite_purge,
    .init = store_init,
    .list = lite_list,
    .read_log = lite_read_log,
    .forget = lite_forget,
    .stats = lite_stats,
    .graph = lite_graph,
    .check = store_check,
};

MODULE_EXPORT extern const struct module bley_module;
const struct module bley_module = {.abi = MODULE_ABI, .name = "store_sqlite", .ops = &driver};
