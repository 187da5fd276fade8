/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_SESSION_H
#define BLEY_POLICY_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "check/check.h"
#include "check/whitelist.h"
#include "policy/verdict.h"
#include "store/store.h"

struct conf;
struct request;
struct resolver;

/* Told of what an administrator should know. The same cause has the same key. */
typedef void session_complain(void *context, enum log_level level, const char *key,
			      const char *text);

/*
 * All that decisions need and that lasts from one to the next: policy, whitelists, database,
 * resolver. Each is made when first needed.
 */
struct session {
	const struct conf *conf;
	struct verdict_policy policy;
	struct whitelist *clients, *recipients;
	unsigned told_of_whitelist[2]; /* complaints about recipients, and about clients */
	struct store_config store_config;
	const struct store_driver *driver;
	struct store *store;
	int64_t store_retry_us; /* monotonic: not opened again before */
	char store_error[512];
	struct resolver *resolver;
	int64_t resolver_retry_us; /* monotonic: not made again before */
	bool replay; /* set after session_init(): nothing is written or made, lists are reported */
	bool nothing_stored; /* of a replay: there is no database yet */
	session_complain *complain;
	void *context;
	struct arena arena;
};

/* A decision and how it came about. Strings live in the request's arena or in the session. */
struct decision {
	struct verdict verdict;
	struct verdict_facts facts;
	struct check_score dnswl, dnsbl, helo, dyn, s_eq_r, spf; /* `why` is NULL where not asked */
	struct whitelist_match match; /* of a whitelisted client or recipient */
	enum whitelist_kind matched_list;
	const struct check_list *lists; /* of a replay that asked them */
};

struct verdict_policy session_policy(const struct conf *conf);

/* conf must outlive the session. */
void session_init(struct session *s, const struct conf *conf, session_complain *complain,
		  void *context);
void session_release(struct session *s);

/* Reads the whitelists and loads the database's driver now, which is otherwise done when first
 * needed. What is wrong with a whitelist is told to complain(); a driver that cannot be loaded is
 * told by the request that needs it. */
void session_load(struct session *s);

/* As session_load(), and compiles the whitelists' expressions. */
void session_prepare(struct session *s);

/* Opens the database now; a failure is told to complain(), and it is tried again when first needed.
 */
void session_connect(struct session *s);

/*
 * Decides a request without changing anything. False where that is not possible (the database); the
 * cause has been told to complain() and the answer is the failure action.
 */
bool session_decide(struct session *s, const struct request *request, struct arena *arena,
		    struct decision *out);

/*
 * Commits the decision. When another handler was first with the same new tuple, the verdict becomes
 * theirs. False as for session_decide().
 */
bool session_commit(struct session *s, const struct request *request, struct decision *decision);

/* Appends rows to bley_log; a failure is told and the rows are dropped. */
void session_log(struct session *s, const struct store_log_row *rows, size_t count);

#endif
