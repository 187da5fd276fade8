/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/sqlite.h"

#include "store/sqlite_time.h"
#include "store/stat_sql.h"

/* Parameters: ?1 the oldest time, ?2 and ?3 the thresholds, ?4 how many clients. */

#define TUPLES STAT_TUPLES "?1 GROUP BY ip, sender, recipient) WHERE first IS NOT NULL"
#define WAITED "CAST(round((julianday(back) - julianday(first)) * 86400) AS int)"

static const char *const queries[] = {
    [STORE_STAT_DECISIONS] = "SELECT count(*), action, 0, 0," STAT_REASON(
	"?2", "?3") " FROM bley_log WHERE logtime >= ?1 GROUP BY 2, 5",
    [STORE_STAT_TUPLES] =
	"SELECT count(*), NULL, CASE WHEN waited < 3600 THEN waited ELSE waited / 60 * 60 END"
	" FROM (SELECT coalesce(max(0, " WAITED "), -1) AS waited" TUPLES ") GROUP BY 3 ORDER BY 3",
    [STORE_STAT_CLIENT] = "SELECT count(*), ip, 0, sum(action LIKE 'DEFER%')"
			  " FROM bley_log WHERE logtime >= ?1 GROUP BY ip"
			  " ORDER BY 1 DESC, ip LIMIT ?4",
};

static void take_row(sqlite3_stmt *stmt, enum store_stat_kind kind, store_take_stat *take,
		     void *context)
{
	const char *name = (const char *)sqlite3_column_text(stmt, 1);
	struct store_stat stat = {
	    .kind = kind,
	    .name = name ? name : "",
	    .count = sqlite3_column_int64(stmt, 0),
	    .seconds = sqlite3_column_int64(stmt, 2),
	    .deferred = sqlite3_column_int64(stmt, 3),
	    .reason = (enum store_stat_reason)sqlite3_column_int(stmt, 4),
	};

	take(context, &stat);
}

static void bind_query(sqlite3_stmt *stmt, const struct store_stat_query *query)
{
	int64_t since_us = query->since_us ? sqlite_time_now() - query->since_us : 0;
	char since[SQLITE_TIME_SIZE];

	sqlite_time_format(since_us, since);
	sqlite3_bind_text(stmt, 1, since, -1, SQLITE_TRANSIENT);
	sqlite3_bind_int(stmt, 2, stat_threshold(query->dnswl_threshold));
	sqlite3_bind_int(stmt, 3, stat_threshold(query->dnsbl_threshold));
	sqlite3_bind_int(stmt, 4, query->clients);
}

enum store_result lite_stats(struct store *store, const struct store_stat_query *query,
			     store_take_stat *take, void *context)
{
	enum store_result result = lite_ready(store);
	sqlite3_stmt *stmt;

	/* for sorting: with the handlers' cache it would all go through temporary files */
	if (result == STORE_OK)
		lite_exec(store, "PRAGMA cache_size = -8192");

	for (int kind = STORE_STAT_DECISIONS; result == STORE_OK && kind <= STORE_STAT_CLIENT;
	     kind++) {
		int rc;

		if (!store_stat_wants(query, (enum store_stat_kind)kind))
			continue;
		rc = sqlite3_prepare_v2(store->db, queries[kind], -1, &stmt, NULL);
		if (!rc) {
			bind_query(stmt, query);
			while (sqlite3_step(stmt) == SQLITE_ROW)
				take_row(stmt, (enum store_stat_kind)kind, take, context);
			rc = sqlite3_reset(stmt);
		}
		result = lite_result(store, rc);
		sqlite3_finalize(stmt);
	}
	return result;
}
