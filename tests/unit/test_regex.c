/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/regex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static enum regex_result search(const char *pattern, const char *text)
{
	char error[256] = "";
	struct regex *regex = regex_compile(pattern, strlen(pattern), error, sizeof(error));
	enum regex_result result;

	if (!regex)
		fail_msg("%s: %s", pattern, error);
	result = regex_search(regex, text);
	regex_free(regex);
	return result;
}

static void texts_are_searched(void **state)
{
	(void)state;
	assert_int_equal(search("mail", "a.mail.example.com"), REGEX_MATCH);
	assert_int_equal(search("^mail", "a.mail.example.com"), REGEX_MISS);
	assert_int_equal(search("EXAMPLE", "example.com"), REGEX_MATCH);
	assert_int_equal(search("^mx\\d+\\.", "mx12.example.com"), REGEX_MATCH);
	assert_int_equal(search("", ""), REGEX_MATCH);
	assert_int_equal(search("com$", "example.com\n"), REGEX_MISS);
	/* one character, not two bytes; capitals beyond ASCII */
	assert_int_equal(search("^.$", "\xc3\xbc"), REGEX_MATCH);
	assert_int_equal(search("^\xc3\x9c$", "\xc3\xbc"), REGEX_MATCH);
	/* what is not UTF-8 matches nothing, what stands around it does */
	assert_int_equal(search("com", "\xff\xfe.com"), REGEX_MATCH);
	assert_int_equal(search("^.", "\xff"), REGEX_MISS);
}

static void an_expression_may_hold_nul(void **state)
{
	char error[256];
	struct regex *regex = regex_compile("a\0b", 3, error, sizeof(error));
	(void)state;

	assert_non_null(regex);
	assert_int_equal(regex_search(regex, "ab"), REGEX_MISS);
	regex_free(regex);
}

static void nothing_behind_the_pattern_is_read(void **state)
{
	static const char pattern[] = "(*LIMIT_DEPTH=4", more[] = "(*LIMIT_DEPTH=4)(*UTF)a";
	char error[256], expected[256];
	(void)state;

	assert_null(regex_compile(pattern, strlen(pattern), expected, sizeof(expected)));
	assert_null(regex_compile(more, strlen(pattern), error, sizeof(error)));
	assert_string_equal(error, expected);
	assert_non_null(strstr(error, "at character 16"));
}

static void what_does_not_compile_says_why(void **state)
{
	static const char *const patterns[] = {"(",  "[a",    "*",    "a{2,1}",
					       "\\", "(?<n>", "\xff", "\\C"};
	char error[256], *huge = malloc(70000);
	(void)state;

	for (size_t i = 0; i < COUNT(patterns); i++) {
		*error = '\0';
		assert_null(regex_compile(patterns[i], strlen(patterns[i]), error, sizeof(error)));
		assert_non_null(strstr(error, " at character "));
	}
	memset(huge, 'a', 70000);
	assert_null(regex_compile(huge, 70000, error, sizeof(error)));
	free(huge);
	regex_free(NULL);
}

static void a_catastrophe_ends(void **state)
{
	static const char *const patterns[] = {"(a+)+$", "(a|aa)+$", "(.*)*(.*)*(.*)*x$",
					       "^((a*)*)*$b", "(?:(?:a?){50}){50}b"};
	char text[300];
	(void)state;

	memset(text, 'a', sizeof(text));
	strcpy(text + sizeof(text) - 2, "!");
	for (size_t i = 0; i < COUNT(patterns); i++)
		assert_int_not_equal(search(patterns[i], text), REGEX_MATCH);
	assert_int_equal(search(patterns[0], text), REGEX_LIMIT);
	/* 2^20 steps: within PCRE2's own limit, not within ours */
	assert_int_equal(search("(a+)+$", "aaaaaaaaaaaaaaaaaaaa!"), REGEX_LIMIT);
	/* nested stars as people write them are no catastrophe */
	strcpy(text + 250, ".example");
	assert_int_equal(search("^.*a.*b.*$", text), REGEX_MISS);
}

static void a_text_longer_than_any_name_matches_nothing(void **state)
{
	char text[514];
	(void)state;

	memset(text, 'a', sizeof(text));
	text[513] = '\0';
	assert_int_equal(search("a", text), REGEX_MISS);
	text[512] = '\0';
	assert_int_equal(search("a", text), REGEX_MATCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(texts_are_searched),
	    cmocka_unit_test(an_expression_may_hold_nul),
	    cmocka_unit_test(nothing_behind_the_pattern_is_read),
	    cmocka_unit_test(what_does_not_compile_says_why),
	    cmocka_unit_test(a_catastrophe_ends),
	    cmocka_unit_test(a_text_longer_than_any_name_matches_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
