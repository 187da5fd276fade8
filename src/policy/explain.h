/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_EXPLAIN_H
#define BLEY_POLICY_EXPLAIN_H

#include <stdbool.h>

struct arena;
struct conf;
struct decision;
struct request;

/* Why a decision is what it is, in words for an administrator. In the arena. */
const char *explain_reason(struct arena *arena, const struct conf *conf,
			   const struct decision *decision);

/*
 * Logs the decision as one event: `decided action=... reason=...`, with the journal's fields
 * BLEY_ACTION and so on. answer: the text that was sent; failure: it is the failure action, and
 * *decision is not looked at.
 */
void explain_log(struct arena *arena, const struct conf *conf, const struct request *request,
		 const struct decision *decision, const char *answer, bool failure);

#endif
