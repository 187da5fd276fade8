/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_IPADDR_H
#define BLEY_BASE_IPADDR_H

#include <stdbool.h>
#include <stddef.h>

/* An IP address, network byte order. IPv4-mapped IPv6 never occurs: parsing makes it IPv4. */
struct ipaddr {
	int family;		 /* AF_INET or AF_INET6 */
	unsigned char bytes[16]; /* the first 4 for AF_INET, the rest zero */
};

#define IPADDR_TEXT_SIZE 40    /* the longest canonical form and its NUL */
#define IPADDR_REVERSE_SIZE 64 /* 32 nibbles, 31 dots and the NUL */

/*
 * Reads a dotted quad (decimal, no leading zeros) or any RFC 4291 spelling of an IPv6 address, also
 * with a zone (`fe80::1%eth0`, the zone is dropped) and IPv4-mapped (`::ffff:192.0.2.1` becomes
 * 192.0.2.1). False where it is neither; *out is then untouched.
 */
bool ipaddr_parse(const char *text, struct ipaddr *out);

/* The database's form: dotted quad, or IPv6 fully expanded in lower case (39 characters). */
void ipaddr_format(const struct ipaddr *ip, char out[IPADDR_TEXT_SIZE]);

bool ipaddr_equal(const struct ipaddr *a, const struct ipaddr *b);

/* The form that DNS lists are asked with (RFC 5782): octets or nibbles in reverse, no final dot:
 * `1.2.0.192`, or `1.0.0.0. ... .8.b.d.0.1.0.0.2`. */
void ipaddr_reverse(const struct ipaddr *ip, char out[IPADDR_REVERSE_SIZE]);

/* A network: the bits behind the prefix are zero. */
struct ipnet {
	struct ipaddr addr;
	unsigned bits; /* 0-32 or 0-128 */
};

/*
 * Reads `192.0.2.0/24`, `2001:db8::/32`, a single address, and postgrey's short IPv4 forms
 * `192.0.2`, `192.0` and `192`. *host_bits tells that bits behind the prefix were set (they are
 * cleared). False where it is none of these; the outputs are then untouched.
 */
bool ipnet_parse(const char *text, struct ipnet *out, bool *host_bits);
bool ipnet_contains(const struct ipnet *net, const struct ipaddr *ip);

/* Clears what lies behind the first `bits` bits; true where any of it was set. */
bool ipaddr_mask(struct ipaddr *ip, unsigned bits);

#endif
