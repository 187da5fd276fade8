/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_DOMAIN_H
#define BLEY_BASE_DOMAIN_H

#include <stddef.h>

/* Table of the module `domain` (libpsl). */
struct domain_module {
	int (*same_registrable)(const char *a, const char *b);
};

/*
 * Whether two host names (lower case, no final dot) lie below the same registrable domain by the
 * Public Suffix List with its default rule `*` (publicsuffix.org/list): 1 yes, 0 no. A name without
 * a registrable domain (a suffix itself, an address, a single label, empty) equals none. -1 where
 * the module cannot be loaded, with the reason in error.
 */
int domain_same_registrable(const char *a, const char *b, char *error, size_t size);

#endif
