/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_SQL_H
#define BLEY_STORE_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"
#include "base/strbuf.h"
#include "store/store.h"

/* What is the same on a database server, whichever it is: how it is opened, and what bleyctl lists,
 * forgets and counts. Statements are made for the filter in hand; each value of it is bound. */

#define SQL_VALUES_MOST 12
#define SQL_NUMBER_SIZE 24
#define SQL_NET_SIZE (IPADDR_TEXT_SIZE + sizeof("/128"))
#define SQL_NET_TEXTS 2

/* A bound value: a text, or a number with its digits. */
struct sql_value {
	const char *text; /* NULL: the number */
	int64_t number;
	char digits[SQL_NUMBER_SIZE];
};

/* A statement that grows. */
struct sql_query {
	struct strbuf sql;
	struct sql_value values[SQL_VALUES_MOST];
	size_t count;
	unsigned columns;		       /* of the rows that it gives; 0: it gives none */
	char net[SQL_NET_TEXTS][SQL_NET_SIZE]; /* for values of add_net() */
};
#define SQL_QUERY_INIT ((struct sql_query){.sql = STRBUF_INIT})

/* Columns as text, NULL as an empty one. Returns false when it wants no more rows. */
typedef bool sql_take(void *context, char *const *row);

/* How a kind of server wants to be spoken to: `sql_server` is each driver's own. Pieces of SQL come
 * in pairs: what stands before and behind the expression. */
struct sql_server {
	bool numbered;	     /* parameters are $1, $2, ... instead of ? */
	const char *integer; /* behind a number's place: its type */
	const char *now;
	const char *microseconds[2]; /* a number of them as an interval */
	const char *age[2];	     /* a time's age in microseconds, never negative */
	const char *since_1970[2];   /* a time in microseconds since then */
	const char *start_of_1970;
	const char *divided_by; /* between two whole numbers, for a whole one */

	/* A store that is not connected yet. close(), error(): see struct store_driver. */
	struct store *(*make)(const struct store_config *config, int timeout_ms);
	void (*close)(struct store *store);
	const char *(*error)(struct store *store);
	enum store_result (*connect)(struct store *store);
	/* Sees to the schema of a fresh connection; report may be NULL: mail waits. */
	enum store_result (*see_to_schema)(struct store *store, struct store_schema_report *report);

	/* Adds a condition: `ip` lies in the network, which is no single address. */
	void (*add_net)(struct sql_query *query, const struct ipnet *net);

	/* Each begins with connecting where that has yet to be done, and has its own time. */
	enum store_result (*stream)(struct store *store, const struct sql_query *query,
				    sql_take *take, void *context);
	enum store_result (*begin)(struct store *store);
	/* Within a transaction; *rows: that were changed, or counted by a `SELECT count(*)` (one
	 * column). */
	enum store_result (*change)(struct store *store, const struct sql_query *query,
				    int64_t *rows);
	/* Commits where rc is STORE_OK, else rolls back and returns rc. */
	enum store_result (*end)(struct store *store, enum store_result rc);
	/* Whether the last failure was one that the server asks to try again, and the operation has
	 * time left; waits a moment then. */
	bool (*wants_retry)(const struct store *store);
	/* The last answer was not what had been asked for; the connection is closed. */
	enum store_result (*unexpected)(struct store *store);

	/* Add the statements for STORE_STAT_TUPLES and STORE_STAT_CLIENT: rows of count, name,
	 * seconds, deferred, reason. since_us is never 0. */
	void (*add_tuples)(struct sql_query *query, int64_t since_us);
	void (*add_clients)(struct sql_query *query, int64_t since_us, int count);
};

extern const struct sql_server sql_server;

/* Add `before`, the value's place and `after`. A text must outlive the query. */
void sql_add_text(struct sql_query *query, const char *before, const char *value,
		  const char *after);
void sql_add_number(struct sql_query *query, const char *before, int64_t value, const char *after);

/* Adds `before` and the moment so long ago. */
void sql_add_ago(struct sql_query *query, const char *before, int64_t age_us);

/* Numbers as a server gives them, as what store.h promises: a row's status is never
 * STORE_UNKNOWN, and nothing else is negative. */
int sql_status(int64_t value);
int sql_fail_count(int64_t value);
int64_t sql_age(int64_t value);

/* Whether one of the Python daemon's tables has more rows than a handler takes over while mail
 * waits: so few are copied within the shortest db_timeout. */
#define SQL_IS_LARGE(table) \
	"SELECT count(*) >= 10000 FROM (SELECT 1 FROM " table " LIMIT 10000) AS few"
#define SQL_TOO_LARGE                                                                  \
	"the Python daemon's tables are too large to be taken over while mail waits: " \
	"run 'bleyctl init'"

/* See struct store_driver. */
enum store_result sql_open(const struct store_config *config, struct store **out, char *error,
			   size_t size);
enum store_result sql_init(const struct store_config *config, struct store_schema_report *report,
			   char *error, size_t size);
enum store_result sql_list(struct store *store, const struct store_filter *filter,
			   store_take_row *take, void *context);
enum store_result sql_read_log(struct store *store, const struct store_filter *filter,
			       int64_t after_us, int64_t lag_us, store_take_log *take,
			       void *context);
enum store_result sql_forget(struct store *store, const struct store_filter *filter, bool dry_run,
			     struct store_forgotten *out);

enum store_result sql_stats(struct store *store, const struct store_stat_query *wanted,
			    store_take_stat *take, void *context);
enum store_result sql_graph(struct store *store, const struct store_graph_query *wanted,
			    store_take_graph *take, void *context);

#endif
