/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/handler.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "policy/explain.h"
#include "policy/reply.h"
#include "policy/request.h"
#include "policy/sandbox.h"
#include "policy/session.h"

#define ROWS_MOST 64	    /* log rows gathered before they are written */
#define ROWS_PAUSE_MS 20    /* without a further request for so long they are written */
#define ROWS_AGE_US 1000000 /* and never held longer than this */
#define TOLD_MOST 64	    /* causes that are remembered as told */
#define WRITE_MOST_S 100    /* Postfix waits for an answer no longer than that */
#define LAST_WRITE_MOST_S 2 /* for a peer that does not read, when told to end */
#define RESERVE 16384	    /* bytes for telling that memory ran out */

static volatile sig_atomic_t terminated;
static volatile sig_atomic_t served_fd = -1; /* of the connection being served */

/* One connection. */
struct handler {
	const struct conf *conf;
	int in, out;
	struct request_input *input;
	struct session session;
	struct arena arena; /* of the request in hand */
	char *instance;	    /* the message that was given a header last */
	struct store_log_row rows[ROWS_MOST];
	int64_t decided_us[ROWS_MOST]; /* when, by clock_us() */
	size_t row_count;
	struct arena row_arena; /* the rows' text */
	char *told[TOLD_MOST];	/* causes that were logged on this connection */
	size_t told_count;
	bool rehearsal;
};

/* What is answered when memory runs out in the middle of a request; written by the hook below. */
static struct {
	int fd; /* -1: no request in hand */
	char text[1024];
	void *reserve;
} last_words = {.fd = -1};

static void say_last_words(void)
{
	bool answered = last_words.fd >= 0 &&
			write(last_words.fd, last_words.text, strlen(last_words.text)) > 0;

	free(last_words.reserve);
	last_words.reserve = NULL;
	log_message(LOG_LEVEL_ERROR, "out of memory%s: this process ends",
		    answered ? ", answered failure_action" : "");
}

static void set_last_words(const char *answer)
{
	snprintf(last_words.text, sizeof(last_words.text), "action=%s\n\n", answer);
	last_words.reserve = mem_resize(last_words.reserve, RESERVE);
	mem_on_exhaustion(say_last_words);
}

/* Whether this cause was told before; from now on it was. */
static bool told_before(struct handler *h, const char *key)
{
	for (size_t i = 0; i < h->told_count; i++)
		if (!strcmp(h->told[i], key))
			return true;
	if (h->told_count < TOLD_MOST)
		h->told[h->told_count++] = mem_strdup(key);
	return false;
}

static void complain(void *context, enum log_level level, const char *key, const char *text)
{
	if (!key || !told_before(context, key))
		log_message(level, "%s", text);
}

static void flush_rows(struct handler *h)
{
	int64_t now;

	if (!h->row_count)
		return;
	now = clock_us();
	for (size_t i = 0; i < h->row_count; i++)
		h->rows[i].age_us = now - h->decided_us[i];
	session_log(&h->session, h->rows, h->row_count);
	h->row_count = 0;
	arena_reset(&h->row_arena);
}

static void add_row(struct handler *h, const struct request *request, const struct verdict *verdict,
		    const char *answer)
{
	struct store_log_row *row = &h->rows[h->row_count];
	struct arena *arena = &h->row_arena;

	*row = (struct store_log_row){
	    .tuple = {.ip = arena_strdup(arena, request->client_address),
		      .sender = arena_strdup(arena, request->sender),
		      .recipient = arena_strdup(arena, request->recipient)},
	    .action = arena_strndup(arena, answer, strcspn(answer, " ")),
	};
	memcpy(row->checks, verdict->checks, sizeof(row->checks));
	h->decided_us[h->row_count++] = clock_us();
}

/*
 * Log rows are written after the answer, but while requests keep coming they are gathered: one
 * transaction for many is what lets a busy connection run at the speed of its decisions.
 */
static void flush_rows_unless_busy(struct handler *h)
{
	struct pollfd pfd = {.fd = h->in, .events = POLLIN};

	if (!h->row_count)
		return;
	if (h->row_count == ROWS_MOST || clock_us() - h->decided_us[0] > ROWS_AGE_US)
		flush_rows(h);
	else if (!request_input_waiting(h->input) && poll(&pfd, 1, ROWS_PAUSE_MS) <= 0)
		flush_rows(h);
}

/* A message is given its header once: all requests for it share `instance` (SMTPD_POLICY_README).
 */
static const char *once_per_instance(struct handler *h, const struct request *request,
				     const char *answer)
{
	if (strncmp(answer, "PREPEND ", strlen("PREPEND ")) != 0 || !*request->instance)
		return answer;
	if (h->instance && !strcmp(h->instance, request->instance))
		return "DUNNO";
	free(h->instance);
	h->instance = mem_strdup(request->instance);
	return answer;
}

/* Decides, answers, logs: in this order, so that nobody waits for the log. */
static bool serve(struct handler *h, const struct request *request)
{
	struct decision decision;
	const char *answer = h->conf->failure_action;
	bool decided, sent;

	decided = h->conf->usable && session_decide(&h->session, request, &h->arena, &decision) &&
		  (h->rehearsal || session_commit(&h->session, request, &decision));
	if (decided) {
		answer = reply_text(&h->arena, h->conf, &decision.verdict, time(NULL));
		answer = once_per_instance(h, request, answer);
	}
	last_words.fd = -1;
	sent = reply_write(h->out, answer);
	if (h->rehearsal)
		return sent;
	explain_log(&h->arena, h->conf, request, &decision, answer, !decided);
	if (decided)
		add_row(h, request, &decision.verdict, answer);
	return sent;
}

/* Answers a request that cannot be decided: it lacks something or is out of bounds. */
static bool refuse(struct handler *h, enum request_result result, const struct request *request)
{
	last_words.fd = -1;
	log_message(result == REQUEST_TOO_LARGE ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
		    "answered DUNNO to a request that cannot be decided: %s", request->problem);
	return reply_write(h->out, "DUNNO");
}

static int failed(const char *doing)
{
	/* A peer that has what it wants may just go away. */
	if (errno == ECONNRESET || errno == EPIPE)
		return EXIT_SUCCESS;
	log_message(LOG_LEVEL_ERROR, "cannot %s the connection: %s", doing,
		    errno == EAGAIN ? "the peer does not read its answers" : strerror(errno));
	return EXIT_FAILURE;
}

static int run(struct handler *h)
{
	struct request request;
	enum request_result result;
	bool sent;

	do {
		arena_reset(&h->arena);
		flush_rows_unless_busy(h);
		/* memory is asked for only once a request is there as a whole */
		last_words.fd = h->out;
		result = request_read(h->input, &h->arena, &request);
		if (result == REQUEST_END)
			return EXIT_SUCCESS;
		if (result == REQUEST_FAILED)
			return failed("read from");
		sent = result == REQUEST_OK ? serve(h, &request) : refuse(h, result, &request);
		if (!sent)
			return failed("write to");
	} while (!h->conf->exim_workaround && !terminated && !sandbox_outlived());
	return EXIT_SUCCESS;
}

/* How long a peer that does not read its answers may keep the process. */
static void limit_writing(int fd, time_t seconds)
{
	struct timeval most = {.tv_sec = seconds};

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
}

/*
 * A peer that vanished without a word must not keep the process for ever, and answers to requests
 * that came together must not wait for each other. Does nothing where this is no TCP.
 */
static void prepare_socket(int fd)
{
	int on = 1;

	limit_writing(fd, WRITE_MOST_S);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Nothing more is read but what is there already. Async-signal-safe. */
static void end_input(int fd)
{
	int null;

	limit_writing(fd, LAST_WRITE_MOST_S);
	if (!shutdown(fd, SHUT_RD))
		return;
	/* no socket: reading meets the end of file all the same, also a read that has just begun */
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0)
		return;
	dup2(null, fd);
	close(null);
}

/* What was told on the last connection may be told again on the next. */
static void forget_connection(struct handler *h)
{
	for (size_t i = 0; i < h->told_count; i++)
		free(h->told[i]);
	h->told_count = 0;
	free(h->instance);
	h->instance = NULL;
}

struct handler *handler_new(const struct conf *conf)
{
	struct handler *h = mem_alloc(sizeof(*h));

	h->conf = conf;
	/* Not zeroed: of its 64 KiB only what is read into is ever touched. */
	h->input = mem_resize(NULL, sizeof(*h->input));
	session_init(&h->session, conf, complain, h);
	set_last_words(conf->failure_action);
	return h;
}

void handler_rehearse(struct handler *h)
{
	h->session.replay = true;
	h->rehearsal = true;
}

void handler_prepare(struct handler *h)
{
	if (h->conf->usable)
		session_prepare(&h->session);
}

void handler_load(struct handler *h)
{
	if (h->conf->usable)
		session_load(&h->session);
}

void handler_connect(struct handler *h)
{
	if (h->conf->usable)
		session_connect(&h->session);
}

int handler_serve(struct handler *h, int in, int out)
{
	int status;

	h->in = in;
	h->out = out;
	prepare_socket(in);
	request_input_init(h->input, in);
	served_fd = in;
	/* a signal that came before that found no connection to end */
	if (terminated)
		end_input(in);
	status = run(h);
	served_fd = last_words.fd = -1;
	/* The peer need not wait for what follows. Does nothing where this is no socket. */
	shutdown(out, SHUT_RDWR);
	flush_rows(h);
	forget_connection(h);
	arena_reset(&h->arena);
	return status;
}

void handler_terminate(int signal_number)
{
	int saved = errno;

	(void)signal_number;
	terminated = 1;
	if (served_fd >= 0)
		end_input(served_fd);
	errno = saved;
}

bool handler_terminated(void)
{
	return terminated;
}

void handler_free(struct handler *h)
{
	if (!h)
		return;
	session_release(&h->session);
	arena_release(&h->arena);
	arena_release(&h->row_arena);
	forget_connection(h);
	free(h->input);
	free(h);
}
