/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_DNS_SERVERS_H
#define BLEY_DNS_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/server.h"
#include "dns/resolver.h"

/* The name servers to ask and how patiently; internal to the module `resolver_ldns`. */

struct servers {
	struct server items[SERVERS_MOST];
	size_t count;
	int64_t timeout_ms; /* for one server's answer (resolv.conf(5) `timeout`) */
	unsigned attempts;  /* rounds over all servers */
};

/* The servers of a list, SERVERS_MOST of them. False with a message where none can be used. */
bool servers_from_config(struct servers *out, const struct resolver_config *config, char *error,
			 size_t size);

/* The servers of a resolv.conf(5); 127.0.0.1 where it is not there or names none. Where it cannot
 * be read otherwise (too many open files; the sandbox knows the file that it was), those that *out
 * has are kept. False where it is worth while to read it again soon. */
bool servers_from_file(struct servers *out, const char *file);

#endif
