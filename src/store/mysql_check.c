/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

#include <mysqld_error.h>
#include <stdio.h>

/* To explain a statement needs the rights that it needs itself; roles and patterns in GRANT are the
 * server's to look at. */
static const struct {
	const char *right, *table, *sql;
} rights[] = {
    {"SELECT", "bley_status", "EXPLAIN SELECT 1 FROM bley_status"},
    {"INSERT", "bley_status", "EXPLAIN INSERT INTO bley_status (ip) VALUES ('')"},
    {"UPDATE", "bley_status", "EXPLAIN UPDATE bley_status SET status = 0 WHERE ip = ''"},
    {"DELETE", "bley_status", "EXPLAIN DELETE FROM bley_status WHERE ip = ''"},
    {"SELECT", "bley_cache", "EXPLAIN SELECT 1 FROM bley_cache"},
    {"INSERT", "bley_cache", "EXPLAIN INSERT INTO bley_cache (ip) VALUES ('')"},
    {"UPDATE", "bley_cache", "EXPLAIN UPDATE bley_cache SET status = 0 WHERE ip = ''"},
    {"DELETE", "bley_cache", "EXPLAIN DELETE FROM bley_cache WHERE ip = ''"},
    {"SELECT", "bley_log", "EXPLAIN SELECT 1 FROM bley_log"},
    {"INSERT", "bley_log", "EXPLAIN INSERT INTO bley_log (ip) VALUES ('')"},
    {"DELETE", "bley_log", "EXPLAIN DELETE FROM bley_log WHERE ip = ''"},
};

static enum store_result run(struct store *store, const char *sql)
{
	if (mysql_query(store->conn, sql))
		return my_failed(store, mysql_errno(store->conn), mysql_error(store->conn));
	mysql_free_result(mysql_store_result(store->conn)); /* what it explains is of no interest */
	return STORE_OK;
}

static enum store_result check_rights(struct store *store, store_take_lack *take, void *context)
{
	for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
		enum store_result rc = run(store, rights[i].sql);
		char what[100];

		snprintf(what, sizeof(what), "dbuser lacks the right %s on %s", rights[i].right,
			 rights[i].table);
		if (rc != STORE_OK && (store->code == ER_TABLEACCESS_DENIED_ERROR ||
				       store->code == ER_COLUMNACCESS_DENIED_ERROR))
			take(context, true, what);
		else if (rc != STORE_OK)
			return rc;
	}
	return STORE_OK;
}

enum store_result my_check(struct store *store, store_take_lack *take, void *context)
{
	struct my_answer answer;
	enum store_result rc;

	my_begin(store);
	rc = my_ready(store);
	if (rc == STORE_OK)
		rc = check_rights(store, take, context);
	if (rc == STORE_OK)
		rc = my_run_once(store, my_procedure_sql, NULL, 0, 1, &answer);
	if (rc == STORE_OK && !answer.column[0] && !store->in_cluster)
		take(context, false,
		     "decisions take a round trip more than need be, without the "
		     "procedure " MY_PROCEDURE
		     ": GRANT CREATE ROUTINE, EXECUTE, and run 'bleyctl init'");
	return rc;
}
