/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/store.h"

#include <stdio.h>
#include <string.h>

#include "base/module.h"

static const struct {
	const char *type, *module;
} drivers[] = {
    {"sqlite3", "store_sqlite"},
    {"pgsql", "store_pgsql"},
    {"mysql", "store_mysql"},
};

const struct store_driver *store_driver(const char *type, char *error, size_t size)
{
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
		if (!strcmp(drivers[i].type, type))
			return module_load(drivers[i].module, error, size);
	snprintf(error, size,
		 "dbtype = %s: no such kind of database; there are sqlite3, pgsql and mysql", type);
	return NULL;
}
