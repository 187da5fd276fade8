/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "dns/packet.h"

/* What is read is tested against whole servers (tests/dns) and by fuzzing (tests/fuzz); here is
 * what is asked. */

#define WIRE_NAME "\2aB\1c\7example" /* and the NUL that ends the string */

static void names(void **state)
{
	static const char *const good[] = {"aB.c.example", "aB.c.example.", "a\\066.c.example",
					   "\\097B.\\c.example"},
				 *const bad[] = {"", ".", "a..b", ".a", "a..", "\\256.a"};
	struct packet_query query;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		if (!packet_query_init(&query, good[i], DNS_TXT))
			fail_msg("%s", good[i]);
		assert_int_equal(query.type, DNS_TXT);
		assert_int_equal(query.name_len, sizeof(WIRE_NAME));
		assert_memory_equal(query.name, WIRE_NAME, sizeof(WIRE_NAME));
	}
	memset(&query, 7, sizeof(query));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (packet_query_init(&query, bad[i], DNS_A))
			fail_msg("%s", bad[i]);
	assert_int_equal(query.name[0], 7);
}

static void letters_take_the_case_of_bits(void **state)
{
	/* octets 1, 11 and 12 of the name; 0, 3 and 5 are lengths, which have no case */
	static const unsigned char bits[PACKET_NAME_MOST / 8 + 1] = {0x2b, 0x18};
	struct packet_query query, other;

	(void)state;
	assert_true(packet_query_init(&query, "ab.1.example", DNS_A));
	other = query;
	packet_query_case(&query, bits);
	assert_memory_equal(query.name, "\2Ab\0011\7exampLE", 14);
	assert_true(packet_query_equal(&query, &other));
	packet_query_case(&query, NULL);
	assert_memory_equal(query.name, other.name, other.name_len);
}

static void what_is_equal(void **state)
{
	struct packet_query a, b;

	(void)state;
	assert_true(packet_query_init(&a, "a.example", DNS_A));
	assert_true(packet_query_init(&b, "A.Example.", DNS_A));
	assert_true(packet_query_equal(&a, &b));
	assert_true(packet_query_init(&b, "a.example", DNS_MX));
	assert_false(packet_query_equal(&a, &b));
	assert_true(packet_query_init(&b, "b.example", DNS_A));
	assert_false(packet_query_equal(&a, &b));
	assert_true(packet_query_init(&b, "a.example.org", DNS_A));
	assert_false(packet_query_equal(&a, &b));
	/* [ and { differ in the same bit as letters' cases, and are no letters */
	assert_true(packet_query_init(&a, "[.example", DNS_A));
	assert_true(packet_query_init(&b, "{.example", DNS_A));
	assert_false(packet_query_equal(&a, &b));
}

static void queries(void **state)
{
	static const unsigned char head[] = {0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0},
				   tail[] = {0, 16, 0, 1}, opt[] = {0, 0, 41, 0x04, 0xd0};
	struct packet_query query;
	unsigned char wire[PACKET_QUERY_MOST];
	size_t question = sizeof(head) + 1 + sizeof(WIRE_NAME) + sizeof(tail);

	(void)state;
	assert_true(packet_query_init(&query, "aB.c.example", DNS_TXT));
	query.id = 0x1234;
	assert_int_equal(packet_write(&query, false, wire), question);
	assert_memory_equal(wire, head, sizeof(head));
	assert_int_equal(wire[sizeof(head)], 0);
	assert_memory_equal(wire + sizeof(head) + 1, WIRE_NAME, sizeof(WIRE_NAME));
	assert_memory_equal(wire + question - sizeof(tail), tail, sizeof(tail));
	assert_int_equal(packet_write(&query, true, wire), question + 11);
	assert_int_equal(wire[sizeof(head)], 1);
	assert_memory_equal(wire + question, opt, sizeof(opt));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names),
	    cmocka_unit_test(letters_take_the_case_of_bits),
	    cmocka_unit_test(what_is_equal),
	    cmocka_unit_test(queries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
