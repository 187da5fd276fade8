/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_MYSQL_H
#define BLEY_STORE_MYSQL_H

/* What the files of the module store_mysql share. Both MySQL's and MariaDB's client libraries
 * serve. */

#include <mysql.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "store/store.h"

#ifdef MARIADB_PACKAGE_VERSION
typedef my_bool my_flag;
#else
typedef bool my_flag;
#endif

#define MY_ERROR_SIZE 600
#define MY_COLUMNS_MOST 4

enum my_statement {
	MY_RECALL,
	MY_INSERT,
	MY_TOUCH,
	MY_PASS,
	MY_AGAIN,
	MY_CLIENT,
	MY_BOTH,
	MY_LOG,
	MY_STATEMENTS
};

struct store {
	struct store_config config;
	MYSQL *conn;			       /* NULL: not connected */
	bool patient;			       /* see my_take_time() */
	MYSQL_STMT *statements[MY_STATEMENTS]; /* prepared when first used on this connection */
	bool checked;			       /* this connection's schema is known to be right */
	bool no_procedure;		       /* this connection may not call MY_PROCEDURE */
	bool in_cluster;		       /* its server is a node of a Galera cluster */
	int64_t deadline_us;		       /* monotonic: of the operation in hand */
	int64_t refused_until_us; /* no new connection before, as the last one failed */
	unsigned code;		  /* of the last failure, the server's or the library's */
	char error[MY_ERROR_SIZE];
};

/*
 * What changes a row, made by the statements above and within the procedure that changes a tuple
 * and its client's cached verdict in one. What has to be asked of the row that is there comes back
 * as the insert id: LAST_INSERT_ID(status + 1).
 */
#define MY_ROW(tuple, status, fail_count)                                                  \
	"INSERT INTO bley_status (ip, sender, recipient, last_action, status, fail_count)" \
	" VALUES (" tuple ", UTC_TIMESTAMP(6), " status ", " fail_count ")"                \
	" ON DUPLICATE KEY UPDATE "
#define MY_TELL_STATUS "status = LAST_INSERT_ID(status + 1) - 1"
#define MY_ROW_INSERT(tuple, status) MY_ROW(tuple, status, "0") MY_TELL_STATUS
#define MY_ROW_TOUCH(tuple) \
	MY_ROW(tuple, "0", "0") "last_action = UTC_TIMESTAMP(6), " MY_TELL_STATUS
#define MY_ROW_PASS(tuple)      \
	MY_ROW(tuple, "0", "0") \
	"last_action = UTC_TIMESTAMP(6), status = LAST_INSERT_ID(1) - 1"
#define MY_ROW_AGAIN(tuple)                         \
	MY_ROW(tuple, "2", "1")                     \
	"fail_count = fail_count + (status >= 2), " \
	"last_action = LEAST(last_action, UTC_TIMESTAMP(6)), " MY_TELL_STATUS
#define MY_ROW_CLIENT(client)                                              \
	"INSERT INTO bley_cache (ip, status, last_action) VALUES (" client \
	", UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE "                     \
	"status = VALUES(status), last_action = UTC_TIMESTAMP(6)"

/* (change, ip, sender, recipient, the tuple's status, the client's); gives what the insert id would
 * be. Its arguments and its answer never change: another one gets another name. */
#define MY_PROCEDURE "bley_remember"

/* A bound value. text NULL: the number. */
struct my_value {
	const char *text;
	int64_t number;
};

/* What a statement gave: its one row, where it has columns. */
struct my_answer {
	bool null[MY_COLUMNS_MOST];
	int64_t column[MY_COLUMNS_MOST];
	uint64_t insert_id; /* what LAST_INSERT_ID(...) was given, or 0 */
	int64_t changed;
};

/* mysql_connect.c */
void my_begin(struct store *store); /* gives the operation that begins now its time */
enum store_result my_connect(struct store *store);

/* From now on each answer has STORE_REPORT_MS: on a new connection, as the library's limit is the
 * connection's. */
enum store_result my_take_time(struct store *store);

void my_disconnect(struct store *store);

/* Connects where there is no connection, and sees to the schema of a new one. */
enum store_result my_ready(struct store *store);

/* The last call's failure, from the library's code and text; a connection that is lost is closed.
 */
enum store_result my_failed(struct store *store, unsigned code, const char *message);

/* Runs plain SQL that gives no rows. */
enum store_result my_query(struct store *store, const char *sql);

/* The server has answered something else than what was asked for: nothing of it is used, and the
 * connection is closed. */
enum store_result my_unexpected(struct store *store);

/* For struct sql_server: deadlock, Galera's certification failure, a node that is not ready. */
bool my_wants_retry(const struct store *store);

/*
 * Runs one of the kept statements. A connection that has died meanwhile is made anew once; what
 * my_wants_retry() is tried again.
 */
enum store_result my_run(struct store *store, enum my_statement which,
			 const struct my_value *values, struct my_answer *out);

/* Prepares, runs and forgets a statement with any number of values, on the connection as it is.
 * columns: of the one row that it gives; 0: it gives none. */
enum store_result my_run_once(struct store *store, const char *sql, const struct my_value *values,
			      size_t count, unsigned columns, struct my_answer *out);

#define MY_TEXT_SIZE 1024 /* holds 254 characters of any kind */
#define MY_STREAM_MOST 16

/*
 * Runs a statement, on the connection as it is, and hands its rows over one by one, columns as
 * text, so that memory does not grow with them; take() returns false when it wants no more.
 * columns: a row's.
 */
enum store_result my_stream(struct store *store, const char *sql, const struct my_value *values,
			    size_t count, unsigned columns,
			    bool (*take)(void *context, char *const *row), void *context);

/* mysql_schema.c: sees to the schema of a fresh connection; report may be NULL: mail waits. */
enum store_result my_schema_check(struct store *store, struct store_schema_report *report);

extern const char my_procedure_sql[]; /* how many MY_PROCEDUREs this user can see: 0, 1 */

/* mysql_check.c: see struct store_driver */
enum store_result my_check(struct store *store, store_take_lack *take, void *context);

/* mysql.c: see struct sql_server */
struct store *my_make(const struct store_config *config, int timeout_ms);
void my_close(struct store *store);
const char *my_error(struct store *store);

/* mysql_list.c: see struct store_driver */
enum store_result my_stats(struct store *store, const struct store_stat_query *query,
			   store_take_stat *take, void *context);
enum store_result my_graph(struct store *store, const struct store_graph_query *query,
			   store_take_graph *take, void *context);

/* mysql_purge.c */
enum store_result my_purge(struct store *store, struct store_purge *purge);

#endif
