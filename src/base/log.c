/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/flood.h"
#include "base/mem.h"
#include "base/outlet.h"
#include "base/strbuf.h"
#include "base/text.h"

/* Bytes of a line; what is longer is cut. With what stands before it, no more than PIPE_BUF, so
 * that a pipe takes it whole. */
#define LOG_LINE_MOST 3900
#define LOG_WAIT_US US_PER_S /* for a log that takes nothing: it may just be busy */

enum log_target { LOG_TO_SYSLOG, LOG_TO_JOURNAL, LOG_TO_STDERR, LOG_TO_FILE };

static struct {
	enum log_target target;
	enum log_level most;
	const char *ident;
	char *where; /* a copy: what the process ends with is told when its settings are gone */
	int64_t quiet_until_s; /* the target has failed of late: nobody waits for it or says so */
	int spare;	       /* a file descriptor to have one when there are no more, or -1 */
} logger = {.target = LOG_TO_SYSLOG, .most = LOG_LEVEL_INFO, .ident = "bley", .spare = -1};

/* Not syslog(3) and sd_journal_sendv(3): they wait without end for a daemon that hangs. */
static struct outlet to_syslog = OUTLET_INIT("/dev/log");
static struct outlet to_journal = OUTLET_INIT("/run/systemd/journal/socket");

/* What was told and what was not; of this process, or of all that share it. */
struct told {
	struct flood flood;
	_Atomic uint32_t lost; /* lines, since the log was last told how many */
	atomic_bool stuck;     /* until that is told: nobody waits for the log now */
};
static struct told own, *told = &own;

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return !fstat(a, &sa) && !fstat(b, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* A terminal may well be all three; a socket or pipe that carries answers must not carry messages.
 */
static bool stderr_is_connection(void)
{
	return !isatty(STDERR_FILENO) &&
	       (same_file(STDERR_FILENO, STDIN_FILENO) || same_file(STDERR_FILENO, STDOUT_FILENO));
}

static void keep_spare(void)
{
	if (logger.spare < 0)
		logger.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void log_open(const char *ident, const char *target)
{
	logger.ident = ident;
	logger.target = LOG_TO_SYSLOG;
	logger.quiet_until_s = 0;
	free(logger.where);
	logger.where = mem_strdup(target);
	/* each process says something there: so now, when there is still a file descriptor */
	if (!strcmp(target, "syslog")) {
		outlet_open(&to_syslog, 0);
	} else if (!strcmp(target, "journal")) {
		logger.target = LOG_TO_JOURNAL;
		outlet_open(&to_journal, 0);
	} else if (strcmp(target, "-") != 0) {
		logger.target = LOG_TO_FILE;
		keep_spare();
	} else if (!stderr_is_connection()) {
		logger.target = LOG_TO_STDERR;
	}
}

void log_verbosity(enum log_level most)
{
	logger.most = most;
}

void log_share(void)
{
	void *shared = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);

	if (shared != MAP_FAILED)
		told = shared;
}

/* Done with the text: whether it was taken, with errno. */
static bool finish(struct strbuf *out, bool taken)
{
	int failure = errno;

	strbuf_release(out);
	errno = failure;
	return taken;
}

/* As syslog(3) writes it (RFC 3164 section 4.1, without the host's name). */
static bool write_syslog(enum log_level level, const char *line, int wait_ms)
{
	struct strbuf out = STRBUF_INIT;
	time_t now = time(NULL);
	struct tm tm;
	char stamp[40];

	/* setlocale(3) is never called, so the names are English */
	strftime(stamp, sizeof(stamp), "%b %e %H:%M:%S", localtime_r(&now, &tm));
	strbuf_addf(&out, "<%d>%s %s[%ld]: %s", LOG_MAIL | (int)level, stamp, logger.ident,
		    (long)getpid(), line);
	return finish(&out, outlet_send(&to_syslog, out.buf, out.len, wait_ms));
}

static int open_file(void)
{
	/* not to wait for somebody who reads a pipe */
	const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd = open(logger.where, flags, 0640);

	if (fd >= 0 || errno != EMFILE || logger.spare < 0)
		return fd;
	close(logger.spare);
	logger.spare = -1;
	return open(logger.where, flags, 0640);
}

/* The file is opened for each line, so that moving it away rotates it. */
static bool write_file(const char *line, int wait_ms)
{
	struct strbuf out = STRBUF_INIT;
	time_t now = time(NULL);
	struct tm tm;
	char stamp[40];
	int fd = open_file(), failure;
	bool written;

	if (fd < 0)
		return false;
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S%z", localtime_r(&now, &tm));
	strbuf_addf(&out, "%s %s[%ld]: %s\n", stamp, logger.ident, (long)getpid(), line);
	/* one call, so that lines of several processes stay whole */
	written = outlet_write(fd, out.buf, out.len, wait_ms);
	failure = errno;
	close(fd);
	keep_spare();
	errno = failure;
	return finish(&out, written);
}

static bool write_stderr(const char *line, int wait_ms)
{
	struct strbuf out = STRBUF_INIT;

	strbuf_addf(&out, "%s: %s\n", logger.ident, line);
	return finish(&out, outlet_write(STDERR_FILENO, out.buf, out.len, wait_ms));
}

/* Text without control characters needs no length (systemd.io/JOURNAL_NATIVE_PROTOCOL). */
static void add_field(struct strbuf *out, const char *name, const char *value)
{
	struct arena arena = ARENA_INIT;

	strbuf_addf(out, "%s=%s\n", name, text_clean(&arena, value, strlen(value)));
	arena_release(&arena);
}

static bool write_journal(enum log_level level, const char *line, const struct log_field *fields,
			  size_t count, int wait_ms)
{
	struct strbuf out = STRBUF_INIT;

	add_field(&out, "MESSAGE", line);
	strbuf_addf(&out, "PRIORITY=%d\n", (int)level);
	add_field(&out, "SYSLOG_IDENTIFIER", logger.ident);
	strbuf_addf(&out, "SYSLOG_FACILITY=%d\n", LOG_FAC(LOG_MAIL));
	for (size_t i = 0; i < count; i++)
		if (fields[i].value && fields[i].journal)
			add_field(&out, fields[i].journal, fields[i].value);
	return finish(&out, outlet_send(&to_journal, out.buf, out.len, wait_ms));
}

static bool write_target(enum log_level level, const char *line, const struct log_field *fields,
			 size_t count, int wait_ms)
{
	switch (logger.target) {
	case LOG_TO_JOURNAL:
		return write_journal(level, line, fields, count, wait_ms);
	case LOG_TO_STDERR:
		return write_stderr(line, wait_ms);
	case LOG_TO_FILE:
		return write_file(line, wait_ms);
	case LOG_TO_SYSLOG:
		break;
	}
	return write_syslog(level, line, wait_ms);
}

static void say_failed(int failure, int wait_ms)
{
	char text[LOG_LINE_MOST];

	snprintf(text, sizeof(text), "error: cannot write log_file %s: %s; logging to syslog",
		 logger.where, failure == EAGAIN ? "nobody empties it" : strerror(failure));
	write_syslog(LOG_LEVEL_ERROR, text, wait_ms);
}

static int64_t clock_s(void)
{
	return clock_us() / US_PER_S;
}

/* Returns whether the target or, where that does not, syslog takes it. */
static bool deliver(enum log_level level, const char *line, const struct log_field *fields,
		    size_t count)
{
	/* half of the time for the target, where there is syslog behind it */
	int64_t most_us = atomic_load(&told->stuck) ? 0 : LOG_WAIT_US, now_us = clock_us();
	int half_ms = clock_left_ms(now_us + most_us / 2);
	bool quiet = clock_s() < logger.quiet_until_s;

	if (logger.target == LOG_TO_SYSLOG)
		return write_syslog(level, line, clock_left_ms(now_us + most_us));
	if (write_target(level, line, fields, count, quiet ? 0 : half_ms))
		return true;
	if (!quiet)
		say_failed(errno, clock_left_ms(now_us + most_us));
	logger.quiet_until_s = clock_s() + FLOOD_PERIOD_S;
	return write_syslog(level, line, clock_left_ms(now_us + most_us));
}

/* To be called when a line was taken. Where there is no room for this one there is still somebody
 * who is slow. */
static void tell_lost(void)
{
	uint32_t lost = atomic_exchange(&told->lost, 0);
	char text[100];

	snprintf(text, sizeof(text), "warning: %u line%s lost while the log did not take any",
		 (unsigned)lost, lost > 1 ? "s" : "");
	if (!lost || deliver(LOG_LEVEL_WARNING, text, NULL, 0))
		atomic_store(&told->stuck, false);
	else
		atomic_fetch_add(&told->lost, lost);
}

static void write_line(enum log_level level, const char *text, size_t len,
		       const struct log_field *fields, size_t count)
{
	int before = errno;
	struct arena arena = ARENA_INIT;
	const char *line = text_clean(&arena, text, len);

	len = strlen(line);
	if (len > LOG_LINE_MOST)
		line = arena_strndup(&arena, line, text_cut(line, len, LOG_LINE_MOST));
	if (!deliver(level, line, fields, count)) {
		atomic_store(&told->stuck, true);
		atomic_fetch_add(&told->lost, 1);
	} else if (atomic_load(&told->stuck)) {
		tell_lost();
	}
	arena_release(&arena);
	errno = before;
}

static const char *level_word(enum log_level level)
{
	return level == LOG_LEVEL_ERROR ? "error: " : level == LOG_LEVEL_WARNING ? "warning: " : "";
}

/* What was counted only; all of it, or that whose time is over. */
static void tell_rest(bool all)
{
	struct flood_rest rest;
	char text[LOG_LINE_MOST];
	int len;

	while (flood_take_rest(&told->flood, clock_s(), all, &rest)) {
		len = snprintf(text, sizeof(text), "%s%s (%u more like it within %lld s)",
			       level_word((enum log_level)rest.level), rest.text, rest.more,
			       (long long)rest.seconds);
		write_line((enum log_level)rest.level, text, (size_t)len, NULL, 0);
	}
}

void log_message(enum log_level level, const char *format, ...)
{
	char text[LOG_LINE_MOST];
	size_t len = 0, word;
	va_list ap;
	int n;

	if (level > logger.most)
		return;
	word = len = (size_t)snprintf(text, sizeof(text), "%s", level_word(level));
	va_start(ap, format);
	n = vsnprintf(text + len, sizeof(text) - len, format, ap);
	va_end(ap);
	if (n > 0)
		len += (size_t)n;
	if (len >= sizeof(text))
		len = sizeof(text) - 1;
	tell_rest(false);
	if (level <= LOG_LEVEL_WARNING &&
	    !flood_passes(&told->flood, clock_s(), strcmp(format, "%s") != 0 ? format : text,
			  (int)level, text + word))
		return;
	write_line(level, text, len, NULL, 0);
}

void log_afresh(void)
{
	tell_rest(true);
	flood_forget(&told->flood);
}

void log_close(void)
{
	tell_rest(true);
	if (atomic_load(&told->stuck))
		tell_lost();
	outlet_close(&to_syslog);
	outlet_close(&to_journal);
	logger.target = LOG_TO_SYSLOG;
	free(logger.where);
	logger.where = NULL;
}

/* A value with blanks, quotes or nothing in it is quoted, so that the line can be taken apart
 * again. */
static void add_value(struct strbuf *line, const char *value)
{
	if (*value && !value[strcspn(value, " \"\\=,")]) {
		strbuf_addstr(line, value);
		return;
	}
	strbuf_addch(line, '"');
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			strbuf_addch(line, '\\');
		strbuf_addch(line, *value);
	}
	strbuf_addch(line, '"');
}

void log_event(enum log_level level, const char *headline, const struct log_field *fields,
	       size_t count)
{
	struct strbuf line = STRBUF_INIT;

	if (level > logger.most)
		return;
	tell_rest(false);
	strbuf_addstr(&line, headline);
	for (size_t i = 0; i < count; i++) {
		if (!fields[i].value || !fields[i].key)
			continue;
		strbuf_addf(&line, " %s=", fields[i].key);
		add_value(&line, fields[i].value);
	}
	if (line.len >= LOG_LINE_MOST) {
		line.len = LOG_LINE_MOST - 1;
		line.buf[line.len] = '\0';
	}
	write_line(level, line.buf, line.len, fields, count);
	strbuf_release(&line);
}
