/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_PGSQL_H
#define BLEY_STORE_PGSQL_H

/* What the files of the module store_pgsql share. */

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "store/store.h"

#define PG_ERROR_SIZE 600
#define PG_NOW "(clock_timestamp() AT TIME ZONE 'UTC')" /* the columns hold UTC without a zone */

/* Statements that a connection prepares when it runs them for the second time. */
enum pg_lasting {
	PG_ONCE, /* none of them */
	PG_RECALL,
	PG_LOG_ROW,
	PG_REMEMBER, /* and one more for each enum store_change behind the first */
	PG_LASTING = PG_REMEMBER + STORE_AGAIN + 1
};

struct store {
	struct store_config config;
	PGconn *conn;	       /* NULL: not connected */
	bool patient;	       /* see pg_report_begin() */
	bool checked;	       /* this connection's schema is known to be right */
	bool direct;	       /* it leads to one and the same process of the server's */
	bool used[PG_LASTING]; /* over this connection */
	bool prepared[PG_LASTING];
	bool planned;		  /* see plan_for_growth() */
	int64_t deadline_us;	  /* monotonic: of the operation in hand */
	int64_t refused_until_us; /* no new connection before, as the last one failed */
	char sqlstate[6];	  /* of the last failure, or empty */
	char error[PG_ERROR_SIZE];
};

/* A statement with bound parameters, as text; NULL is NULL. */
struct pg_call {
	const char *sql;
	int count;
	const char *const *values;
	enum pg_lasting lasting;
	int columns; /* of the rows that it gives; 0: it gives none */
	bool row;    /* there has to be one at least */
};

/* pgsql_connect.c */
/* Gives the operation that begins now its time. */
void pg_begin(struct store *store);

enum store_result pg_connect(struct store *store);
void pg_disconnect(struct store *store);

/*
 * Runs one statement in one round trip (and a lasting one, the second time, in two). A connection
 * that has died meanwhile is made anew once; what the server asks to be tried again is, until the
 * deadline. On STORE_OK *out is the caller's (PQclear()), and has the columns and the row that the
 * call says.
 */
enum store_result pg_run(struct store *store, const struct pg_call *call, PGresult **out);

/* Runs one statement on the connection as it is; for transactions, which must not be carried over
 * to a new one. */
enum store_result pg_run_here(struct store *store, const struct pg_call *call, PGresult **out);

/*
 * Runs one statement and hands its rows over one by one, so that memory does not grow with them;
 * take() returns false when it wants no more. The time limit is for each row.
 */
enum store_result pg_stream(struct store *store, const struct pg_call *call,
			    bool (*take)(void *context, const PGresult *row), void *context);

/* What runs in between by pg_stream() has STORE_REPORT_MS for each row. The end passes rc on, or
 * its own failure. */
enum store_result pg_report_begin(struct store *store);
enum store_result pg_report_end(struct store *store, enum store_result rc);

/* The server has answered something else than what was asked for: nothing of it is used, and the
 * connection is closed. */
enum store_result pg_unexpected(struct store *store);

/* For struct sql_server: serialisation failure, deadlock. */
bool pg_wants_retry(const struct store *store);

/* The SQLSTATE of the last failure is this one. */
bool pg_failed_with(const struct store *store, const char *sqlstate);

/* pgsql_schema.c: sees to the schema of a fresh connection; report may be NULL: mail waits. */
enum store_result pg_schema_check(struct store *store, struct store_schema_report *report);

/* pgsql.c: see struct sql_server */
struct store *pg_make(const struct store_config *config, int timeout_ms);
void pg_close(struct store *store);
const char *pg_error(struct store *store);

/* pgsql_list.c: see struct store_driver */
enum store_result pg_stats(struct store *store, const struct store_stat_query *query,
			   store_take_stat *take, void *context);
enum store_result pg_graph(struct store *store, const struct store_graph_query *query,
			   store_take_graph *take, void *context);

/* pgsql_check.c */
enum store_result pg_check(struct store *store, store_take_lack *take, void *context);

/* pgsql_purge.c */
enum store_result pg_purge(struct store *store, struct store_purge *purge);

#endif
