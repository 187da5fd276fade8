/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/verdict.h"

#include "base/clock.h"

#define MINUTE_US INT64_C(60000000)
#define ROW_MOST 400

/* One line of tests/verdict.rows with the policy that holds for it. */
struct row {
	unsigned line;
	struct verdict_policy policy;
	char text[ROW_MOST];
};

static const struct verdict_policy default_policy = {
    .dnswl_threshold = 1,
    .dnsbl_threshold = 1,
    .rfc_threshold = 2,
    .period_us = 29 * MINUTE_US,
    .penalty_us = 10 * MINUTE_US,
    .max_us = 720 * MINUTE_US,
    .use_spf = true,
    .use_cache = true,
};

static const char *const step_names[] = {
    [VERDICT_WHITELIST] = "WHITELIST",
    [VERDICT_RECALL] = "RECALL",
    [VERDICT_DNSL] = "DNSL",
    [VERDICT_HELO] = "HELO",
    [VERDICT_DYN] = "DYN",
    [VERDICT_S_EQ_R] = "S_EQ_R",
    [VERDICT_SPF] = "SPF",
};
static const char *const action_names[] = {
    [VERDICT_DUNNO] = "DUNNO", [VERDICT_DEFER] = "DEFER", [VERDICT_PREPEND] = "PREPEND"};
static const char *const reason_names[] = {
    [VERDICT_BY_WHITELIST] = "whitelist",
    [VERDICT_BY_CACHE] = "cache",
    [VERDICT_KNOWN] = "known",
    [VERDICT_WAITED] = "waited",
    [VERDICT_TOO_EARLY] = "early",
    [VERDICT_BY_DNSWL] = "dnswl",
    [VERDICT_BY_DNSBL] = "dnsbl",
    [VERDICT_BY_CHECKS] = "checks",
    [VERDICT_UNSUSPECTED] = "unsuspected",
};
static const char *const change_names[] = {
    [STORE_KEEP] = "keep", [STORE_INSERT] = "insert", [STORE_TOUCH] = "touch",
    [STORE_PASS] = "pass", [STORE_AGAIN] = "again",
};
static const char *const client_names[] = {
    [STORE_CLIENT_NONE] = "none", [STORE_CLIENT_GOOD] = "good", [STORE_CLIENT_BAD] = "bad"};

/* Splits `name=value`; the value of a word without `=` is empty. */
static char *split(char *word)
{
	char *equals = strchr(word, '=');

	if (!equals)
		return word + strlen(word);
	*equals = '\0';
	return equals + 1;
}

static int64_t minutes(const char *value)
{
	return strtoll(value, NULL, 10) * MINUTE_US;
}

static void set_policy(struct verdict_policy *policy, char *text)
{
	char *save = NULL;

	*policy = default_policy;
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		const char *value = split(word);

		if (!strcmp(word, "dnswl"))
			policy->dnswl_threshold = atoi(value);
		else if (!strcmp(word, "dnsbl"))
			policy->dnsbl_threshold = atoi(value);
		else if (!strcmp(word, "rfc"))
			policy->rfc_threshold = atoi(value);
		else if (!strcmp(word, "period"))
			policy->period_us = minutes(value);
		else if (!strcmp(word, "penalty"))
			policy->penalty_us = minutes(value);
		else if (!strcmp(word, "max"))
			policy->max_us = minutes(value);
		else if (!strcmp(word, "spf"))
			policy->use_spf = !strcmp(value, "yes");
		else if (!strcmp(word, "cache"))
			policy->use_cache = !strcmp(value, "yes");
		else
			fail_msg("verdict.rows: no such setting: %s", word);
	}
}

static void set_tuple(struct verdict_facts *facts, const char *value)
{
	long long status, failures = 0, waited = 0;
	char unit = 's';

	facts->recalled = strcmp(value, "?") != 0;
	if (!strcmp(value, "clean"))
		facts->memory.status = STORE_CLEAN;
	else if (!strcmp(value, "listed"))
		facts->memory.status = STORE_LISTED;
	else if (sscanf(value, "%lld:%lld:%lld%c", &status, &failures, &waited, &unit) >= 1) {
		facts->memory.status = (int)status;
		facts->memory.fail_count = (int)failures;
		facts->memory.waited_us = unit == 'u' ? waited : waited * US_PER_S;
	} else if (strcmp(value, "?") != 0) {
		assert_string_equal(value, "new");
	}
}

static void set_client(struct verdict_facts *facts, const char *value)
{
	for (int i = STORE_CLIENT_NONE; i <= STORE_CLIENT_BAD; i++)
		if (!strcmp(value, client_names[i])) {
			facts->memory.client = (enum store_client)i;
			return;
		}
	fail_msg("verdict.rows: no such client verdict: %s", value);
}

static void set_facts(struct verdict_facts *facts, char *text)
{
	char *save = NULL;

	verdict_facts_init(facts);
	facts->whitelisted = 0;
	facts->recalled = true;
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		const struct {
			const char *name;
			int *fact;
		} scores[] = {{"helo", &facts->helo}, {"dyn", &facts->dyn},  {"eq", &facts->s_eq_r},
			      {"wl", &facts->dnswl},  {"bl", &facts->dnsbl}, {"spf", &facts->spf}};
		const char *value = split(word);
		size_t i;

		for (i = 0; i < 6 && strcmp(word, scores[i].name) != 0; i++)
			continue;
		if (i < 6)
			*scores[i].fact = atoi(value);
		else if (!strcmp(word, "white"))
			facts->whitelisted = *value == '?' ? VERDICT_UNASKED : *value == 'y';
		else if (!strcmp(word, "tuple"))
			set_tuple(facts, value);
		else if (!strcmp(word, "client"))
			set_client(facts, value);
		else
			fail_msg("verdict.rows: no such fact: %s", word);
	}
}

/* The verdict as a row writes it. */
static void describe(enum verdict_step step, const struct verdict *v, char *out, size_t size)
{
	const int *c = v->checks;
	int len;

	if (step != VERDICT_DONE) {
		snprintf(out, size, "ask %s", step_names[step]);
		return;
	}
	len = snprintf(out, size, "%s %s %s", action_names[v->action], reason_names[v->reason],
		       change_names[v->change]);
	if (v->change == STORE_INSERT)
		len += snprintf(out + len, size - (size_t)len, ":%d", v->status);
	len += snprintf(out + len, size - (size_t)len, " %s %d,%d,%d,%d,%d,%d,%d,%d,%d",
			client_names[v->client], c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7],
			c[8]);
	if (v->reason == VERDICT_TOO_EARLY)
		snprintf(out + len, size - (size_t)len, " left=%lld",
			 (long long)(v->left_us / US_PER_S));
}

static void test_row(void **state)
{
	struct row row = *(struct row *)*state;
	struct verdict_facts facts;
	struct verdict verdict = {.left_us = 0};
	enum verdict_step step;
	char *arrow = strstr(row.text, " -> ");
	char found[ROW_MOST];

	*arrow = '\0';
	set_facts(&facts, row.text);
	step = verdict_step(&row.policy, &facts, &verdict);
	describe(step, &verdict, found, sizeof(found));
	assert_string_equal(found, arrow + strlen(" -> "));
}

static void follow(enum verdict_action action, int status, enum verdict_action expected,
		   enum verdict_reason reason)
{
	struct verdict v = {.action = action,
			    .reason = action == VERDICT_DEFER ? VERDICT_BY_CHECKS
							      : VERDICT_UNSUSPECTED,
			    .change = STORE_INSERT,
			    .client = STORE_CLIENT_GOOD};

	verdict_follow(&v, status);
	assert_int_equal(v.action, expected);
	assert_int_equal(v.reason, reason);
	assert_int_equal(v.change, STORE_KEEP);
	assert_int_equal(v.client, STORE_CLIENT_NONE);
	assert_int_equal(v.status, status);
}

static void test_lost_race(void **state)
{
	(void)state;
	follow(VERDICT_DEFER, 2, VERDICT_DEFER, VERDICT_BY_CHECKS);
	follow(VERDICT_DUNNO, 0, VERDICT_DUNNO, VERDICT_UNSUSPECTED);
	follow(VERDICT_DUNNO, 1, VERDICT_DUNNO, VERDICT_UNSUSPECTED);
	follow(VERDICT_DEFER, 0, VERDICT_DUNNO, VERDICT_KNOWN);
	follow(VERDICT_DEFER, 1, VERDICT_DUNNO, VERDICT_KNOWN);
	follow(VERDICT_DUNNO, 2, VERDICT_DEFER, VERDICT_TOO_EARLY);
	follow(VERDICT_DUNNO, 3, VERDICT_DEFER, VERDICT_TOO_EARLY);
}

static void test_spf_may_decide(void **state)
{
	struct verdict_policy policy = default_policy;
	struct verdict_facts facts;

	(void)state;
	verdict_facts_init(&facts);
	assert_false(verdict_spf_may_decide(&policy, &facts)); /* 0 + 1 < 2 */
	facts.helo = 1;
	assert_true(verdict_spf_may_decide(&policy, &facts));
	facts.dyn = 1;
	assert_false(verdict_spf_may_decide(&policy, &facts)); /* reached without it */
	facts.dyn = 0;
	policy.use_spf = false;
	assert_false(verdict_spf_may_decide(&policy, &facts));
	policy.use_spf = true;
	policy.rfc_threshold = 0;
	assert_false(verdict_spf_may_decide(&policy, &facts));
	policy.rfc_threshold = 1;
	facts.helo = 0;
	assert_true(verdict_spf_may_decide(&policy, &facts));
}

/* Reads the rows; each becomes a test of its own, named by its line. */
static struct row *read_rows(size_t *count)
{
	struct verdict_policy policy = default_policy;
	struct row *rows = NULL;
	char path[4096], line[ROW_MOST];
	unsigned number = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/verdict.rows",
		 getenv("BLEY_SRC") ? getenv("BLEY_SRC") : ".");
	f = fopen(path, "r");
	if (!f) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	for (*count = 0; fgets(line, sizeof(line), f);) {
		number++;
		line[strcspn(line, "\n")] = '\0';
		if (!*line || *line == '#')
			continue;
		if (!strncmp(line, "policy", strlen("policy"))) {
			set_policy(&policy, line + strlen("policy"));
			continue;
		}
		rows = realloc(rows, (*count + 1) * sizeof(*rows));
		if (!rows || !strstr(line, " -> "))
			exit(EXIT_FAILURE);
		rows[*count].line = number;
		rows[*count].policy = policy;
		memcpy(rows[(*count)++].text, line, sizeof(line));
	}
	fclose(f);
	return rows;
}

int main(void)
{
	size_t count, extra = 2;
	struct row *rows = read_rows(&count);
	struct CMUnitTest *tests = calloc(count + extra, sizeof(*tests));
	char(*names)[ROW_MOST + 16] = calloc(count, sizeof(*names));
	int failed;

	if (!tests || !names)
		return EXIT_FAILURE;
	tests[0] = (struct CMUnitTest)cmocka_unit_test(test_lost_race);
	tests[1] = (struct CMUnitTest)cmocka_unit_test(test_spf_may_decide);
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "line %u: %s", rows[i].line, rows[i].text);
		tests[i + extra] = (struct CMUnitTest){
		    .name = names[i], .test_func = test_row, .initial_state = &rows[i]};
	}
	failed = _cmocka_run_group_tests("verdict", tests, count + extra, NULL, NULL);
	free(names);
	free(tests);
	free(rows);
	return failed;
}
