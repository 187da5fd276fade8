/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/sqlite.h"

#include <stdio.h>

#include "base/clock.h"
#include "store/graph_sql.h"
#include "store/sqlite_time.h"

#define CACHE_FOR_GRAPH "PRAGMA cache_size = -8192" /* for grouping, as in sqlite_stats.c */
#define SLOT_SIZE 200

static void add_sql(struct strbuf *out, const struct store_graph_query *query)
{
	long long start_s = query->start_s, slot_s = query->slot_s;
	char time[SQLITE_TIME_SIZE], start[SQLITE_TIME_SIZE + 2], slot[SLOT_SIZE];

	sqlite_time_format(query->start_s * US_PER_S, time);
	snprintf(start, sizeof(start), "'%s'", time);
	snprintf(slot, sizeof(slot),
		 "max(0, min(%d, (CAST(strftime('%%s', logtime) AS int) - %lld) / %lld))",
		 query->slots - 1, start_s, slot_s);
	graph_sql(out, query, start, slot);
}

enum store_result lite_graph(struct store *store, const struct store_graph_query *query,
			     store_take_graph *take, void *context)
{
	enum store_result result = lite_ready(store);
	struct strbuf sql = STRBUF_INIT;
	sqlite3_stmt *stmt;
	int rc;

	if (result != STORE_OK)
		return result;
	lite_exec(store, CACHE_FOR_GRAPH);
	add_sql(&sql, query);
	rc = sqlite3_prepare_v2(store->db, sql.buf, -1, &stmt, NULL);
	if (!rc) {
		bool fits = true;

		while (fits && sqlite3_step(stmt) == SQLITE_ROW)
			fits = graph_take(query, sqlite3_column_int64(stmt, 0),
					  sqlite3_column_int64(stmt, 1),
					  sqlite3_column_int64(stmt, 2), take, context);
		rc = sqlite3_reset(stmt);
		if (!fits)
			rc = SQLITE_MISMATCH;
	}
	result = lite_result(store, rc);
	sqlite3_finalize(stmt);
	strbuf_release(&sql);
	return result;
}
