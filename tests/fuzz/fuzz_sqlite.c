/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A database file that somebody else made: the first byte says how, the rest is the file, or SQL
 * that makes one. `bleyctl init` and a handler get it, then what people's tools ask of it. None may
 * crash or hang, the handler answers; and the old rows are either all taken over or all left as
 * they were.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/ipaddr.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "conf/conf.h"
#include "fuzz.h"
#include "policy/handler.h"
#include "store/store.h"

#define FUZZ_RAW 1	     /* the rest is the file itself */
#define FUZZ_HANDLER_FIRST 2 /* it takes the tables over, not init */
#define FUZZ_WAL 4

#define STEPS_MOST 50000 /* of SQLite's machine, for one of the fuzzer's own statements */
#define LENGTH_MOST 100000
#define PATH_SIZE 256

#define SETTINGS                                                                     \
	"[bley]\ndbpath = %s\ndbname = old.db\nlog_file = /dev/null\nuse_spf = no\n" \
	"dnswl_threshold = 0\ndnsbl_threshold = 0\ndb_timeout = 1\n"                 \
	"whitelist_recipients_file = /dev/null\nwhitelist_clients_file = /dev/null\n"

#define REQUEST                                                                          \
	"request=smtpd_access_policy\nsender=fuzz@a.example\nrecipient=fuzz@b.example\n" \
	"client_address=203.0.113.99\nclient_name=unknown\nhelo_name=x\n\n"

static struct {
	struct conf conf;
	const struct store_driver *driver;
	struct store_config store;
	char path[PATH_SIZE];
	int request, answer;
} world;

/* In place of the C library's: the driver lingers over a close, in case that others come. Nobody
 * does here. */
int nanosleep(const struct timespec *pause, struct timespec *left)
{
	(void)pause;
	(void)left;
	return 0;
}

static void begin_world(void)
{
	char text[1024], error[512];

	snprintf(world.path, sizeof(world.path), "%s/old.db", fuzz_folder());
	snprintf(text, sizeof(text), SETTINGS, fuzz_folder());
	conf_load(&world.conf, fuzz_file(0, text, strlen(text)));
	fuzz_require(world.conf.usable && !world.conf.problems);
	log_open("fuzz", world.conf.log_file);
	world.driver = store_driver("sqlite3", error, sizeof(error));
	fuzz_require(world.driver != NULL);
	world.store = (struct store_config){
	    .type = "sqlite3", .name = world.path, .timeout_ms = 1000};
	world.request = fuzz_open("request");
	world.answer = fuzz_open("answer");
	fuzz_require(write(world.request, REQUEST, strlen(REQUEST)) > 0);
}

/* --- the file --------------------------------------------------------------------------------- */

/* The fuzzer's own SQL is to make a database, and nothing else of any size. */
static int authorize(void *context, int action, const char *a, const char *b, const char *c,
		     const char *d)
{
	(void)context;
	(void)a;
	(void)b;
	(void)c;
	(void)d;
	return action == SQLITE_ATTACH || action == SQLITE_DETACH || action == SQLITE_PRAGMA
		   ? SQLITE_DENY
		   : SQLITE_OK;
}

static int enough(void *context)
{
	(void)context;
	return 1;
}

static sqlite3 *open_own(int flags)
{
	sqlite3 *db;

	fuzz_require(sqlite3_open_v2(world.path, &db, flags, NULL) == SQLITE_OK);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, LENGTH_MOST);
	sqlite3_progress_handler(db, STEPS_MOST, enough, NULL);
	return db;
}

static void run_sql(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;

	while (*sql) {
		int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, &sql);

		if (rc)
			return;
		while (stmt && sqlite3_step(stmt) == SQLITE_ROW)
			continue;
		sqlite3_finalize(stmt);
	}
}

/* Statement for statement, so that one which is wrong spoils no other. */
static void make_from_sql(struct fuzz_input in, bool wal)
{
	sqlite3 *db = open_own(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);

	sqlite3_exec(db, "PRAGMA page_size = 512; PRAGMA synchronous = OFF", NULL, NULL, NULL);
	if (wal)
		sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
	sqlite3_set_authorizer(db, authorize, NULL);
	while (in.size) {
		struct fuzz_input line = fuzz_line(&in);
		char *sql = fuzz_text(line.data, line.size);

		run_sql(db, sql);
		free(sql);
	}
	sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	sqlite3_close(db);
}

static void remove_old(void)
{
	static const char *const behind[] = {"", "-wal", "-shm", "-journal"};
	char path[PATH_SIZE + 16];

	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", world.path, behind[i]);
		unlink(path);
	}
}

static void make_raw(struct fuzz_input in)
{
	int fd = fuzz_open("old.db");

	fuzz_require(write(fd, in.data, in.size) == (ssize_t)in.size);
	close(fd);
}

/* --- what is in it ---------------------------------------------------------------------------- */

/* Everything in the Python daemon's tables as text, to compare; empty where it cannot be read. */
static void read_tables(struct strbuf *out)
{
	static const char *const tables[] = {"SELECT * FROM bley_status", "SELECT * FROM bley_log",
					     "SELECT type, name, sql FROM sqlite_master"};
	sqlite3 *db = open_own(SQLITE_OPEN_READONLY);
	sqlite3_stmt *stmt;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (sqlite3_prepare_v2(db, tables[i], -1, &stmt, NULL))
			continue;
		while (sqlite3_step(stmt) == SQLITE_ROW)
			for (int column = 0; column < sqlite3_column_count(stmt); column++) {
				const void *text = sqlite3_column_blob(stmt, column);

				if (text)
					strbuf_add(out, text,
						   (size_t)sqlite3_column_bytes(stmt, column));
				strbuf_addch(out, '|');
			}
		strbuf_addf(out, "%d\n", sqlite3_finalize(stmt));
	}
	sqlite3_close(db);
}

/* The rows of bley_status that were there, in memory. */
struct old_row {
	char ip[LENGTH_MOST / 100], sender[LENGTH_MOST / 100], recipient[LENGTH_MOST / 100];
	int64_t status, fail_count;
};

#define OLD_ROWS_MOST 64

struct old {
	bool known; /* they could be read, all of them, and are of plain text */
	bool has_version;
	size_t count;
	int64_t log_rows;
	struct old_row rows[OLD_ROWS_MOST];
};

static bool take_text(sqlite3_stmt *stmt, int column, char *out)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);
	size_t len = (size_t)sqlite3_column_bytes(stmt, column);

	*out = '\0';
	if (!text)
		return true;
	if (len >= sizeof(((struct old_row *)NULL)->ip) || memchr(text, '\0', len))
		return false;
	for (size_t i = 0; i <= len; i++)
		out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
	return true;
}

static bool take_row(sqlite3_stmt *stmt, struct old_row *row)
{
	struct ipaddr ip;
	const char *address = (const char *)sqlite3_column_text(stmt, 0);

	if (!take_text(stmt, 0, row->ip) || !take_text(stmt, 1, row->sender) ||
	    !take_text(stmt, 2, row->recipient))
		return false;
	if (address && ipaddr_parse(address, &ip))
		ipaddr_format(&ip, row->ip);
	else if (address)
		strcpy(row->ip, address); /* as it is */
	row->status = sqlite3_column_type(stmt, 3) == SQLITE_NULL ? 2
								  : sqlite3_column_int64(stmt, 3);
	row->fail_count = sqlite3_column_int64(stmt, 4);
	return true;
}

static bool exists(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL))
		return false;
	sqlite3_finalize(stmt);
	return true;
}

static bool read_rows(sqlite3 *db, const char *sql, struct old *old)
{
	sqlite3_stmt *stmt;
	bool good = true;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL))
		return false;
	while (good && sqlite3_step(stmt) == SQLITE_ROW) {
		good = old->count < OLD_ROWS_MOST && take_row(stmt, &old->rows[old->count]);
		old->count += good;
	}
	return sqlite3_finalize(stmt) == SQLITE_OK && good;
}

static int64_t number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL))
		return -1;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

static void read_old(struct old *old)
{
	sqlite3 *db = open_own(SQLITE_OPEN_READONLY);

	*old = (struct old){.has_version = exists(db, "SELECT version FROM bley_schema")};
	old->known = read_rows(
	    db, "SELECT ip, sender, recipient, status, fail_count FROM main.bley_status", old);
	old->log_rows = number(db, "SELECT count(*) FROM main.bley_log");
	sqlite3_close(db);
}

/* --- what must hold --------------------------------------------------------------------------- */

static void check_row(sqlite3_stmt *stmt, const struct old_row *row)
{
	sqlite3_bind_text(stmt, 1, row->ip, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, row->sender, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 3, row->recipient, -1, SQLITE_STATIC);
	fuzz_require(sqlite3_step(stmt) == SQLITE_ROW);
	fuzz_require(sqlite3_column_int64(stmt, 0) <= row->status);
	fuzz_require(sqlite3_column_int64(stmt, 1) >= row->fail_count);
	sqlite3_reset(stmt);
}

/* Each old row is in one of the new ones, and each new one comes of an old one. */
static void check_taken_over(const struct old *old, bool handled)
{
	sqlite3 *db = open_own(SQLITE_OPEN_READONLY);
	sqlite3_stmt *stmt;
	int64_t count = number(db, "SELECT count(*) FROM bley_status");
	int64_t log_rows = number(db, "SELECT count(*) FROM bley_log");

	fuzz_require(count >= 0 && count <= (int64_t)old->count + handled);
	fuzz_require(old->log_rows < 0 || log_rows == old->log_rows + handled);
	fuzz_require(!sqlite3_prepare_v2(db,
					 "SELECT status, fail_count FROM bley_status"
					 " WHERE ip = ? AND sender = ? AND recipient = ?",
					 -1, &stmt, NULL));
	for (size_t i = 0; i < old->count; i++)
		check_row(stmt, &old->rows[i]);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

static enum store_result run_init(void)
{
	struct store_schema_report report = {.to = -1}, again;
	char error[1024] = "";
	enum store_result result = world.driver->init(&world.store, &report, error, sizeof(error));

	if (result != STORE_OK) {
		fuzz_require(*error && report.to == -1);
		return result;
	}
	fuzz_require(report.to == STORE_SCHEMA_VERSION && report.folded >= 0);
	fuzz_require(!(report.created && report.taken_over));
	fuzz_require(world.driver->init(&world.store, &again, error, sizeof(error)) == STORE_OK);
	fuzz_require(!again.created && !again.taken_over && again.from);
	return result;
}

/* One request to a handler that knows nothing yet: always one answer, that lets mail flow. */
static void run_handler(void)
{
	struct handler *handler = handler_new(&world.conf);
	char answer[256];
	ssize_t len;

	fuzz_require(!lseek(world.request, 0, SEEK_SET) && !lseek(world.answer, 0, SEEK_SET));
	fuzz_require(!ftruncate(world.answer, 0));
	fuzz_require(handler_serve(handler, world.request, world.answer) == EXIT_SUCCESS);
	handler_free(handler);
	len = pread(world.answer, answer, sizeof(answer) - 1, 0);
	fuzz_require(len > 0);
	answer[len] = '\0';
	fuzz_require(!strcmp(answer, "action=DUNNO\n\n") ||
		     !strcmp(answer, "action=DEFER_IF_PERMIT greylisted, try again later\n\n"));
}

/* Whether it is now a database of ours. */
static bool is_ours(void)
{
	sqlite3 *db = open_own(SQLITE_OPEN_READONLY);
	bool ours = number(db, "SELECT version FROM bley_schema") == STORE_SCHEMA_VERSION;

	sqlite3_close(db);
	return ours;
}

/* What people's tools read: text that ends, numbers within their bounds. */
static void touch(const char *text)
{
	fuzz_require(!text || strlen(text) <= LENGTH_MOST);
}

static void touch_tuple(const struct store_tuple *tuple)
{
	touch(tuple->ip);
	touch(tuple->sender);
	touch(tuple->recipient);
}

static bool see_row(void *context, const struct store_row *row)
{
	(void)context;
	touch_tuple(&row->tuple);
	fuzz_require(row->age_us >= 0);
	return true;
}

static bool see_log(void *context, const struct store_log_row *row, int64_t time_us)
{
	(void)context;
	(void)time_us;
	touch_tuple(&row->tuple);
	touch(row->action);
	return true;
}

static void see_stat(void *context, const struct store_stat *stat)
{
	(void)context;
	touch(stat->name);
	fuzz_require(stat->count >= 0 && stat->deferred >= 0);
}

static void see_graph(void *context, int slot, enum store_graph_class what, int64_t count)
{
	const struct store_graph_query *query = context;

	fuzz_require(slot >= 0 && slot < (query->slots > 2 ? query->slots : 2));
	fuzz_require(what >= 0 && what < STORE_GRAPH_CLASSES && count >= 0);
}

/* Whether there is nothing in it that could compute for ever. */
static bool is_plain(void)
{
	sqlite3 *db = open_own(SQLITE_OPEN_READONLY);
	bool plain = !number(db, "SELECT count(*) FROM sqlite_master WHERE type IN ('view',"
				 " 'trigger') OR sql LIKE '%VIRTUAL%' OR sql LIKE '%AS%(%'");

	sqlite3_close(db);
	return plain;
}

static void run_tools(void)
{
	struct store_filter filter = {.status = STORE_UNKNOWN};
	struct store_stat_query stats = {.dnswl_threshold = 1, .dnsbl_threshold = 1, .clients = 10};
	struct store_graph_query graph = {.slot_s = 3600,
					  .slots = 24,
					  .dnswl_threshold = 1,
					  .dnsbl_threshold = 1,
					  .rfc_threshold = 2};
	struct store_forgotten forgotten;
	struct store_purge purge = {.status_s = 86400, .status_bad_s = 86400, .log_s = 86400};
	struct store *store;
	char error[1024];

	if (world.driver->open(&world.store, &store, error, sizeof(error)) != STORE_OK)
		return;
	world.driver->list(store, &filter, see_row, NULL);
	filter.limit = 5;
	world.driver->read_log(store, &filter, 0, 0, see_log, NULL);
	world.driver->stats(store, &stats, see_stat, NULL);
	for (graph.kind = STORE_GRAPH_DECISIONS; graph.kind <= STORE_GRAPH_TUPLES; graph.kind++)
		world.driver->graph(store, &graph, see_graph, &graph);
	world.driver->forget(store, &filter, true, &forgotten);
	world.driver->purge(store, &purge);
	world.driver->close(store);
}

static void check_file(bool handler_first)
{
	static struct old old;
	struct strbuf before = STRBUF_INIT, after = STRBUF_INIT;

	read_old(&old);
	read_tables(&before);
	if (handler_first)
		run_handler();
	else
		run_init();
	if (!old.has_version && !is_ours()) {
		read_tables(&after);
		fuzz_require(after.len == before.len && !memcmp(after.buf, before.buf, after.len));
	} else if (!old.has_version && old.known) {
		check_taken_over(&old, handler_first);
	}
	if (handler_first)
		run_init();
	else
		run_handler();
	if (is_plain())
		run_tools();
	strbuf_release(&before);
	strbuf_release(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t options = fuzz_byte(&in);

	if (!world.driver)
		begin_world();
	remove_old();
	if (options & FUZZ_RAW)
		make_raw(in);
	else
		make_from_sql(in, options & FUZZ_WAL);
	check_file(options & FUZZ_HANDLER_FIRST);
	return 0;
}
