/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "store/sqlite_time.h"
#include "store/rest.h"

/*
 * bley_status and bley_cache are walked in windows along their keys. A window is read first, which
 * hinders nobody; only where it holds old rows the write lock is taken, for some milliseconds, and
 * then left to the handlers for as long again. bley_log has its old rows at the front of an index.
 * No ANALYZE (PRAGMA optimize) afterwards: each query of bley's uses a whole key or that index, and
 * the statistics would be read at each start of a handler.
 */
#define WINDOW "2000" /* rows */
#define LOG_BATCH "1000"
#define CHECKPOINT_FRAMES 1000
#define KEY_MOST 3

/* Parameters: ?1 rows before this time are old, ?2 bad ones before this (NULL: none is); a window
 * begins with the key at ?3 and ends before the one at ?6. */
enum { PARAM_OLD = 1, PARAM_OLD_BAD = 2, PARAM_START = 3, PARAM_END = 6 };

struct table {
	int key; /* columns */
	const char *find_end, *count, *delete;
};

#define STATUS_RANGE                                                      \
	" FROM bley_status WHERE (ip, sender, recipient) >= (?3, ?4, ?5)" \
	" AND (ip, sender, recipient) < (?6, ?7, ?8)"                     \
	" AND (last_action < ?1 OR (status >= 2 AND last_action < ?2))"
#define CACHE_RANGE " FROM bley_cache WHERE ip >= ?3 AND ip < ?6 AND last_action < ?1"

static const struct table status_table = {
    .key = 3,
    .find_end = "SELECT ip, sender, recipient FROM bley_status"
		" WHERE (ip, sender, recipient) >= (?3, ?4, ?5)"
		" ORDER BY ip, sender, recipient LIMIT 1 OFFSET " WINDOW,
    .count = "SELECT count(*)" STATUS_RANGE,
    .delete = "DELETE" STATUS_RANGE,
};

static const struct table cache_table = {
    .key = 1,
    .find_end = "SELECT ip FROM bley_cache WHERE ip >= ?3 ORDER BY ip LIMIT 1 OFFSET " WINDOW,
    .count = "SELECT count(*)" CACHE_RANGE,
    .delete = "DELETE" CACHE_RANGE,
};

/* A purge at work. */
struct work {
	struct store *store;
	struct store_purge *purge;
	int64_t *rows; /* the sum that counts in *purge */
	char old[SQLITE_TIME_SIZE], old_bad[SQLITE_TIME_SIZE];
	const char *bind_old, *bind_old_bad; /* these, or NULL */
};

struct walk {
	sqlite3_stmt *find_end, *count, *delete;
	struct strbuf start[KEY_MOST], end[KEY_MOST];
	bool last; /* window: there is no end */
};

static const char *time_before(int64_t age_s, char out[SQLITE_TIME_SIZE])
{
	int64_t now_us = sqlite_time_now();

	if (age_s < 0)
		return NULL;
	sqlite_time_format(age_s > now_us / US_PER_S ? 0 : now_us - age_s * US_PER_S, out);
	return out;
}

static void set_ages(struct work *work, int64_t *rows, int64_t age_s, int64_t bad_age_s)
{
	work->rows = rows;
	work->bind_old = time_before(age_s, work->old);
	work->bind_old_bad = time_before(bad_age_s, work->old_bad);
}

static int find_end(struct walk *walk, int key)
{
	for (int i = 0; i < key; i++)
		sqlite3_bind_text(walk->find_end, PARAM_START + i, walk->start[i].buf, -1,
				  SQLITE_STATIC);
	walk->last = true;
	if (sqlite3_step(walk->find_end) == SQLITE_ROW) {
		walk->last = false;
		for (int i = 0; i < key; i++) {
			strbuf_clear(&walk->end[i]);
			strbuf_addstr(&walk->end[i],
				      (const char *)sqlite3_column_text(walk->find_end, i));
		}
	}
	return sqlite3_reset(walk->find_end);
}

static void bind_window(const struct work *work, sqlite3_stmt *stmt, const struct walk *walk,
			int key)
{
	sqlite3_bind_text(stmt, PARAM_OLD, work->bind_old, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, PARAM_OLD_BAD, work->bind_old_bad, -1, SQLITE_STATIC);
	for (int i = 0; i < key; i++) {
		sqlite3_bind_text(stmt, PARAM_START + i, walk->start[i].buf, -1, SQLITE_STATIC);
		/* A blob comes after every text. */
		if (walk->last)
			sqlite3_bind_zeroblob(stmt, PARAM_END + i, 1);
		else
			sqlite3_bind_text(stmt, PARAM_END + i, walk->end[i].buf, -1, SQLITE_STATIC);
	}
}

/* Deletes in one transaction, then lets the others go on. */
static int delete_batch(struct work *work, sqlite3_stmt *stmt, int *deleted)
{
	int64_t began_us = clock_us();
	int rc;

	lite_deadline(work->store);
	rc = lite_run(stmt, NULL);
	if (rc)
		return rc;
	*deleted = sqlite3_changes(work->store->db);
	*work->rows += *deleted;
	if (work->purge->progress)
		work->purge->progress(work->purge);
	if (work->store->wal_frames >= CHECKPOINT_FRAMES)
		lite_checkpoint(work->store);
	store_rest_since(began_us);
	return SQLITE_OK;
}

static int purge_window(struct work *work, struct walk *walk, int key)
{
	int64_t old = 0;
	int deleted;
	int rc;

	bind_window(work, walk->count, walk, key);
	rc = lite_run(walk->count, &old);
	if (rc || !old)
		return rc;
	if (work->purge->dry_run) {
		*work->rows += old;
		return SQLITE_OK;
	}
	bind_window(work, walk->delete, walk, key);
	return delete_batch(work, walk->delete, &deleted);
}

static int walk_prepare(sqlite3 *db, const struct table *table, struct walk *walk)
{
	int rc = sqlite3_prepare_v2(db, table->find_end, -1, &walk->find_end, NULL);

	if (!rc)
		rc = sqlite3_prepare_v2(db, table->count, -1, &walk->count, NULL);
	if (!rc)
		rc = sqlite3_prepare_v2(db, table->delete, -1, &walk->delete, NULL);
	for (int i = 0; i < KEY_MOST; i++)
		walk->start[i] = walk->end[i] = STRBUF_INIT;
	return rc;
}

static void walk_release(struct walk *walk)
{
	sqlite3_finalize(walk->find_end);
	sqlite3_finalize(walk->count);
	sqlite3_finalize(walk->delete);
	for (int i = 0; i < KEY_MOST; i++) {
		strbuf_release(&walk->start[i]);
		strbuf_release(&walk->end[i]);
	}
}

static int purge_table(struct work *work, const struct table *table)
{
	struct walk walk = {.last = false};
	int rc;

	if (!work->bind_old && !work->bind_old_bad)
		return SQLITE_OK;
	rc = walk_prepare(work->store->db, table, &walk);
	while (!rc && !walk.last) {
		lite_deadline(work->store);
		rc = find_end(&walk, table->key);
		if (!rc)
			rc = purge_window(work, &walk, table->key);
		for (int i = 0; i < KEY_MOST; i++) {
			struct strbuf passed = walk.start[i];

			walk.start[i] = walk.end[i];
			walk.end[i] = passed;
		}
	}
	walk_release(&walk);
	return rc;
}

static int purge_log(struct work *work)
{
	const char *sql = work->purge->dry_run
			      ? "SELECT count(*) FROM bley_log WHERE logtime < ?1"
			      : "DELETE FROM bley_log WHERE rowid IN (SELECT rowid FROM bley_log"
				" WHERE logtime < ?1 ORDER BY logtime LIMIT " LOG_BATCH ")";
	sqlite3_stmt *stmt;
	int deleted;
	int rc;

	if (!work->bind_old)
		return SQLITE_OK;
	rc = sqlite3_prepare_v2(work->store->db, sql, -1, &stmt, NULL);
	if (rc)
		return rc;
	sqlite3_bind_text(stmt, PARAM_OLD, work->bind_old, -1, SQLITE_STATIC);
	if (work->purge->dry_run)
		rc = lite_run(stmt, work->rows);
	else
		do
			rc = delete_batch(work, stmt, &deleted);
		while (!rc && deleted);
	sqlite3_finalize(stmt);
	return rc;
}

static enum store_result purge_all(struct store *store, struct store_purge *purge)
{
	struct work work = {.store = store, .purge = purge};
	int rc;

	set_ages(&work, &purge->status_rows, purge->status_s, purge->status_bad_s);
	rc = purge_table(&work, &status_table);
	set_ages(&work, &purge->cache_rows, purge->cache_s, -1);
	if (!rc)
		rc = purge_table(&work, &cache_table);
	set_ages(&work, &purge->log_rows, purge->log_s, -1);
	if (!rc)
		rc = purge_log(&work);
	return lite_result(store, rc);
}

/* A lock that ends with its process, however that ends. It has a file of its own: to open and close
 * the database's would drop SQLite's locks on it. False: *fd is -1 and errno tells. */
static bool lock_purge(struct store *store, int *fd)
{
	struct strbuf path = STRBUF_INIT;

	strbuf_addf(&path, "%s-purge", store->config.name);
	*fd = open(path.buf, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (*fd >= 0) {
		lite_give_to_folder_owner(*fd, path.buf);
		if (!flock(*fd, LOCK_EX | LOCK_NB))
			goto out;
		close(*fd);
		*fd = -1;
		errno = EWOULDBLOCK;
	}
	snprintf(store->error, sizeof(store->error), "%s: %s", path.buf, strerror(errno));
out:
	strbuf_release(&path);
	return *fd >= 0;
}

enum store_result lite_purge(struct store *store, struct store_purge *purge)
{
	enum store_result result = lite_ready(store);
	int fd = -1;

	if (result != STORE_OK)
		return result;
	purge->status_rows = purge->log_rows = purge->cache_rows = 0;
	purge->stepped_aside = false;
	if (!purge->dry_run && !lock_purge(store, &fd)) {
		purge->stepped_aside = errno == EWOULDBLOCK;
		return purge->stepped_aside ? STORE_OK : STORE_BROKEN;
	}
	result = purge_all(store, purge);
	if (fd >= 0) {
		lite_checkpoint(store);
		close(fd);
	}
	return result;
}
