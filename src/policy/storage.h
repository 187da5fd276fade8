/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_STORAGE_H
#define BLEY_POLICY_STORAGE_H

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct conf;
struct store_config;

/*
 * Where the database is, from the settings. Strings live in *conf or in the arena. For SQLite the
 * name is the file's path: dbname in dbpath, or in the configuration file's directory where dbpath
 * is empty; a dbname that begins with `/` stands as it is.
 */
void store_config_from(const struct conf *conf, struct store_config *out, struct arena *arena);

/*
 * For tools, before they open the database. Where root is to open a SQLite database whose folder is
 * another user's, it goes on as that user (and the folder's group, and no other): a journal or a
 * link that a handler's conqueror has put there would lead SQLite to any file, for root. for_good:
 * never to be root again; else until storage_be_root(). False with a message where that fails.
 */
bool storage_be_owner(const struct store_config *config, bool for_good, char *error, size_t size);
void storage_be_root(void);

#endif
