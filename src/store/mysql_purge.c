/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

#include <mysqld_error.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/rest.h"

/*
 * bley_status and bley_cache are walked along their keys in windows of so many rows, so that no
 * index on last_action is needed, which each decision would have to keep, and no row is passed
 * twice, however many a client has. A window's old rows are deleted by one statement; then others
 * have their turn. A window shrinks where the server needs long for one.
 */
#define ROWS_MOST 1000
#define ROWS_LEAST 10
#define BATCH_US 50000 /* what a batch may take; half of how long a lock may be held */

#define KEYS_MOST 3
#define KEY_VALUES_MOST 6

#define OLDER(column) column " < UTC_TIMESTAMP(6) - INTERVAL ? SECOND"
#define STATUS_OLD                                                                      \
	"((? >= 0 AND " OLDER("last_action") ") OR (? >= 0 AND status >= 2 AND " OLDER( \
	    "last_action") "))"
#define PLAIN_OLD(column) "? >= 0 AND " OLDER(column)

/* One key compared with another, in a form of which the server makes a range. */
#define COMPARE(sign, last_sign)                           \
	"(ip " sign " ? OR (ip = ? AND sender " sign " ?)" \
	" OR (ip = ? AND sender = ? AND recipient " last_sign " ?))"

struct table {
	int keys;
	const char *count;
	const char *find;   /* from a key on, so many rows: the last one's key */
	const char *delete; /* behind a key, up to another one */
};

static const struct table status_table = {
    KEYS_MOST,
    "SELECT count(*) FROM bley_status WHERE " STATUS_OLD,
    "SELECT ip, sender, recipient FROM (SELECT ip, sender, recipient FROM bley_status"
    " WHERE " COMPARE(">", ">") " ORDER BY ip, sender, recipient LIMIT ?) w"
				" ORDER BY ip DESC, sender DESC, recipient DESC LIMIT 1",
    "DELETE FROM bley_status WHERE " COMPARE(">", ">") " AND " COMPARE("<",
								       "<=") " AND " STATUS_OLD,
};
static const struct table cache_table = {
    1,
    "SELECT count(*) FROM bley_cache WHERE " PLAIN_OLD("last_action"),
    "SELECT ip FROM (SELECT ip FROM bley_cache WHERE ip > ? ORDER BY ip LIMIT ?) w"
    " ORDER BY ip DESC LIMIT 1",
    "DELETE FROM bley_cache WHERE ip > ? AND ip <= ? AND " PLAIN_OLD("last_action"),
};
static const char count_log_sql[] = "SELECT count(*) FROM bley_log WHERE " PLAIN_OLD("logtime");
static const char delete_log_sql[] = "DELETE FROM bley_log WHERE " PLAIN_OLD(
    "logtime") " ORDER BY logtime LIMIT ?";

/*
 * A purge that is at work. GET_LOCK() ends with its connection, but is one server's; in a cluster
 * a row says on which of them a purge is at work, and until when that holds without a word of it.
 * Whoever has the lock on the server that the row names is its owner's heir. Of two servers that
 * write the row at once, certification lets only one through.
 */
#define CLAIM_S "60"
#define CLAIM_AGAIN_US INT64_C(10000000)
#define HERE "concat(@@hostname, ':', @@port)"
#define UNTIL "UTC_TIMESTAMP(6) + INTERVAL " CLAIM_S " SECOND"

static const char make_claims_sql[] =
    "CREATE TABLE IF NOT EXISTS bley_purge (id tinyint NOT NULL PRIMARY KEY,"
    " server varchar(300) NOT NULL, until datetime(6) NOT NULL) ENGINE=InnoDB"
    " DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
static const char claim_sql[] =
    "INSERT INTO bley_purge (id, server, until) VALUES (1, " HERE ", " UNTIL ")"
    " ON DUPLICATE KEY UPDATE"
    " server = IF(until < UTC_TIMESTAMP(6) OR server = VALUES(server), VALUES(server), server),"
    " until = IF(server = VALUES(server), VALUES(until), until)";
static const char claimed_sql[] = "SELECT count(*) FROM bley_purge WHERE server = " HERE;
static const char unclaim_sql[] = "DELETE FROM bley_purge WHERE server = " HERE;
static const char lock_sql[] = "SELECT GET_LOCK(concat('bley.purge.', database()), 0)";
static const char unlock_sql[] = "SELECT RELEASE_LOCK(concat('bley.purge.', database()))";

struct work {
	struct store *store;
	struct store_purge *purge;
	int64_t rows;	    /* of the next window */
	int64_t claimed_us; /* when the claim was last told; 0: none could be made */
};

struct key {
	char text[KEYS_MOST][MY_TEXT_SIZE];
};

/* Again, where another transaction was in the way, until the deadline. */
static enum store_result run(struct store *store, const char *sql, const struct my_value *values,
			     size_t n, unsigned columns, struct my_answer *out)
{
	enum store_result rc;

	my_begin(store);
	do
		rc = my_run_once(store, sql, values, n, columns, out);
	while (rc == STORE_RETRY && store->conn && my_wants_retry(store));
	return rc;
}

static enum store_result claim(struct work *work, bool *got)
{
	struct my_answer answer;
	enum store_result rc = run(work->store, claim_sql, NULL, 0, 0, &answer);

	if (rc != STORE_OK && work->store->code == ER_NO_SUCH_TABLE) {
		rc = run(work->store, make_claims_sql, NULL, 0, 0, &answer);
		if (rc == STORE_OK)
			rc = run(work->store, claim_sql, NULL, 0, 0, &answer);
	}
	if (rc == STORE_OK)
		rc = run(work->store, claimed_sql, NULL, 0, 1, &answer);
	*got = rc == STORE_OK ? answer.column[0] != 0 : rc != STORE_RETRY;
	work->claimed_us = rc == STORE_OK ? clock_us() : 0;
	/* without the rights on that table the lock has to do */
	return work->store->conn ? STORE_OK : rc;
}

static enum store_result delete_batch(struct work *work, const char *sql,
				      const struct my_value *values, size_t n, int64_t *rows,
				      int64_t *deleted)
{
	int64_t began_us = clock_us(), took_us;
	struct my_answer answer;
	enum store_result rc = run(work->store, sql, values, n, 0, &answer);
	bool got;

	if (rc != STORE_OK)
		return rc;
	took_us = clock_us() - began_us;
	if (took_us > BATCH_US && work->rows > ROWS_LEAST)
		work->rows /= 2;
	else if (took_us < BATCH_US / 2 && work->rows < ROWS_MOST)
		work->rows *= 2;
	*deleted = answer.changed;
	*rows += answer.changed;
	if (answer.changed && work->purge->progress)
		work->purge->progress(work->purge);
	if (answer.changed)
		store_rest_since(began_us);
	if (work->claimed_us && clock_us() - work->claimed_us > CLAIM_AGAIN_US)
		rc = claim(work, &got);
	return rc;
}

/* The key's values for COMPARE(), or the only one. */
static size_t add_key(struct my_value *values, const struct key *key, int keys)
{
	static const int order[KEY_VALUES_MOST] = {0, 0, 1, 0, 1, 2};
	size_t n = keys > 1 ? KEY_VALUES_MOST : 1;

	for (size_t i = 0; i < n; i++)
		values[i] = (struct my_value){.text = key->text[order[i]]};
	return n;
}

struct finder {
	int keys;
	struct key *key;
	bool found;
};

static bool take_key(void *context, char *const *row)
{
	struct finder *finder = context;

	for (int i = 0; i < finder->keys; i++)
		snprintf(finder->key->text[i], MY_TEXT_SIZE, "%s", row[i]);
	finder->found = true;
	return true;
}

/* The end of the window that begins behind `start`. */
static enum store_result find_end(struct work *work, const struct table *table,
				  const struct key *start, struct key *end, bool *found)
{
	struct my_value values[KEY_VALUES_MOST + 1];
	struct finder finder = {.keys = table->keys, .key = end};
	size_t n = add_key(values, start, table->keys);
	enum store_result rc;

	values[n++] = (struct my_value){.number = work->rows};
	my_begin(work->store);
	rc = my_ready(work->store);
	if (rc == STORE_OK)
		rc = my_stream(work->store, table->find, values, n, (unsigned)table->keys, take_key,
			       &finder);
	/* a text with a NUL, which is none of bley's, would be found for ever */
	*found = finder.found && memcmp(start, end, sizeof(*end)) != 0;
	return rc;
}

/* `old` are the values that the table's statements have for what is old. */
static enum store_result purge_table(struct work *work, const struct table *table,
				     const struct my_value *old, size_t old_count, int64_t *rows)
{
	struct my_value values[2 * KEY_VALUES_MOST + 4];
	struct key start = {.text = {""}}, end = start;
	enum store_result rc;
	int64_t deleted;
	bool found;

	for (;;) {
		size_t n;

		rc = find_end(work, table, &start, &end, &found);
		if (rc != STORE_OK || !found)
			return rc;
		n = add_key(values, &start, table->keys);
		n += add_key(values + n, &end, table->keys);
		memcpy(values + n, old, old_count * sizeof(*old));
		rc = delete_batch(work, table->delete, values, n + old_count, rows, &deleted);
		if (rc != STORE_OK)
			return rc;
		memcpy(&start, &end, sizeof(start));
	}
}

/* The oldest first, until none is left. */
static enum store_result purge_log(struct work *work, const struct my_value *old)
{
	enum store_result rc;
	int64_t deleted;

	do {
		const struct my_value values[] = {old[0], old[1], {.number = work->rows}};

		rc = delete_batch(work, delete_log_sql, values, 3, &work->purge->log_rows,
				  &deleted);
	} while (rc == STORE_OK && deleted > 0);
	return rc;
}

static enum store_result count(struct store *store, const char *sql, const struct my_value *values,
			       size_t n, int64_t *rows)
{
	struct my_answer answer;
	enum store_result rc = my_run_once(store, sql, values, n, 1, &answer);

	if (rc == STORE_OK)
		*rows = answer.column[0];
	return rc;
}

static enum store_result purge_all(struct work *work)
{
	struct store_purge *purge = work->purge;
	const struct my_value status[] = {{.number = purge->status_s},
					  {.number = purge->status_s},
					  {.number = purge->status_bad_s},
					  {.number = purge->status_bad_s}};
	const struct my_value cache[] = {{.number = purge->cache_s}, {.number = purge->cache_s}};
	const struct my_value log[] = {{.number = purge->log_s}, {.number = purge->log_s}};
	enum store_result rc;

	if (purge->dry_run) {
		/* to count millions of rows takes longer than a mail would be waited for */
		rc = my_take_time(work->store);
		if (rc == STORE_OK)
			rc = count(work->store, status_table.count, status, 4, &purge->status_rows);
		if (rc == STORE_OK)
			rc = count(work->store, cache_table.count, cache, 2, &purge->cache_rows);
		return rc == STORE_OK ? count(work->store, count_log_sql, log, 2, &purge->log_rows)
				      : rc;
	}
	rc = purge_table(work, &status_table, status, 4, &purge->status_rows);
	if (rc == STORE_OK)
		rc = purge_table(work, &cache_table, cache, 2, &purge->cache_rows);
	return rc == STORE_OK ? purge_log(work, log) : rc;
}

/* Only one purge at a time. */
static enum store_result lock(struct work *work, bool *got)
{
	struct my_answer answer;
	enum store_result rc = run(work->store, lock_sql, NULL, 0, 1, &answer);

	if (rc != STORE_OK)
		return rc;
	*got = !answer.null[0] && answer.column[0];
	if (!*got)
		return rc;
	rc = claim(work, got);
	if (rc == STORE_OK && !*got)
		rc = run(work->store, unlock_sql, NULL, 0, 1, &answer);
	return rc;
}

static enum store_result unlock(struct work *work)
{
	struct my_answer answer;
	enum store_result rc = STORE_OK;

	if (work->claimed_us)
		rc = run(work->store, unclaim_sql, NULL, 0, 0, &answer);
	return rc == STORE_OK ? run(work->store, unlock_sql, NULL, 0, 1, &answer) : rc;
}

enum store_result my_purge(struct store *store, struct store_purge *purge)
{
	struct work work = {.store = store, .purge = purge, .rows = ROWS_MOST};
	enum store_result rc;
	bool got = false;

	purge->status_rows = purge->log_rows = purge->cache_rows = 0;
	purge->stepped_aside = false;
	if (purge->dry_run)
		return purge_all(&work);
	my_begin(store);
	rc = my_ready(store);
	if (rc == STORE_OK)
		rc = lock(&work, &got);
	purge->stepped_aside = rc == STORE_OK && !got;
	if (rc == STORE_OK && got)
		rc = purge_all(&work);
	if (rc == STORE_OK && got)
		rc = unlock(&work);
	return rc;
}
