/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_WHITELIST_H
#define BLEY_CHECK_WHITELIST_H

#include <stdbool.h>
#include <stddef.h>

struct ipaddr;
struct whitelist; /* the entries of one file */

enum whitelist_kind { WHITELIST_CLIENTS, WHITELIST_RECIPIENTS };

/* Called for each entry that cannot be read or deserves a word; line 0: the file as a whole. */
typedef void whitelist_complain(void *context, const char *file, unsigned line,
				const char *message);

/*
 * Reads a file in postgrey's syntax (bley-whitelist(5)). Always returns a list, owned by the
 * caller: a file that cannot be read gives one complaint and, for recipients, the single entry
 * `postmaster@`. Expressions are compiled when first needed; those that do not compile, or need too
 * many steps on some text, are complained about then, once each. `file` and `context` must live as
 * long as the list.
 */
struct whitelist *whitelist_load(enum whitelist_kind kind, const char *file,
				 whitelist_complain *complain, void *context);
void whitelist_free(struct whitelist *list);

/* Compiles every expression now. Returns the number that do not compile. */
size_t whitelist_compile(struct whitelist *list);

size_t whitelist_count(const struct whitelist *list);

struct whitelist_match {
	const char *entry; /* as written, owned by the list */
	unsigned line;	   /* 0: the built-in entry */
};

/* Whether a recipient (lower case, normalised) is listed; *match, where given, tells by which
 * entry. */
bool whitelist_recipient(struct whitelist *list, const char *recipient,
			 struct whitelist_match *match);

/* Whether a client is listed by its name (lower case) or else by its address. `unknown` is below no
 * domain. Expressions see the name alone, also where it is `unknown`, as in postgrey and the Python
 * daemon. */
bool whitelist_client(struct whitelist *list, const char *name, const struct ipaddr *ip,
		      struct whitelist_match *match);

#endif
