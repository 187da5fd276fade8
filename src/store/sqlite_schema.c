/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/sqlite.h"

#include <stdio.h>
#include <string.h>

#include "base/ipaddr.h"
#include "base/strbuf.h"
#include "store/sqlite_time.h"

/*
 * The tables and their columns are the Python daemon's, so that its users' SQL still works. Without
 * row ids the rows of bley_status lie in the order of their key: one search instead of two, and the
 * senders of one client side by side.
 */
#define STATUS_TABLE(name)                                                          \
	"CREATE TABLE " name " (ip varchar(39) NOT NULL, status smallint NOT NULL," \
	" last_action timestamp NOT NULL, sender varchar(254) NOT NULL,"            \
	" recipient varchar(254) NOT NULL, fail_count int NOT NULL DEFAULT 0,"      \
	" PRIMARY KEY (ip, sender, recipient)) WITHOUT ROWID;"
#define LOG_TABLE(name)                                                                           \
	"CREATE TABLE " name " (logtime timestamp NOT NULL, ip varchar(39), sender varchar(254)," \
	" recipient varchar(254), action varchar(254), check_dnswl int, check_dnsbl int,"         \
	" check_helo int, check_dyn int, check_db int, check_spf int, check_s_eq_r int,"          \
	" check_postmaster int, check_cache int);"
#define OTHER_TABLES                                                                              \
	"CREATE INDEX bley_log_logtime ON bley_log (logtime);"                                    \
	"CREATE TABLE bley_cache (ip varchar(39) NOT NULL PRIMARY KEY, status smallint NOT NULL," \
	" last_action timestamp NOT NULL) WITHOUT ROWID;"                                         \
	"CREATE TABLE bley_schema (version int NOT NULL);"                                        \
	"INSERT INTO bley_schema VALUES (1);"

#define CACHE_FOR_UPGRADE "PRAGMA cache_size = -65536;"
/* The SELECT makes SQLite notice what another process has done to the schema meanwhile. */
#define BEGIN_UPGRADE                                                        \
	CACHE_FOR_UPGRADE "PRAGMA legacy_alter_table = ON; BEGIN IMMEDIATE;" \
			  " SELECT count(*) FROM sqlite_master;"
#define CACHE_FOR_WORK "PRAGMA cache_size = -256;"

/* How a column is copied from the Python daemon's table, and what it is where that lacks it (older
 * ones do). */
struct column {
	const char *name, *copy, *otherwise;
};

static const struct column status_columns[] = {
    {"ip", "bley_ip(ip)", "''"},
    {"status", "min(coalesce(CAST(status AS int), 2))", "2"},
    {"last_action", "max(bley_utc(last_action))", "bley_utc(NULL)"},
    {"sender", "lower(coalesce(sender, ''))", "''"},
    {"recipient", "lower(coalesce(recipient, ''))", "''"},
    {"fail_count", "max(coalesce(CAST(fail_count AS int), 0))", "0"},
};

static const struct column log_columns[] = {
    {"logtime", "bley_utc(logtime)", "bley_utc(NULL)"},
    {"ip", "bley_ip(ip)", "NULL"},
    {"sender", "sender", "NULL"},
    {"recipient", "recipient", "NULL"},
    {"action", "action", "NULL"},
    {"check_dnswl", "check_dnswl", "0"},
    {"check_dnsbl", "check_dnsbl", "0"},
    {"check_helo", "check_helo", "0"},
    {"check_dyn", "check_dyn", "0"},
    {"check_db", "check_db", "0"},
    {"check_spf", "check_spf", "0"},
    {"check_s_eq_r", "check_s_eq_r", "0"},
    {"check_postmaster", "check_postmaster", "0"},
    {"check_cache", "check_cache", "0"},
};

struct table {
	const char *name, *create, *create_new;
	const struct column *columns;
	size_t count;
	const char *fold; /* rows that are one afterwards */
};

static const struct table tables[] = {
    {"bley_status", STATUS_TABLE("bley_status"), STATUS_TABLE("bley_status_new"), status_columns,
     sizeof(status_columns) / sizeof(status_columns[0]), " GROUP BY 1, 4, 5"},
    {"bley_log", LOG_TABLE("bley_log"), LOG_TABLE("bley_log_new"), log_columns,
     sizeof(log_columns) / sizeof(log_columns[0]), ""},
};

/* What the functions that copying uses in SQL have to know. */
struct upgrade {
	int64_t now_us;
	int64_t converted;
};

/* bley_utc(local time): a time that cannot be read becomes now, so that its row is not purged at
 * once. */
static void sql_utc(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	struct upgrade *state = sqlite3_user_data(context);
	const char *text = (const char *)sqlite3_value_text(argv[0]);
	char out[SQLITE_TIME_SIZE];
	int64_t us = state->now_us;

	(void)argc;
	if (text && sqlite_time_parse_local(text, &us))
		state->converted++;
	sqlite_time_format(us, out);
	sqlite3_result_text(context, out, -1, SQLITE_TRANSIENT);
}

/* bley_ip(address): as lookups spell it; what is no address stays. */
static void sql_ip(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	const char *text = (const char *)sqlite3_value_text(argv[0]);
	char out[IPADDR_TEXT_SIZE];
	struct ipaddr ip;

	(void)argc;
	if (text && ipaddr_parse(text, &ip)) {
		ipaddr_format(&ip, out);
		text = out;
	}
	sqlite3_result_text(context, text ? text : "", -1, SQLITE_TRANSIENT);
}

static int has_column(struct store *store, const char *table, const char *column, bool *has)
{
	int rc = sqlite3_table_column_metadata(store->db, "main", table, column, NULL, NULL, NULL,
					       NULL, NULL);

	*has = rc == SQLITE_OK;
	return rc == SQLITE_ERROR ? SQLITE_OK : rc; /* the code for "there is none" */
}

static int query_int(struct store *store, const char *sql, int64_t *value)
{
	sqlite3_stmt *stmt;
	int rc = sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL);

	if (rc)
		return rc;
	rc = lite_run(stmt, value);
	sqlite3_finalize(stmt);
	return rc;
}

/* *version is 0 where the database has no version. */
static int read_version(struct store *store, int64_t *version)
{
	bool has;
	int rc = has_column(store, "bley_schema", "version", &has);

	*version = 0;
	if (rc || !has)
		return rc;
	return query_int(store, "SELECT max(version) FROM bley_schema", version);
}

/* INSERT INTO X_new (columns) SELECT copies FROM X. */
static int build_copy(struct store *store, const struct table *table, struct strbuf *sql)
{
	bool has;
	int rc;

	strbuf_addf(sql, "INSERT INTO %s_new (", table->name);
	for (size_t i = 0; i < table->count; i++)
		strbuf_addf(sql, "%s%s", i ? ", " : "", table->columns[i].name);
	strbuf_addstr(sql, ") SELECT ");
	for (size_t i = 0; i < table->count; i++) {
		rc = has_column(store, table->name, table->columns[i].name, &has);
		if (rc)
			return rc;
		strbuf_addf(sql, "%s%s", i ? ", " : "",
			    has ? table->columns[i].copy : table->columns[i].otherwise);
	}
	strbuf_addf(sql, " FROM %s%s", table->name, table->fold);
	return SQLITE_OK;
}

static int take_over(struct store *store, const struct table *table,
		     struct store_schema_report *report)
{
	struct strbuf sql = STRBUF_INIT;
	int64_t before = 0;
	int rc;

	strbuf_addf(&sql, "SELECT count(*) FROM %s", table->name);
	rc = query_int(store, sql.buf, &before);
	if (!rc)
		rc = lite_exec(store, table->create_new);
	strbuf_clear(&sql);
	if (!rc)
		rc = build_copy(store, table, &sql);
	if (!rc)
		rc = lite_exec(store, sql.buf);
	if (!rc)
		report->folded += before - sqlite3_changes64(store->db);
	strbuf_clear(&sql);
	strbuf_addf(&sql, "DROP TABLE %s; ALTER TABLE %s_new RENAME TO %s", table->name,
		    table->name, table->name);
	if (!rc)
		rc = lite_exec(store, sql.buf);
	strbuf_release(&sql);
	report->taken_over = true;
	return rc;
}

static int make_tables(struct store *store, struct store_schema_report *report)
{
	struct upgrade state = {.now_us = sqlite_time_now()};
	int flags = SQLITE_UTF8 | SQLITE_DIRECTONLY;
	bool has = false;
	int rc;

	rc = sqlite3_create_function(store->db, "bley_utc", 1, flags, &state, sql_utc, NULL, NULL);
	if (!rc)
		rc = sqlite3_create_function(store->db, "bley_ip", 1, flags, NULL, sql_ip, NULL,
					     NULL);
	for (size_t i = 0; !rc && i < sizeof(tables) / sizeof(tables[0]); i++) {
		rc = has_column(store, tables[i].name, "ip", &has);
		if (!rc)
			rc = has ? take_over(store, &tables[i], report)
				 : lite_exec(store, tables[i].create);
	}
	if (!rc)
		rc = lite_exec(store, OTHER_TABLES);
	report->created = !report->taken_over;
	report->converted = state.converted;
	sqlite3_create_function(store->db, "bley_utc", 1, flags, NULL, NULL, NULL, NULL);
	return rc;
}

/* SQLite does not always wait by itself where others hold a lock already. */
static int set_wal_mode(struct store *store)
{
	int rc;

	do
		rc = lite_exec(store, "PRAGMA journal_mode = WAL");
	while ((rc & 0xff) == SQLITE_BUSY && lite_wait(store));
	return rc;
}

static enum store_result check_version(struct store *store, int64_t version)
{
	if (version <= STORE_SCHEMA_VERSION)
		return STORE_OK;
	snprintf(
	    store->error, sizeof(store->error),
	    "%s: its schema has version %lld, this bley knows versions up to %d: install the newer "
	    "bley on this host too",
	    store->config.name, (long long)version, STORE_SCHEMA_VERSION);
	return STORE_BROKEN;
}

static enum store_result leave_alone(struct store *store)
{
	snprintf(store->error, sizeof(store->error),
		 "%s: bley's tables have yet to be made or taken over: run 'bleyctl init'",
		 store->config.name);
	return STORE_NOT_FOUND;
}

static enum store_result upgrade(struct store *store, struct store_schema_report *report)
{
	enum store_result result;
	int64_t version = 0;
	int rc = lite_exec(store, BEGIN_UPGRADE);

	if (!rc)
		rc = read_version(store, &version); /* another process may have been faster */
	if (!rc && version == 0)
		rc = make_tables(store, report);
	result = lite_finish(store, rc);
	if (result != STORE_OK)
		return result;
	/* Only now: before, all that found no schema would be in one another's way. */
	if (version == 0)
		rc = set_wal_mode(store);
	else
		report->from = (int)version;
	if (rc)
		return lite_result(store, rc);
	lite_exec(store, CACHE_FOR_WORK "PRAGMA legacy_alter_table = OFF;");
	return check_version(store, version);
}

enum store_result lite_schema_check(struct store *store, struct store_schema_report *report)
{
	struct store_schema_report done = {.from = 0, .to = STORE_SCHEMA_VERSION};
	enum store_result result;
	int64_t version;
	int rc = read_version(store, &version);

	if (rc)
		return lite_result(store, rc);
	done.from = (int)version;
	if (version)
		result = check_version(store, version);
	else
		result = store->config.must_exist ? leave_alone(store) : upgrade(store, &done);
	if (result == STORE_OK && report)
		*report = done;
	return result;
}
