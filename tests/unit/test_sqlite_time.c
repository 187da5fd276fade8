/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "store/sqlite_time.h"

#define US INT64_C(1000000)

static void check_both_ways(int64_t us, const char *text)
{
	char out[SQLITE_TIME_SIZE];
	int64_t back = -1;

	sqlite_time_format(us, out);
	assert_string_equal(out, text);
	assert_true(sqlite_time_parse(text, &back));
	assert_int_equal(back, us);
}

static void test_both_ways(void **state)
{
	(void)state;
	check_both_ways(0, "1970-01-01 00:00:00.000000");
	check_both_ways(1, "1970-01-01 00:00:00.000001");
	check_both_ways(951782399 * US + 999999, "2000-02-28 23:59:59.999999");
	check_both_ways(951782400 * US, "2000-02-29 00:00:00.000000");
	check_both_ways(951868800 * US, "2000-03-01 00:00:00.000000");
	check_both_ways(1709164800 * US, "2024-02-29 00:00:00.000000");
	check_both_ways(1798761599 * US + 250000, "2026-12-31 23:59:59.250000");
	check_both_ways(INT64_C(4107542400) * US, "2100-03-01 00:00:00.000000");
	check_both_ways(INT64_C(253402300799) * US + 999999, "9999-12-31 23:59:59.999999");
}

/* Each day of the calendar, as the C library counts. */
static void test_days(void **state)
{
	char out[SQLITE_TIME_SIZE];
	int64_t back;

	(void)state;
	for (int64_t day = 0; day < 366 * 150; day++) {
		sqlite_time_format(day * 86400 * US, out);
		assert_true(sqlite_time_parse(out, &back));
		assert_int_equal(back, day * 86400 * US);
	}
}

static void test_bounds(void **state)
{
	char out[SQLITE_TIME_SIZE];

	(void)state;
	sqlite_time_format(-1, out);
	assert_string_equal(out, "1970-01-01 00:00:00.000000");
	sqlite_time_format(INT64_MAX, out);
	assert_string_equal(out, "9999-12-31 23:59:59.999999");
}

static void test_forms(void **state)
{
	static const struct {
		const char *text;
		int64_t us; /* since 2026-07-01 12:00 */
	} forms[] = {
	    {"2026-07-01 12:00:00", 0},	       {"2026-07-01T12:00:00", 0},
	    {"2026-07-01T12:00:00Z", 0},       {"2026-07-01 12:00", 0},
	    {"2026-07-01", -12 * 3600 * US},   {"2026-07-01 12:00:00.5", 500000},
	    {"2026-07-01 12:00:00.000001", 1}, {"2026-07-01 12:00:00.0000019", 1},
	    {"2026-07-01 12:00:00.", 0},       {"2026-07-01 12:00:60", 60 * US},
	};
	int64_t noon, us;

	(void)state;
	assert_true(sqlite_time_parse("2026-07-01 12:00:00.000000", &noon));
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		assert_true(sqlite_time_parse(forms[i].text, &us));
		assert_int_equal(us - noon, forms[i].us);
	}
}

static void test_no_times(void **state)
{
	static const char *const texts[] = {
	    "",
	    "now",
	    "2026",
	    "2026-07-01 ",
	    "2026-7-01",
	    "2026-13-01",
	    "2026-00-01",
	    "2026-07-32",
	    "1969-07-01",
	    "2026-07-01 24:00",
	    "2026-07-01 12:60",
	    "2026-07-01 12:00:61",
	    " 2026-07-01",
	    "2026-07-01x",
	    "2026-07-01 12:00:00.5x",
	    "1782907200",
	};
	int64_t us = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_false(sqlite_time_parse(texts[i], &us));
		assert_false(sqlite_time_parse_local(texts[i], &us));
	}
	assert_int_equal(us, 77);
}

static void check_local(const char *local, const char *utc)
{
	char out[SQLITE_TIME_SIZE];
	int64_t us;

	assert_true(sqlite_time_parse_local(local, &us));
	sqlite_time_format(us, out);
	assert_string_equal(out, utc);
}

/* Half an hour either side of where Berlin's clocks jumped in 2026. */
static void test_local(void **state)
{
	(void)state;
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	check_local("2026-01-15 12:30:00.25", "2026-01-15 11:30:00.250000");
	check_local("2026-07-01 23:59:59.999999", "2026-07-01 21:59:59.999999");
	check_local("2026-03-29 01:30:00", "2026-03-29 00:30:00.000000");
	check_local("2026-03-29 03:30:00", "2026-03-29 01:30:00.000000");
	check_local("2026-10-25 01:30:00", "2026-10-24 23:30:00.000000");
	check_local("2026-10-25 03:30:00", "2026-10-25 02:30:00.000000");
	unsetenv("TZ");
	tzset();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_both_ways), cmocka_unit_test(test_days),
	    cmocka_unit_test(test_bounds),    cmocka_unit_test(test_forms),
	    cmocka_unit_test(test_no_times),  cmocka_unit_test(test_local),
	};

	return cmocka_run_group_tests_name("sqlite_time", tests, NULL, NULL);
}
