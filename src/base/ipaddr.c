/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/ipaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define OCTETS_V4 4
#define OCTETS_V6 16
#define MAPPED_BITS 96 /* of ::ffff:0:0/96, before the IPv4 address (RFC 4291 section 2.5.5.2) */

static const char hex_digits[] = "0123456789abcdef";

static size_t octet_count(const struct ipaddr *ip)
{
	return ip->family == AF_INET ? OCTETS_V4 : OCTETS_V6;
}

static bool parse_v4(const char *text, struct ipaddr *out)
{
	struct ipaddr ip = {.family = AF_INET};

	if (inet_pton(AF_INET, text, ip.bytes) != 1)
		return false;
	*out = ip;
	return true;
}

static void unmap(struct ipaddr *ip)
{
	static const unsigned char mapped[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};

	if (memcmp(ip->bytes, mapped, sizeof(mapped)) != 0)
		return;
	memmove(ip->bytes, ip->bytes + sizeof(mapped), OCTETS_V4);
	memset(ip->bytes + OCTETS_V4, 0, OCTETS_V6 - OCTETS_V4);
	ip->family = AF_INET;
}

static bool parse_v6(const char *text, struct ipaddr *out)
{
	struct ipaddr ip = {.family = AF_INET6};
	const char *zone = strchr(text, '%');
	size_t len = zone ? (size_t)(zone - text) : strlen(text);
	char address[INET6_ADDRSTRLEN];

	if (len >= sizeof(address) || (zone && !zone[1]))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (inet_pton(AF_INET6, address, ip.bytes) != 1)
		return false;
	unmap(&ip);
	*out = ip;
	return true;
}

bool ipaddr_parse(const char *text, struct ipaddr *out)
{
	return strchr(text, ':') ? parse_v6(text, out) : parse_v4(text, out);
}

void ipaddr_format(const struct ipaddr *ip, char out[IPADDR_TEXT_SIZE])
{
	const unsigned char *b = ip->bytes;

	if (ip->family == AF_INET) {
		snprintf(out, IPADDR_TEXT_SIZE, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
		return;
	}
	for (size_t i = 0; i < OCTETS_V6; i++) {
		*out++ = hex_digits[b[i] >> 4];
		*out++ = hex_digits[b[i] & 0xf];
		if (i % 2)
			*out++ = ':';
	}
	out[-1] = '\0'; /* in place of the last colon */
}

bool ipaddr_equal(const struct ipaddr *a, const struct ipaddr *b)
{
	return a->family == b->family && !memcmp(a->bytes, b->bytes, octet_count(a));
}

void ipaddr_reverse(const struct ipaddr *ip, char out[IPADDR_REVERSE_SIZE])
{
	const unsigned char *b = ip->bytes;

	if (ip->family == AF_INET) {
		snprintf(out, IPADDR_REVERSE_SIZE, "%u.%u.%u.%u", b[3], b[2], b[1], b[0]);
		return;
	}
	for (size_t i = OCTETS_V6; i-- > 0;) {
		*out++ = hex_digits[b[i] & 0xf];
		*out++ = '.';
		*out++ = hex_digits[b[i] >> 4];
		*out++ = '.';
	}
	out[-1] = '\0'; /* in place of the last dot */
}

bool ipaddr_mask(struct ipaddr *ip, unsigned bits)
{
	bool cleared = false;

	for (size_t i = bits / 8; i < octet_count(ip); i++) {
		unsigned keep = i == bits / 8 ? 0xff00U >> bits % 8 & 0xff : 0;

		cleared |= (ip->bytes[i] & ~keep) != 0;
		ip->bytes[i] = (unsigned char)(ip->bytes[i] & keep);
	}
	return cleared;
}

/* Decimal, no sign, no leading zero, at most `most`. */
static bool parse_prefix(const char *text, unsigned most, unsigned *out)
{
	unsigned bits = 0;
	const char *s = text;

	for (; *s >= '0' && *s <= '9'; s++) {
		bits = bits * 10 + (unsigned)(*s - '0');
		if (bits > most)
			return false;
	}
	if (*s || s == text || (*text == '0' && s != text + 1))
		return false;
	*out = bits;
	return true;
}

/* `192.0.2`: the octets that are there are the network. */
static bool parse_short(const char *text, struct ipnet *net)
{
	static const char *const missing[] = {".0.0.0", ".0.0", ".0"};
	char whole[INET_ADDRSTRLEN + sizeof(".0.0.0")];
	unsigned dots = 0;

	for (const char *s = text; *s; s++)
		dots += *s == '.';
	if (dots > 2 || strlen(text) > INET_ADDRSTRLEN)
		return false;
	snprintf(whole, sizeof(whole), "%s%s", text, missing[dots]);
	net->bits = 8 * (dots + 1);
	return parse_v4(whole, &net->addr);
}

static bool parse_with_prefix(const char *text, const char *slash, struct ipnet *net)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = (size_t)(slash - text);
	unsigned before = 0; /* bits of the prefix that unmapping has taken away */

	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (!ipaddr_parse(address, &net->addr))
		return false;
	if (net->addr.family == AF_INET && strchr(address, ':'))
		before = MAPPED_BITS;
	if (!parse_prefix(slash + 1, (unsigned)octet_count(&net->addr) * 8 + before, &net->bits) ||
	    net->bits < before)
		return false;
	net->bits -= before;
	return true;
}

bool ipnet_parse(const char *text, struct ipnet *out, bool *host_bits)
{
	const char *slash = strchr(text, '/');
	struct ipnet net;

	if (slash) {
		if (!parse_with_prefix(text, slash, &net))
			return false;
	} else if (ipaddr_parse(text, &net.addr)) {
		net.bits = (unsigned)octet_count(&net.addr) * 8;
	} else if (!parse_short(text, &net)) {
		return false;
	}
	*host_bits = ipaddr_mask(&net.addr, net.bits);
	*out = net;
	return true;
}

bool ipnet_contains(const struct ipnet *net, const struct ipaddr *ip)
{
	struct ipaddr masked = *ip;

	if (ip->family != net->addr.family)
		return false;
	ipaddr_mask(&masked, net->bits);
	return ipaddr_equal(&masked, &net->addr);
}
