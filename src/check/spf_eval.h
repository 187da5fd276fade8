/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_SPF_EVAL_H
#define BLEY_CHECK_SPF_EVAL_H

#include <stdbool.h>
#include <stddef.h>

struct dns_record;
struct ipaddr;
struct strbuf;

/*
 * libspf2, in a box. It evaluates records that we write ourselves, in which each name is a number,
 * and asks us what the numbers stand for. So it gets no byte that a stranger chose: no macro, no
 * name, no text, only addresses.
 */

/* Adds a mechanism or modifier with a numbered name to a record: `mx:n7.bley`. */
void spf_eval_name(struct strbuf *record, const char *before, unsigned number);

/* Where libspf2's questions go. Either may end the evaluation by returning false. */
struct spf_source {
	/* The addresses of the name: of its hosts, for an mx. None: it does not match. */
	bool (*addresses)(struct spf_source *source, unsigned number,
			  const struct dns_record **records, size_t *count);
	/* The record of an include or a redirect; it ends in NUL and lives until the evaluation is
	 * over. */
	bool (*record)(struct spf_source *source, unsigned number, const char **text);
};

/*
 * Evaluates a record. Returns the qualifier of the mechanism that matched, + - ~ or ?; ? also where
 * none did; 0 where the evaluation was ended or libspf2 failed.
 */
char spf_eval(struct spf_source *source, const char *record, const struct ipaddr *client);

#endif
