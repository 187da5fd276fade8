/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_RESOLVING_H
#define BLEY_POLICY_RESOLVING_H

#include <stddef.h>

struct conf;
struct resolver;

/*
 * A resolver for the servers that the settings name (dns_servers), or those of /etc/resolv.conf.
 * Loads the module; the caller destroys it. NULL with a message in error.
 */
struct resolver *resolver_from_conf(const struct conf *conf, char *error, size_t size);

#endif
