/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

#include <errmsg.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

#define REFUSED_US                                                                    \
	US_PER_S /* how long a server that could not be reached or used is left alone \
		  */
#define RETRY_PAUSE_NS 5000000
#define SOCKET_NAME "mysqld.sock" /* in a directory that dbhost names */
#define NOT_READY 1047		  /* Galera: WSREP has not yet prepared node for application use */

/* Every text is bound as UTF-8, whatever an option file says of character sets; what a column
 * cannot hold is cut or replaced, not refused. A statement that waits for a lock would go on
 * waiting when we have left. */
#define SET_UP_WITH(isolation)                                                            \
	"SET NAMES utf8mb4, SESSION sql_mode = '', time_zone = '+00:00', autocommit = 1," \
	" innodb_lock_wait_timeout = %u, lock_wait_timeout = %u, " isolation " = 'READ-COMMITTED'"
#define SET_UP SET_UP_WITH("transaction_isolation")
#define SET_UP_OLD SET_UP_WITH("tx_isolation")

static const struct {
	const char *sql;
	size_t parameters;
	unsigned columns;
} statements[MY_STATEMENTS] = {
    [MY_RECALL] =
	{"SELECT s.status, s.fail_count,"
	 " GREATEST(0, TIMESTAMPDIFF(MICROSECOND, s.last_action, UTC_TIMESTAMP(6))), c.status"
	 " FROM (SELECT 1) one"
	 " LEFT JOIN bley_status s ON s.ip = ? AND s.sender = ? AND s.recipient = ?"
	 " LEFT JOIN bley_cache c ON c.ip = ?"
	 " AND ABS(TIMESTAMPDIFF(MICROSECOND, c.last_action, UTC_TIMESTAMP(6))) < ?",
	 5, 4},
    [MY_INSERT] = {MY_ROW_INSERT("?, ?, ?", "?"), 4, 0},
    [MY_TOUCH] = {MY_ROW_TOUCH("?, ?, ?"), 3, 0},
    [MY_PASS] = {MY_ROW_PASS("?, ?, ?"), 3, 0},
    [MY_AGAIN] = {MY_ROW_AGAIN("?, ?, ?"), 3, 0},
    [MY_CLIENT] = {MY_ROW_CLIENT("?, ?"), 2, 0},
    [MY_BOTH] = {"CALL " MY_PROCEDURE "(?, ?, ?, ?, ?, ?)", 6, 1},
    [MY_LOG] = {"INSERT INTO bley_log (logtime, ip, sender, recipient, action, check_dnswl,"
		" check_dnsbl, check_helo, check_dyn, check_db, check_spf, check_s_eq_r,"
		" check_postmaster, check_cache)"
		" VALUES (UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
		"?, ?, ?)",
		14, 0},
};

void my_begin(struct store *store)
{
	store->deadline_us = clock_us() + (int64_t)store->config.timeout_ms * 1000;
}

void my_disconnect(struct store *store)
{
	for (int i = 0; i < MY_STATEMENTS; i++) {
		if (store->statements[i])
			mysql_stmt_close(store->statements[i]);
		store->statements[i] = NULL;
	}
	if (store->conn)
		mysql_close(store->conn);
	store->conn = NULL;
	store->checked = store->no_procedure = store->in_cluster = false;
}

static bool is_lost(unsigned code)
{
	return code == CR_SERVER_GONE_ERROR || code == CR_SERVER_LOST ||
	       code == CR_CONNECTION_ERROR || code == CR_CONN_HOST_ERROR ||
	       code == ER_SERVER_SHUTDOWN || code == CR_UNKNOWN_ERROR ||
	       code == 1927 /* MariaDB: connection was killed */ ||
	       code == 4031 /* MySQL: closed by wait_timeout, told when next used */;
}

static bool is_read_only(unsigned code)
{
	return code == ER_OPTION_PREVENTS_STATEMENT || code == 1792 || code == 1836;
}

/* Soft: what may work when tried again. */
static bool is_soft(unsigned code)
{
	return is_lost(code) || is_read_only(code) || code == ER_LOCK_DEADLOCK ||
	       code == ER_LOCK_WAIT_TIMEOUT || code == ER_CON_COUNT_ERROR || code == NOT_READY;
}

static const char *advice_of(unsigned code)
{
	switch (code) {
	case ER_ACCESS_DENIED_ERROR:
	case ER_DBACCESS_DENIED_ERROR:
		return ": check dbuser and dbpass, and the user's rights (GRANT)";
	case ER_BAD_DB_ERROR:
		return ": make it (CREATE DATABASE), or mend dbname";
	case ER_TABLEACCESS_DENIED_ERROR:
		return ": grant dbuser its rights on bley's tables";
	case ER_RECORD_FILE_FULL:
	case ER_DISK_FULL:
	case ER_ERROR_ON_WRITE:
		return ": see whether the server's disk has room";
	case CR_SSL_CONNECTION_ERROR:
		return ": check dbtls, and the server's certificate and where its issuer's lies";
	case ER_LOCK_WAIT_TIMEOUT:
		return ": locked by another connection for longer than db_timeout";
	default:
		return is_read_only(code) ? ": bley needs a server that may be written" : "";
	}
}

/* dbhost that begins with `/` is the socket or its directory. The caller frees the result; NULL: no
 * socket. */
static char *socket_of(const char *host)
{
	size_t size = strlen(host) + sizeof("/" SOCKET_NAME);
	struct stat st;
	char *path;

	if (host[0] != '/')
		return NULL;
	path = mem_alloc(size);
	snprintf(path, size, "%s%s", host,
		 !stat(host, &st) && S_ISDIR(st.st_mode) ? "/" SOCKET_NAME : "");
	return path;
}

enum store_result my_failed(struct store *store, unsigned code, const char *message)
{
	const struct store_config *c = &store->config;
	char *path = socket_of(c->host);
	char port[20] = "";

	if (c->port && !path)
		snprintf(port, sizeof(port), ", port %d", c->port);
	store->code = code;
	snprintf(store->error, sizeof(store->error), "MySQL database %s at %s%s: %s%s", c->name,
		 path	    ? path
		 : *c->host ? c->host
			    : "localhost",
		 port, message, advice_of(code));
	free(path);
	if (is_lost(code))
		my_disconnect(store);
	return is_soft(code) ? STORE_RETRY : STORE_BROKEN;
}

enum store_result my_query(struct store *store, const char *sql)
{
	if (mysql_query(store->conn, sql))
		return my_failed(store, mysql_errno(store->conn), mysql_error(store->conn));
	return mysql_field_count(store->conn) ? my_unexpected(store) : STORE_OK;
}

enum store_result my_unexpected(struct store *store)
{
	enum store_result rc = my_failed(store, CR_MALFORMED_PACKET,
					 "the server's answer is not what was asked for");

	my_disconnect(store);
	return rc;
}

/* dbtls, from what protects least. */
enum tls { TLS_OFF, TLS_PREFER, TLS_REQUIRE, TLS_VERIFY };

static enum tls tls_of(const struct store *store)
{
	static const char *const names[] = {
	    [TLS_OFF] = "off", [TLS_REQUIRE] = "require", [TLS_VERIFY] = "verify"};

	for (int i = TLS_VERIFY; i >= TLS_OFF; i--)
		if (names[i] && !strcmp(store->config.tls, names[i]))
			return (enum tls)i;
	return TLS_PREFER;
}

/*
 * Options that belong to dbtls, set before the option files are read and once more behind that: a
 * file may ask for more than dbtls does, but not for less.
 */
static void set_tls(MYSQL *conn, enum tls tls, bool again)
{
#ifdef MARIADB_PACKAGE_VERSION
	my_flag use = tls > TLS_OFF, check = tls == TLS_VERIFY;

	/* without a word newer libraries want TLS, and a certificate that can be verified */
	if (use || !again)
		mysql_options(conn, MYSQL_OPT_SSL_ENFORCE, &use);
	if (check || !again)
		mysql_options(conn, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &check);
#else
	static const unsigned modes[] = {[TLS_OFF] = SSL_MODE_DISABLED,
					 [TLS_PREFER] = SSL_MODE_PREFERRED,
					 [TLS_REQUIRE] = SSL_MODE_REQUIRED,
					 [TLS_VERIFY] = SSL_MODE_VERIFY_IDENTITY};
	unsigned mode = modes[tls], file = SSL_MODE_DISABLED;

	if (again && !mysql_get_option(conn, MYSQL_OPT_SSL_MODE, &file) && file > mode)
		mode = file;
	mysql_options(conn, MYSQL_OPT_SSL_MODE, &mode);
#endif
}

/* The libraries read option files when they connect, and what stands there is then stronger than
 * what they have been told before. So they try to connect to nowhere first, whether by TCP or by a
 * socket, and are told once more. */
static void read_option_files(MYSQL *conn)
{
	mysql_options(conn, MYSQL_READ_DEFAULT_GROUP, "bley");
	mysql_real_connect(conn, "255.255.255.255", NULL, NULL, NULL, 1, "/dev/null/nowhere",
			   CLIENT_REMEMBER_OPTIONS);
#ifdef MARIADB_PACKAGE_VERSION
	/* a file's `reconnect` would bring a connection that has not been set up */
	mysql_options(conn, MYSQL_OPT_RECONNECT, &(my_flag){0});
#endif
}

static unsigned timeout_s(const struct store *store)
{
	return store->config.timeout_ms < 1000 ? 1 : (unsigned)store->config.timeout_ms / 1000;
}

/* How long an answer is waited for. */
static unsigned answer_s(const struct store *store)
{
	const unsigned report = STORE_REPORT_MS / 1000;
	unsigned seconds = timeout_s(store);

	return store->patient && seconds < report ? report : seconds;
}

/* The library counts whole seconds; MySQL's tries a read three times. */
static void set_timeouts(MYSQL *conn, const struct store *store)
{
	unsigned seconds = timeout_s(store), reading = answer_s(store);

#ifndef MARIADB_PACKAGE_VERSION
	reading = reading < 3 ? 1 : reading / 3;
#endif
	mysql_options(conn, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
	mysql_options(conn, MYSQL_OPT_READ_TIMEOUT, &reading);
	mysql_options(conn, MYSQL_OPT_WRITE_TIMEOUT, &reading);
}

static bool real_connect(struct store *store)
{
	const struct store_config *c = &store->config;
	char *path = socket_of(c->host);
	MYSQL *done;

	done = mysql_real_connect(store->conn, path ? NULL : c->host, *c->user ? c->user : NULL,
				  *c->password ? c->password : NULL, c->name, (unsigned)c->port,
				  path, CLIENT_MULTI_RESULTS);
	free(path);
	return done != NULL;
}

/* Or need not be: a local socket, or settings that leave it open. Not every library sees to it by
 * itself. */
static bool is_encrypted(const struct store *store)
{
	return tls_of(store) < TLS_REQUIRE || mysql_get_ssl_cipher(store->conn) ||
	       !strstr(mysql_get_host_info(store->conn), "TCP");
}

/* MariaDB before 11.1 knows the isolation level by its old name only. */
static bool set_up(struct store *store)
{
	bool old = strstr(mysql_get_server_info(store->conn), "MariaDB") != NULL;
	char sql[300];

	snprintf(sql, sizeof(sql), old ? SET_UP_OLD : SET_UP, timeout_s(store), answer_s(store));
	return !mysql_query(store->conn, sql) && !mysql_field_count(store->conn);
}

static void leave_alone(struct store *store)
{
	my_disconnect(store);
	store->refused_until_us = clock_us() + REFUSED_US;
}

enum store_result my_connect(struct store *store)
{
	enum store_result rc;

	my_disconnect(store);
	if (clock_us() < store->refused_until_us)
		return STORE_RETRY; /* with the error that it gave */
	store->conn = mysql_init(NULL);
	if (!store->conn)
		mem_exhausted();
	set_tls(store->conn, tls_of(store), false);
	read_option_files(store->conn);
	set_tls(store->conn, tls_of(store), true);
	set_timeouts(store->conn, store);
	mysql_options(store->conn, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	/* else the server may ask for any file that we can read */
	mysql_options(store->conn, MYSQL_OPT_LOCAL_INFILE, &(unsigned){0});
	mysql_options4(store->conn, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "bley");
	if (real_connect(store) && !is_encrypted(store))
		rc = my_failed(store, CR_SSL_CONNECTION_ERROR, "the server offers no TLS (dbtls)");
	else if (!mysql_errno(store->conn) && set_up(store))
		return STORE_OK;
	else if (!mysql_errno(store->conn))
		rc = my_unexpected(store);
	else
		rc = my_failed(store, mysql_errno(store->conn), mysql_error(store->conn));
	leave_alone(store);
	return rc;
}

enum store_result my_take_time(struct store *store)
{
	if (store->patient && store->conn)
		return STORE_OK;
	store->patient = true;
	return my_connect(store);
}

enum store_result my_ready(struct store *store)
{
	enum store_result rc = store->conn ? STORE_OK : my_connect(store);

	return rc == STORE_OK && !store->checked ? my_schema_check(store, NULL) : rc;
}

static void bind_values(MYSQL_BIND *binds, const struct my_value *values, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct my_value *v = &values[i];

		binds[i].buffer_type = v->text ? MYSQL_TYPE_STRING : MYSQL_TYPE_LONGLONG;
		binds[i].buffer = v->text ? (void *)(uintptr_t)v->text
					  : (void *)(uintptr_t)&v->number;
		binds[i].buffer_length = v->text ? strlen(v->text) : sizeof(v->number);
	}
}

static enum store_result stmt_failed(struct store *store, MYSQL_STMT *stmt)
{
	return my_failed(store, mysql_stmt_errno(stmt), mysql_stmt_error(stmt));
}

/* A procedure's end comes as one more result, behind its rows. */
static enum store_result pass_rest(struct store *store, MYSQL_STMT *stmt)
{
	int rc = mysql_stmt_next_result(stmt);

	if (!rc && (mysql_stmt_field_count(stmt) || mysql_more_results(store->conn)))
		return my_unexpected(store);
	return rc > 0 ? stmt_failed(store, stmt) : STORE_OK;
}

/* The one row's columns, all numbers. */
static enum store_result fetch(struct store *store, MYSQL_STMT *stmt, unsigned columns,
			       struct my_answer *out)
{
	MYSQL_BIND binds[MY_COLUMNS_MOST] = {{.buffer = NULL}};
	my_flag null[MY_COLUMNS_MOST] = {0};
	int rc;

	for (unsigned i = 0; i < columns; i++) {
		binds[i].buffer_type = MYSQL_TYPE_LONGLONG;
		binds[i].buffer = &out->column[i];
		binds[i].is_null = &null[i];
	}
	if (mysql_stmt_bind_result(stmt, binds) || mysql_stmt_store_result(stmt))
		return stmt_failed(store, stmt);
	if (mysql_stmt_num_rows(stmt) != 1)
		return my_unexpected(store);
	rc = mysql_stmt_fetch(stmt);
	if (rc && rc != MYSQL_DATA_TRUNCATED)
		return stmt_failed(store, stmt);
	for (unsigned i = 0; i < columns; i++)
		out->null[i] = null[i];
	mysql_stmt_free_result(stmt);
	return pass_rest(store, stmt);
}

/* What the columns of our statements are; for others the library may have no function. */
static bool is_known(enum enum_field_types type)
{
	switch (type) {
	case MYSQL_TYPE_TINY:
	case MYSQL_TYPE_SHORT:
	case MYSQL_TYPE_INT24:
	case MYSQL_TYPE_LONG:
	case MYSQL_TYPE_LONGLONG:
	case MYSQL_TYPE_DECIMAL:
	case MYSQL_TYPE_NEWDECIMAL:
	case MYSQL_TYPE_STRING:
	case MYSQL_TYPE_VAR_STRING:
	case MYSQL_TYPE_VARCHAR:
	case MYSQL_TYPE_TINY_BLOB:
	case MYSQL_TYPE_BLOB:
	case MYSQL_TYPE_MEDIUM_BLOB:
	case MYSQL_TYPE_LONG_BLOB:
		return true;
	default:
		return false;
	}
}

/* The library takes as many of the columns' binds as the server says that there are columns, and
 * trusts in the types that it names. */
static bool has_columns(MYSQL_STMT *stmt, unsigned columns)
{
	MYSQL_RES *result = NULL;
	bool known = true;

	if (mysql_stmt_field_count(stmt) != columns)
		return false;
	if (columns)
		result = mysql_stmt_result_metadata(stmt);
	for (unsigned i = 0; result && i < columns; i++)
		known = known && is_known(mysql_fetch_field_direct(result, i)->type);
	mysql_free_result(result);
	return known;
}

static enum store_result execute(struct store *store, MYSQL_STMT *stmt,
				 const struct my_value *values, size_t count, unsigned columns,
				 struct my_answer *out)
{
	MYSQL_BIND *binds = mem_alloc((count + 1) * sizeof(*binds));
	struct my_answer answer = {.changed = 0};
	enum store_result rc = STORE_OK;

	bind_values(binds, values, count);
	if (mysql_stmt_bind_param(stmt, binds) || mysql_stmt_execute(stmt))
		rc = stmt_failed(store, stmt);
	else if (!has_columns(stmt, columns))
		rc = my_unexpected(store);
	else if (columns)
		rc = fetch(store, stmt, columns, &answer);
	free(binds);
	if (rc != STORE_OK)
		return rc;
	answer.insert_id = mysql_stmt_insert_id(stmt);
	answer.changed = (int64_t)mysql_stmt_affected_rows(stmt);
	*out = answer;
	return rc;
}

/* count: of the values that will be bound; here, too, the library believes the server. */
static enum store_result prepare(struct store *store, const char *sql, size_t count,
				 MYSQL_STMT **out)
{
	MYSQL_STMT *stmt = mysql_stmt_init(store->conn);
	char message[MY_ERROR_SIZE];
	unsigned code;

	if (!stmt)
		mem_exhausted();
	if (!mysql_stmt_prepare(stmt, sql, strlen(sql))) {
		if (mysql_stmt_param_count(stmt) == count) {
			*out = stmt;
			return STORE_OK;
		}
		mysql_stmt_close(stmt);
		return my_unexpected(store);
	}
	code = mysql_stmt_errno(stmt);
	snprintf(message, sizeof(message), "%s", mysql_stmt_error(stmt));
	mysql_stmt_close(stmt);
	return my_failed(store, code, message);
}

enum store_result my_run_once(struct store *store, const char *sql, const struct my_value *values,
			      size_t count, unsigned columns, struct my_answer *out)
{
	MYSQL_STMT *stmt = NULL;
	enum store_result rc = prepare(store, sql, count, &stmt);

	if (rc != STORE_OK)
		return rc;
	rc = execute(store, stmt, values, count, columns, out);
	/* also when the connection is gone: the library then only frees its memory */
	mysql_stmt_close(stmt);
	return rc;
}

/* One row after the other; what is no text (NULL) is an empty one. */
static bool fetch_all(MYSQL_STMT *stmt, unsigned columns,
		      bool (*take)(void *context, char *const *row), void *context)
{
	char(*text)[MY_TEXT_SIZE] = mem_alloc(MY_STREAM_MOST * sizeof(*text));
	MYSQL_BIND binds[MY_STREAM_MOST] = {{.buffer = NULL}};
	unsigned long length[MY_STREAM_MOST] = {0};
	my_flag null[MY_STREAM_MOST] = {0};
	char *row[MY_STREAM_MOST];
	int rc = 0;

	for (unsigned i = 0; i < columns; i++) {
		row[i] = text[i];
		binds[i].buffer_type = MYSQL_TYPE_STRING;
		binds[i].buffer = text[i];
		binds[i].buffer_length = MY_TEXT_SIZE - 1;
		binds[i].length = &length[i];
		binds[i].is_null = &null[i];
	}
	if (mysql_stmt_bind_result(stmt, binds))
		rc = 1;
	while (!rc || rc == MYSQL_DATA_TRUNCATED) {
		rc = mysql_stmt_fetch(stmt);
		if (rc && rc != MYSQL_DATA_TRUNCATED)
			break;
		for (unsigned i = 0; i < columns; i++)
			text[i][null[i]			   ? 0
				: length[i] < MY_TEXT_SIZE ? length[i]
							   : MY_TEXT_SIZE - 1] = '\0';
		if (!take(context, row))
			rc = MYSQL_NO_DATA;
	}
	free(text);
	return rc == MYSQL_NO_DATA;
}

enum store_result my_stream(struct store *store, const char *sql, const struct my_value *values,
			    size_t count, unsigned columns,
			    bool (*take)(void *context, char *const *row), void *context)
{
	MYSQL_BIND *binds = mem_alloc((count + 1) * sizeof(*binds));
	MYSQL_STMT *stmt = NULL;
	enum store_result rc = prepare(store, sql, count, &stmt);

	bind_values(binds, values, count);
	if (rc == STORE_OK && (mysql_stmt_bind_param(stmt, binds) || mysql_stmt_execute(stmt)))
		rc = stmt_failed(store, stmt);
	else if (rc == STORE_OK && !has_columns(stmt, columns))
		rc = my_unexpected(store);
	else if (rc == STORE_OK && !fetch_all(stmt, columns, take, context))
		rc = stmt_failed(store, stmt);
	if (stmt)
		mysql_stmt_close(stmt);
	free(binds);
	return rc;
}

/* A procedure that fails leaves its transaction open. */
static void roll_back(struct store *store)
{
	if (store->conn && mysql_query(store->conn, "ROLLBACK"))
		my_disconnect(store);
}

/*
 * In a cluster the procedure is as if there were none. A transaction that ends within a procedure
 * and there loses a row to another node's may not get to know of it; then all nodes stand still
 * until the innodb_lock_wait_timeout of the server's settings is over, 50 s (seen with MariaDB
 * 10.11.19 and Galera 26.4.23, in one of a hundred races for a row). Single statements are safe.
 */
static enum store_result run_here(struct store *store, enum my_statement which,
				  const struct my_value *values, struct my_answer *out)
{
	MYSQL_STMT **stmt = &store->statements[which];
	enum store_result rc = STORE_OK;

	if (which == MY_BOTH && store->in_cluster)
		return my_failed(store, ER_SP_DOES_NOT_EXIST, "no procedure in a cluster");
	if (!*stmt)
		rc = prepare(store, statements[which].sql, statements[which].parameters, stmt);
	if (rc == STORE_OK)
		rc = execute(store, *stmt, values, statements[which].parameters,
			     statements[which].columns, out);
	if (rc != STORE_OK && which == MY_BOTH)
		roll_back(store);
	return rc;
}

bool my_wants_retry(const struct store *store)
{
	const struct timespec pause = {.tv_nsec = RETRY_PAUSE_NS};

	if (store->code != ER_LOCK_DEADLOCK && store->code != NOT_READY)
		return false;
	nanosleep(&pause, NULL);
	return clock_us() < store->deadline_us;
}

enum store_result my_run(struct store *store, enum my_statement which,
			 const struct my_value *values, struct my_answer *out)
{
	bool fresh = !store->conn;
	enum store_result rc;

	for (;;) {
		rc = my_ready(store);
		if (rc == STORE_OK)
			rc = run_here(store, which, values, out);
		if (rc == STORE_OK)
			return rc;
		if (store->conn && my_wants_retry(store))
			continue;
		if (fresh || (store->conn && !is_read_only(store->code)) ||
		    clock_us() >= store->deadline_us)
			break;
		my_disconnect(store);
		fresh = true;
	}
	if (store->conn && store->code == NOT_READY)
		leave_alone(store);
	return rc;
}
