/* SPDX-License-Identifier: BSD-3-Clause */
#include "model_verdict.h"

#include <stdio.h>
#include <string.h>

#define SECOND 1000000

static void say(struct model_verdict *out, const char *first, const char *second, const char *third)
{
	snprintf(out->answer, sizeof(out->answer), "%s%s%s", first, second, third);
}

static void defer(const struct model *model, const char *note, struct model_verdict *out)
{
	say(out, "DEFER_IF_PERMIT ", model->settings.reject_msg, note);
}

static void remember_client(struct model *model, const struct model_mail *mail, bool bad,
			    int64_t now)
{
	if (model->settings.cache_valid == 0)
		return; /* it is off */
	model->cache[mail->client].there = true;
	model->cache[mail->client].bad = bad;
	model->cache[mail->client].at = now;
}

/* 2. The cache. */
static bool is_cached(const struct model *model, const struct model_mail *mail, int64_t now)
{
	if (model->settings.cache_valid == 0 || !model->cache[mail->client].there)
		return false;
	return now - model->cache[mail->client].at <= (int64_t)model->settings.cache_valid * SECOND;
}

/*
 * waited > greylist_period + fail_count * greylist_penalty, or waited > greylist_max. In floating
 * point, as the product may be beyond any integer; what it loses there is beyond any wait, too. No
 * row has fewer than no failures, unless it is damaged.
 */
static bool has_waited(const struct model_settings *s, const struct model_row *row, int64_t now)
{
	long double waited = (long double)(now - row->last_action) / SECOND;
	long double failures = row->fail_count > 0 ? row->fail_count : 0;

	return waited > s->greylist_period + failures * s->greylist_penalty ||
	       waited > s->greylist_max;
}

/* The header's %(delta)s is the time waited in whole seconds. */
static void prepend(const struct model *model, int64_t waited, struct model_verdict *out)
{
	const char *header = model->settings.greylist_header, *name = strstr(header, "%(delta)s");
	char text[128];

	if (!name) {
		say(out, "DUNNO", "", "");
		return;
	}
	snprintf(text, sizeof(text), "%.*s%lld%s", (int)(name - header), header,
		 (long long)(waited / SECOND), name + strlen("%(delta)s"));
	say(out, "PREPEND ", text, "");
}

/* 3. A known triplet. */
static void decide_known(struct model *model, const struct model_mail *mail, int64_t now,
			 struct model_verdict *out)
{
	struct model_row *row = &model->rows[mail->tuple];

	out->check_db = row->status;
	if (row->status == 0 || row->status == 1) {
		row->last_action = now;
		remember_client(model, mail, false, now);
		say(out, "DUNNO", "", "");
	} else if (has_waited(&model->settings, row, now)) {
		prepend(model, now - row->last_action, out);
		row->status = 0;
		row->last_action = now;
		remember_client(model, mail, false, now);
	} else {
		if (row->fail_count < INT32_MAX)
			row->fail_count++;
		remember_client(model, mail, true, now);
		defer(model, "", out);
	}
}

static void store(struct model *model, const struct model_mail *mail, int status, int64_t now)
{
	struct model_row *row = &model->rows[mail->tuple];

	row->there = true;
	row->status = status;
	row->last_action = now;
	row->fail_count = 0;
}

/* DNSBL hits, or the sum of the others; a threshold of 0 switches a check off. */
static bool is_suspicious(const struct model_settings *s, const struct model_mail *mail,
			  struct model_verdict *out)
{
	int sum = 0;

	if (s->rfc_threshold > 0) {
		out->check_helo = mail->helo;
		out->check_dyn = mail->dyn;
		out->check_s_eq_r = mail->s_eq_r;
		sum = mail->helo + mail->dyn + mail->s_eq_r;
	}
	if (s->dnsbl_threshold > 0) {
		out->check_dnsbl = mail->dnsbl;
		if (mail->dnsbl >= s->dnsbl_threshold)
			return true;
	}
	if (s->rfc_threshold == 0)
		return false;
	/* SPF only where neither threshold is reached yet. */
	if (sum < s->rfc_threshold && s->use_spf) {
		out->spf_asked = true;
		out->check_spf = mail->spf;
		sum += mail->spf;
	}
	return sum >= s->rfc_threshold;
}

/* 4. An unknown triplet. */
static void decide_unknown(struct model *model, const struct model_mail *mail, int64_t now,
			   struct model_verdict *out)
{
	const struct model_settings *s = &model->settings;

	out->lists_asked = s->dnswl_threshold > 0 || s->dnsbl_threshold > 0;
	if (s->dnswl_threshold > 0) {
		out->check_dnswl = mail->dnswl;
		if (mail->dnswl >= s->dnswl_threshold) {
			store(model, mail, 1, now);
			say(out, "DUNNO", "", "");
			return;
		}
	}
	if (is_suspicious(s, mail, out)) {
		store(model, mail, 2, now);
		remember_client(model, mail, true, now);
		defer(model, "", out);
	} else {
		store(model, mail, 0, now);
		remember_client(model, mail, false, now);
		say(out, "DUNNO", "", "");
	}
}

void model_decide(struct model *model, const struct model_mail *mail, int64_t now,
		  struct model_verdict *out)
{
	*out = (struct model_verdict){.check_db = -1};
	if (mail->whitelisted) { /* 1. */
		out->check_postmaster = 1;
		say(out, "DUNNO", "", "");
	} else if (is_cached(model, mail, now)) {
		out->check_cache = 1;
		if (model->cache[mail->client].bad)
			defer(model, " (cached result)", out);
		else
			say(out, "DUNNO", "", "");
	} else if (model->rows[mail->tuple].there) {
		decide_known(model, mail, now, out);
	} else {
		decide_unknown(model, mail, now, out);
	}
}
