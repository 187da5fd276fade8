/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_CHECK_H
#define BLEY_CHECK_CHECK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"

struct arena;
struct conf;
struct resolver;

/* The normalised sender of a mail, as the checks see it (request_normalise()). */
struct check_subject {
	struct ipaddr client;
	const char *client_name; /* lower case, no final dot, `unknown` where the reverse name does
				    not verify */
	const char *helo_name;	 /* lower case, no final dot */
	const char *sender;	 /* normalised; empty: the null sender */
	const char *recipient;	 /* normalised */
	const char *raw_sender;	 /* as the mail server sent it */
};

/* Something an administrator should know, for the caller to log. `key` is the same for the same
 * cause, so that a connection logs it once. */
struct check_note {
	const char *key;
	const char *text;
	struct check_note *next;
};

/* What one entry of the DNS lists answered. */
struct check_list {
	const char *name; /* as it may be shown */
	bool white;
	int weight;
	bool hit;
	bool counted;	    /* and the threshold was not reached before */
	const char *answer; /* addresses, or why there are none */
	int64_t elapsed_us; /* negative: not answered when the outcome was certain */
	struct check_list *next;
};

/* Asked for by who wants to explain: answers are then waited for somewhat longer than they matter.
 */
struct check_report {
	struct check_list *lists; /* in the order of the settings, whitelists first */
};

/*
 * What a check works with. A check is a pure score: it does not log, read the clock or touch the
 * store. Everything it hands out lives in the arena.
 */
struct check {
	const struct conf *conf;
	const struct check_subject *subject;
	struct resolver *resolver; /* begun; NULL where no check needs DNS or it cannot be used */
	struct arena *arena;
	struct check_note *notes;    /* newest first */
	struct check_report *report; /* NULL: nobody wants one */
};

#define CHECK_UNKNOWN INT_MIN /* the check could not be made; it counts as 0 */

struct check_score {
	int score;
	const char *why; /* a few words for people; never NULL */
};

void check_note(struct check *check, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* 0: HELO is the client's verified name. 1: it has the same registrable domain (Public Suffix
 * List), or is the client's address as a literal (RFC 5321, 4.1.3). Else 2. */
struct check_score check_helo(struct check *check);

/* 1 where the client's name matches `dynamic_names` and not `static_names`, else 0. */
struct check_score check_dyn(struct check *check);

/* 1 where sender and recipient are the same address, else 0. */
struct check_score check_s_eq_r(struct check *check);

/* 1 for fail and softfail (RFC 7208; bley(8), `SPF'), else 0. */
struct check_score check_spf(struct check *check);

/* Gives back what the checks keep from one request to the next (compiled expressions); for the
 * program's end. */
void check_release(void);

/*
 * Both kinds of DNS lists (bley.conf(5), `DNS LISTS'; RFC 5782), asked together: a score is the sum
 * of the weights of those that list the client, until it reaches the threshold. Returns as soon as
 * the outcome against the thresholds can no longer change. A kind whose threshold is 0 is not asked
 * and scores 0. prefetch_spf: SPF may be wanted next; its first question may go out with the lists.
 */
void check_dnsl(struct check *check, bool prefetch_spf, struct check_score *dnswl,
		struct check_score *dnsbl);

/*
 * What an answer of 127.0.0.0/8 says that is no listing but how lists refuse, and what an
 * administrator can do about it; NULL where it is none of these: 127.255.255.0/24 (their own error
 * codes), for a whitelist 127.0.0.255 (over quota), and without a filter that asks for it
 * 127.0.0.1.
 */
const char *check_dnsl_error(const unsigned char a[4], bool white, bool filtered);

#endif
