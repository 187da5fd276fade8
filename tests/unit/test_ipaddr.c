/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/ipaddr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct {
	const char *text, *formatted;
} addresses[] = {
    {"192.0.2.1", "192.0.2.1"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"::", "0000:0000:0000:0000:0000:0000:0000:0000"},
    {"::1", "0000:0000:0000:0000:0000:0000:0000:0001"},
    {"2001:DB8::1", "2001:0db8:0000:0000:0000:0000:0000:0001"},
    {"2001:0db8:0000:0000:0000:0000:0000:0001", "2001:0db8:0000:0000:0000:0000:0000:0001"},
    {"2001:db8:1:2:3:4:5:abcd", "2001:0db8:0001:0002:0003:0004:0005:abcd"},
    {"fe80::1%eth0", "fe80:0000:0000:0000:0000:0000:0000:0001"},
    {"::ffff:192.0.2.1", "192.0.2.1"},
    {"::FFFF:c000:201", "192.0.2.1"},
    {"::ffff:192.0.2.1%2", "192.0.2.1"},
    {"0000:0000:0000:0000:0000:ffff:192.168.100.200", "192.168.100.200"},
    {"::192.0.2.1", "0000:0000:0000:0000:0000:0000:c000:0201"},
    {"::fffe:192.0.2.1", "0000:0000:0000:0000:0000:fffe:c000:0201"},
    {"64:ff9b::192.0.2.1", "0064:ff9b:0000:0000:0000:0000:c000:0201"},
};

static void addresses_are_read_and_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(addresses); i++) {
		struct ipaddr ip, again;
		char text[IPADDR_TEXT_SIZE];

		assert_true(ipaddr_parse(addresses[i].text, &ip));
		ipaddr_format(&ip, text);
		assert_string_equal(text, addresses[i].formatted);
		assert_true(ipaddr_parse(text, &again));
		assert_true(ipaddr_equal(&ip, &again));
		assert_int_equal(ip.family, strchr(text, ':') ? AF_INET6 : AF_INET);
	}
}

static void garbage_is_no_address(void **state)
{
	static const char *const garbage[] = {
	    "",
	    " ",
	    "1",
	    "1.2",
	    "1.2.3",
	    "1.2.3.",
	    "1.2.3.4.",
	    ".1.2.3.4",
	    "1..2.3",
	    "1.2.3.4.5",
	    "1.2.3.256",
	    "1.2.3.1000",
	    "01.2.3.4",
	    "1.2.3.04",
	    "1.2.3.00",
	    "+1.2.3.4",
	    "-1.2.3.4",
	    "1.2.3.-4",
	    " 1.2.3.4",
	    "1.2.3.4 ",
	    "1.2.3.4\n",
	    "0x1.2.3.4",
	    "1.2.3.4/32",
	    "1.2.3.4%eth0",
	    "16909060",
	    "localhost",
	    ":",
	    ":::",
	    ":1",
	    "1:",
	    "1::2::3",
	    "1:2:3:4:5:6:7",
	    "1:2:3:4:5:6:7:8:9",
	    "1:2:3:4:5:6:7:8::9",
	    "12345::",
	    "g::1",
	    "::1/128",
	    "[::1]",
	    "[192.0.2.1]",
	    "ipv6:::1",
	    "fe80::1%",
	    "%eth0",
	    "::ffff:1.2.3",
	    "::ffff:1.2.3.256",
	    "::ffff:01.2.3.4",
	    "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
	    "1.2.3.4\xc2\xa0",
	};
	(void)state;

	for (size_t i = 0; i < COUNT(garbage); i++) {
		struct ipaddr ip, before;

		memset(&ip, 0x5a, sizeof(ip));
		before = ip;
		if (ipaddr_parse(garbage[i], &ip))
			fail_msg("read as an address: %s", garbage[i]);
		assert_memory_equal(&ip, &before, sizeof(ip));
	}
}

static void equality_needs_family_and_bytes(void **state)
{
	struct ipaddr a, b;
	(void)state;

	assert_true(ipaddr_parse("1.2.3.4", &a));
	assert_true(ipaddr_parse("1.2.3.5", &b));
	assert_false(ipaddr_equal(&a, &b));
	assert_true(ipaddr_parse("102:304::", &b)); /* the same first bytes */
	assert_false(ipaddr_equal(&a, &b));
	assert_true(ipaddr_parse("::ffff:1.2.3.4", &b));
	assert_true(ipaddr_equal(&a, &b));
}

static void reversed_for_dns_lists(void **state)
{
	struct ipaddr ip;
	char text[IPADDR_REVERSE_SIZE];
	(void)state;

	assert_true(ipaddr_parse("192.0.2.99", &ip));
	ipaddr_reverse(&ip, text);
	assert_string_equal(text, "99.2.0.192");
	/* RFC 5782 section 2.4 */
	assert_true(ipaddr_parse("2001:db8:1:2:3:4:567:89ab", &ip));
	ipaddr_reverse(&ip, text);
	assert_string_equal(text,
			    "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2");
	assert_int_equal(strlen(text) + 1, IPADDR_REVERSE_SIZE);
}

static const struct {
	const char *text, *address;
	unsigned bits;
	bool host_bits;
} networks[] = {
    {"192.0.2.0/24", "192.0.2.0", 24, false},
    {"192.0.2.200/30", "192.0.2.200", 30, false},
    {"192.0.2.201/30", "192.0.2.200", 30, true},
    {"192.0.2.255/25", "192.0.2.128", 25, true},
    {"192.0.2.1/32", "192.0.2.1", 32, false},
    {"192.0.2.1/0", "0.0.0.0", 0, true},
    {"0.0.0.0/0", "0.0.0.0", 0, false},
    {"192.0.2.1", "192.0.2.1", 32, false},
    {"192.0.2", "192.0.2.0", 24, false},
    {"192.0", "192.0.0.0", 16, false},
    {"192", "192.0.0.0", 8, false},
    {"2001:db8::/32", "2001:0db8:0000:0000:0000:0000:0000:0000", 32, false},
    {"2001:db8::1/32", "2001:0db8:0000:0000:0000:0000:0000:0000", 32, true},
    {"2001:db8::ff/125", "2001:0db8:0000:0000:0000:0000:0000:00f8", 125, true},
    {"2001:db8::1", "2001:0db8:0000:0000:0000:0000:0000:0001", 128, false},
    {"2001:db8::1/128", "2001:0db8:0000:0000:0000:0000:0000:0001", 128, false},
    {"::/0", "0000:0000:0000:0000:0000:0000:0000:0000", 0, false},
    {"::ffff:192.0.2.0/120", "192.0.2.0", 24, false},
    {"::ffff:192.0.2.0/96", "0.0.0.0", 0, true},
    {"::ffff:192.0.2.1", "192.0.2.1", 32, false},
    {"::ffff:192.0.2.1/128", "192.0.2.1", 32, false},
};

static void networks_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(networks); i++) {
		struct ipnet net;
		bool host_bits;
		char text[IPADDR_TEXT_SIZE];

		assert_true(ipnet_parse(networks[i].text, &net, &host_bits));
		ipaddr_format(&net.addr, text);
		assert_string_equal(text, networks[i].address);
		assert_int_equal(net.bits, networks[i].bits);
		assert_int_equal(host_bits, networks[i].host_bits);
	}
}

static void garbage_is_no_network(void **state)
{
	static const char *const garbage[] = {
	    "",
	    "/",
	    "/24",
	    "192.0.2.0/",
	    "192.0.2.0/33",
	    "192.0.2.0/024",
	    "192.0.2.0/00",
	    "192.0.2.0/+24",
	    "192.0.2.0/-1",
	    "192.0.2.0/ 24",
	    "192.0.2.0/24 ",
	    "192.0.2.0/24/24",
	    "192.0.2.0/255.255.255.0",
	    "192.0.2.0/x",
	    "192.0.2.0/4294967320",
	    "192.0.2/24",
	    "192.0.2.",
	    "192..2",
	    ".",
	    "..",
	    "192.0.2.1.0",
	    "192.0.256",
	    "192.0.02",
	    "256",
	    "-1",
	    "1111111111111111111111111111111111111111111111",
	    "2001:db8::/129",
	    "2001:db8::/",
	    "2001:db8/32",
	    "::ffff:192.0.2.0/95",
	    "::ffff:192.0.2.0/129",
	    "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/8",
	    "mail.example.com",
	    "example.com/24",
	};
	(void)state;

	for (size_t i = 0; i < COUNT(garbage); i++) {
		struct ipnet net, before;
		bool host_bits = true;

		memset(&net, 0x5a, sizeof(net));
		before = net;
		if (ipnet_parse(garbage[i], &net, &host_bits))
			fail_msg("read as a network: %s", garbage[i]);
		assert_memory_equal(&net, &before, sizeof(net));
		assert_true(host_bits);
	}
}

static const struct {
	const char *net, *inside, *outside;
} containing[] = {
    {"192.0.2.200/30", "192.0.2.203", "192.0.2.204"},
    {"192.0.2.200/30", "192.0.2.200", "192.0.2.199"},
    {"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"},
    {"192.0", "192.0.255.255", "192.1.0.0"},
    {"128.0.0.0/1", "255.0.0.1", "127.255.255.255"},
    {"0.0.0.0/0", "8.8.8.8", "::1"},
    {"2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"},
    {"2001:db8::/32", "2001:db8:ffff::", "2001:db9::"},
    {"::/0", "2001:db8::1", "192.0.2.1"},
};

static void networks_contain_addresses(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(containing); i++) {
		struct ipnet net;
		struct ipaddr inside, outside;
		bool host_bits;

		assert_true(ipnet_parse(containing[i].net, &net, &host_bits));
		assert_true(ipaddr_parse(containing[i].inside, &inside));
		assert_true(ipaddr_parse(containing[i].outside, &outside));
		assert_true(ipnet_contains(&net, &inside));
		assert_false(ipnet_contains(&net, &outside));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses_are_read_and_written),
	    cmocka_unit_test(garbage_is_no_address),
	    cmocka_unit_test(equality_needs_family_and_bytes),
	    cmocka_unit_test(reversed_for_dns_lists),
	    cmocka_unit_test(networks_are_read),
	    cmocka_unit_test(garbage_is_no_network),
	    cmocka_unit_test(networks_contain_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
