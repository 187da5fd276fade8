/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor of a handler that keeps what it knows in SQLite and reads nothing else: for one request
 * one SELECT, the answer, one INSERT into the log. No checkpoint at its end, no configuration, no
 * policy, no sandbox; its database is one of bley's.
 *
 *   bare DATABASE
 */
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#define ANSWER "action=DUNNO\n\n"
#define BUSY_MS 5000
#define LOG_COLUMNS 14

static const char recall[] =
    "SELECT 0, status, fail_count, last_action FROM bley_status"
    " WHERE ip = ?1 AND sender = ?2 AND recipient = ?3"
    " UNION ALL SELECT 1, status, 0, last_action FROM bley_cache WHERE ip = ?1";
static const char log_row[] =
    "INSERT INTO bley_log (logtime, ip, sender, recipient, action, check_dnswl, check_dnsbl,"
    " check_helo, check_dyn, check_db, check_spf, check_s_eq_r, check_postmaster, check_cache)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
static const char *const values[LOG_COLUMNS] = {"2026-11-24 12:00:00.000000", "192.0.2.1",
						"sender@example.net", "recipient@example.org",
						"DUNNO"};

/* Runs a statement to its end, its first `count` parameters bound to values[first] and on. */
static int run(sqlite3 *db, const char *sql, int first, int count)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL))
		return -1;
	for (int i = 0; i < count; i++)
		if (values[first + i])
			sqlite3_bind_text(stmt, i + 1, values[first + i], -1, SQLITE_STATIC);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		;
	return sqlite3_finalize(stmt);
}

int main(int argc, char **argv)
{
	char request[65536];
	sqlite3 *db;

	sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
	if (read(STDIN_FILENO, request, sizeof(request)) <= 0 ||
	    sqlite3_open_v2(argv[argc - 1], &db, SQLITE_OPEN_READWRITE, NULL))
		return 1;
	sqlite3_busy_timeout(db, BUSY_MS);
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (sqlite3_exec(db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL) ||
	    run(db, recall, 1, 3) || write(STDOUT_FILENO, ANSWER, strlen(ANSWER)) < 0 ||
	    run(db, log_row, 0, LOG_COLUMNS))
		return 1;
	return sqlite3_close(db);
}
