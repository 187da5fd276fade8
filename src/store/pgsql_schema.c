/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/sql.h"

/* The tables and their columns are the Python daemon's; the key and the two small tables are new.
 */
#define STATUS_TABLE                                                       \
	"CREATE TABLE IF NOT EXISTS bley_status (ip varchar(39) NOT NULL," \
	" status smallint NOT NULL, last_action timestamp NOT NULL,"       \
	" sender varchar(254) NOT NULL, recipient varchar(254) NOT NULL,"  \
	" fail_count int NOT NULL DEFAULT 0, PRIMARY KEY (ip, sender, recipient))"
#define LOG_TABLE                                                                             \
	"CREATE TABLE IF NOT EXISTS bley_log (logtime timestamp NOT NULL, ip varchar(39),"    \
	" sender varchar(254), recipient varchar(254), action varchar(254), check_dnswl int," \
	" check_dnsbl int, check_helo int, check_dyn int, check_db int, check_spf int,"       \
	" check_s_eq_r int, check_postmaster int, check_cache int)"
#define CACHE_TABLE                                                                      \
	"CREATE TABLE bley_cache (ip varchar(39) PRIMARY KEY, status smallint NOT NULL," \
	" last_action timestamp NOT NULL)"
#define NUMBER_SIZE 24

/* Local time, as the server's TimeZone has it, to UTC. */
#define UTC(column) "((" column " AT TIME ZONE current_setting('TimeZone')) AT TIME ZONE 'UTC')"

/* With the version comes a limit for what the server does for us: a statement that waits for a lock
 * would go on waiting when we have left, and hold one of the server's connections each time. Behind
 * a pooler it may not last, or be met by another process of bley's, both without harm. */
static const char version_sql[] =
    "SELECT max(version), set_config('statement_timeout', $1, false), pg_backend_pid()"
    " FROM bley_schema";
static const char limit_sql[] = "SELECT set_config('statement_timeout', $1, true)";
/* Two hosts may both want to: one waits for the other, until its transaction ends. The number is
 * bley's own. */
static const char lock_sql[] = "SELECT pg_advisory_xact_lock(1651270009)";
enum { FOUND_SCHEMA, FOUND_STATUS, FOUND_LOG, FOUND };
static const char found_sql[] =
    "SELECT to_regclass('bley_schema') IS NOT NULL,"
    " to_regclass('bley_status') IS NOT NULL, to_regclass('bley_log') IS NOT NULL";

/* An address as lookups spell it (ipaddr_format()); what is none stays. To cast it would end the
 * take-over, so that takes a function, which is gone when the transaction ends. inet_send() puts
 * four bytes before the address. */
static const char make_ip_sql[] =
    "CREATE FUNCTION bley_expanded_ip(given text, otherwise text) RETURNS text LANGUAGE plpgsql"
    " AS $body$ DECLARE h text; BEGIN"
    " IF strpos(given, '/') > 0 THEN RETURN otherwise; END IF;"
    " h := substr(encode(inet_send(split_part(given, '%', 1)::inet), 'hex'), 9);"
    " IF h LIKE '00000000000000000000ffff%' THEN"
    " RETURN host('0.0.0.0'::inet + ('x' || right(h, 8))::bit(32)::bigint); END IF;"
    " RETURN concat_ws(':', substr(h, 1, 4), substr(h, 5, 4), substr(h, 9, 4), substr(h, 13, 4),"
    " substr(h, 17, 4), substr(h, 21, 4), substr(h, 25, 4), substr(h, 29, 4));"
    " EXCEPTION WHEN data_exception THEN RETURN otherwise; END $body$";
/* Where nobody may use plpgsql, or there is none. */
static const char has_plpgsql_sql[] =
    "SELECT EXISTS (SELECT FROM pg_language WHERE lanname = 'plpgsql'"
    " AND has_language_privilege(oid, 'USAGE'))";
static const char make_no_ip_sql[] =
    "CREATE FUNCTION bley_expanded_ip(given text, otherwise text) RETURNS text LANGUAGE sql"
    " AS 'SELECT $2'";
static const char drop_ip_sql[] = "DROP FUNCTION bley_expanded_ip(text, text)";
#define IP(otherwise)                                                                            \
	"CASE WHEN strpos(ip, ':') > 0 THEN bley_expanded_ip(ip, " otherwise ") ELSE " otherwise \
	" END"

/* What a take-over does with each table that is there, in this order; counts are of rows. */
/* The table itself stays, and with it its rights and the views that others have made of it. */
static const char *const take_status[] = {
    "LOCK TABLE bley_status IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE bley_status ADD COLUMN IF NOT EXISTS fail_count int DEFAULT 0",
    "CREATE TABLE bley_status_folded AS SELECT " IP(
	"lower(ip)") " AS ip, min(coalesce(status, 2)) AS status,"
		     " max(coalesce(" UTC(
			 "last_action") ", " PG_NOW ")) AS last_action,"
					" left(lower(coalesce(sender, '')), 254) AS sender,"
					" left(lower(coalesce(recipient, '')), 254) AS recipient,"
					" max(coalesce(fail_count, 0)) AS fail_count FROM "
					"bley_status GROUP BY 1, 4, 5",
    "TRUNCATE bley_status",
    "INSERT INTO bley_status (ip, status, last_action, sender, recipient, fail_count)"
    " SELECT ip, status, last_action, sender, recipient, fail_count FROM bley_status_folded",
    "DROP TABLE bley_status_folded",
    "ALTER TABLE bley_status ALTER sender SET NOT NULL, ALTER recipient SET NOT NULL,"
    " ALTER fail_count SET NOT NULL, ALTER fail_count SET DEFAULT 0",
    "DROP INDEX IF EXISTS bley_status_index",
    "CREATE UNIQUE INDEX bley_status_tuple ON bley_status (ip, sender, recipient)",
};
static const char *const take_log[] = {
    "ALTER TABLE bley_log ADD COLUMN IF NOT EXISTS check_postmaster int DEFAULT 0,"
    " ADD COLUMN IF NOT EXISTS check_cache int DEFAULT 0",
    "UPDATE bley_log SET logtime = " UTC("logtime") ", ip = " IP("ip"),
};
static const char *const make_rest[] = {
    STATUS_TABLE,
    LOG_TABLE,
    "CREATE INDEX IF NOT EXISTS bley_log_logtime ON bley_log (logtime)",
    CACHE_TABLE,
    "CREATE TABLE bley_schema (version int NOT NULL)",
    "INSERT INTO bley_schema VALUES (1)",
};

/* Runs a statement for its effect; *rows, where given, is how many it changed. */
static enum store_result run(struct store *store, const char *sql, int64_t *rows)
{
	const struct pg_call call = {.sql = sql};
	PGresult *result;
	enum store_result rc = pg_run_here(store, &call, &result);

	if (rc != STORE_OK)
		return rc;
	if (rows)
		*rows = strtoll(PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return rc;
}

/* The row that a statement gives: numbers, and 1 for true. */
static enum store_result query(struct store *store, const char *sql, int columns, int64_t *values)
{
	const struct pg_call call = {.sql = sql, .columns = columns, .row = true};
	PGresult *result;
	enum store_result rc = pg_run_here(store, &call, &result);

	if (rc != STORE_OK)
		return rc;
	for (int i = 0; i < columns; i++) {
		const char *text = PQgetvalue(result, 0, i);

		values[i] = *text == 't' ? 1 : strtoll(text, NULL, 10);
	}
	PQclear(result);
	return rc;
}

static enum store_result run_all(struct store *store, const char *const *statements, size_t count)
{
	enum store_result rc = STORE_OK;

	for (size_t i = 0; rc == STORE_OK && i < count; i++)
		rc = run(store, statements[i], NULL);
	return rc;
}

static enum store_result take_over_status(struct store *store, struct store_schema_report *report)
{
	int64_t before = 0, after = 0;
	enum store_result rc = query(store, "SELECT count(*) FROM bley_status", 1, &before);

	if (rc == STORE_OK)
		rc = run_all(store, take_status, sizeof(take_status) / sizeof(take_status[0]));
	if (rc == STORE_OK)
		rc = query(store, "SELECT count(*) FROM bley_status", 1, &after);
	report->folded = before - after;
	report->converted += before;
	report->taken_over = true;
	return rc;
}

static enum store_result take_over_log(struct store *store, struct store_schema_report *report)
{
	int64_t rows = 0;
	enum store_result rc = run(store, take_log[0], NULL);

	if (rc == STORE_OK)
		rc = run(store, take_log[1], &rows);
	report->converted += rows;
	report->taken_over = true;
	return rc;
}

static enum store_result take_over(struct store *store, const int64_t *found,
				   struct store_schema_report *report)
{
	int64_t has_plpgsql = 0;
	enum store_result rc = query(store, has_plpgsql_sql, 1, &has_plpgsql);

	if (rc == STORE_OK)
		rc = run(store, has_plpgsql ? make_ip_sql : make_no_ip_sql, NULL);
	if (rc == STORE_OK && found[FOUND_STATUS])
		rc = take_over_status(store, report);
	if (rc == STORE_OK && found[FOUND_LOG])
		rc = take_over_log(store, report);
	return rc == STORE_OK ? run(store, drop_ip_sql, NULL) : rc;
}

static enum store_result too_large(struct store *store)
{
	store->sqlstate[0] = '\0';
	snprintf(store->error, sizeof(store->error), "PostgreSQL database %s: " SQL_TOO_LARGE,
		 store->config.name);
	return STORE_BROKEN;
}

/* What cannot be done in time is not begun: it would be rolled back, and begun anew by the next. */
static enum store_result see_to_size(struct store *store, const int64_t *found)
{
	int64_t large = 0;
	enum store_result rc = STORE_OK;

	if (found[FOUND_STATUS])
		rc = query(store, SQL_IS_LARGE("bley_status"), 1, &large);
	if (rc == STORE_OK && !large && found[FOUND_LOG])
		rc = query(store, SQL_IS_LARGE("bley_log"), 1, &large);
	return rc == STORE_OK && large ? too_large(store) : rc;
}

/* Within the transaction, with the lock held. */
static enum store_result upgrade_locked(struct store *store, struct store_schema_report *report,
					bool mail_waits)
{
	int64_t found[FOUND] = {0};
	enum store_result rc = query(store, found_sql, FOUND, found);

	if (rc == STORE_OK && found[FOUND_SCHEMA])
		return STORE_OK; /* another process was faster */
	if (rc == STORE_OK && mail_waits)
		rc = see_to_size(store, found);
	if (rc == STORE_OK && (found[FOUND_STATUS] || found[FOUND_LOG]))
		rc = take_over(store, found, report);
	if (rc == STORE_OK)
		rc = run_all(store, make_rest, sizeof(make_rest) / sizeof(make_rest[0]));
	report->created = rc == STORE_OK && !report->taken_over;
	return rc;
}

/* Until the transaction's end no statement goes on in the server when our time is over and we have
 * left; a little less, so that its own word of it still comes. */
static enum store_result set_limit(struct store *store)
{
	long long left_ms = (store->deadline_us - clock_us()) / 1000;
	char limit[NUMBER_SIZE];
	const char *const values[] = {limit};
	const struct pg_call call = {
	    .sql = limit_sql, .count = 1, .values = values, .columns = 1, .row = true};
	PGresult *result;
	enum store_result rc;

	snprintf(limit, sizeof(limit), "%lld", left_ms > 1 ? left_ms - left_ms / 8 : 1);
	rc = pg_run_here(store, &call, &result);
	if (rc == STORE_OK)
		PQclear(result);
	return rc;
}

static enum store_result lock(struct store *store)
{
	int64_t nothing;
	enum store_result rc = query(store, lock_sql, 1, &nothing);

	if (rc != STORE_OK && pg_failed_with(store, "57014")) /* the limit was reached */
		snprintf(store->error, sizeof(store->error),
			 "PostgreSQL database %s: another process is making or taking over bley's "
			 "tables",
			 store->config.name);
	return rc;
}

static enum store_result upgrade(struct store *store, struct store_schema_report *report,
				 bool mail_waits)
{
	char error[PG_ERROR_SIZE], state[sizeof(store->sqlstate)];
	enum store_result rc = run(store, "BEGIN", NULL);

	if (rc == STORE_OK)
		rc = set_limit(store);
	if (rc == STORE_OK)
		rc = lock(store);
	if (rc == STORE_OK)
		rc = upgrade_locked(store, report, mail_waits);
	if (rc == STORE_OK)
		return run(store, "COMMIT", NULL);
	memcpy(error, store->error, sizeof(error));
	memcpy(state, store->sqlstate, sizeof(state));
	if (store->conn)
		run(store, "ROLLBACK", NULL);
	memcpy(store->error, error, sizeof(error));
	memcpy(store->sqlstate, state, sizeof(state));
	return rc;
}

static enum store_result check_version(struct store *store, int64_t version)
{
	if (version <= STORE_SCHEMA_VERSION)
		return STORE_OK;
	snprintf(store->error, sizeof(store->error),
		 "PostgreSQL database %s: its schema has version %lld, this bley knows versions up "
		 "to %d: "
		 "install the newer bley on this host too",
		 store->config.name, (long long)version, STORE_SCHEMA_VERSION);
	return STORE_BROKEN;
}

static enum store_result leave_alone(struct store *store)
{
	snprintf(store->error, sizeof(store->error),
		 "PostgreSQL database %s: bley's tables have yet to be made or taken over: run "
		 "'bleyctl init'",
		 store->config.name);
	return STORE_NOT_FOUND;
}

static enum store_result read_version(struct store *store, int64_t *version)
{
	char timeout[NUMBER_SIZE];
	const char *const values[] = {timeout};
	const struct pg_call call = {
	    .sql = version_sql, .count = 1, .values = values, .columns = 3, .row = true};
	PGresult *result;
	enum store_result rc;

	snprintf(timeout, sizeof(timeout), "%d", store->config.timeout_ms);
	rc = pg_run_here(store, &call, &result);
	if (rc != STORE_OK)
		return rc;
	*version = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	/* Most poolers name no process, or one of their own. */
	store->direct = strtoll(PQgetvalue(result, 0, 2), NULL, 10) == PQbackendPID(store->conn);
	PQclear(result);
	return rc;
}

enum store_result pg_schema_check(struct store *store, struct store_schema_report *report)
{
	struct store_schema_report done = {.to = STORE_SCHEMA_VERSION};
	int64_t version = 0;
	enum store_result rc = read_version(store, &version);

	if (rc != STORE_OK && pg_failed_with(store, "42P01")) { /* there is no such table */
		rc = store->config.must_exist ? leave_alone(store) : upgrade(store, &done, !report);
		if (rc == STORE_OK)
			rc = read_version(store, &version);
	}
	if (rc == STORE_OK && !done.created && !done.taken_over)
		done.from = (int)version;
	if (rc == STORE_OK)
		rc = check_version(store, version);
	store->checked = rc == STORE_OK;
	if (rc == STORE_OK && report)
		*report = done;
	return rc;
}
