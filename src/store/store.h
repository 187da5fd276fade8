/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_STORE_H
#define BLEY_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The one seam to the database: the few operations bley needs, no general SQL. A driver is a module
 * (module.h) named store_sqlite, store_pgsql or store_mysql whose `ops` is a struct store_driver.
 *
 * Times: the database holds UTC. Ages go in and come out in microseconds, computed by the clock
 * that the database's users share (the server's; for SQLite this machine's), never negative: a
 * stored time that lies in the future has the age 0. Text: valid UTF-8 without control characters,
 * addresses in ipaddr_format()'s form (request.h).
 */

enum store_result {
	STORE_OK,
	STORE_NOT_FOUND,
	STORE_RETRY, /* soft: busy, deadlock, connection lost; may work when tried again */
	STORE_BROKEN /* hard: a person must mend it (password, rights, disk, schema) */
};

/* Where the database is; plain copies of the configuration's values, owned by the caller and valid
 * for as long as the store is open. */
struct store_config {
	const char *type; /* sqlite3, pgsql, mysql */
	const char *host; /* begins with `/`: a socket or its directory */
	int port;	  /* 0: the default port */
	const char *user;
	const char *password; /* never in a log or an error */
	const char *name;     /* database; for SQLite the file's full path */
	const char *tls;      /* off, prefer, require, verify */
	int timeout_ms;	      /* for connecting, for each statement and for waiting on a lock */
	/* open() neither makes nor upgrades anything: STORE_NOT_FOUND where the database or its
	 * schema has yet to be made, but could be */
	bool must_exist;
};

struct store_tuple {
	const char *ip;
	const char *sender;
	const char *recipient;
};

/* The verdict on a client that is remembered for a while (table bley_cache). */
enum store_client { STORE_CLIENT_NONE, STORE_CLIENT_GOOD, STORE_CLIENT_BAD };

/* The values of bley_status.status. */
enum store_status {
	STORE_UNKNOWN = -1, /* no such row */
	STORE_CLEAN = 0,
	STORE_LISTED = 1, /* on a DNS whitelist */
	STORE_GREY = 2	  /* greylisted; larger values count the same */
};

struct store_memory {
	int status; /* enum store_status */
	int fail_count;
	int64_t waited_us; /* age of last_action */
	/* NONE when there is none younger than the age asked for, nor one that lies no further in
	 * the future (a clock was set back) */
	enum store_client client;
};

/* What a decision changes in bley_status. */
enum store_change {
	STORE_KEEP,   /* nothing */
	STORE_INSERT, /* a new row with `status`, last_action now, fail_count 0 */
	STORE_TOUCH,  /* last_action = now */
	STORE_PASS,   /* status 0, last_action = now */
	STORE_AGAIN   /* fail_count + 1 while the status is still grey; last_action stays, but is
			 pulled back   to now where it lies in the future (a clock was set back) */
};

struct store_decision {
	struct store_tuple tuple;
	enum store_change change;
	int status;		  /* for STORE_INSERT */
	enum store_client client; /* NONE: the cache is left alone */
};

/* One row of bley_log, checks in the order of its columns. */
enum store_log_check {
	STORE_LOG_DNSWL,
	STORE_LOG_DNSBL,
	STORE_LOG_HELO,
	STORE_LOG_DYN,
	STORE_LOG_DB,
	STORE_LOG_SPF,
	STORE_LOG_S_EQ_R,
	STORE_LOG_POSTMASTER,
	STORE_LOG_CACHE,
	STORE_LOG_CHECKS
};

struct store_log_row {
	struct store_tuple tuple;
	const char *action; /* first word of the answer */
	int checks[STORE_LOG_CHECKS];
	int64_t age_us; /* how long ago it was decided: logtime = now - age_us */
};

/* What to purge, in seconds of age, and what was purged. A negative age keeps everything. */
struct store_purge {
	int64_t status_s;     /* bley_status: last_action older than this */
	int64_t status_bad_s; /* ... and of those with status >= 2 */
	int64_t log_s;	      /* bley_log */
	int64_t cache_s;      /* bley_cache */
	bool dry_run;	      /* count only */
	/* called after each batch with the sums so far; may be NULL */
	void (*progress)(const struct store_purge *purge);
	int64_t status_rows, log_rows, cache_rows; /* out */
	bool stepped_aside; /* out: another purge is at work, nothing was done */
};

/* What making or upgrading the schema did. */
struct store_schema_report {
	bool created;	   /* the database was empty */
	bool taken_over;   /* tables of the Python daemon were found */
	int64_t folded;	   /* duplicate rows of bley_status folded away */
	int64_t converted; /* times converted from local time to UTC */
	int from, to;	   /* schema versions; 0: none */
};
#define STORE_SCHEMA_VERSION 1

struct ipnet;

/* Which rows of bley_status or bley_log. Members that are NULL, 0 or (status) STORE_UNKNOWN select
 * all. */
struct store_filter {
	int status;		 /* STORE_GREY: and larger values; not for bley_log */
	const struct ipnet *net; /* the client's address lies in it */
	/* Patterns of SQL's LIKE, escaped by STORE_ESCAPE, in lower case. */
	const char *sender, *recipient;
	const char *address; /* exactly the sender or the recipient */
	int64_t since_us;    /* not older than this age */
	int64_t limit;	     /* the newest so many */
};
#define STORE_ESCAPE "!"

/* A row of bley_status. Text as the database has it: others may have put anything there. */
struct store_row {
	struct store_tuple tuple;
	int status;
	int fail_count;
	int64_t age_us; /* of last_action */
};

/* Gets one row after the other; its text is valid for the call. False: no more are wanted. */
typedef bool store_take_row(void *context, const struct store_row *row);

/* Likewise; time_us: microseconds since 1970 by the database's clock. */
typedef bool store_take_log(void *context, const struct store_log_row *row, int64_t time_us);

/* What was or would be forgotten. */
struct store_forgotten {
	int64_t tuples, clients;
};

/* Sums over bley_log, computed by the database. */
enum store_stat_kind {
	STORE_STAT_DECISIONS, /* by action (`name`) and by `reason` */
	STORE_STAT_TUPLES,    /* greylisted tuples by the `seconds` after which they came back and
				 passed, ascending; whole minutes from an hour on; -1: not yet */
	STORE_STAT_CLIENT     /* clients (`name`) with most decisions, most first; `deferred` */
};

enum store_stat_reason {
	STORE_REASON_WHITELIST,
	STORE_REASON_CACHE,
	STORE_REASON_KNOWN,
	STORE_REASON_WAITED,
	STORE_REASON_TOO_EARLY,
	STORE_REASON_DNSWL,
	STORE_REASON_DNSBL,
	STORE_REASON_CHECKS,
	STORE_REASON_UNSUSPECTED,
	STORE_REASONS
};

struct store_stat {
	enum store_stat_kind kind;
	const char *name; /* as the database has it */
	enum store_stat_reason reason;
	int64_t seconds, count, deferred;
};

#define STORE_REPORT_MS (10 * 60 * 1000)

struct store_stat_query {
	int64_t since_us;		      /* age; 0: all */
	int dnswl_threshold, dnsbl_threshold; /* what made a score count; 0: nothing did */
	int clients;			      /* how many at most */
	unsigned kinds;			      /* 1 << enum store_stat_kind of each; 0: all */
};

static inline bool store_stat_wants(const struct store_stat_query *query, enum store_stat_kind kind)
{
	return !query->kinds || query->kinds & 1u << kind;
}

typedef void store_take_stat(void *context, const struct store_stat *stat);

/*
 * Counts for bleygraph's pictures. Each row of bley_log is in exactly one class, by the scores that
 * it has and the thresholds that hold now; a threshold of 0 is never reached.
 */
enum store_graph_class {
	STORE_GRAPH_GOOD_CACHE,
	STORE_GRAPH_WHITELISTED,
	STORE_GRAPH_KNOWN_GOOD,
	STORE_GRAPH_GOOD_GREY, /* came back after its wait */
	STORE_GRAPH_DNSWL,
	STORE_GRAPH_NEW_GOOD,
	STORE_GRAPH_BAD_CACHE, /* the first of those that deferred */
	STORE_GRAPH_BAD_GREY,  /* came back too early */
	STORE_GRAPH_DNSBL,
	STORE_GRAPH_HELO, /* the check with which the sum reached rfc_threshold */
	STORE_GRAPH_DYN,
	STORE_GRAPH_SPF,
	STORE_GRAPH_S_EQ_R,
	STORE_GRAPH_OTHER, /* deferred under other thresholds */
	STORE_GRAPH_CLASSES
};

enum store_graph_kind {
	STORE_GRAPH_DECISIONS, /* by slot and class */
	STORE_GRAPH_TUPLES     /* by the class of a greylisted tuple's first deferral; slot 1: it
				  came back and passed, 0: it has not yet */
};

struct store_graph_query {
	enum store_graph_kind kind;
	int64_t start_s, slot_s; /* seconds since 1970, UTC; a slot's length */
	int slots;		 /* what is later than all of them counts as in the last */
	int dnswl_threshold, dnsbl_threshold, rfc_threshold;
};

typedef void store_take_graph(void *context, int slot, enum store_graph_class what, int64_t count);

/* Gets one thing that is missing, in words that are valid for the call. needed: something fails
 * without it; else all works, only slower. */
typedef void store_take_lack(void *context, bool needed, const char *what);

struct store; /* an open database, the driver's */

struct store_driver {
	bool remote; /* opening costs: after a failure the caller waits a second before it tries
			again */

	/*
	 * Opens or connects. Brings an empty database and one of the Python daemon's up to this
	 * schema (one transaction where the engine can, restartable where not); refuses a newer
	 * schema, and on a server tables of the Python daemon that are too large for timeout_ms. On
	 * failure *out is untouched and error says what to fix (naming host or file, never the
	 * password).
	 */
	enum store_result (*open)(const struct store_config *config, struct store **out,
				  char *error, size_t size);
	void (*close)(struct store *store); /* NULL is fine */

	/* The last failure of this store in words; valid until its next call. */
	const char *(*error)(struct store *store);

	/*
	 * Looks up the tuple and the client's cached verdict together, in one round trip.
	 * client_age_us: how old a cached verdict may be; 0: the cache is not looked at. OK also
	 * where nothing is known (status STORE_UNKNOWN).
	 */
	enum store_result (*recall)(struct store *store, const struct store_tuple *tuple,
				    int64_t client_age_us, struct store_memory *out);

	/*
	 * Commits a decision, in one transaction where the database can do so in one round trip;
	 * else the tuple first, which then counts even if a bad client's verdict fails. *status is
	 * the row's status afterwards: for STORE_INSERT, when someone else inserted the tuple
	 * first, theirs, and *lost_race is true (then nothing at all is changed, the cache
	 * included). For STORE_KEEP it is STORE_UNKNOWN: nobody looks. A row that was purged since
	 * it was recalled is made anew, so that nothing is forgotten: clean by STORE_TOUCH and
	 * STORE_PASS, grey with fail_count 1 and last_action now by STORE_AGAIN.
	 */
	enum store_result (*remember)(struct store *store, const struct store_decision *decision,
				      int *status, bool *lost_race);

	/* Appends rows, all or none. */
	enum store_result (*log)(struct store *store, const struct store_log_row *rows,
				 size_t count);

	/* Deletes old rows in batches that never hold a lock for longer than some 100 ms. */
	enum store_result (*purge)(struct store *store, struct store_purge *purge);

	/* Creates or upgrades the schema as open() does and reports; not bound by timeout_ms. The
	 * store need not be open. */
	enum store_result (*init)(const struct store_config *config,
				  struct store_schema_report *report, char *error, size_t size);

	/*
	 * What follows is for bleyctl; rows stream, so that memory does not grow with the tables.
	 *
	 * Rows of bley_status, in the order of their key; with a limit newest first.
	 */
	enum store_result (*list)(struct store *store, const struct store_filter *filter,
				  store_take_row *take, void *context);

	/*
	 * Rows of bley_log with a time after after_us, and at least lag_us old, in the order of
	 * time; with a limit newest first.
	 */
	enum store_result (*read_log)(struct store *store, const struct store_filter *filter,
				      int64_t after_us, int64_t lag_us, store_take_log *take,
				      void *context);

	/*
	 * Deletes rows of bley_status, and the cached verdicts of their clients and of the clients
	 * in filter->net; dry_run: counts them. `limit` is not looked at.
	 */
	enum store_result (*forget)(struct store *store, const struct store_filter *filter,
				    bool dry_run, struct store_forgotten *out);

	/* Reports look through whole tables: a server's answer is waited for up to STORE_REPORT_MS.
	 */

	/* One kind after the other, in the order of enum store_stat_kind. */
	enum store_result (*stats)(struct store *store, const struct store_stat_query *query,
				   store_take_stat *take, void *context);

	/* Sums for bleygraph, one statement; slot and class are within their bounds. */
	enum store_result (*graph)(struct store *store, const struct store_graph_query *query,
				   store_take_graph *take, void *context);

	/* What the user of this database may not do, who else may do what, or init() would make
	 * now. */
	enum store_result (*check)(struct store *store, store_take_lack *take, void *context);
};

/*
 * Loads the driver for config->type. NULL with a message where the type is unknown or the module is
 * missing.
 */
const struct store_driver *store_driver(const char *type, char *error, size_t size);

#endif
