/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/spf.h"

#include "base/arena.h"
#include "base/module.h"
#include "check/check.h"
#include "conf/conf.h"

#define ERROR_SIZE 512

const char *spf_result_name(enum spf_result result)
{
	static const char *const names[] = {
	    [SPF_RESULT_NONE] = "none",		  [SPF_RESULT_NEUTRAL] = "neutral",
	    [SPF_RESULT_PASS] = "pass",		  [SPF_RESULT_FAIL] = "fail",
	    [SPF_RESULT_SOFTFAIL] = "softfail",	  [SPF_RESULT_TEMPERROR] = "temperror",
	    [SPF_RESULT_PERMERROR] = "permerror",
	};

	return names[result];
}

static struct check_score unknown(const char *why)
{
	return (struct check_score){.score = CHECK_UNKNOWN, .why = why};
}

struct check_score check_spf(struct check *check)
{
	const struct check_subject *subject = check->subject;
	struct spf_query query = {
	    .client = &subject->client,
	    .sender = subject->raw_sender,
	    .helo = subject->helo_name,
	    .guess = check->conf->use_spf_guess ? SPF_GUESS : NULL,
	};
	const struct spf_module *module;
	struct check_score score;
	enum spf_result result;
	char error[ERROR_SIZE];

	if (!check->resolver)
		return unknown("DNS cannot be used");
	module = module_load("spf", error, sizeof(error));
	if (!module) {
		check_note(check, "spf", "SPF is not checked: %s", error);
		return unknown("SPF cannot be checked");
	}
	result = module->check(check->resolver, check->arena, &query, &score.why);
	score.score = result == SPF_RESULT_FAIL || result == SPF_RESULT_SOFTFAIL;
	if (result != SPF_RESULT_TEMPERROR && result != SPF_RESULT_PERMERROR) /* these say so */
		score.why = arena_printf(check->arena, "%s: %s", spf_result_name(result),
					 score.why);
	return score;
}
