/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "store/sql.h"

/*
 * The tables and their columns are the Python daemon's. New ones are made and filled under names of
 * this process's own and then take their places in one statement, bley_schema among them: so a
 * take-over can break off anywhere and begin anew, and two that are at it at once (a lock is a
 * node's own in a Galera cluster) do not meet. The log's key is invisible, so that rows are still
 * inserted by position; Galera wants one.
 */
#define STATUS_COLUMNS                                                         \
	"(ip varchar(39) NOT NULL, status smallint NOT NULL,"                  \
	" last_action datetime(6) NOT NULL, sender varchar(254) NOT NULL,"     \
	" recipient varchar(254) NOT NULL, fail_count int NOT NULL DEFAULT 0," \
	" PRIMARY KEY (ip, sender, recipient))"
#define LOG_COLUMNS                                                                           \
	"(logtime datetime(6) NOT NULL, ip varchar(39),"                                      \
	" sender varchar(254), recipient varchar(254), action varchar(254), check_dnswl int," \
	" check_dnsbl int, check_helo int, check_dyn int, check_db int, check_spf int,"       \
	" check_s_eq_r int, check_postmaster int, check_cache int,"                           \
	" id bigint unsigned NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY, KEY logtime "     \
	"(logtime))"
#define CACHE_COLUMNS                                                     \
	"(ip varchar(39) NOT NULL PRIMARY KEY, status smallint NOT NULL," \
	" last_action datetime(6) NOT NULL)"
#define SUFFIX_SIZE 28
#define OLD "_old" /* what was there before */
#define TEXT(value) "CONVERT(" value " USING utf8mb4) COLLATE utf8mb4_bin"

/* An address as lookups spell it (ipaddr_format()); what is none stays. */
#define HEX_OF "HEX(INET6_ATON(substring_index(ip, '%', 1)))"
#define GROUP_AT(place) ", substr(" HEX_OF ", " place ", 4)"
#define IS_MAPPED HEX_OF " LIKE '00000000000000000000FFFF%'"
#define UNMAPPED TEXT("INET6_NTOA(UNHEX(right(" HEX_OF ", 8)))")
#define GROUPS_1_TO_4 GROUP_AT("1") GROUP_AT("5") GROUP_AT("9") GROUP_AT("13")
#define GROUPS_5_TO_8 GROUP_AT("17") GROUP_AT("21") GROUP_AT("25") GROUP_AT("29")
#define EXPANDED TEXT("lower(concat_ws(':'" GROUPS_1_TO_4 GROUPS_5_TO_8 "))")
#define IS_TEXT "instr(ip, ':') = 0 OR " HEX_OF " IS NULL"
#define IP(text)                                                                                  \
	"CASE WHEN " IS_TEXT " THEN " text " WHEN " IS_MAPPED " THEN " UNMAPPED " ELSE " EXPANDED \
	" END"

/* And whether the server is a node of a Galera cluster; one built without knows no such variable.
 */
#define VERSION_AND(cluster) "SELECT max(version), " cluster " FROM bley_schema"
static const char version_sql[] = VERSION_AND("@@wsrep_on");
static const char version_alone_sql[] = VERSION_AND("0");
static const char exists_sql[] = "SELECT count(*) FROM information_schema.tables"
				 " WHERE table_schema = database() AND table_name = ?";
static const char has_column_sql[] = "SELECT count(*) FROM information_schema.columns"
				     " WHERE table_schema = database() AND table_name = ?"
				     " AND column_name = ?";
/* A column of type timestamp comes in the session's zone, which is UTC; a datetime is local time as
 * it was written. */
static const char is_datetime_sql[] = "SELECT count(*) FROM information_schema.columns"
				      " WHERE table_schema = database() AND table_name = ?"
				      " AND column_name = ? AND data_type = 'datetime'";

const char my_procedure_sql[] = "SELECT count(*) FROM information_schema.routines WHERE "
				"routine_schema = database() AND routine_name = '" MY_PROCEDURE "'";

static enum store_result run(struct store *store, const char *sql, int64_t *changed)
{
	enum store_result rc = my_query(store, sql);

	if (rc == STORE_OK && changed)
		*changed = (int64_t)mysql_affected_rows(store->conn);
	return rc;
}

/* A table whose texts are equal only when their bytes are: by default blanks at the end do not
 * count. */
static enum store_result create(struct store *store, const char *name, const char *suffix,
				const char *columns)
{
	bool mariadb = strstr(mysql_get_server_info(store->conn), "MariaDB") != NULL;
	struct strbuf sql = STRBUF_INIT;
	enum store_result rc;

	strbuf_addf(&sql,
		    "CREATE TABLE IF NOT EXISTS %s%s %s ENGINE=InnoDB ROW_FORMAT=DYNAMIC"
		    " DEFAULT CHARSET=utf8mb4 COLLATE=%s",
		    name, suffix, columns, mariadb ? "utf8mb4_nopad_bin" : "utf8mb4_0900_bin");
	rc = run(store, sql.buf, NULL);
	strbuf_release(&sql);
	return rc;
}

static enum store_result ask(struct store *store, const char *sql, const char *first,
			     const char *second, int64_t *value)
{
	const struct my_value values[] = {{.text = first}, {.text = second}};
	struct my_answer answer;
	enum store_result rc = my_run_once(store, sql, values,
					   first && second ? 2
					   : first	   ? 1
							   : 0,
					   1, &answer);

	if (rc == STORE_OK)
		*value = answer.null[0] ? 0 : answer.column[0];
	return rc;
}

/* The SQL that reads a time of an old table as UTC. */
static enum store_result utc_of(struct store *store, const char *table, const char *column,
				char *out, size_t size)
{
	int64_t datetime = 0;
	enum store_result rc = ask(store, is_datetime_sql, table, column, &datetime);

	snprintf(out, size,
		 datetime
		     ? "coalesce(CONVERT_TZ(%s, @@global.time_zone, '+00:00'), UTC_TIMESTAMP(6))"
		     : "coalesce(%s, UTC_TIMESTAMP(6))",
		 column);
	return rc;
}

/* The column, or 0 where the table of an older Python daemon lacks it. */
static enum store_result find_column(struct store *store, const char *table, const char *column,
				     const char **out)
{
	int64_t exists = 0;
	enum store_result rc = ask(store, has_column_sql, table, column, &exists);

	*out = exists ? column : "0";
	return rc;
}

static enum store_result copy_status(struct store *store, const char *suffix,
				     struct store_schema_report *report)
{
	struct strbuf sql = STRBUF_INIT;
	int64_t before = 0, after = 0;
	enum store_result rc = ask(store, "SELECT count(*) FROM bley_status", NULL, NULL, &before);
	const char *fail_count;
	char utc[200];

	if (rc == STORE_OK)
		rc = utc_of(store, "bley_status", "last_action", utc, sizeof(utc));
	if (rc == STORE_OK)
		rc = find_column(store, "bley_status", "fail_count", &fail_count);
	if (rc != STORE_OK)
		return rc;
	strbuf_addf(&sql,
		    "INSERT INTO bley_status%s (ip, sender, recipient, status, last_action, "
		    "fail_count) SELECT ",
		    suffix);
	strbuf_addstr(&sql, IP(TEXT("lower(ip)")) " AS a, ");
	strbuf_addstr(&sql, TEXT("lower(coalesce(sender, ''))") " AS b, ");
	strbuf_addstr(&sql, TEXT("lower(coalesce(recipient, ''))") " AS c, ");
	strbuf_addf(&sql,
		    "min(coalesce(status, 2)), max(%s), max(coalesce(%s, 0)) FROM bley_status"
		    " GROUP BY a, b, c",
		    utc, fail_count);
	rc = run(store, sql.buf, &after);
	strbuf_release(&sql);
	report->folded = before - after;
	report->converted += before;
	return rc;
}

static enum store_result copy_log(struct store *store, const char *suffix,
				  struct store_schema_report *report)
{
	static const char columns[] = "sender, recipient, action, check_dnswl, check_dnsbl,"
				      " check_helo, check_dyn, check_db, check_spf, check_s_eq_r";
	const char *postmaster, *cache;
	struct strbuf sql = STRBUF_INIT;
	int64_t rows = 0;
	char utc[200];
	enum store_result rc = utc_of(store, "bley_log", "logtime", utc, sizeof(utc));

	if (rc == STORE_OK)
		rc = find_column(store, "bley_log", "check_postmaster", &postmaster);
	if (rc == STORE_OK)
		rc = find_column(store, "bley_log", "check_cache", &cache);
	if (rc != STORE_OK)
		return rc;
	strbuf_addf(&sql,
		    "INSERT INTO bley_log%s (logtime, ip, %s, check_postmaster, check_cache)"
		    " SELECT %s, %s, %s, %s, %s FROM bley_log",
		    suffix, columns, utc, IP(TEXT("ip")), columns, postmaster, cache);
	rc = run(store, sql.buf, &rows);
	strbuf_release(&sql);
	report->converted += rows;
	return rc;
}

typedef enum store_result copy_rows(struct store *, const char *, struct store_schema_report *);

/* Makes one table, with the rows of the Python daemon's where that is there (then *old). */
static enum store_result make_table(struct store *store, const char *name, const char *suffix,
				    const char *columns, bool *old, copy_rows *copy,
				    struct store_schema_report *report)
{
	int64_t exists = 0;
	enum store_result rc = create(store, name, suffix, columns);

	if (rc == STORE_OK)
		rc = ask(store, exists_sql, name, NULL, &exists);
	*old = exists != 0;
	if (rc == STORE_OK && *old)
		rc = copy(store, suffix, report);
	return rc;
}

static void drop_new(struct store *store, const char *suffix)
{
	char sql[200];

	if (!store->conn)
		return;
	snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS bley_schema%s, bley_status%s, bley_log%s",
		 suffix, suffix, suffix);
	run(store, sql, NULL);
}

/* At once; only then are the Python daemon's tables of no more use. */
static enum store_result put_in_place(struct store *store, const char *suffix, bool status,
				      bool log)
{
	struct strbuf sql = STRBUF_INIT;
	enum store_result rc;

	strbuf_addstr(&sql, "RENAME TABLE ");
	if (status)
		strbuf_addf(&sql, "bley_status TO bley_status%s" OLD ", ", suffix);
	if (log)
		strbuf_addf(&sql, "bley_log TO bley_log%s" OLD ", ", suffix);
	strbuf_addf(&sql,
		    "bley_status%s TO bley_status, bley_log%s TO bley_log,"
		    " bley_schema%s TO bley_schema",
		    suffix, suffix, suffix);
	rc = run(store, sql.buf, NULL);
	strbuf_release(&sql);
	return rc;
}

static enum store_result make_new(struct store *store, const char *suffix,
				  struct store_schema_report *report)
{
	bool status = false, log = false;
	char sql[100];
	enum store_result rc = create(store, "bley_schema", suffix,
				      "(version int NOT NULL PRIMARY KEY)");

	snprintf(sql, sizeof(sql), "INSERT INTO bley_schema%s VALUES (1)", suffix);
	if (rc == STORE_OK)
		rc = run(store, sql, NULL);
	if (rc == STORE_OK)
		rc = create(store, "bley_cache", "", CACHE_COLUMNS);
	if (rc == STORE_OK)
		rc = make_table(store, "bley_status", suffix, STATUS_COLUMNS, &status, copy_status,
				report);
	if (rc == STORE_OK)
		rc = make_table(store, "bley_log", suffix, LOG_COLUMNS, &log, copy_log, report);
	if (rc == STORE_OK)
		rc = put_in_place(store, suffix, status, log);
	report->taken_over = status || log;
	report->created = !report->taken_over;
	return rc;
}

static bool take_name(void *context, char *const *row)
{
	struct strbuf *sql = context;

	strbuf_addf(sql, "%s`%s`", sql->len ? ", " : "DROP TABLE IF EXISTS ", row[0]);
	return true;
}

/*
 * What attempts that were broken off have left behind, and the Python daemon's tables, taken over.
 * all: also what may be an attempt of another node's that is at work, which finds then that it
 * comes too late; else only what is older than that can be.
 */
static enum store_result drop_leftovers(struct store *store, bool all)
{
	static const char names_sql[] =
	    "SELECT table_name FROM information_schema.tables WHERE table_schema = database()"
	    " AND table_name REGEXP '^bley_(schema|status|log)_new_[0-9a-f]+(" OLD ")?$'"
	    " AND (? OR create_time < NOW() - INTERVAL 2 HOUR)";
	const struct my_value value = {.number = all};
	struct strbuf sql = STRBUF_INIT;
	enum store_result rc = my_stream(store, names_sql, &value, 1, 1, take_name, &sql);

	if (rc == STORE_OK && sql.len)
		rc = run(store, sql.buf, NULL);
	strbuf_release(&sql);
	return rc;
}

static enum store_result too_large(struct store *store)
{
	store->code = 0;
	snprintf(store->error, sizeof(store->error), "MySQL database %s: " SQL_TOO_LARGE,
		 store->config.name);
	return STORE_BROKEN;
}

/* What cannot be done in time is not begun: the server would go on when we have left, and the next
 * one begin anew. */
static enum store_result see_to_size(struct store *store)
{
	static const char *const tables[][2] = {{"bley_status", SQL_IS_LARGE("bley_status")},
						{"bley_log", SQL_IS_LARGE("bley_log")}};
	enum store_result rc = STORE_OK;

	for (int i = 0; rc == STORE_OK && i < 2; i++) {
		int64_t exists = 0, large = 0;

		rc = ask(store, exists_sql, tables[i][0], NULL, &exists);
		if (rc == STORE_OK && exists)
			rc = ask(store, tables[i][1], NULL, NULL, &large);
		if (rc == STORE_OK && large)
			rc = too_large(store);
	}
	return rc;
}

/* Nobody else is at it on this server; on another node of a cluster somebody may be. */
static enum store_result tidy_up(struct store *store)
{
	int64_t in_cluster = 1;
	enum store_result rc = ask(store, "SELECT @@wsrep_on", NULL, NULL, &in_cluster);

	if (rc != STORE_OK && store->code == ER_UNKNOWN_SYSTEM_VARIABLE)
		in_cluster = 0;
	if (store->conn)
		rc = drop_leftovers(store, !in_cluster);
	return store->conn ? STORE_OK : rc;
}

static enum store_result upgrade_locked(struct store *store, struct store_schema_report *report,
					bool mail_waits)
{
	struct store_schema_report done = *report;
	char suffix[SUFFIX_SIZE], error[MY_ERROR_SIZE];
	unsigned code;
	int64_t exists = 0;
	enum store_result rc = ask(store, exists_sql, "bley_schema", NULL, &exists);

	if (rc != STORE_OK || exists)
		return rc; /* another process was faster */
	if (mail_waits)
		rc = see_to_size(store);
	if (rc == STORE_OK)
		rc = tidy_up(store);
	if (rc != STORE_OK)
		return rc;
	snprintf(suffix, sizeof(suffix), "_new_%llx",
		 (unsigned long long)clock_us() ^ (unsigned long long)getpid() << 40);
	rc = make_new(store, suffix, &done);
	if (rc == STORE_OK) {
		*report = done;
		return rc;
	}
	memcpy(error, store->error, sizeof(error));
	code = store->code;
	drop_new(store, suffix);
	memcpy(store->error, error, sizeof(error));
	store->code = code;
	/* another node was faster: what is there now is looked at again */
	return code == ER_TABLE_EXISTS_ERROR || code == ER_NO_SUCH_TABLE ? STORE_RETRY : rc;
}

/* Two hosts may both want to: one waits for the other. */
static enum store_result upgrade(struct store *store, struct store_schema_report *report,
				 bool mail_waits)
{
	char error[MY_ERROR_SIZE];
	int64_t left_s = (store->deadline_us - clock_us()) / 1000000;
	const struct my_value wait = {.number = left_s > 1 ? left_s : 1};
	struct my_answer answer;
	enum store_result rc = my_run_once(store, "SELECT GET_LOCK(concat('bley.', database()), ?)",
					   &wait, 1, 1, &answer);

	if (rc != STORE_OK)
		return rc;
	if (answer.null[0] || !answer.column[0])
		return my_failed(store, ER_LOCK_WAIT_TIMEOUT,
				 "another process makes or upgrades the schema");
	rc = upgrade_locked(store, report, mail_waits);
	memcpy(error, store->error, sizeof(error));
	if (store->conn)
		my_run_once(store, "SELECT RELEASE_LOCK(concat('bley.', database()))", NULL, 0, 1,
			    &answer);
	memcpy(store->error, error, sizeof(error));
	return rc;
}

static enum store_result leave_alone(struct store *store)
{
	snprintf(store->error, sizeof(store->error),
		 "MySQL database %s: bley's tables have yet to be made or taken over: run 'bleyctl "
		 "init'",
		 store->config.name);
	return STORE_NOT_FOUND;
}

static enum store_result ask_version(struct store *store, int64_t *version)
{
	struct my_answer answer;
	enum store_result rc = my_run_once(store, version_sql, NULL, 0, 2, &answer);

	if (rc != STORE_OK && store->code == ER_UNKNOWN_SYSTEM_VARIABLE)
		rc = my_run_once(store, version_alone_sql, NULL, 0, 2, &answer);
	if (rc != STORE_OK)
		return rc;
	*version = answer.null[0] ? 0 : answer.column[0];
	store->in_cluster = answer.column[1] != 0;
	return rc;
}

/* The version that is there, made or taken over where there is none. */
static enum store_result see_to_version(struct store *store, struct store_schema_report *report,
					bool mail_waits, int64_t *version)
{
	enum store_result rc;

	do {
		rc = ask_version(store, version);
		if (rc == STORE_OK || store->code != ER_NO_SUCH_TABLE)
			return rc;
		if (store->config.must_exist)
			return leave_alone(store);
		rc = upgrade(store, report, mail_waits);
		if (rc == STORE_OK)
			rc = ask_version(store, version);
	} while (rc == STORE_RETRY && store->conn && clock_us() < store->deadline_us);
	return rc;
}

/*
 * The procedure that remembers a tuple and its client's cached verdict in one go. It has its
 * caller's rights. Nothing is undone in it: who called it does that (my_run()), since not every
 * failure can be caught here (Galera's at COMMIT). The parameters' names must not be columns'.
 */
#define GIVEN "given_ip, given_sender, given_recipient"
#define INSERT_GIVEN MY_ROW_INSERT(GIVEN, "given_status")
#define TOUCH_GIVEN MY_ROW_TOUCH(GIVEN)
#define PASS_GIVEN MY_ROW_PASS(GIVEN)
#define AGAIN_GIVEN MY_ROW_AGAIN(GIVEN)
#define CLIENT_GIVEN MY_ROW_CLIENT("given_ip, given_client")

static const char procedure_sql[] =
    "CREATE PROCEDURE " MY_PROCEDURE " (given_change tinyint,"
    " given_ip varchar(39) CHARACTER SET utf8mb4, given_sender varchar(254) CHARACTER SET utf8mb4,"
    " given_recipient varchar(254) CHARACTER SET utf8mb4, given_status smallint,"
    " given_client smallint) MODIFIES SQL DATA SQL SECURITY INVOKER"
    " COMMENT 'bley: a tuple and its client, changed in one round trip' BEGIN"
    " START TRANSACTION; DO LAST_INSERT_ID(0);"
    " CASE given_change WHEN 1 THEN " INSERT_GIVEN "; WHEN 2 THEN " TOUCH_GIVEN
    "; WHEN 3 THEN " PASS_GIVEN "; ELSE " AGAIN_GIVEN "; END CASE;"
    " IF given_change <> 1 OR LAST_INSERT_ID() = 0 THEN " CLIENT_GIVEN "; END IF;"
    " COMMIT; SELECT LAST_INSERT_ID(); END";
_Static_assert(STORE_INSERT == 1 && STORE_TOUCH == 2 && STORE_PASS == 3 && STORE_AGAIN == 4,
	       "the numbers in procedure_sql, which stay as they are");

static enum store_result make_procedure(struct store *store)
{
	int64_t exists = 0;
	enum store_result rc = ask(store, my_procedure_sql, NULL, NULL, &exists);

	return rc == STORE_OK && !exists ? run(store, procedure_sql, NULL) : rc;
}

/* What makes it whole, but may also fail: all works without it. */
static enum store_result finish(struct store *store)
{
	enum store_result rc = make_procedure(store);

	if (store->conn)
		rc = drop_leftovers(store, true);
	return store->conn ? STORE_OK : rc;
}

enum store_result my_schema_check(struct store *store, struct store_schema_report *report)
{
	struct store_schema_report done = {.to = STORE_SCHEMA_VERSION};
	int64_t version = 0;
	enum store_result rc = see_to_version(store, &done, !report, &version);

	if (rc == STORE_OK && !done.created && !done.taken_over)
		done.from = (int)version;
	if (rc == STORE_OK && version > STORE_SCHEMA_VERSION) {
		snprintf(store->error, sizeof(store->error),
			 "MySQL database %s: its schema has version %lld, this bley knows versions "
			 "up to %d: "
			 "install the newer bley on this host too",
			 store->config.name, (long long)version, STORE_SCHEMA_VERSION);
		rc = STORE_BROKEN;
	}
	store->checked = rc == STORE_OK;
	if (rc == STORE_OK && (report || done.created || done.taken_over))
		rc = finish(store);
	if (rc == STORE_OK && report)
		*report = done;
	return rc;
}
