/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/flood.h"

#define LEVEL 3

static bool passes(struct flood *f, int64_t now_s, const char *text)
{
	return flood_passes(f, now_s, text, LEVEL, text);
}

static void test_once_in_a_while(void **state)
{
	struct flood f = {.level = {0}};
	struct flood_rest rest;

	(void)state;
	assert_true(passes(&f, 1000, "a"));
	assert_false(passes(&f, 1000, "a"));
	assert_true(passes(&f, 1001, "b"));
	assert_false(passes(&f, 1000 + FLOOD_PERIOD_S - 1, "a"));
	assert_false(flood_take_rest(&f, 1000 + FLOOD_PERIOD_S - 1, false, &rest));

	assert_true(flood_take_rest(&f, 1000 + FLOOD_PERIOD_S, false, &rest));
	assert_int_equal(rest.level, LEVEL);
	assert_int_equal(rest.more, 2);
	assert_int_equal(rest.seconds, FLOOD_PERIOD_S);
	assert_string_equal(rest.text, "a");
	assert_false(flood_take_rest(&f, 1000 + FLOOD_PERIOD_S, false, &rest));
}

/* For as long as it goes on there is one line in each time, and not two. */
static void test_it_goes_on(void **state)
{
	struct flood f = {.level = {0}};
	struct flood_rest rest;
	int told = 0, counted = 0, passed = 0;

	(void)state;
	for (int64_t now = 0; now <= 10 * FLOOD_PERIOD_S; now++) {
		while (flood_take_rest(&f, now, false, &rest)) {
			told++;
			counted += (int)rest.more;
		}
		passed += passes(&f, now, "a");
	}
	assert_int_equal(told, 10);
	assert_int_equal(passed, 1);
	while (flood_take_rest(&f, 10 * FLOOD_PERIOD_S, true, &rest))
		counted += (int)rest.more;
	assert_int_equal(passed + counted, 10 * FLOOD_PERIOD_S + 1);
}

static void test_it_comes_back(void **state)
{
	struct flood f = {.level = {0}};
	struct flood_rest rest;

	(void)state;
	assert_true(passes(&f, 0, "a"));
	assert_false(flood_take_rest(&f, FLOOD_PERIOD_S, false, &rest));
	assert_true(passes(&f, FLOOD_PERIOD_S, "a"));
	assert_false(passes(&f, FLOOD_PERIOD_S, "a"));
}

static void test_the_end(void **state)
{
	struct flood f = {.level = {0}};
	struct flood_rest rest;

	(void)state;
	assert_false(flood_take_rest(&f, 0, true, &rest));
	assert_true(passes(&f, 0, "a"));
	assert_false(flood_take_rest(&f, 0, true, &rest));
	assert_false(passes(&f, 3, "a"));
	assert_true(flood_take_rest(&f, 5, true, &rest));
	assert_int_equal(rest.more, 1);
	assert_int_equal(rest.seconds, 5);
	assert_false(flood_take_rest(&f, 5, true, &rest));
}

static void test_forgotten(void **state)
{
	struct flood f = {.level = {0}};
	struct flood_rest rest;

	(void)state;
	assert_true(passes(&f, 0, "a"));
	assert_false(passes(&f, 0, "a"));
	flood_forget(&f);
	assert_false(flood_take_rest(&f, 0, true, &rest));
	assert_true(passes(&f, 0, "a"));
	assert_false(passes(&f, 0, "a"));
}

static void test_of_a_kind(void **state)
{
	struct flood f = {.level = {0}};
	struct flood_rest rest;

	(void)state;
	assert_true(flood_passes(&f, 0, "killed %d", LEVEL, "killed 1"));
	assert_false(flood_passes(&f, 0, "killed %d", LEVEL, "killed 2"));
	assert_true(flood_take_rest(&f, 0, true, &rest));
	assert_string_equal(rest.text, "killed 1");
}

static void test_many_kinds_and_long_ones(void **state)
{
	struct flood f = {.level = {0}};
	struct flood_rest rest;
	char text[2 * FLOOD_TEXT];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_true(passes(&f, 1, text));
	assert_false(passes(&f, 1, text));
	assert_true(flood_take_rest(&f, 1, true, &rest));
	assert_int_equal(strlen(rest.text), FLOOD_TEXT - 1);

	for (int i = 0; i < 3 * FLOOD_KINDS; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_true(passes(&f, 2 + i, text));
		assert_false(passes(&f, 2 + i, text));
	}
	for (int i = 2 * FLOOD_KINDS; i < 3 * FLOOD_KINDS; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_false(passes(&f, 3 * FLOOD_KINDS, text));
	}
	for (int i = 0; i < FLOOD_KINDS; i++) {
		assert_true(flood_take_rest(&f, 3 * FLOOD_KINDS, true, &rest));
		assert_int_equal(rest.more, 2);
	}
	assert_false(flood_take_rest(&f, 3 * FLOOD_KINDS, true, &rest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_once_in_a_while),
	    cmocka_unit_test(test_it_goes_on),
	    cmocka_unit_test(test_it_comes_back),
	    cmocka_unit_test(test_the_end),
	    cmocka_unit_test(test_forgotten),
	    cmocka_unit_test(test_of_a_kind),
	    cmocka_unit_test(test_many_kinds_and_long_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
