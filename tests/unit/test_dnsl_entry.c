/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/dnsl_entry.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct arena arena;

static const struct {
	const char *text, *zone;
	int weight;
	bool filtered;
} entries[] = {
    {"dnsbl.example.org", "dnsbl.example.org", 1, false},
    {"DNSBL.Example.ORG.", "dnsbl.example.org", 1, false},
    {"dnsbl.example.org*2", "dnsbl.example.org", 2, false},
    {"dnsbl.example.org*+2", "dnsbl.example.org", 2, false},
    {"dnsbl.example.org*-10000", "dnsbl.example.org", -10000, false},
    {"dnsbl.example.org=127.0.0.2", "dnsbl.example.org", 1, true},
    {"dnsbl.example.org.=127.0.0.2*3", "dnsbl.example.org", 3, true},
    {"dnsbl.example.org=127.0.0.[2..11]*-3", "dnsbl.example.org", -3, true},
    {"list.dnswl.org=127.0.[2..9;11..255].[0..3]", "list.dnswl.org", 1, true},
    {"z=[127].[0].[0].[2]", "z", 1, true},
    {"z=[127.0.0.2]", "z", 1, true},
    {"z=[127.0.0.[2;3]]", "z", 1, true},
    {"_key-1.zen.example.net", "_key-1.zen.example.net", 1, false},
    {"4u.example", "4u.example", 1, false},
};

static void entries_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(entries); i++) {
		struct dnsl_entry entry;
		const char *error = dnsl_entry_parse(&arena, entries[i].text, &entry);

		if (error)
			fail_msg("%s", error);
		assert_string_equal(entry.zone, entries[i].zone);
		assert_int_equal(entry.weight, entries[i].weight);
		assert_int_equal(entry.filtered, entries[i].filtered);
	}
}

static const struct {
	const char *text, *says;
} faults[] = {
    {"", "the zone is missing"},
    {".", "the zone is missing"},
    {"=127.0.0.2", "the zone is missing"},
    {"*2", "the zone is missing"},
    {"a..b", "no domain name"},
    {".a.b", "no domain name"},
    {"a.b..", "no domain name"},
    {"a b", "no domain name"},
    {"a/b", "no domain name"},
    {"a~b", "no domain name"},
    {"b\xc3\xbc.example", "no domain name"},
    {"192.0.2.1", "an address stands"},
    {"127", "an address stands"},
    {"z*", "the weight ``"},
    {"z*0", "the weight `0`"},
    {"z*x", "the weight `x`"},
    {"z*1x", "the weight `1x`"},
    {"z*10001", "the weight `10001`"},
    {"z*-10001", "the weight `-10001`"},
    {"z*99999999999999999999", "the weight"},
    {"z*--1", "the weight"},
    {"z*+-1", "the weight"},
    {"z*1.5", "the weight"},
    {"z*2*3", "the weight `2*3`"},
    {"z*2=127.0.0.2", "the weight `2=127.0.0.2`"},
    {"z=", "the filter ``"},
    {"z=127.0.0", "the filter"},
    {"z=127.0.0.", "the filter"},
    {"z=127.0.0.2.3", "the filter"},
    {"z=127.0.0.256", "the filter"},
    {"z=127.0.0.-1", "the filter"},
    {"z=127.0.0.2..3", "the filter"},
    {"z=127.0.0.[", "the filter"},
    {"z=127.0.0.[]", "the filter"},
    {"z=127.0.0.[2", "the filter"},
    {"z=127.0.0.[2;", "the filter"},
    {"z=127.0.0.[2;]", "the filter"},
    {"z=127.0.0.[;2]", "the filter"},
    {"z=127.0.0.[2.3]", "the filter"},
    {"z=127.0.0.[2..]", "the filter"},
    {"z=127.0.0.[..2]", "the filter"},
    {"z=127.0.0.[3..2]", "the filter"},
    {"z=127.0.0.[2..256]", "the filter"},
    {"z=127.0.0.[2-3]", "the filter"},
    {"z=127.0.0.[2]]", "the filter"},
    {"z=[127.0.0.2", "the filter"},
    {"z=[[127.0.0.2]]", "the filter"},
    {"z=[127.0.0.2]x", "the filter"},
    {"z=127.0.0.2=127.0.0.3", "the filter"},
};

static void faults_are_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(faults); i++) {
		struct dnsl_entry entry, before;
		const char *error;

		memset(&entry, 0x5a, sizeof(entry));
		before = entry;
		error = dnsl_entry_parse(&arena, faults[i].text, &entry);
		assert_memory_equal(&entry, &before, sizeof(entry));
		if (!error)
			fail_msg("read as an entry: %s", faults[i].text);
		if (!strstr(error, faults[i].says) || !strstr(error, faults[i].text))
			fail_msg("%s: %s", faults[i].text, error);
	}
}

static void a_zone_leaves_room_for_an_address(void **state)
{
	char zone[300];
	struct dnsl_entry entry;
	(void)state;

	memset(zone, 'a', sizeof(zone));
	for (size_t i = 63; i < sizeof(zone); i += 64)
		zone[i] = '.';
	zone[190] = '\0';
	assert_non_null(strstr(dnsl_entry_parse(&arena, zone, &entry), "too long"));
	zone[189] = '\0';
	assert_null(dnsl_entry_parse(&arena, zone, &entry));
	memset(zone, 'a', 64);
	zone[64] = '\0';
	assert_non_null(strstr(dnsl_entry_parse(&arena, zone, &entry), "63"));
	zone[63] = '\0';
	assert_null(dnsl_entry_parse(&arena, zone, &entry));
}

static bool matches(const char *text, const char *answer)
{
	struct dnsl_entry entry;
	unsigned char octets[4];

	assert_null(dnsl_entry_parse(&arena, text, &entry));
	assert_int_equal(inet_pton(AF_INET, answer, octets), 1);
	return dnsl_entry_matches(&entry, octets);
}

static void filters_choose_answers(void **state)
{
	(void)state;
	assert_true(matches("z", "8.8.8.8"));
	assert_true(matches("z=127.0.0.2", "127.0.0.2"));
	assert_false(matches("z=127.0.0.2", "127.0.0.3"));
	assert_false(matches("z=127.0.0.2", "127.0.1.2"));
	assert_false(matches("z=127.0.0.2", "126.0.0.2"));
	assert_true(matches("z=127.0.0.[2..11]", "127.0.0.2"));
	assert_true(matches("z=127.0.0.[2..11]", "127.0.0.11"));
	assert_false(matches("z=127.0.0.[2..11]", "127.0.0.1"));
	assert_false(matches("z=127.0.0.[2..11]", "127.0.0.12"));
	assert_true(matches("z=127.0.[2..9;11..255].[0..3]", "127.0.5.3"));
	assert_true(matches("z=127.0.[2..9;11..255].[0..3]", "127.0.255.0"));
	assert_false(matches("z=127.0.[2..9;11..255].[0..3]", "127.0.10.0"));
	assert_false(matches("z=127.0.[2..9;11..255].[0..3]", "127.0.5.4"));
	assert_true(matches("z=[0..255].[0..255].[0..255].[0..255]", "255.0.31.32"));
	assert_true(matches("z=[127.0.0.[4;6]]", "127.0.0.6"));
	assert_false(matches("z=[127.0.0.[4;6]]", "127.0.0.5"));
	/* the attempt at the plain form leaves nothing behind */
	assert_false(matches("z=[1.0.0.2]", "127.0.0.2"));
	assert_true(matches("z=[5..5].0.0.2", "5.0.0.2"));
}

static void lists_are_split(void **state)
{
	struct dnsl_entries list;
	(void)state;

	assert_null(dnsl_entries_parse(
	    &arena, " a.example, b.example=127.0.[2..9;11].[0..3]*2\tc.example\r\n,, d.example,",
	    &list));
	assert_int_equal(list.count, 4);
	assert_string_equal(list.items[0].zone, "a.example");
	assert_int_equal(list.items[1].weight, 2);
	assert_string_equal(list.items[2].zone, "c.example");
	assert_string_equal(list.items[3].zone, "d.example");

	assert_null(dnsl_entries_parse(&arena, " , \t", &list));
	assert_int_equal(list.count, 0);

	assert_non_null(
	    strstr(dnsl_entries_parse(&arena, "a.example, b*x, c..d, e.example", &list), "b*x"));
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[1].zone, "e.example");
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
	    cmocka_unit_test(entries_are_read),
	    cmocka_unit_test(faults_are_named),
	    cmocka_unit_test(a_zone_leaves_room_for_an_address),
	    cmocka_unit_test(filters_choose_answers),
	    cmocka_unit_test(lists_are_split),
	};

	return cmocka_run_group_tests(tests, NULL, release_arena);
}
