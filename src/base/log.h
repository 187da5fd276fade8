/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_LOG_H
#define BLEY_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* The values of syslog(3), so that every target agrees. */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/* One thing known about an event. With the journal `journal` names the field (BLEY_ACTION);
 * elsewhere the event is one line of `key=value` pairs. A NULL value is left out. */
struct log_field {
	const char *key;
	const char *journal;
	const char *value;
};

/*
 * Where messages go: `syslog` (facility mail), `journal`, `-` (standard error) or a file that is
 * opened for each line, so that it can be rotated. A target that cannot be used, or does not take a
 * line within a second, falls back to syslog, with one message there. What syslog does not take
 * within a second either is lost, and later told as a count; until then nobody waits any more.
 * Standard error is never written where it is the connection itself (inetd hands the socket over as
 * 0, 1 and 2): log_open() then uses syslog too.
 */
void log_open(const char *ident, const char *target);
void log_verbosity(enum log_level most); /* default: LOG_LEVEL_INFO */
/* Tells what was held back, too. */
void log_close(void);

/* What was told before is told again, as if it were new. */
void log_afresh(void);

/* Processes forked from now on hold back together what they would all say. */
void log_share(void);

/*
 * One line. Control characters in it are replaced. Never fails, leaves errno as it is, and never
 * blocks for more than a second, once a process in the time that the log takes nothing.
 * Warnings and errors alike, of the same format or, where that is just "%s", with the same text,
 * are told once a minute with how many more there were (flood.h).
 */
void log_message(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One structured event: `headline key=value key=value`, values with blanks or quotes are quoted. */
void log_event(enum log_level level, const char *headline, const struct log_field *fields,
	       size_t count);

#endif
