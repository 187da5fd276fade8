/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/flood.h"
#include "base/mem.h"
#include "base/module.h"
#include "base/strbuf.h"
#include "base/systemd.h"
#include "base/text.h"

#define LOG_LINE_MOST 8000 /* bytes of a line; what is longer is cut */
#define LOG_FIELDS_MOST 32

enum log_target { LOG_TO_SYSLOG, LOG_TO_JOURNAL, LOG_TO_STDERR, LOG_TO_FILE };

static struct {
	enum log_target target;
	enum log_level most;
	const char *ident;
	char *file; /* a copy: what the process ends with is told when its settings are gone */
	const struct systemd_module *systemd;
	bool file_failed; /* said once in syslog, until the file can be written again */
	int spare;	  /* a file descriptor to have one when there are no more, or -1 */
} logger = {.target = LOG_TO_SYSLOG, .most = LOG_LEVEL_INFO, .ident = "bley", .spare = -1};

/* What was told; of this process, or of all that share it. */
static struct flood own_flood, *flood = &own_flood;

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

static void open_journal(void)
{
	char error[512];

	logger.systemd = module_load("systemd", error, sizeof(error));
	if (logger.systemd) {
		logger.target = LOG_TO_JOURNAL;
		return;
	}
	log_message(LOG_LEVEL_WARNING, "log_file = journal: %s; logging to syslog", error);
}

static void keep_spare(void)
{
	if (logger.spare < 0)
		logger.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void log_open(const char *ident, const char *target)
{
	bool to_syslog = !strcmp(target, "syslog");

	logger.ident = ident;
	logger.target = LOG_TO_SYSLOG;
	/* each process says something there: so now, when there is still a file descriptor */
	openlog(ident, LOG_PID | (to_syslog ? LOG_NDELAY : 0), LOG_MAIL);
	if (to_syslog)
		return;
	if (!strcmp(target, "journal")) {
		open_journal();
	} else if (strcmp(target, "-") != 0) {
		logger.target = LOG_TO_FILE;
		free(logger.file);
		logger.file = mem_strdup(target);
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
	void *shared = mmap(NULL, sizeof(*flood), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared != MAP_FAILED)
		flood = shared;
}

static bool write_whole(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void write_syslog(enum log_level level, const char *line)
{
	syslog(LOG_MAIL | (int)level, "%s", line);
}

static int open_file(void)
{
	const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
	int fd = open(logger.file, flags, 0640);

	if (fd >= 0 || errno != EMFILE || logger.spare < 0)
		return fd;
	close(logger.spare);
	logger.spare = -1;
	return open(logger.file, flags, 0640);
}

/* The file is opened for each line, so that moving it away rotates it. */
static bool append_to_file(const char *line)
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
	written = write_whole(fd, out.buf, out.len);
	failure = errno;
	close(fd);
	keep_spare();
	strbuf_release(&out);
	errno = failure;
	return written;
}

static void write_file(enum log_level level, const char *line)
{
	bool written = append_to_file(line);

	if (!written && !logger.file_failed)
		syslog(LOG_MAIL | LOG_ERR, "error: cannot write log_file %s: %s; logging to syslog",
		       logger.file, strerror(errno));
	logger.file_failed = !written;
	if (!written)
		write_syslog(level, line);
}

static void write_stderr(const char *line)
{
	struct strbuf out = STRBUF_INIT;

	strbuf_addf(&out, "%s: %s\n", logger.ident, line);
	write_whole(STDERR_FILENO, out.buf, out.len);
	strbuf_release(&out);
}

static void add_iov(struct arena *arena, struct iovec *iov, int *n, const char *name,
		    const char *value)
{
	char *text = arena_printf(arena, "%s=%s", name, value);

	iov[*n].iov_base = text;
	iov[*n].iov_len = strlen(text);
	++*n;
}

static void write_journal(enum log_level level, const char *line, const struct log_field *fields,
			  size_t count)
{
	struct iovec iov[LOG_FIELDS_MOST + 4];
	struct arena arena = ARENA_INIT;
	char priority[2] = {(char)('0' + (int)level), '\0'};
	int n = 0;

	add_iov(&arena, iov, &n, "MESSAGE", line);
	add_iov(&arena, iov, &n, "PRIORITY", priority);
	add_iov(&arena, iov, &n, "SYSLOG_IDENTIFIER", logger.ident);
	add_iov(&arena, iov, &n, "SYSLOG_FACILITY", "2"); /* mail, RFC 5424 section 6.2.1 */
	for (size_t i = 0; i < count && i < LOG_FIELDS_MOST; i++)
		if (fields[i].value && fields[i].journal)
			add_iov(&arena, iov, &n, fields[i].journal, fields[i].value);
	logger.systemd->journal_sendv(iov, n);
	arena_release(&arena);
}

static void write_line(enum log_level level, const char *text, size_t len,
		       const struct log_field *fields, size_t count)
{
	struct arena arena = ARENA_INIT;
	const char *line = text_clean(&arena, text, len);

	switch (logger.target) {
	case LOG_TO_SYSLOG:
		write_syslog(level, line);
		break;
	case LOG_TO_JOURNAL:
		write_journal(level, line, fields, count);
		break;
	case LOG_TO_STDERR:
		write_stderr(line);
		break;
	case LOG_TO_FILE:
		write_file(level, line);
		break;
	}
	arena_release(&arena);
}

static const char *level_word(enum log_level level)
{
	return level == LOG_LEVEL_ERROR ? "error: " : level == LOG_LEVEL_WARNING ? "warning: " : "";
}

static int64_t clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* What was counted only; all of it, or that whose time is over. */
static void tell_rest(bool all)
{
	struct flood_rest rest;
	char text[LOG_LINE_MOST];
	int len;

	while (flood_take_rest(flood, clock_s(), all, &rest)) {
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
	    !flood_passes(flood, clock_s(), strcmp(format, "%s") != 0 ? format : text, (int)level,
			  text + word))
		return;
	write_line(level, text, len, NULL, 0);
}

void log_afresh(void)
{
	tell_rest(true);
	flood_forget(flood);
}

void log_close(void)
{
	tell_rest(true);
	closelog();
	logger.target = LOG_TO_SYSLOG;
	free(logger.file);
	logger.file = NULL;
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
