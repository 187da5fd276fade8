/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "check/check.h"
#include "conf/conf.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct arena arena;

static const char *declared(const char *name)
{
	for (size_t i = 0; i < conf_key_count; i++)
		if (!strcmp(conf_keys[i].name, name))
			return conf_keys[i].fallback;
	fail_msg("no such key: %s", name);
	return NULL;
}

static int score_with(const char *static_names, const char *dynamic_names, const char *name,
		      struct check_note **notes)
{
	struct check_subject subject = {.client_name = name};
	struct conf conf = {.static_names = static_names, .dynamic_names = dynamic_names};
	struct check check = {.conf = &conf, .subject = &subject, .arena = &arena};
	struct check_score got = check_dyn(&check);

	assert_true(strlen(got.why) > 0);
	*notes = check.notes;
	return got.score;
}

static int score(const char *name)
{
	struct check_note *notes;
	int got = score_with(declared("static_names"), declared("dynamic_names"), name, &notes);

	assert_null(notes);
	return got;
}

/* The defaults of static_names and dynamic_names (conf_keys.def), word by word. */
static void every_word_of_the_defaults(void **state)
{
	static const char *const dynamic[] = {
	    "x.bb.example.com",
	    "broadband.example.com",
	    "xcablex.example.com",
	    "dial.example.com",
	    "dip0.example.com",
	    "dsl.example.com",
	    "adsl-1.example.com",
	    "dyn.example.com",
	    "gprs.example.com",
	    "pool.example.com",
	    "ppp.example.com",
	    "umts.example.com",
	    "wimax.example.com",
	    "wwan.example.com",
	    "DSL.example.com",
	    "192.0.2.1.example.com",
	    "192-0-2-1.example.com",
	    "1-2.3-4.example.com",
	    "ip123-123-123-123.example.com",
	    "x1234-2-3-4567.example.com",
	};
	static const char *const other[] = {
	    "unknown",
	    "",
	    "example.com",
	    "bb.example.com",
	    "host.bbx.example.com",
	    "1-2-3.example.com",
	    "1_2_3_4.example.com",
	    "1--2-3-4.example.com",
	    "1-2-3456-7.example.com",
	    "mx",
	    /* static words win */
	    "colo.dsl.example.com",
	    "dedi-1-2-3-4.example.com",
	    "pool.hosting.example.com",
	    "mail.dsl.example.com",
	    "smtp.dyn.example.com",
	    "static-1-2-3-4.example.com",
	    "STATIC-dsl.example.com",
	    "mx1.dsl.example.com",
	    "dsl.mx.example.com",
	};
	(void)state;

	for (size_t i = 0; i < COUNT(dynamic); i++)
		if (score(dynamic[i]) != 1)
			fail_msg("not dynamic: %s", dynamic[i]);
	for (size_t i = 0; i < COUNT(other); i++)
		if (score(other[i]) != 0)
			fail_msg("dynamic: %s", other[i]);
	/* `mx` needs a character behind it, and not `$` */
	assert_int_equal(score("dsl.example.mx"), 1);
	assert_int_equal(score("dsl.mx$"), 1);
	check_release();
}

static void the_configuration_sets_both(void **state)
{
	struct check_note *notes;
	(void)state;

	assert_int_equal(score_with("^good", "bad", "good.bad.example", &notes), 0);
	assert_int_equal(score_with("^good", "bad", "a.good.bad.example", &notes), 1);
	/* another configuration in the same process */
	assert_int_equal(score_with("^a", "bad", "a.good.bad.example", &notes), 0);
	/* empty: no name matches */
	assert_int_equal(score_with("", "bad", "bad.example", &notes), 1);
	assert_int_equal(score_with("", "", "dsl.example", &notes), 0);
	assert_null(notes);
	check_release();
}

static void a_catastrophic_expression_is_given_up(void **state)
{
	struct check_note *notes;
	(void)state;

	assert_int_equal(score_with("(a+)+$", "dsl",
				    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!dsl",
				    &notes),
			 1);
	assert_string_equal(notes->key, "static_names");
	assert_non_null(strstr(notes->text, "too many steps"));
	check_release();
}

static int release_arena(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_word_of_the_defaults),
	    cmocka_unit_test(the_configuration_sets_both),
	    cmocka_unit_test(a_catastrophic_expression_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, release_arena);
}
