/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_FLOOD_H
#define BLEY_BASE_FLOOD_H

#include <stdbool.h>
#include <stdint.h>

#define FLOOD_PERIOD_S 60
#define FLOOD_KINDS 32
#define FLOOD_TEXT 400 /* bytes kept of a message, with its NUL */

/*
 * Keeps a flood of messages out of the log: of those of one kind the first is told, and for the
 * next FLOOD_PERIOD_S seconds the others are counted only; then it is told how many they were, and
 * for as long as they keep coming again after each such time. With more than FLOOD_KINDS kinds at a
 * time the oldest is forgotten, with its count.
 * All zero: nothing was told yet. May lie in memory that processes share; it is never locked, so
 * that one which is killed holds up no other (hence 32 bits: more are not atomic on every machine).
 */
struct flood {
	_Atomic uint32_t kind[FLOOD_KINDS]; /* 0: free */
	_Atomic uint32_t since_s[FLOOD_KINDS];
	_Atomic uint32_t more[FLOOD_KINDS];
	int level[FLOOD_KINDS];
	char text[FLOOD_KINDS][FLOOD_TEXT];
};

struct flood_rest {
	int level;
	unsigned more;
	int64_t seconds; /* in which they came */
	char text[FLOOD_TEXT];
};

/* Whether a message is to be told now. Those with the same `kind` are alike; level and text are
 * remembered for the rest. now_s: seconds, below 2^32, of a clock that only ever grows. */
bool flood_passes(struct flood *f, int64_t now_s, const char *kind, int level, const char *text);

/* Takes one kind's count whose time is over, or, with `all`, any. False: there is none. To be
 * called before flood_passes(). */
bool flood_take_rest(struct flood *f, int64_t now_s, bool all, struct flood_rest *out);

/* Whatever comes is new again. */
void flood_forget(struct flood *f);

#endif
