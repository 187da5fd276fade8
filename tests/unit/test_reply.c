/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "conf/conf.h"
#include "policy/reply.h"
#include "policy/verdict.h"

#include "config.h"

static struct arena arena;

static const char *prepend(const char *template)
{
	const struct conf conf = {.greylist_header = template, .reject_msg = "later"};
	const struct verdict verdict = {.action = VERDICT_PREPEND, .waited_us = 1801999999};

	return reply_text(&arena, &conf, &verdict, 1700000000);
}

static void test_actions(void **state)
{
	const struct conf conf = {.greylist_header = "X", .reject_msg = "greylisted"};
	struct verdict verdict = {.action = VERDICT_DUNNO};

	(void)state;
	assert_string_equal(reply_text(&arena, &conf, &verdict, 0), "DUNNO");
	verdict.action = VERDICT_DEFER;
	verdict.reason = VERDICT_TOO_EARLY;
	assert_string_equal(reply_text(&arena, &conf, &verdict, 0), "DEFER_IF_PERMIT greylisted");
	verdict.reason = VERDICT_BY_CACHE;
	assert_string_equal(reply_text(&arena, &conf, &verdict, 0),
			    "DEFER_IF_PERMIT greylisted (cached result)");
}

static void test_header(void **state)
{
	struct utsname uts;

	(void)state;
	assert_int_equal(uname(&uts), 0);
	assert_string_equal(prepend(""), "DUNNO");
	assert_string_equal(prepend("X-G: %(delta)s s"), "PREPEND X-G: 1801 s");
	assert_string_equal(prepend("X-G: %%(delta)s s"), "PREPEND X-G: 1801 s");
	assert_string_equal(prepend("%(version)s"), "PREPEND " BLEY_VERSION);
	assert_string_equal(prepend("%(hostname)s"),
			    arena_printf(&arena, "PREPEND %s", uts.nodename));
	assert_string_equal(prepend("%(date)s"), "PREPEND Tue, 14 Nov 2023 22:13:20 +0000");
}

static void test_percent(void **state)
{
	(void)state;
	assert_string_equal(prepend("100%"), "PREPEND 100%");
	assert_string_equal(prepend("100%%"), "PREPEND 100%");
	assert_string_equal(prepend("100%% x"), "PREPEND 100% x");
	assert_string_equal(prepend("%(other)s"), "PREPEND %(other)s");
	assert_string_equal(prepend("%%(other)s"), "PREPEND %(other)s");
	assert_string_equal(prepend("%(delta)d"), "PREPEND %(delta)d");
	assert_string_equal(prepend("%(delta"), "PREPEND %(delta");
	assert_string_equal(prepend("%%%(delta)s"), "PREPEND %1801");
	assert_string_equal(prepend("%%%%(delta)s"), "PREPEND %1801");
}

static void test_write(void **state)
{
	char text[64] = "";
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_true(reply_write(fds[1], "DUNNO"));
	assert_int_equal(read(fds[0], text, sizeof(text)), strlen("action=DUNNO\n\n"));
	assert_string_equal(text, "action=DUNNO\n\n");
	close(fds[0]);
	signal(SIGPIPE, SIG_IGN);
	assert_false(reply_write(fds[1], "DUNNO"));
	close(fds[1]);
}

static int release(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_actions),
	    cmocka_unit_test(test_header),
	    cmocka_unit_test(test_percent),
	    cmocka_unit_test(test_write),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests_name("reply", tests, NULL, release);
}
