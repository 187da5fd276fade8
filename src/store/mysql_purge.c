/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

#include <stdio.h>
#include <time.h>

/*
 * bley_status and bley_cache are walked along their keys in windows, so that no index on
 * last_action is needed, which each decision would have to keep. A window's rows are deleted by one
 * statement; then others have their turn.
 */
#define WINDOW "1000" /* rows */
#define WINDOW_ROWS 1000
#define PAUSE_LEAST_US 2000
#define US_PER_S INT64_C(1000000)
#define KEY_SIZE (254 * 4 + 1)

#define OLDER(column) column " < UTC_TIMESTAMP(6) - INTERVAL ? SECOND"
#define STATUS_OLD                                                                      \
	"((? >= 0 AND " OLDER("last_action") ") OR (? >= 0 AND status >= 2 AND " OLDER( \
	    "last_action") "))"

static const char count_status_sql[] = "SELECT count(*) FROM bley_status WHERE " STATUS_OLD;
static const char count_cache_sql[] = "SELECT count(*) FROM bley_cache WHERE ? >= 0 AND " OLDER(
    "last_action");
static const char count_log_sql[] = "SELECT count(*) FROM bley_log WHERE ? >= 0 AND " OLDER(
    "logtime");
static const char delete_status_sql[] =
    "DELETE FROM bley_status WHERE ip >= ? AND ip < ? AND " STATUS_OLD " LIMIT " WINDOW;
static const char delete_status_rest_sql[] = "DELETE FROM bley_status WHERE ip >= ? AND " STATUS_OLD
					     " LIMIT " WINDOW;
static const char delete_cache_sql[] = "DELETE FROM bley_cache WHERE ? >= 0 AND " OLDER(
    "last_action") " LIMIT " WINDOW;
static const char delete_log_sql[] = "DELETE FROM bley_log WHERE ? >= 0 AND " OLDER(
    "logtime") " ORDER BY logtime LIMIT " WINDOW;

static void pause_since(int64_t began_us)
{
	int64_t us = my_clock_us() - began_us;
	struct timespec pause;

	if (us < PAUSE_LEAST_US)
		us = PAUSE_LEAST_US;
	pause.tv_sec = (time_t)(us / US_PER_S);
	pause.tv_nsec = (long)(us % US_PER_S * 1000);
	nanosleep(&pause, NULL);
}

static enum store_result count(struct store *store, const char *sql, const struct my_value *values,
			       size_t n, int64_t *rows)
{
	struct my_answer answer;
	enum store_result rc = my_run_once(store, sql, values, n, &answer);

	if (rc == STORE_OK)
		*rows = answer.column[0];
	return rc;
}

/* One batch, and a pause where it deleted something. */
static enum store_result delete_batch(struct store *store, struct store_purge *purge,
				      const char *sql, const struct my_value *values, size_t n,
				      int64_t *rows, int64_t *deleted)
{
	int64_t began_us = my_clock_us();
	struct my_answer answer;
	enum store_result rc;

	my_begin(store);
	do
		rc = my_run_once(store, sql, values, n, &answer);
	while (rc == STORE_RETRY && store->conn && my_clock_us() < store->deadline_us);
	if (rc != STORE_OK)
		return rc;
	*deleted = answer.changed;
	*rows += answer.changed;
	if (answer.changed && purge->progress)
		purge->progress(purge);
	if (answer.changed)
		pause_since(began_us);
	return rc;
}

/* Until a batch finds nothing. */
static enum store_result delete_all(struct store *store, struct store_purge *purge, const char *sql,
				    const struct my_value *values, size_t n, int64_t *rows)
{
	enum store_result rc;
	int64_t deleted;

	do
		rc = delete_batch(store, purge, sql, values, n, rows, &deleted);
	while (rc == STORE_OK && deleted > 0);
	return rc;
}

/* The client address that lies WINDOW rows behind this one; *last where there is none. */
static enum store_result find_end(struct store *store, const char *start, char *end, bool *last)
{
	static const char sql[] = "SELECT ip FROM bley_status WHERE ip > ? ORDER BY ip, sender, "
				  "recipient LIMIT 1 OFFSET " WINDOW;
	MYSQL_BIND in = {.buffer_type = MYSQL_TYPE_STRING},
		   out = {.buffer_type = MYSQL_TYPE_STRING};
	MYSQL_STMT *stmt = mysql_stmt_init(store->conn);
	unsigned long len = 0;
	enum store_result rc = STORE_OK;
	int fetched = MYSQL_NO_DATA;

	in.buffer = (void *)(uintptr_t)start;
	while (start[in.buffer_length])
		in.buffer_length++;
	out.buffer = end;
	out.buffer_length = KEY_SIZE - 1;
	out.length = &len;
	if (!stmt || mysql_stmt_prepare(stmt, sql, sizeof(sql) - 1) ||
	    mysql_stmt_bind_param(stmt, &in) || mysql_stmt_execute(stmt) ||
	    mysql_stmt_bind_result(stmt, &out) || mysql_stmt_store_result(stmt) ||
	    (fetched = mysql_stmt_fetch(stmt)) == 1)
		rc = my_failed(store, stmt ? mysql_stmt_errno(stmt) : 0,
			       stmt ? mysql_stmt_error(stmt) : "memory");
	*last = fetched == MYSQL_NO_DATA;
	end[len < KEY_SIZE ? len : KEY_SIZE - 1] = '\0';
	if (stmt)
		mysql_stmt_close(stmt);
	return rc;
}

static enum store_result purge_status(struct store *store, struct store_purge *purge)
{
	char start[KEY_SIZE] = "", end[KEY_SIZE];
	struct my_value values[] = {{.text = start},
				    {.text = end},
				    {.number = purge->status_s},
				    {.number = purge->status_s},
				    {.number = purge->status_bad_s},
				    {.number = purge->status_bad_s}};
	struct my_value rest[] = {values[0], values[2], values[3], values[4], values[5]};
	int64_t *rows = &purge->status_rows, deleted;
	enum store_result rc;
	bool last;

	if (purge->dry_run)
		return count(store, count_status_sql, values + 2, 4, rows);
	for (;;) {
		my_begin(store);
		rc = find_end(store, start, end, &last);
		if (rc != STORE_OK)
			return rc;
		if (last)
			return delete_all(store, purge, delete_status_rest_sql, rest, 5, rows);
		/* a client's rows are never split between windows, and may be far more than one
		 * holds */
		do
			rc = delete_batch(store, purge, delete_status_sql, values, 6, rows,
					  &deleted);
		while (rc == STORE_OK && deleted == WINDOW_ROWS);
		if (rc != STORE_OK)
			return rc;
		snprintf(start, sizeof(start), "%s", end);
	}
}

static enum store_result purge_plain(struct store *store, struct store_purge *purge,
				     const char *count_sql, const char *delete_sql, int64_t age_s,
				     int64_t *rows)
{
	const struct my_value values[] = {{.number = age_s}, {.number = age_s}};

	if (purge->dry_run)
		return count(store, count_sql, values, 2, rows);
	return delete_all(store, purge, delete_sql, values, 2, rows);
}

static enum store_result purge_all(struct store *store, struct store_purge *purge)
{
	enum store_result rc = purge_status(store, purge);

	if (rc == STORE_OK)
		rc = purge_plain(store, purge, count_cache_sql, delete_cache_sql, purge->cache_s,
				 &purge->cache_rows);
	if (rc == STORE_OK)
		rc = purge_plain(store, purge, count_log_sql, delete_log_sql, purge->log_s,
				 &purge->log_rows);
	return rc;
}

/* To count millions of rows takes longer than a mail would be waited for. */
static enum store_result count_all(struct store *store, struct store_purge *purge)
{
	enum store_result rc = my_take_time(store);

	return rc == STORE_OK ? purge_all(store, purge) : rc;
}

/* Only one purge at a time; the lock ends with the connection. */
enum store_result my_purge(struct store *store, struct store_purge *purge)
{
	struct my_answer answer, released;
	enum store_result rc;

	purge->status_rows = purge->log_rows = purge->cache_rows = 0;
	purge->stepped_aside = false;
	if (purge->dry_run)
		return count_all(store, purge);
	my_begin(store);
	rc = store->conn ? STORE_OK : my_connect(store);
	if (rc != STORE_OK)
		return rc;
	rc = my_run_once(store, "SELECT GET_LOCK(concat('bley.purge.', database()), 0)", NULL, 0,
			 &answer);
	if (rc != STORE_OK)
		return rc;
	purge->stepped_aside = answer.null[0] || !answer.column[0];
	if (purge->stepped_aside)
		return STORE_OK;
	rc = purge_all(store, purge);
	if (rc == STORE_OK)
		rc = my_run_once(store, "SELECT RELEASE_LOCK(concat('bley.purge.', database()))",
				 NULL, 0, &released);
	return rc;
}
