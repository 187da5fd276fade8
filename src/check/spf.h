/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_SPF_H
#define BLEY_CHECK_SPF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct arena;
struct ipaddr;
struct resolver;

/* RFC 7208 section 2.6. */
enum spf_result {
	SPF_RESULT_NONE,
	SPF_RESULT_NEUTRAL,
	SPF_RESULT_PASS,
	SPF_RESULT_FAIL,
	SPF_RESULT_SOFTFAIL,
	SPF_RESULT_TEMPERROR,
	SPF_RESULT_PERMERROR
};

/* The record that use_spf_guess assumes, as the Python daemon does. */
#define SPF_GUESS "v=spf1 a/24 mx/24 ptr"

struct spf_query {
	const struct ipaddr *client;
	const char *sender; /* as the mail server sent it; empty: postmaster@helo is checked (RFC
			       7208 section 2.4) */
	const char *helo;
	const char *guess; /* record assumed where the domain publishes none, or NULL */
};

/* Whose record is asked for, as it was sent (sections 2.3 and 2.4). */
static inline const char *spf_domain(const char *sender, const char *helo)
{
	const char *at = strrchr(sender, '@');

	return !*sender ? helo : at ? at + 1 : sender;
}

/* Table of the module `spf` (libspf2 behind our own record checks; DNS only through the resolver
 * given). */
struct spf_module {
	/*
	 * check_host() of RFC 7208 section 4. The resolver has been begun by the caller, whose
	 * deadline holds. *why: the mechanism that matched or what was wrong, in the arena, clean
	 * text; never NULL.
	 */
	enum spf_result (*check)(struct resolver *resolver, struct arena *arena,
				 const struct spf_query *query, const char **why);
};

/* `none`, `neutral`, `pass`, `fail`, `softfail`, `temperror`, `permerror`. */
const char *spf_result_name(enum spf_result result);

#endif
