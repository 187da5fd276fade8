/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/domain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct {
	const char *a, *b;
	int same;
} pairs[] = {
    {"mail.example.com", "www.example.com", 1},
    {"example.com", "a.b.c.example.com", 1},
    {"example.com", "example.com", 1},
    {"example.com", "example.org", 0},
    {"mail.example.com", "mail.notexample.com", 0},
    {"a.example.co.uk", "b.example.co.uk", 1},
    {"a.co.uk", "b.co.uk", 0},
    {"co.uk", "co.uk", 0},
    {"com", "com", 0},
    {"www.ck", "mail.www.ck", 1}, /* an exception of a wildcard rule */
    {"a.example.ck", "b.example.ck", 0},
    {"one.github.io", "two.github.io", 0}, /* the list's private part counts */
    /* not on the list: its default rule `*` */
    {"mail.example.unknowntld", "www.example.unknowntld", 1},
    {"one.unknowntld", "two.unknowntld", 0},
    {"localhost", "localhost", 0},
    {"unknown", "unknown", 0},
    {"", "", 0},
    {"", "example.com", 0},
    {"example.com", "", 0},
    {".", ".", 0},
    {"..", "..", 0},
    {".example.com", ".example.com", 0},
    {"a..example.com", "example.com", 0},
    {"example.com", "mail.example..com", 0},
    {"192.0.2.1", "192.0.2.1", 0},
    {"192.0.2.1", "10.9.2.1", 0},
    {"2001:db8::1", "2001:db8::1", 0},
    {"[192.0.2.1]", "[192.0.2.1]", 0},
    {"[ipv6:2001:db8::1.2]", "[ipv6:2001:db8::1.2]", 0},
    {"a b.example.com", "example.com", 0},
    {"xn--e1afmkfd.xn--p1ai", "mail.xn--e1afmkfd.xn--p1ai", 1},
    {"a.xn--p1ai", "b.xn--p1ai", 0},
    {"a.\xd1\x80\xd1\x84", "mail.a.\xd1\x80\xd1\x84", 1},
    {"mail.b\xc3\xbc"
     "cher.de",
     "b\xc3\xbc"
     "cher.de",
     1},
    {"\xff.example.com", "example.com", 1},
};

static void names_below_one_registrable_domain(void **state)
{
	char error[256] = "";
	(void)state;

	for (size_t i = 0; i < COUNT(pairs); i++) {
		int same = domain_same_registrable(pairs[i].a, pairs[i].b, error, sizeof(error));

		if (same != pairs[i].same)
			fail_msg("%s and %s: %d %s", pairs[i].a, pairs[i].b, same, error);
		assert_int_equal(
		    domain_same_registrable(pairs[i].b, pairs[i].a, error, sizeof(error)), same);
	}
}

static void a_name_without_end_has_no_domain(void **state)
{
	char name[1000], error[256];
	(void)state;

	memset(name, 'a', sizeof(name));
	strcpy(name + sizeof(name) - sizeof(".example.com"), ".example.com");
	assert_int_equal(domain_same_registrable(name, "example.com", error, sizeof(error)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_below_one_registrable_domain),
	    cmocka_unit_test(a_name_without_end_has_no_domain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
