/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_REPLY_H
#define BLEY_POLICY_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct arena;
struct conf;
struct verdict;

/*
 * The answer's text (access(5)): `DUNNO`, `DEFER_IF_PERMIT text`, `PREPEND header`; clean text,
 * never empty, in the arena. now: for the header's date, in local time with its offset (RFC 5322).
 */
const char *reply_text(struct arena *arena, const struct conf *conf, const struct verdict *verdict,
		       time_t now);

/* Writes `action=TEXT` and an empty line to fd in one call. False with errno where the peer is
 * gone. */
bool reply_write(int fd, const char *text);

#endif
