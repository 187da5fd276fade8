/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dns/servers.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* ADDRESS PORT, as it was understood. */
static void describe(const struct server *server, char *out, size_t size)
{
	char address[INET6_ADDRSTRLEN];
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (server->address.ss_family == AF_INET) {
		memcpy(&v4, &server->address, sizeof(v4));
		assert_int_equal(server->len, sizeof(v4));
		inet_ntop(AF_INET, &v4.sin_addr, address, sizeof(address));
		snprintf(out, size, "%s %u", address, ntohs(v4.sin_port));
		return;
	}
	memcpy(&v6, &server->address, sizeof(v6));
	assert_int_equal(server->len, sizeof(v6));
	inet_ntop(AF_INET6, &v6.sin6_addr, address, sizeof(address));
	snprintf(out, size, "%s %u", address, ntohs(v6.sin6_port));
	if (v6.sin6_scope_id > 0)
		snprintf(out + strlen(out), size - strlen(out), " %u", v6.sin6_scope_id);
}

static void addresses(void **state)
{
	static const char *const rows[][2] = {
	    {"192.0.2.1", "192.0.2.1 53"},
	    {"192.0.2.1:5353", "192.0.2.1 5353"},
	    {"[192.0.2.1]:5353", "192.0.2.1 5353"},
	    {"::1", "::1 53"},
	    {"2001:db8::53", "2001:db8::53 53"},
	    {"[::1]", "::1 53"},
	    {"[::1]:5353", "::1 5353"},
	    {"[2001:DB8:0:0:0:0:0:53]:65535", "2001:db8::53 65535"},
	    {"fe80::1%7", "fe80::1 53 7"},
	    {"[fe80::1%7]:54", "fe80::1 54 7"},
	    {"fe80::1%nosuch", "fe80::1 53"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct server server;
		char text[100];

		if (!server_parse(rows[i][0], &server))
			fail_msg("%s", rows[i][0]);
		describe(&server, text, sizeof(text));
		assert_string_equal(text, rows[i][1]);
	}
}

static void no_addresses(void **state)
{
	static const char *const rows[] = {
	    "",
	    "localhost",
	    "192.0.2",
	    "192.0.2.1:",
	    "192.0.2.1:0",
	    "192.0.2.1:65536",
	    "[::1",
	    "[::1]53",
	    "[::1]:",
	    "[::1]:x",
	    "::1]:53",
	    "192.0.2.1:+53",
	    "fe80::1%",
	    "fe80::1%a-name-too-long-for-one",
	    "192.0.2.1%7",
	    "[]:53",
	    " 192.0.2.1",
	};
	struct server server = {.len = 99};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (server_parse(rows[i], &server))
			fail_msg("%s", rows[i]);
	assert_int_equal(server.len, 99);
}

static void from_config(void **state)
{
	static const char *const good[] = {"nonsense", "192.0.2.1", "[::1]:5353"},
				 *const bad[] = {"nonsense"}, *const many[] = {"::1", "::1", "::1",
									       "::1", "::1", "::1",
									       "::1", "::1", "::1",
									       "::1"};
	struct resolver_config config = {.servers = good, .count = COUNT(good)};
	struct servers servers = {.count = 77};
	char error[200] = "";

	(void)state;
	assert_true(servers_from_config(&servers, &config, error, sizeof(error)));
	assert_int_equal(servers.count, 2);
	config = (struct resolver_config){.servers = many, .count = COUNT(many)};
	assert_true(servers_from_config(&servers, &config, error, sizeof(error)));
	assert_int_equal(servers.count, SERVERS_MOST);
	config = (struct resolver_config){.servers = bad, .count = COUNT(bad)};
	servers.count = 77;
	assert_false(servers_from_config(&servers, &config, error, sizeof(error)));
	assert_non_null(strstr(error, "nonsense"));
	assert_int_equal(servers.count, 77);
}

static void read_text(struct servers *servers, const char *text)
{
	char name[] = "/tmp/bley-servers-XXXXXX";
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (long)strlen(text));
	close(fd);
	servers_from_file(servers, name);
	unlink(name);
}

static void from_file(void **state)
{
	static const struct {
		const char *text;
		size_t count;
		const char *first;
		int64_t timeout_ms;
		unsigned attempts;
	} rows[] = {
	    {"nameserver 192.0.2.1\n", 1, "192.0.2.1 53", 5000, 2},
	    {"nameserver 2001:db8::1\nnameserver 192.0.2.1", 2, "2001:db8::1 53", 5000, 2},
	    {"options timeout:3 rotate attempts:4\nnameserver 192.0.2.1\n", 1, "192.0.2.1 53", 3000,
	     4},
	    {"options timeout:0 attempts:x\n", 1, "127.0.0.1 53", 1000, 1},
	    {"options timeout:99 attempts:99\n", 1, "127.0.0.1 53", 30000, 5},
	    {"#nameserver 192.0.2.1\n;nameserver 192.0.2.1\n", 1, "127.0.0.1 53", 5000, 2},
	    {"nameserver 192.0.2.1:54\nnameserver\nnameserver x\n\n", 1, "127.0.0.1 53", 5000, 2},
	    {"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver "
	     "192.0.2.4\n",
	     3, "192.0.2.1 53", 5000, 2},
	    {"", 1, "127.0.0.1 53", 5000, 2},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct servers servers = {.count = 0};
		char text[100];

		read_text(&servers, rows[i].text);
		describe(&servers.items[0], text, sizeof(text));
		assert_string_equal(text, rows[i].first);
		assert_int_equal(servers.count, rows[i].count);
		assert_int_equal(servers.timeout_ms, rows[i].timeout_ms);
		assert_int_equal(servers.attempts, rows[i].attempts);
	}
}

static void no_file(void **state)
{
	struct servers servers = {.count = 0};
	char text[100];

	(void)state;
	servers_from_file(&servers, "/nonexistent/resolv.conf");
	describe(&servers.items[0], text, sizeof(text));
	assert_int_equal(servers.count, 1);
	assert_string_equal(text, "127.0.0.1 53");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses),   cmocka_unit_test(no_addresses),
	    cmocka_unit_test(from_config), cmocka_unit_test(from_file),
	    cmocka_unit_test(no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
