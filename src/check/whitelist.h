/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_WHITELIST_H
#define BLEY_CHECK_WHITELIST_H

#include <stdbool.h>
#include <stddef.h>

struct ipaddr;
struct whitelist; /* the entries of one file */

enum whitelist_kind { WHITELIST_CLIENTS, WHITELIST_RECIPIENTS };

/* Called for each entry that cannot be read or deserves a word; line 0: the file as a whole. */
typedef void whitelist_complain(void *context, const char *file, unsigned line, const char *message);

/*
 * Reads a file in postgrey's syntax (BEHAVIOUR section 8). Always returns a list, owned by the caller: a missing file gives one complaint
 * and, for recipients, the single entry `postmaster@`. Expressions are compiled when first needed; those that do not compile
 * are complained about then, or by whitelist_compile().
 */
struct whitelist *whitelist_load(enum whitelist_kind kind, const char *file,
				 whitelist_complain *complain, void *context);
void whitelist_free(struct whitelist *list);

/* Compiles every expression now. Returns the number that do not compile. */
size_t whitelist_compile(struct whitelist *list);

size_t whitelist_count(const struct whitelist *list);

struct whitelist_match {
	const char *entry; /* as written, owned by the list */
	unsigned line;     /* 0: the built-in entry */
};

/* Whether a recipient (lower case, normalised) is listed; *match, where given, tells by which entry. */
bool whitelist_recipient(struct whitelist *list, const char *recipient,
			 struct whitelist_match *match);

/* Whether a client is listed by its name (lower case; `unknown` matches no name) or else by its address. */
bool whitelist_client(struct whitelist *list, const char *name, const struct ipaddr *ip,
		      struct whitelist_match *match);

#endif
