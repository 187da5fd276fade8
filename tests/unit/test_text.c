/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "base/text.h"

static void test_utf8(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} cases[] = {
	    {"a", 1},
	    {"\xc3\xa4", 2},
	    {"\xe2\x82\xac", 3},
	    {"\xf0\x9f\x98\x80", 4},
	    {"\xf4\x8f\xbf\xbf", 4},
	    {"\xc0\x80", 0},
	    {"\xc1\xbf", 0},
	    {"\xe0\x9f\xbf", 0},
	    {"\xe0\xa0\x80", 3},
	    {"\xed\xa0\x80", 0},
	    {"\xed\x9f\xbf", 3},
	    {"\xf0\x8f\xbf\xbf", 0},
	    {"\xf4\x90\x80\x80", 0},
	    {"\xf5\x80\x80\x80", 0},
	    {"\x80", 0},
	    {"\xff", 0},
	    {"\xc3", 0},
	    {"\xc3(", 0},
	    {"\xe2\x82", 0},
	    {"\xf0\x9f\x98", 0},
	    {"", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(text_utf8_length(cases[i].bytes, strlen(cases[i].bytes)),
				 cases[i].length);
}

static void test_clean(void **state)
{
	static const char *const cases[][2] = {
	    {"plain", "plain"},
	    {"", ""},
	    {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
	    {"a\nb", "a\xef\xbf\xbd\x62"},
	    {"\x1b[31m", "\xef\xbf\xbd[31m"},
	    {"a\x7f", "a\xef\xbf\xbd"},
	    {"\xc2\x85", "\xef\xbf\xbd"},	/* C1: one mark for the character */
	    {"\xe2\x80\xa8.", "\xef\xbf\xbd."}, /* line separator */
	    {"\xc2\xa0", "\xc2\xa0"},
	    {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
	};
	struct arena arena = ARENA_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = strlen(cases[i][0]);

		assert_string_equal(text_clean(&arena, cases[i][0], len), cases[i][1]);
		assert_int_equal(text_is_clean(cases[i][0], len),
				 !strcmp(cases[i][0], cases[i][1]));
	}
	assert_string_equal(text_clean(&arena, "a\0b", 3), "a\xef\xbf\xbd\x62");
	arena_release(&arena);
}

static void test_cut(void **state)
{
	(void)state;
	assert_int_equal(text_cut("abc", 3, 5), 3);
	assert_int_equal(text_cut("abc", 3, 2), 2);
	assert_int_equal(text_cut("a\xc3\xa4", 3, 2), 1);
	assert_int_equal(text_cut("\xf0\x9f\x98\x80x", 5, 3), 0);
	assert_int_equal(text_cut("\xf0\x9f\x98\x80x", 5, 4), 4);
}

static void test_words(void **state)
{
	char text[] = " \t x y \r\n";
	char mixed[] = "\xc3\x84"
		       "ABZ[`z";

	(void)state;
	assert_string_equal(text_trim(text), "x y");
	text_lower(mixed);
	assert_string_equal(mixed, "\xc3\x84"
				   "abz[`z"); /* ASCII only */
	assert_true(text_equal_nocase("AbC", "aBc"));
	assert_false(text_equal_nocase("abc", "abcd"));
	assert_false(text_equal_nocase("abcd", "abc"));
	assert_true(text_starts_nocase("IPv6:x", "ipV6:"));
	assert_false(text_starts_nocase("IP", "ipv6:"));
}

static void test_arena(void **state)
{
	struct arena arena = ARENA_INIT;
	char *large, *small;

	(void)state;
	large = arena_alloc(&arena, 100000);
	memset(large, 'x', 100000);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 1000; i++) {
			small = arena_alloc(&arena, 33);
			assert_int_equal((uintptr_t)small % _Alignof(max_align_t), 0);
			for (int j = 0; j < 33; j++)
				assert_int_equal(small[j], 0);
			memset(small, 'y', 33);
		}
		assert_string_equal(arena_printf(&arena, "%s-%d", "a", 5), "a-5");
		assert_string_equal(arena_strndup(&arena, "abcdef", 3), "abc");
		arena_reset(&arena);
	}
	arena_release(&arena);
	arena_release(&arena);
}

static void test_strbuf(void **state)
{
	struct strbuf sb = STRBUF_INIT;

	(void)state;
	assert_string_equal(sb.buf, "");
	strbuf_addf(&sb, "%s", "");
	strbuf_clear(&sb);
	for (int i = 0; i < 100; i++) {
		strbuf_addch(&sb, 'a');
		strbuf_addstr(&sb, "bc");
		strbuf_addf(&sb, "%03d", i);
	}
	assert_int_equal(sb.len, 600);
	assert_int_equal(strlen(sb.buf), 600);
	assert_string_equal(sb.buf + 594, "abc099");
	strbuf_clear(&sb);
	assert_string_equal(sb.buf, "");
	strbuf_release(&sb);
	assert_string_equal(sb.buf, "");
}

static void test_folder(void **state)
{
	struct arena arena = ARENA_INIT;

	(void)state;
	assert_string_equal(text_folder(&arena, "/var/lib/bley.db"), "/var/lib");
	assert_string_equal(text_folder(&arena, "db/bley.db"), "db");
	assert_string_equal(text_folder(&arena, "/bley.db"), "/");
	assert_string_equal(text_folder(&arena, "bley.db"), ".");
	arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_utf8),   cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_cut),	   cmocka_unit_test(test_words),
	    cmocka_unit_test(test_arena),  cmocka_unit_test(test_strbuf),
	    cmocka_unit_test(test_folder),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
