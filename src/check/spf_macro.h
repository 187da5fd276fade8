/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_SPF_MACRO_H
#define BLEY_CHECK_SPF_MACRO_H

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct ipaddr;

/*
 * Macro strings of RFC 7208 section 7, and the names that they become. Pure.
 */

#define SPF_MACRO_STRING_MOST 300 /* octets of a domain-spec; a longer one is wrong by our word */
#define SPF_MACRO_MOST 30	  /* macros in a domain-spec, likewise */

/* NULL where the text is a macro-string (of an unknown modifier) or a domain-spec; else what is
 * wrong, in static text. */
const char *spf_macro_check_string(const char *s, size_t len);
const char *spf_macro_check_domain(const char *s, size_t len);

/* What the macros stand for. Strings are never NULL. */
struct spf_macros {
	const char *local, *sender_domain; /* of the sender, %{l} and %{o}; both make %{s} */
	const char *domain;		   /* %{d}: the domain whose record is evaluated */
	const char *helo;		   /* %{h} */
	const struct ipaddr *client;	   /* %{i} and %{v} */
	/* %{p}: asked for only where it occurs */
	const char *(*validated_name)(void *context);
	void *context;
};

/*
 * Expands a checked domain-spec to a host name: without a final dot, cut from the left, label by
 * label, to 253 octets (section 7.3). Any byte but NUL may be in it.
 */
const char *spf_macro_expand(struct arena *arena, const char *spec,
			     const struct spf_macros *macros);

/* The same name as DNS is asked for it: bytes that are special there escaped. NULL where it is no
 * domain name: an empty label, one of more than 63 octets, more than 253 octets. */
const char *spf_macro_dns_name(struct arena *arena, const char *name);

#endif
