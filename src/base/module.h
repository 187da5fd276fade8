/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_MODULE_H
#define BLEY_BASE_MODULE_H

#include <stddef.h>

/*
 * Parts that most requests do not need are shared objects, loaded when first needed, so that a
 * process which answers from the database starts with the C library and one driver (as Postfix's
 * dynamic maps). Each exports exactly one symbol, `bley_module`.
 */
#define MODULE_ABI 5 /* raise when struct module or any table behind `ops` changes */
#define MODULE_SYMBOL "bley_module"
#define MODULE_EXPORT __attribute__((visibility("default")))

struct module {
	unsigned abi;	  /* MODULE_ABI of the build */
	const char *name; /* equals the file's name without .so */
	const void
	    *ops; /* the table of its kind: struct store_driver, struct resolver_module, ... */
};

/* The folder that modules are loaded from. */
void module_folder(char *dir, size_t size);

/*
 * Loads NAME.so from the `modules` folder beside the program (a build that is not installed) or
 * else from
 * $(libdir)/bley, once; later calls return the same table. Refuses a file or folder that is neither
 * root's nor this user's or that group or others may write, and another ABI number.
 * Returns the module's `ops`, or NULL with a message in error: what is wrong, and for a missing
 * file the package to install.
 */
const void *module_load(const char *name, char *error, size_t size);

#endif
