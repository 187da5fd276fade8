/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "check/check.h"

static void notes_come_newest_first(void **state)
{
	struct arena arena = ARENA_INIT;
	struct check check = {.arena = &arena};
	(void)state;

	check_note(&check, "one", "the first of %d", 2);
	check_note(&check, "two", "the last");
	assert_string_equal(check.notes->key, "two");
	assert_string_equal(check.notes->text, "the last");
	assert_string_equal(check.notes->next->key, "one");
	assert_string_equal(check.notes->next->text, "the first of 2");
	assert_null(check.notes->next->next);
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(notes_come_newest_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
