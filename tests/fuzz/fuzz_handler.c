/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole connection, served by the handler with its database: the first byte says how, the rest is
 * what the peer sends. Each request gets exactly one answer, one that never refuses mail for good;
 * the same answers come whether the bytes arrive at once or one by one; the database holds a row of
 * its log for each decision, and the log nothing that a terminal would obey.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/text.h"
#include "conf/conf.h"
#include "fuzz.h"
#include "policy/handler.h"
#include "policy/request.h"

#define FUZZ_EXIM 1
#define FUZZ_UNCACHED 2
#define STREAM_MOST 4096
#define PACKETS_MOST 200 /* that a socket holds */
#define ANSWERS_SIZE ((size_t)256 * STREAM_MOST)
#define REQUESTS_MOST STREAM_MOST

#define SETTINGS                                                                                  \
	"[bley]\ncache_valid = %d\ndbpath = %s\ndbname = handler.db\nlog_file = %s/log\nuse_spf " \
	"= no\n"                                                                                  \
	"dnswl_threshold = 0\ndnsbl_threshold = 0\nreject_msg = later\n"                          \
	"greylist_header = X-Greylist: 100%%%% by bley-%%(version)s\n"                            \
	"whitelist_recipients_file = %s/recipients\nwhitelist_clients_file = %s/clients\n"

/* Two greylisted tuples of a client that have waited, one that is clean, and a client known to be
 * bad. */
#define BEGIN_WITH                                                                                \
	"DELETE FROM bley_status; DELETE FROM bley_log; DELETE FROM bley_cache;"                  \
	"INSERT INTO bley_status (ip, status, last_action, sender, recipient, fail_count) VALUES" \
	" ('192.0.2.1', 2, datetime('now', '-1 day'), 'joe@d.example', 'ann@e.example', 1),"      \
	" ('192.0.2.1', 2, datetime('now', '-1 day'), 'joe@d.example', 'bob@e.example', 1),"      \
	" ('192.0.2.2', 0, datetime('now', '-1 day'), '', 'ann@e.example', 0);"                   \
	"INSERT INTO bley_cache VALUES ('192.0.2.3', 2, datetime('now'))"

/* What lasts from one input to the next. */
static struct {
	struct conf confs[2]; /* with a cache and without */
	struct handler *handlers[2];
	sqlite3 *db;
	int log, answers;
} world;

static void write_file(const char *name, const char *text)
{
	int fd = fuzz_open(name);

	fuzz_require(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void begin_world(void)
{
	const char *folder = fuzz_folder();
	char text[2048], path[256];

	write_file("recipients", "postmaster@\n/^abuse@/\n");
	write_file("clients", "white.example\n198.51.100.0/24\n");
	world.log = fuzz_open("log");
	world.answers = fuzz_open("answers");
	for (int i = 0; i < 2; i++) {
		struct conf *conf = &world.confs[i];

		snprintf(text, sizeof(text), SETTINGS, i ? 0 : 60, folder, folder, folder, folder);
		conf_load(conf, fuzz_file(0, text, strlen(text)));
		fuzz_require(conf->usable && !conf->problems);
		log_open("fuzz", conf->log_file);
		world.handlers[i] = handler_new(conf);
		handler_connect(world.handlers[i]);
	}
	snprintf(path, sizeof(path), "%s/handler.db", folder);
	fuzz_require(sqlite3_open(path, &world.db) == SQLITE_OK);
	fuzz_require(!sqlite3_exec(world.db, "PRAGMA synchronous = OFF", NULL, NULL, NULL));
}

static int64_t count_rows(const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t count;

	fuzz_require(!sqlite3_prepare_v2(world.db, sql, -1, &stmt, NULL));
	fuzz_require(sqlite3_step(stmt) == SQLITE_ROW);
	count = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return count;
}

/* A connection that brings the bytes in so many at a time, and then ends. */
static int connection(struct fuzz_input in, size_t piece)
{
	int ends[2];

	fuzz_require(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	while (in.size) {
		size_t len = in.size < piece ? in.size : piece;

		fuzz_require(send(ends[1], in.data, len, MSG_DONTWAIT) == (ssize_t)len);
		in.data += len;
		in.size -= len;
	}
	close(ends[1]);
	return ends[0];
}

/* Every line can be shown as it is. */
static void check_log(void)
{
	static char text[1 << 20];
	ssize_t len = pread(world.log, text, sizeof(text), 0);
	char *begin = text;

	fuzz_require(len >= 0 && !ftruncate(world.log, 0));
	for (char *s = text; s < text + len; s++) {
		if (*s != '\n')
			continue;
		fuzz_require(text_is_clean(begin, (size_t)(s - begin)));
		begin = s + 1;
	}
}

/* Serves it from the same beginning; *answers is what was written, to be freed. */
static void serve(struct handler *handler, struct fuzz_input in, size_t piece, char **answers)
{
	int fd;
	ssize_t len;

	fuzz_require(!sqlite3_exec(world.db, BEGIN_WITH, NULL, NULL, NULL));
	fuzz_require(!ftruncate(world.answers, 0) && !lseek(world.answers, 0, SEEK_SET));
	fd = connection(in, piece);
	fuzz_require(handler_serve(handler, fd, world.answers) == EXIT_SUCCESS);
	close(fd);
	*answers = malloc(ANSWERS_SIZE);
	fuzz_require(*answers != NULL);
	len = pread(world.answers, *answers, ANSWERS_SIZE - 1, 0);
	fuzz_require(len >= 0 && (size_t)len < ANSWERS_SIZE - 1);
	(*answers)[len] = '\0';
	check_log();
}

/* Cuts the next answer off; false at the end. */
static bool next_answer(char **rest, const char **answer)
{
	static const char begin[] = "action=";
	char *end;

	if (!**rest)
		return false;
	end = strstr(*rest, "\n\n");
	fuzz_require(end && !strncmp(*rest, begin, strlen(begin)));
	*end = '\0';
	*answer = *rest + strlen(begin);
	fuzz_require(**answer && !strchr(*answer, '\n'));
	*rest = end + 2;
	return true;
}

static void check_answer(enum request_result result, const char *answer)
{
	if (!strcmp(answer, "DUNNO"))
		return;
	fuzz_require(result == REQUEST_OK);
	if (!strcmp(answer, "DEFER_IF_PERMIT later") ||
	    !strcmp(answer, "DEFER_IF_PERMIT later (cached result)"))
		return;
	fuzz_require(!strncmp(answer, "PREPEND X-Greylist: 100% by bley-", 33));
}

/* The requests, as request_read() finds them (which fuzz_request.c watches), each with its answer.
 * Returns how many were decided. */
static int64_t check_answers(struct fuzz_input in, bool only_one, char *answers)
{
	static struct request_input input;
	struct arena arena = ARENA_INIT;
	struct request request;
	enum request_result result;
	const char *answer;
	int64_t decided = 0;
	int fd = connection(in, STREAM_MOST);

	request_input_init(&input, fd);
	while ((result = request_read(&input, &arena, &request)) != REQUEST_END) {
		fuzz_require(next_answer(&answers, &answer));
		check_answer(result, answer);
		decided += result == REQUEST_OK;
		if (only_one)
			break;
	}
	fuzz_require(!next_answer(&answers, &answer));
	close(fd);
	arena_release(&arena);
	return decided;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	char *whole, *pieces;
	uint8_t options;
	int which;

	if (!world.db)
		begin_world();
	options = fuzz_byte(&in);
	which = options & FUZZ_UNCACHED ? 1 : 0;
	world.confs[which].exim_workaround = options & FUZZ_EXIM;
	if (in.size > STREAM_MOST)
		in.size = STREAM_MOST;
	serve(world.handlers[which], in, 1 + in.size / PACKETS_MOST, &pieces);
	serve(world.handlers[which], in, STREAM_MOST, &whole);
	fuzz_require(!strcmp(whole, pieces));
	fuzz_require(check_answers(in, options & FUZZ_EXIM, whole) ==
		     count_rows("SELECT count(*) FROM bley_log"));
	fuzz_require(!count_rows("SELECT count(*) FROM bley_log WHERE action NOT IN"
				 " ('DUNNO', 'DEFER_IF_PERMIT', 'PREPEND')"));
	free(whole);
	free(pieces);
	return 0;
}
