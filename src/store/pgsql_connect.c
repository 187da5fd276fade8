/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

#include "config.h"

#define REFUSED_US US_PER_S /* how long a server that could not be reached is left alone */
#define RETRY_PAUSE_NS 2000000
#define SOCKET_FILE "/.s.PGSQL."
#define PAIRS_MOST 12
#define NUMBER_SIZE 24
#define NAME_SIZE 64
#define NO_TLS "BLTLS" /* no SQLSTATE of the server's, but handled as one */

static int timeout_ms(const struct store *store)
{
	int ms = store->config.timeout_ms;

	return store->patient && ms < STORE_REPORT_MS ? STORE_REPORT_MS : ms;
}

void pg_begin(struct store *store)
{
	store->deadline_us = clock_us() + (int64_t)timeout_ms(store) * 1000;
}

bool pg_failed_with(const struct store *store, const char *sqlstate)
{
	return !strcmp(store->sqlstate, sqlstate);
}

/* Waits until the socket is ready for `events`. False at the deadline. */
static bool wait_socket(struct store *store, short events)
{
	struct pollfd pfd = {.fd = PQsocket(store->conn), .events = events};
	int left_ms, n;

	do {
		left_ms = clock_left_ms(store->deadline_us);
		if (left_ms <= 0)
			return false;
		n = poll(&pfd, 1, left_ms);
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

/* The first line of what the library says, with where the server is and what to do. */
static void describe(struct store *store, const char *message, const char *advice)
{
	const struct store_config *config = &store->config;
	int len = (int)strcspn(message, "\n");
	char port[20] = "";

	if (config->port)
		snprintf(port, sizeof(port), ", port %d", config->port);
	snprintf(store->error, sizeof(store->error), "PostgreSQL database %s at %s%s: %.*s%s",
		 *config->name ? config->name : "(default)",
		 *config->host ? config->host : "the default host", port, len, message, advice);
}

static const char *advice_of(const char *sqlstate)
{
	if (!strncmp(sqlstate, "28", 2)) /* invalid authorization */
		return ": check dbuser and dbpass, and the server's pg_hba.conf";
	if (!strcmp(sqlstate, "3D000"))
		return ": make it (CREATE DATABASE), or mend dbname";
	if (!strcmp(sqlstate, NO_TLS))
		return ": check dbtls, and the server's certificate and where its issuer's lies";
	if (!strcmp(sqlstate, "42501"))
		return ": grant dbuser its rights on bley's tables";
	if (!strcmp(sqlstate, "25006"))
		return ": bley needs the primary server, this one is read-only";
	if (!strncmp(sqlstate, "53", 2))
		return ": the server lacks room, memory or connections";
	return "";
}

/* Soft: what may work when tried again, soon or on another connection. */
static bool is_soft(const char *sqlstate)
{
	static const char *const classes[] = {"08", "40", "57", "53"};

	if (!strcmp(sqlstate, "55P03") || !strcmp(sqlstate, "25006"))
		return true;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (!strncmp(sqlstate, classes[i], 2))
			return strcmp(sqlstate, "53100") != 0; /* the disk is full */
	return false;
}

static enum store_result fail(struct store *store, const char *sqlstate, const char *message)
{
	snprintf(store->sqlstate, sizeof(store->sqlstate), "%s", sqlstate);
	describe(store, message, advice_of(sqlstate));
	return is_soft(sqlstate) ? STORE_RETRY : STORE_BROKEN;
}

/* 08006: connection_failure. The connection is of no use any more. */
static enum store_result lost(struct store *store, const char *message)
{
	enum store_result result = fail(store, "08006", message);

	pg_disconnect(store);
	return result;
}

static enum store_result timed_out(struct store *store)
{
	char message[100];

	snprintf(message, sizeof(message), "no answer within %d ms%s", timeout_ms(store),
		 store->patient ? "" : " (db_timeout)");
	return lost(store, message);
}

void pg_disconnect(struct store *store)
{
	PQfinish(store->conn);
	store->conn = NULL;
	store->checked = store->direct = store->planned = false;
	memset(store->used, 0, sizeof(store->used));
	memset(store->prepared, 0, sizeof(store->prepared));
}

static void no_notice(void *arg, const char *message)
{
	(void)arg;
	(void)message;
}

/* The library's names, from what protects least. */
static const char *const sslmodes[] = {"disable", "allow",     "prefer",
				       "require", "verify-ca", "verify-full"};

static size_t strictness(const char *sslmode)
{
	for (size_t i = 0; i < sizeof(sslmodes) / sizeof(sslmodes[0]); i++)
		if (sslmode && !strcmp(sslmode, sslmodes[i]))
			return i;
	return 0;
}

/* What dbtls says, or what the environment or its service does where that asks for more. */
static const char *sslmode_of(const char *tls)
{
	static const char *const modes[][2] = {
	    {"off", "disable"}, {"require", "require"}, {"verify", "verify-full"}};
	PQconninfoOption *defaults = PQconndefaults();
	const char *mode = "prefer";
	size_t theirs = 0;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(tls, modes[i][0]))
			mode = modes[i][1];
	for (const PQconninfoOption *o = defaults; o && o->keyword; o++)
		if (!strcmp(o->keyword, "sslmode"))
			theirs = strictness(o->val);
	PQconninfoFree(defaults);
	/* theirs is never less than `prefer` where they say nothing */
	return theirs > strictness(mode) && strcmp(tls, "off") != 0 ? sslmodes[theirs] : mode;
}

/* The library's keywords and values; what the settings leave empty is left to its environment, its
 * service and its password file. Where dbhost is the socket itself, the directory and the port are
 * taken from it. */
static PGconn *start(const struct store_config *config, const char *name, bool one_of_several)
{
	const char *names[PAIRS_MOST], *values[PAIRS_MOST], *file = strstr(name, SOCKET_FILE);
	const char *sslmode = sslmode_of(config->tls);
	char port[12] = "", *host = mem_strdup(name);
	PGconn *conn;
	size_t n = 0;

	if (config->port)
		snprintf(port, sizeof(port), "%d", config->port);
	if (name[0] == '/' && file) {
		snprintf(port, sizeof(port), "%s", file + strlen(SOCKET_FILE));
		host[file == name ? 1 : file - name] = '\0';
	}
	const char *const pairs[][2] = {
	    {"host", host},
	    {"port", port},
	    {"user", config->user},
	    {"password", config->password},
	    {"dbname", config->name},
	    {"sslmode", sslmode},
	    /* which would be taken instead of TLS, with no regard to sslmode */
	    {"gssencmode", strictness(sslmode) > strictness("prefer") ? "disable" : ""},
	    {"application_name", "bley"},
	    {"client_encoding", "UTF8"},
	    /* of several hosts the one that is no standby */
	    {"target_session_attrs", one_of_several ? "read-write" : ""}};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (!*pairs[i][1])
			continue;
		names[n] = pairs[i][0];
		values[n++] = pairs[i][1];
	}
	names[n] = values[n] = NULL;
	conn = PQconnectStartParams(names, values, 0);
	free(host);
	return conn;
}

/* What a failed connection means is only in its text; what is not known may pass by itself. */
static const char *state_of(const char *message)
{
	static const char *const known[][2] = {
	    {"authentication failed", "28000"},
	    {"no pg_hba.conf entry", "28000"},
	    {"no password supplied", "28000"},
	    {"role \"", "28000"},
	    {"certificate", NO_TLS},
	    {"does not support SSL", NO_TLS},
	    {"does not exist", "3D000"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(message, known[i][0]))
			return known[i][1];
	return "08001";
}

static enum store_result refused(struct store *store, const char *message)
{
	enum store_result result = fail(store, state_of(message), message);

	pg_disconnect(store);
	store->refused_until_us = clock_us() + REFUSED_US;
	return result;
}

static enum store_result connect_to(struct store *store, const char *host, bool one_of_several)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	store->conn = start(&store->config, host, one_of_several);
	if (!store->conn)
		mem_exhausted();
	if (PQstatus(store->conn) == CONNECTION_BAD)
		return refused(store, PQerrorMessage(store->conn));
	PQsetNoticeProcessor(store->conn, no_notice, NULL);
	while (status != PGRES_POLLING_OK) {
		if (!wait_socket(store, status == PGRES_POLLING_READING ? POLLIN : POLLOUT))
			return refused(store, "no answer in time (db_timeout)");
		status = PQconnectPoll(store->conn);
		if (status == PGRES_POLLING_FAILED)
			return refused(store, PQerrorMessage(store->conn));
	}
	PQsetnonblocking(store->conn, 1);
	store->refused_until_us = 0;
	return STORE_OK;
}

static size_t count_hosts(const char *hosts)
{
	size_t n = 1;

	while ((hosts = strchr(hosts, ',')))
		hosts++, n++;
	return n;
}

/* The library would go through several hosts by itself, but wait for the first one as long as for
 * all: here each has its share of the time. */
enum store_result pg_connect(struct store *store)
{
	size_t count = count_hosts(store->config.host);
	int64_t deadline_us = store->deadline_us;
	enum store_result rc = STORE_RETRY; /* with the error that it gave */
	char *hosts, *next;

	pg_disconnect(store);
	if (clock_us() < store->refused_until_us)
		return rc;
	hosts = next = mem_strdup(store->config.host);
	for (size_t left = count; left > 0 && rc != STORE_OK; left--) {
		int64_t now_us = clock_us();

		store->deadline_us = now_us + (deadline_us - now_us) / (int64_t)left;
		rc = connect_to(store, strsep(&next, ","), count > 1);
	}
	store->deadline_us = deadline_us;
	free(hosts);
	return rc;
}

/* Sends what the library holds, and waits until the whole answer is there. */
static enum store_result wait_answer(struct store *store)
{
	int unsent;

	while ((unsent = PQflush(store->conn)) > 0) {
		if (!wait_socket(store, POLLOUT | POLLIN))
			return timed_out(store);
		if (!PQconsumeInput(store->conn))
			return lost(store, PQerrorMessage(store->conn));
	}
	if (unsent < 0)
		return lost(store, PQerrorMessage(store->conn));
	while (PQisBusy(store->conn)) {
		if (!wait_socket(store, POLLIN))
			return timed_out(store);
		if (!PQconsumeInput(store->conn))
			return lost(store, PQerrorMessage(store->conn));
	}
	return STORE_OK;
}

enum store_result pg_unexpected(struct store *store)
{
	enum store_result rc = fail(store, "XX000",
				    "the server's answer is not what was asked for");

	pg_disconnect(store);
	return rc;
}

/* A result of this shape, or why there is none. The library gives NULL for a value that is not
 * there. */
static enum store_result take_result(struct store *store, PGresult *result, int columns, bool row)
{
	const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_SINGLE_TUPLE)
		return PQnfields(result) == columns && PQntuples(result) >= row
			   ? STORE_OK
			   : pg_unexpected(store);
	if (PQstatus(store->conn) == CONNECTION_BAD)
		return lost(store, PQerrorMessage(store->conn));
	if (status != PGRES_FATAL_ERROR)
		return pg_unexpected(store);
	return fail(store, state ? state : "XX000", PQresultErrorMessage(result));
}

/* It wants to copy rows in or out: there would be one such result after the other. */
static bool is_copy(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* Waits for the answer to what `sent` says was sent. */
static enum store_result finish(struct store *store, int sent, int columns, bool row,
				PGresult **out)
{
	PGresult *result = NULL, *next;
	enum store_result rc;

	store->sqlstate[0] = '\0';
	if (!sent)
		return lost(store, PQerrorMessage(store->conn));
	do {
		rc = wait_answer(store);
		if (rc != STORE_OK)
			break;
		next = PQgetResult(store->conn);
		if (next) {
			PQclear(result);
			result = next;
		}
	} while (next && !is_copy(next));
	if (rc == STORE_OK)
		rc = take_result(store, result, columns, row);
	if (rc == STORE_OK)
		*out = result;
	else
		PQclear(result);
	return rc;
}

/* A plan that is kept is made for the table as it is now: a small one would be read as a whole, and
 * so would it be when it has grown, until the server has counted its rows anew. */
static enum store_result plan_for_growth(struct store *store)
{
	static const char sql[] = "SELECT set_config('enable_seqscan', 'off', false)";
	enum store_result rc;
	PGresult *result = NULL;

	if (store->planned)
		return STORE_OK;
	rc = finish(store, PQsendQueryParams(store->conn, sql, 0, NULL, NULL, NULL, NULL, 0), 1,
		    true, &result);
	PQclear(result);
	store->planned = rc == STORE_OK;
	return rc;
}

/*
 * To parse and plan a statement costs the server more than to run it. A connection of one request
 * would pay for two round trips, and behind a pooler the next statement may meet another process of
 * the server's, which does not know what was prepared.
 */
static enum store_result prepare(struct store *store, const struct pg_call *call, const char *name)
{
	enum store_result rc = STORE_OK;
	PGresult *result = NULL;

	if (store->direct && store->used[call->lasting] && !store->prepared[call->lasting]) {
		rc = plan_for_growth(store);
		if (rc == STORE_OK)
			rc = finish(store, PQsendPrepare(store->conn, name, call->sql, 0, NULL), 0,
				    false, &result);
		PQclear(result);
		store->prepared[call->lasting] = rc == STORE_OK;
	}
	store->used[call->lasting] = call->lasting != PG_ONCE;
	return rc;
}

enum store_result pg_run_here(struct store *store, const struct pg_call *call, PGresult **out)
{
	char name[NAME_SIZE];
	enum store_result rc;
	int sent;

	/* one connection may serve two versions, if a pooler hides that it does */
	snprintf(name, sizeof(name), "bley_" BLEY_VERSION "_%d", (int)call->lasting);
	rc = prepare(store, call, name);
	if (rc != STORE_OK)
		return rc;
	if (store->prepared[call->lasting])
		sent = PQsendQueryPrepared(store->conn, name, call->count, call->values, NULL, NULL,
					   0);
	else
		sent = PQsendQueryParams(store->conn, call->sql, call->count, NULL, call->values,
					 NULL, NULL, 0);
	return finish(store, sent, call->columns, call->row, out);
}

/* Connects where there is no connection, and sees to the schema of a new one. */
static enum store_result ready(struct store *store)
{
	enum store_result rc = store->conn ? STORE_OK : pg_connect(store);

	return rc == STORE_OK && !store->checked ? pg_schema_check(store, NULL) : rc;
}

enum store_result pg_stream(struct store *store, const struct pg_call *call,
			    bool (*take)(void *context, const PGresult *row), void *context)
{
	enum store_result rc = ready(store);
	PGresult *result;
	bool more = true;

	if (rc != STORE_OK)
		return rc;
	store->sqlstate[0] = '\0';
	if (!PQsendQueryParams(store->conn, call->sql, call->count, NULL, call->values, NULL, NULL,
			       0))
		return lost(store, PQerrorMessage(store->conn));
	PQsetSingleRowMode(store->conn);
	while (rc == STORE_OK && more) {
		rc = wait_answer(store);
		result = rc == STORE_OK ? PQgetResult(store->conn) : NULL;
		if (!result)
			break;
		rc = take_result(store, result, call->columns, false);
		if (rc == STORE_OK && PQresultStatus(result) == PGRES_SINGLE_TUPLE)
			more = take(context, result);
		PQclear(result);
		pg_begin(store);
	}
	/* what is still to come is of no use to the next statement */
	if (!more || rc != STORE_OK)
		pg_disconnect(store);
	return rc;
}

/* What the database's encoding does not have becomes `?`: a letter less, but no mail less. */
static enum store_result run_in_ascii(struct store *store, const struct pg_call *call,
				      PGresult **out)
{
	char **copies = mem_alloc((size_t)call->count * sizeof(*copies));
	struct pg_call plain = *call;
	enum store_result rc;

	for (int i = 0; i < call->count; i++) {
		char *to, *s = call->values[i] ? mem_strdup(call->values[i]) : NULL;

		copies[i] = to = s;
		for (; s && *s; s++)
			if (((unsigned char)*s & 0xc0) != 0x80) /* one mark a character */
				*to++ = (unsigned char)*s < 0x80 ? *s : '?';
		if (to)
			*to = '\0';
	}
	plain.values = (void *)copies;
	rc = pg_run_here(store, &plain, out);
	for (int i = 0; i < call->count; i++)
		free(copies[i]);
	free(copies);
	return rc;
}

/* Whether it may have been refused because of what had been prepared: a column has another type
 * now, or a pooler was taken for the server. */
static bool is_stale(const struct store *store, const struct pg_call *call)
{
	return call->lasting != PG_ONCE &&
	       (pg_failed_with(store, "0A000") || pg_failed_with(store, "26000") ||
		!strncmp(store->sqlstate, "42", 2));
}

static enum store_result run_once(struct store *store, const struct pg_call *call, PGresult **out)
{
	enum store_result rc = pg_run_here(store, call, out);

	if (rc != STORE_OK && is_stale(store, call)) {
		store->direct = false;
		memset(store->prepared, 0, sizeof(store->prepared));
		rc = pg_run_here(store, call, out);
	}
	if (rc != STORE_OK && (pg_failed_with(store, "22P05") || pg_failed_with(store, "22021")))
		rc = run_in_ascii(store, call, out);
	return rc;
}

bool pg_wants_retry(const struct store *store)
{
	const struct timespec pause = {.tv_nsec = RETRY_PAUSE_NS};

	if (!pg_failed_with(store, "40001") && !pg_failed_with(store, "40P01"))
		return false;
	nanosleep(&pause, NULL);
	return clock_us() < store->deadline_us;
}

/* A connection may die while it idles, and its server may become a standby: then another one helps.
 */
static bool wants_connection(const struct store *store)
{
	return !store->conn || pg_failed_with(store, "25006") ||
	       !strncmp(store->sqlstate, "57P", 3);
}

enum store_result pg_run(struct store *store, const struct pg_call *call, PGresult **out)
{
	bool fresh = !store->conn;
	enum store_result rc;

	for (;;) {
		rc = ready(store);
		if (rc == STORE_OK)
			rc = run_once(store, call, out);
		if (rc == STORE_OK || (store->conn && pg_wants_retry(store))) {
			if (rc == STORE_OK)
				return rc;
			continue;
		}
		if (fresh || !wants_connection(store) || clock_us() >= store->deadline_us)
			return rc;
		pg_disconnect(store);
		fresh = true;
	}
}

/* A transaction, so that the server's own limit is lifted on the connection that the statements run
 * on, whatever pooler is in between. */
enum store_result pg_report_begin(struct store *store)
{
	char limit[NUMBER_SIZE];
	const char *const values[] = {limit};
	const struct pg_call begin = {.sql = "BEGIN"};
	const struct pg_call lift = {.sql = "SELECT set_config('statement_timeout', $1, true)",
				     .count = 1,
				     .values = values,
				     .columns = 1};
	enum store_result rc;
	PGresult *result;

	snprintf(limit, sizeof(limit), "%d", STORE_REPORT_MS);
	pg_begin(store);
	rc = pg_run(store, &begin, &result);
	if (rc != STORE_OK)
		return rc;
	PQclear(result);
	rc = pg_run_here(store, &lift, &result);
	if (rc != STORE_OK) {
		pg_disconnect(store);
		return rc;
	}
	PQclear(result);
	store->patient = true;
	pg_begin(store);
	return rc;
}

enum store_result pg_report_end(struct store *store, enum store_result rc)
{
	const struct pg_call commit = {.sql = "COMMIT"};
	PGresult *result;

	store->patient = false;
	pg_begin(store);
	if (rc == STORE_OK)
		rc = pg_run_here(store, &commit, &result);
	if (rc == STORE_OK)
		PQclear(result);
	else
		pg_disconnect(store);
	return rc;
}
