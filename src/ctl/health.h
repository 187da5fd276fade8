/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CTL_HEALTH_H
#define BLEY_CTL_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

struct conf;

/* How a DNS list is (RFC 5782 section 5). */
struct health {
	const char *name; /* as it may be shown */
	bool white;
	bool well;
	const char *text; /* what is wrong and what to do, or how it answered */
	int64_t slowest_us;
	struct health *next;
};

/*
 * Asks every DNS list of the settings for its test entries: 127.0.0.2 must be listed, 127.0.0.1
 * must not, and the same in IPv6's form. False with a message where DNS cannot be used.
 */
bool health_check(const struct conf *conf, struct arena *arena, struct health **out, char *error,
		  size_t size);

#endif
