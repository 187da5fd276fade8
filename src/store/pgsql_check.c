/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <stdio.h>
#include <string.h>

/* A row for each right that is missing. */
static const char rights_sql[] =
    "SELECT p, t FROM (VALUES ('bley_status'), ('bley_cache'), ('bley_log')) tables (t),"
    " (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) rights (p)"
    " WHERE NOT has_table_privilege(t, p) AND NOT (t = 'bley_log' AND p = 'UPDATE')";
static const char read_only_sql[] = "SELECT current_setting('transaction_read_only')";

static enum store_result query(struct store *store, const char *sql, int columns, bool row,
			       PGresult **out)
{
	const struct pg_call call = {.sql = sql, .columns = columns, .row = row};

	pg_begin(store);
	return pg_run(store, &call, out);
}

enum store_result pg_check(struct store *store, store_take_lack *take, void *context)
{
	PGresult *result;
	enum store_result rc = query(store, rights_sql, 2, false, &result);
	char what[100];

	if (rc != STORE_OK)
		return rc;
	for (int row = 0; row < PQntuples(result); row++) {
		snprintf(what, sizeof(what), "dbuser lacks the right %s on %s",
			 PQgetvalue(result, row, 0), PQgetvalue(result, row, 1));
		take(context, true, what);
	}
	PQclear(result);
	rc = query(store, read_only_sql, 1, true, &result);
	if (rc != STORE_OK)
		return rc;
	if (!strcmp(PQgetvalue(result, 0, 0), "on"))
		take(context, true, "the server is read-only: bley needs the primary one");
	PQclear(result);
	return rc;
}
