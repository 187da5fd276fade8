/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/domain.h"

#include "base/module.h"

int domain_same_registrable(const char *a, const char *b, char *error, size_t size)
{
	const struct domain_module *module = module_load("domain", error, size);

	return module ? module->same_registrable(a, b) : -1;
}
