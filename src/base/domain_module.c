/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/domain.h"

#include <libpsl.h>
#include <stdbool.h>
#include <string.h>

#include "base/module.h"

#define HOST_NAME_MOST 253 /* characters of a host name in text form (RFC 1035 section 2.3.4) */

/* The newer of the system's list and the one inside libpsl; kept to the process' end. */
static const psl_ctx_t *suffix_list(void)
{
	static psl_ctx_t *list;

	if (!list)
		list = psl_latest(NULL);
	return list ? list : psl_builtin();
}

/* What libpsl takes on trust: labels without holes, nothing of an address literal, and a last label
 * that is not a number (192.0.2.1 would be a name below `2.1`). */
static bool is_host_name(const char *name)
{
	const char *last = strrchr(name, '.');

	return last && last[1] && name[0] != '.' && strlen(name) <= HOST_NAME_MOST &&
	       !strstr(name, "..") && !name[strcspn(name, "[]:/@ \t")] &&
	       last[1 + strspn(last + 1, "0123456789")];
}

static const char *registrable(const char *name)
{
	/* Names outside the list are under libpsl's default rule `*` like any other. */
	return is_host_name(name) ? psl_registrable_domain(suffix_list(), name) : NULL;
}

static int same_registrable(const char *a, const char *b)
{
	const char *domain_a = registrable(a);
	const char *domain_b = domain_a ? registrable(b) : NULL;

	return domain_b && !strcmp(domain_a, domain_b);
}

static const struct domain_module domain_ops = {.same_registrable = same_registrable};

MODULE_EXPORT extern const struct module bley_module;
const struct module bley_module = {.abi = MODULE_ABI, .name = "domain", .ops = &domain_ops};
