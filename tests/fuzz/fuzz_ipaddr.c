/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses and networks: the first line is the text of one, the second an address to look for in
 * it. The C library's inet_pton() and inet_ntop() are the reference.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ipaddr.h"
#include "fuzz.h"

#define UNTOUCHED 0xa5
#define V4_BYTES 4
#define V6_BYTES 16

static const unsigned char mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* What the library reads out of the text, in IPv6's form; false where it is no address for it. */
static bool reference(const char *text, unsigned char out[V6_BYTES])
{
	memcpy(out, mapped, sizeof(mapped));
	if (!strchr(text, ':'))
		return inet_pton(AF_INET, text, out + sizeof(mapped)) == 1;
	return inet_pton(AF_INET6, text, out) == 1;
}

static void wide(const struct ipaddr *ip, unsigned char out[V6_BYTES])
{
	memcpy(out, mapped, sizeof(mapped));
	if (ip->family == AF_INET)
		memcpy(out + sizeof(mapped), ip->bytes, V4_BYTES);
	else
		memcpy(out, ip->bytes, V6_BYTES);
}

static bool is_untouched(const void *what, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (((const unsigned char *)what)[i] != UNTOUCHED)
			return false;
	return true;
}

/* The library's spelling and ours are read as the same address. */
static void check_spellings(const struct ipaddr *ip)
{
	char text[IPADDR_TEXT_SIZE], theirs[INET6_ADDRSTRLEN], zone[INET6_ADDRSTRLEN + 8];
	unsigned char bytes[V6_BYTES], expected[V6_BYTES];
	struct ipaddr again;

	ipaddr_format(ip, text);
	fuzz_require(strlen(text) == (ip->family == AF_INET ? strlen(text) : 39));
	wide(ip, expected);
	fuzz_require(reference(text, bytes) && !memcmp(bytes, expected, V6_BYTES));
	fuzz_require(ipaddr_parse(text, &again) && ipaddr_equal(ip, &again));
	fuzz_require(inet_ntop(ip->family, ip->bytes, theirs, sizeof(theirs)) != NULL);
	fuzz_require(ipaddr_parse(theirs, &again) && ipaddr_equal(ip, &again));
	snprintf(zone, sizeof(zone), "%s%%eth0", theirs);
	fuzz_require(ipaddr_parse(zone, &again) == (ip->family == AF_INET6));
}

/* Octets or nibbles backwards make the address again. */
static void check_reverse(const struct ipaddr *ip)
{
	char reverse[IPADDR_REVERSE_SIZE], *save = NULL;
	struct ipaddr again = {.family = ip->family};
	size_t count = 0, parts = ip->family == AF_INET ? V4_BYTES : 2 * (size_t)V6_BYTES;

	ipaddr_reverse(ip, reverse);
	for (char *s = strtok_r(reverse, ".", &save); s; s = strtok_r(NULL, ".", &save)) {
		unsigned long n = strtoul(s, NULL, ip->family == AF_INET ? 10 : 16);

		fuzz_require(count < parts);
		count++;
		if (ip->family == AF_INET)
			again.bytes[parts - count] = (unsigned char)n;
		else
			again.bytes[(parts - count) / 2] |= (unsigned char)(count % 2 ? n : n << 4);
	}
	fuzz_require(count == parts && ipaddr_equal(ip, &again));
}

static bool check_address(const char *text, struct ipaddr *ip)
{
	unsigned char bytes[V6_BYTES], expected[V6_BYTES];

	memset(ip, UNTOUCHED, sizeof(*ip));
	if (!ipaddr_parse(text, ip)) {
		fuzz_require(!reference(text, expected));
		fuzz_require(is_untouched(ip, sizeof(*ip)));
		return false;
	}
	wide(ip, bytes);
	if (!strchr(text, '%'))
		fuzz_require(reference(text, expected) && !memcmp(bytes, expected, V6_BYTES));
	check_spellings(ip);
	check_reverse(ip);
	return true;
}

/* Bit by bit. */
static bool model_contains(const struct ipnet *net, const struct ipaddr *ip)
{
	if (net->addr.family != ip->family)
		return false;
	for (unsigned i = 0; i < net->bits; i++)
		if ((net->addr.bytes[i / 8] ^ ip->bytes[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static void check_network(const char *text, const struct ipaddr *other)
{
	char address[IPADDR_TEXT_SIZE], spelled[IPADDR_TEXT_SIZE + 4];
	struct ipnet net, again;
	struct ipaddr flipped;
	bool host_bits = true;

	memset(&net, UNTOUCHED, sizeof(net));
	if (!ipnet_parse(text, &net, &host_bits)) {
		fuzz_require(is_untouched(&net, sizeof(net)) && host_bits);
		return;
	}
	fuzz_require(net.bits <= (net.addr.family == AF_INET ? 32 : 128));
	ipaddr_format(&net.addr, address);
	snprintf(spelled, sizeof(spelled), "%s/%u", address, net.bits);
	fuzz_require(ipnet_parse(spelled, &again, &host_bits) && !host_bits);
	fuzz_require(again.bits == net.bits && ipaddr_equal(&again.addr, &net.addr));
	fuzz_require(ipnet_contains(&net, &net.addr));
	fuzz_require(!other || ipnet_contains(&net, other) == model_contains(&net, other));
	if (!net.bits)
		return;
	flipped = net.addr;
	flipped.bytes[(net.bits - 1) / 8] ^= (unsigned char)(0x80 >> (net.bits - 1) % 8);
	fuzz_require(!ipnet_contains(&net, &flipped));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size}, first = fuzz_line(&in);
	char *text = fuzz_text(first.data, first.size), *second = fuzz_text(in.data, in.size);
	struct ipaddr ip, other;
	bool have = check_address(second, &other);

	check_address(text, &ip);
	check_network(text, have ? &other : NULL);
	free(text);
	free(second);
	return 0;
}
