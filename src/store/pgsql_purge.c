/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/rest.h"

/*
 * The tables are walked once, some pages at a time (a TID range scan, from PostgreSQL 14 on), so
 * that neither an index on last_action is needed, which each decision would have to keep, nor rows
 * that are deleted already are passed again.
 */
#define PAGES_A_BATCH 100
#define NUMBER_SIZE 24
#define TID_SIZE 32

struct table {
	const char *pages, *count, *delete;
};

/* $1: rows older than so many seconds are old; $2: bad ones older than so many; $3, $4: the pages'
 * bounds. */
#define OLDER(column, parameter) \
	column " < " PG_NOW " - " parameter "::bigint * interval '1 second'"
#define RANGE " AND ctid >= $3::tid AND ctid < $4::tid"
#define PAGES(table) "SELECT pg_relation_size('" table "') / current_setting('block_size')::int + 1"
#define STATUS_OLD                                                       \
	"(($1::bigint >= 0 AND " OLDER("last_action",                    \
				       "$1") ") OR ($2::bigint >= 0 AND" \
					     " status >= 2 AND " OLDER("last_action", "$2") "))"
#define PLAIN_OLD(column) "($1::bigint >= 0 AND $2::bigint IS NOT NULL AND " OLDER(column, "$1") ")"

static const struct table status_table = {
    PAGES("bley_status"),
    "SELECT count(*) FROM bley_status WHERE " STATUS_OLD RANGE,
    "DELETE FROM bley_status WHERE " STATUS_OLD RANGE,
};
static const struct table cache_table = {
    PAGES("bley_cache"),
    "SELECT count(*) FROM bley_cache WHERE " PLAIN_OLD("last_action") RANGE,
    "DELETE FROM bley_cache WHERE " PLAIN_OLD("last_action") RANGE,
};
static const struct table log_table = {
    PAGES("bley_log"),
    "SELECT count(*) FROM bley_log WHERE " PLAIN_OLD("logtime") RANGE,
    "DELETE FROM bley_log WHERE " PLAIN_OLD("logtime") RANGE,
};

static enum store_result query(struct store *store, const struct pg_call *call, int64_t *value)
{
	PGresult *result;
	enum store_result rc;

	pg_begin(store);
	rc = pg_run(store, call, &result);
	if (rc != STORE_OK)
		return rc;
	*value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return rc;
}

/* Deletes, or only counts, what is old on some pages. */
static enum store_result purge_pages(struct store *store, const struct table *table, bool dry_run,
				     const char *const *ages, int64_t page, int64_t *rows)
{
	char from[TID_SIZE], to[TID_SIZE];
	const char *const values[] = {ages[0], ages[1], from, to};
	const struct pg_call call = {.sql = dry_run ? table->count : table->delete,
				     .count = 4,
				     .values = values,
				     .columns = dry_run,
				     .row = dry_run};
	enum store_result rc;
	PGresult *result;

	snprintf(from, sizeof(from), "(%lld,0)", (long long)page);
	snprintf(to, sizeof(to), "(%lld,0)", (long long)page + PAGES_A_BATCH);
	pg_begin(store);
	rc = pg_run(store, &call, &result);
	if (rc != STORE_OK)
		return rc;
	*rows = strtoll(dry_run ? PQgetvalue(result, 0, 0) : PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return rc;
}

static enum store_result purge_table(struct store *store, struct store_purge *purge,
				     const struct table *table, int64_t old_s, int64_t bad_s,
				     int64_t *rows)
{
	char old[NUMBER_SIZE], bad[NUMBER_SIZE];
	const char *const ages[] = {old, bad};
	const struct pg_call pages_call = {.sql = table->pages, .columns = 1, .row = true};
	enum store_result rc;
	int64_t pages = 0;

	snprintf(old, sizeof(old), "%lld", (long long)old_s);
	snprintf(bad, sizeof(bad), "%lld", (long long)bad_s);
	rc = query(store, &pages_call, &pages);
	for (int64_t page = 0; rc == STORE_OK && page < pages; page += PAGES_A_BATCH) {
		int64_t began_us = clock_us(), found = 0;

		rc = purge_pages(store, table, purge->dry_run, ages, page, &found);
		*rows += found;
		if (found && purge->progress)
			purge->progress(purge);
		if (found && !purge->dry_run)
			store_rest_since(began_us);
	}
	return rc;
}

/*
 * Only one purge at a time. The lock is a transaction's, on a connection of its own that does
 * nothing else meanwhile: a session's would get lost behind a pooler in transaction mode. It ends
 * with its process, however that ends.
 */
static enum store_result lock(struct store *keeper, bool *got)
{
	const struct pg_call begin = {.sql = "BEGIN"};
	const struct pg_call call = {
	    .sql = "SELECT pg_try_advisory_xact_lock(1651270010)::int", .columns = 1, .row = true};
	PGresult *result;
	enum store_result rc = pg_connect(keeper);

	if (rc == STORE_OK)
		rc = pg_run_here(keeper, &begin, &result);
	if (rc != STORE_OK)
		return rc;
	PQclear(result);
	rc = pg_run_here(keeper, &call, &result);
	if (rc != STORE_OK)
		return rc;
	*got = *PQgetvalue(result, 0, 0) == '1';
	PQclear(result);
	return rc;
}

/* The server sees a closed connection only some time later, when the next purge may be there. */
static void unlock(struct store *keeper)
{
	const struct pg_call commit = {.sql = "COMMIT"};
	PGresult *result;

	pg_begin(keeper);
	if (keeper->conn && pg_run_here(keeper, &commit, &result) == STORE_OK)
		PQclear(result);
	pg_disconnect(keeper);
}

enum store_result pg_purge(struct store *store, struct store_purge *purge)
{
	struct store keeper = {.config = store->config};
	enum store_result rc = STORE_OK;
	bool got = true;

	purge->status_rows = purge->log_rows = purge->cache_rows = 0;
	purge->stepped_aside = false;
	pg_begin(&keeper);
	if (!purge->dry_run)
		rc = lock(&keeper, &got);
	if (rc != STORE_OK)
		snprintf(store->error, sizeof(store->error), "%s", keeper.error);
	purge->stepped_aside = rc == STORE_OK && !got;
	if (rc == STORE_OK && got)
		rc = purge_table(store, purge, &status_table, purge->status_s, purge->status_bad_s,
				 &purge->status_rows);
	if (rc == STORE_OK && got)
		rc = purge_table(store, purge, &cache_table, purge->cache_s, -1,
				 &purge->cache_rows);
	if (rc == STORE_OK && got)
		rc = purge_table(store, purge, &log_table, purge->log_s, -1, &purge->log_rows);
	unlock(&keeper);
	return rc;
}
