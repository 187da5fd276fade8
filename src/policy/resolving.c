/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/resolving.h"

#include "base/module.h"
#include "conf/conf.h"
#include "dns/resolver.h"

struct resolver *resolver_from_conf(const struct conf *conf, char *error, size_t size)
{
	const struct resolver_module *module = module_load("resolver_ldns", error, size);
	struct resolver_config config = {
	    .servers = conf->dns_servers.items,
	    .count = conf->dns_servers.count,
	};

	return module ? module->create(&config, error, size) : NULL;
}
