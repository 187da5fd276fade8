/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "check/check.h"

static int score(const char *sender, const char *recipient)
{
	struct check_subject subject = {.sender = sender, .recipient = recipient};
	struct check check = {.subject = &subject};
	struct check_score got = check_s_eq_r(&check);

	assert_true(strlen(got.why) > 0);
	return got.score;
}

static void only_the_same_address_scores(void **state)
{
	(void)state;
	assert_int_equal(score("a@example.com", "a@example.com"), 1);
	assert_int_equal(score("a@example.com", "b@example.com"), 0);
	assert_int_equal(score("a@example.com", "a@example.co"), 0);
	assert_int_equal(score("a@example.com", ""), 0);
}

static void the_null_sender_never_scores(void **state)
{
	(void)state;
	assert_int_equal(score("", ""), 0);
	assert_int_equal(score("", "a@example.com"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_the_same_address_scores),
	    cmocka_unit_test(the_null_sender_never_scores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
