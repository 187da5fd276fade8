/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "check/check.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct {
	const char *address, *name, *helo;
	int score;
} rows[] = {
    {"192.0.2.1", "mail.example.com", "mail.example.com", 0},
    {"192.0.2.1", "mail.example.com", "example.com", 1},
    {"192.0.2.1", "mail.example.com", "other.sub.example.com", 1},
    {"192.0.2.1", "mail.example.com", "mail.example.org", 2},
    {"192.0.2.1", "a.co.uk", "b.co.uk", 2},
    {"192.0.2.1", "mail.example.com", "localhost", 2},
    {"192.0.2.1", "mail.example.com", "", 2},
    {"192.0.2.1", "localhost", "localhost", 0},
    {"192.0.2.1", "unknown", "unknown", 2},
    {"192.0.2.1", "unknown", "mail.example.com", 2},
    /* address literals */
    {"192.0.2.1", "unknown", "[192.0.2.1]", 1},
    {"192.0.2.1", "mail.example.com", "[192.0.2.1]", 1},
    {"192.0.2.1", "unknown", "[::ffff:192.0.2.1]", 1},
    {"192.0.2.1", "unknown", "[ipv6:::ffff:192.0.2.1]", 1},
    {"192.0.2.1", "unknown", "[192.0.2.2]", 2},
    {"192.0.2.1", "unknown", "192.0.2.1", 2},
    {"192.0.2.1", "unknown", "[192.0.2.1", 2},
    {"192.0.2.1", "unknown", "192.0.2.1]", 2},
    {"192.0.2.1", "unknown", "[192.0.2.1]x", 2},
    {"192.0.2.1", "unknown", "[ipv6:192.0.2.1]", 2},
    {"192.0.2.1", "unknown", "[]", 2},
    {"192.0.2.1", "unknown", "[", 2},
    {"192.0.2.1", "192.0.2.1", "192.0.2.9", 2},
    {"2001:db8::1", "unknown", "[2001:db8::1]", 1},
    {"2001:db8::1", "unknown", "[2001:DB8::1]", 1},
    {"2001:db8::1", "unknown", "[IPv6:2001:db8::1]", 1},
    {"2001:db8::1", "unknown", "[ipv6:2001:0db8:0000:0000:0000:0000:0000:0001]", 1},
    {"2001:db8::1", "unknown", "[ipv6:2001:db8:0:0::1]", 1},
    {"2001:db8::1", "unknown", "[ipv6:2001:db8::2]", 2},
    {"2001:db8::1", "unknown", "[ipv6:]", 2},
    {"2001:db8::1", "unknown", "[ipv6:ipv6:2001:db8::1]", 2},
    {"fe80::1", "unknown", "[ipv6:fe80::1%eth0]", 1},
};

static struct check_score score(const char *address, const char *name, const char *helo,
				struct check *check)
{
	static struct check_subject subject;

	subject = (struct check_subject){.client_name = name, .helo_name = helo};
	assert_true(ipaddr_parse(address, &subject.client));
	check->subject = &subject;
	return check_helo(check);
}

static void helo_is_held_against_name_and_address(void **state)
{
	struct arena arena = ARENA_INIT;
	struct check check = {.arena = &arena};
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct check_score got = score(rows[i].address, rows[i].name, rows[i].helo, &check);

		if (got.score != rows[i].score)
			fail_msg("%s %s %s: %d, expected %d", rows[i].address, rows[i].name,
				 rows[i].helo, got.score, rows[i].score);
		assert_true(strlen(got.why) > 0);
	}
	assert_null(check.notes);
	arena_release(&arena);
}

static void a_literal_beyond_reason_is_none(void **state)
{
	struct check check = {.arena = NULL};
	char helo[1000];
	(void)state;

	memset(helo, '1', sizeof(helo));
	helo[0] = '[';
	strcpy(helo + sizeof(helo) - sizeof("]"), "]");
	assert_int_equal(score("192.0.2.1", "unknown", helo, &check).score, 2);
}

static void a_client_without_a_name_says_so(void **state)
{
	struct check check = {.arena = NULL};
	(void)state;

	assert_non_null(strstr(score("192.0.2.1", "unknown", "mail.example.com", &check).why,
			       "no verified name"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(helo_is_held_against_name_and_address),
	    cmocka_unit_test(a_literal_beyond_reason_is_none),
	    cmocka_unit_test(a_client_without_a_name_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
