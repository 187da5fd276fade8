/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_FUZZ_MODEL_VERDICT_H
#define BLEY_FUZZ_MODEL_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How a request is decided (bley(8)) told a second time, plainly and slowly: what is answered, what
 * is remembered, what is logged. Written from the rules alone, to be compared with
 * src/policy/verdict.c. It has its own small database of everything that it remembers.
 */

#define MODEL_CLIENTS 3
#define MODEL_TUPLES 8

struct model_settings {
	int dnswl_threshold, dnsbl_threshold, rfc_threshold;
	int greylist_period, greylist_max, greylist_penalty; /* seconds */
	int cache_valid;				     /* seconds */
	bool use_spf;
	const char *reject_msg, *greylist_header; /* the header holds %(delta)s or nothing */
};

/* A mail and what each check would say to it. */
struct model_mail {
	size_t client, tuple; /* which */
	bool whitelisted;
	int dnswl, dnsbl, helo, dyn, s_eq_r, spf;
};

struct model_row {
	bool there;
	int status, fail_count;
	int64_t last_action; /* microseconds, as all times */
};

struct model_verdict {
	char answer[160];
	bool lists_asked, spf_asked;
	/* bley_log's */
	int check_dnswl, check_dnsbl, check_helo, check_dyn, check_db, check_spf, check_s_eq_r,
	    check_postmaster, check_cache;
};

struct model {
	struct model_settings settings;
	struct model_row rows[MODEL_TUPLES];
	struct {
		bool there, bad;
		int64_t at;
	} cache[MODEL_CLIENTS];
};

/* Decides, and remembers what that changes. */
void model_decide(struct model *model, const struct model_mail *mail, int64_t now,
		  struct model_verdict *out);

#endif
