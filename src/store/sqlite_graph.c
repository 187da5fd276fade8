/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/sqlite.h"

#include <limits.h>

#include "store/sqlite_time.h"

#define US_PER_S INT64_C(1000000)
#define CACHE_FOR_GRAPH "PRAGMA cache_size = -8192" /* for grouping, as in sqlite_stats.c */

/* Parameters: ?1 the start as text, ?2 in seconds, ?3 a slot's length, ?4 the last slot, ?5 to ?7
 * the thresholds for DNSWL, DNSBL and the other checks. The Python daemon's rows may lack scores.
 */
#define N(column) "coalesce(" column ", 0)"
#define DEFERRED "coalesce(action, '') LIKE 'DEFER%'"
#define KNOWN "coalesce(check_db, -1)"
#define SUM_HELO N("check_helo")
#define SUM_DYN SUM_HELO " + " N("check_dyn")
#define SUM_SPF SUM_DYN " + " N("check_spf")
#define SUM_ALL SUM_SPF " + " N("check_s_eq_r")

/* The numbers of enum store_graph_class. */
#define CLASS                                                                                      \
	"CASE WHEN " DEFERRED " THEN CASE WHEN " N(                                                \
	    "check_cache") " > 0 AND " KNOWN " < 2 THEN 6 WHEN " KNOWN                             \
			   " >= 2 THEN 7 WHEN " N(                                                 \
			       "check_dnsbl") " >= ?6 THEN 8"                                      \
					      " WHEN " SUM_HELO " >= ?7 THEN 9 WHEN " SUM_DYN      \
					      " >= ?7 THEN 10 WHEN " SUM_SPF                       \
					      " >= ?7 THEN 11 WHEN " SUM_ALL                       \
					      " >= ?7 THEN 12 ELSE 13 END"                         \
					      " WHEN " N("check_cache") " > 0 THEN 0 WHEN " N(     \
						  "check_postmaster") " > 0 THEN 1"                \
								      " WHEN " KNOWN               \
								      " IN (0, 1) THEN 2 "         \
								      "WHEN " KNOWN " >= 2 THEN 3" \
								      " WHEN " N(                  \
									  "check_dnswl") " >= ?5 " \
											 "THEN 4 " \
											 "ELSE 5 " \
											 "END"

#define SLOT "max(0, min(?4, (CAST(strftime('%s', logtime) AS int) - ?2) / ?3))"

static const char *const queries[] = {
    [STORE_GRAPH_DECISIONS] = "SELECT " SLOT ", " CLASS
			      ", count(*) FROM bley_log WHERE logtime >= ?1 GROUP BY 1, 2",
    /* A tuple whose first deferral is older than what is looked at is not counted. */
    [STORE_GRAPH_TUPLES] =
	"SELECT back, class, count(*) FROM (SELECT"
	" min(CASE WHEN " KNOWN " = -1 THEN " CLASS " END) AS class,"
	" max(" KNOWN " >= 2 AND NOT " DEFERRED ") AS back"
	" FROM bley_log WHERE logtime >= ?1 AND " N(
	    "check_cache") " = 0"
			   " AND (" KNOWN " >= 2 OR (" KNOWN " = -1 AND " DEFERRED "))"
			   " GROUP BY ip, sender, recipient) WHERE class IS NOT NULL GROUP BY 1, 2",
};

static int threshold(int value)
{
	return value > 0 ? value : INT_MAX;
}

static void bind_query(sqlite3_stmt *stmt, const struct store_graph_query *query)
{
	char start[SQLITE_TIME_SIZE];

	sqlite_time_format(query->start_s * US_PER_S, start);
	sqlite3_bind_text(stmt, 1, start, -1, SQLITE_TRANSIENT);
	sqlite3_bind_int64(stmt, 2, query->start_s);
	sqlite3_bind_int64(stmt, 3, query->slot_s);
	sqlite3_bind_int(stmt, 4, query->slots - 1);
	sqlite3_bind_int(stmt, 5, threshold(query->dnswl_threshold));
	sqlite3_bind_int(stmt, 6, threshold(query->dnsbl_threshold));
	sqlite3_bind_int(stmt, 7, threshold(query->rfc_threshold));
}

enum store_result lite_graph(struct store *store, const struct store_graph_query *query,
			     store_take_graph *take, void *context)
{
	enum store_result result = lite_ready(store);
	sqlite3_stmt *stmt;
	int rc;

	if (result != STORE_OK)
		return result;
	lite_exec(store, CACHE_FOR_GRAPH);
	rc = sqlite3_prepare_v2(store->db, queries[query->kind], -1, &stmt, NULL);
	if (!rc) {
		bind_query(stmt, query);
		while (sqlite3_step(stmt) == SQLITE_ROW)
			take(context, sqlite3_column_int(stmt, 0),
			     (enum store_graph_class)sqlite3_column_int(stmt, 1),
			     sqlite3_column_int64(stmt, 2));
		rc = sqlite3_reset(stmt);
	}
	result = lite_result(store, rc);
	sqlite3_finalize(stmt);
	return result;
}
