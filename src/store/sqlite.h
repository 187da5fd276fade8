/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_SQLITE_H
#define BLEY_STORE_SQLITE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "store/store.h"

/* What the parts of the SQLite driver share. Functions that return int return SQLite's codes. */

#define LITE_ERROR_SIZE 1024

enum lite_statement {
	LITE_BEGIN,
	LITE_COMMIT,
	LITE_ROLLBACK,
	LITE_RECALL,
	LITE_RECALL_BOTH,
	LITE_STATUS,
	LITE_INSERT,
	LITE_TOUCH,
	LITE_PASS,
	LITE_AGAIN,
	LITE_CLIENT,
	LITE_LOG,
	LITE_STATEMENTS
};

struct store {
	struct store_config config;
	sqlite3 *db;				   /* NULL: to be opened anew */
	sqlite3_stmt *statements[LITE_STATEMENTS]; /* made when first used */
	int timeout_ms;				   /* the configuration's, or init()'s */
	int64_t deadline_us;			   /* of the operation in hand, CLOCK_MONOTONIC */
	bool bounded; /* it is over then, also where it waits for nobody */
	int64_t opened_us;
	int64_t looked_us; /* when the file was last seen to be where it was */
	uint32_t jitter;   /* the sleeps' random state */
	int wal_frames;	   /* in the write-ahead log after the last commit here */
	bool checkpoint_due;
	bool logged;  /* rows were written: it serves mail */
	bool suspect; /* an operation failed hard: open anew before the next */
	char error[LITE_ERROR_SIZE];
};

/* sqlite_connect.c */
/* Sets the deadline of what follows: timeout_ms from now. */
void lite_deadline(struct store *store);

/* Sleeps a moment while a lock is taken. False: the deadline is over. */
bool lite_wait(struct store *store);

/* Opens the file, made where it is missing, and sees to its schema; closes what was open before. */
enum store_result lite_connect(struct store *store, struct store_schema_report *report);
void lite_disconnect(struct store *store);

/* Disconnects; a connection that was short may stay for a moment before. */
void lite_close(struct store *store);

/* Begins an operation: its deadline, and a connection that is fit for use. */
enum store_result lite_ready(struct store *store);

/* Likewise for one of a decision's: SQLITE_INTERRUPT ends it at its deadline, whatever it does. */
enum store_result lite_ready_bounded(struct store *store);

/* Maps a code; for a failure keeps its description in store->error. */
enum store_result lite_result(struct store *store, int rc);

/* Commits (rc is SQLITE_OK) or rolls back, and maps the code. */
enum store_result lite_finish(struct store *store, int rc);

/* sqlite.c: the statement, ready to be bound. */
int lite_prepare(struct store *store, enum lite_statement which, sqlite3_stmt **out);

/* Steps to the end and resets; *value, if not NULL, gets the last row's first column. */
int lite_run(sqlite3_stmt *stmt, int64_t *value);

/* Runs SQL text without parameters that is not worth keeping as a statement. */
int lite_exec(struct store *store, const char *sql);

/* Copies frames of the write-ahead log back into the database, without making anyone wait. */
void lite_checkpoint(struct store *store);

/* New files belong to the folder's owner where root makes them, so that `bleyctl init` by hand does
 * not shut the handlers out. */
void lite_give_to_folder_owner(int fd, const char *path);

/* sqlite_schema.c: sees to the schema; report may be NULL. */
enum store_result lite_schema_check(struct store *store, struct store_schema_report *report);

/* sqlite_list.c, sqlite_stats.c: see struct store_driver */
enum store_result lite_list(struct store *store, const struct store_filter *filter,
			    store_take_row *take, void *context);
enum store_result lite_read_log(struct store *store, const struct store_filter *filter,
				int64_t after_us, int64_t lag_us, store_take_log *take,
				void *context);
enum store_result lite_forget(struct store *store, const struct store_filter *filter, bool dry_run,
			      struct store_forgotten *out);
enum store_result lite_stats(struct store *store, const struct store_stat_query *query,
			     store_take_stat *take, void *context);

/* sqlite_graph.c */
enum store_result lite_graph(struct store *store, const struct store_graph_query *query,
			     store_take_graph *take, void *context);

/* sqlite_purge.c */
enum store_result lite_purge(struct store *store, struct store_purge *purge);

#endif
