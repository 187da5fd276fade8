/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_STORAGE_H
#define BLEY_POLICY_STORAGE_H

struct arena;
struct conf;
struct store_config;

/*
 * Where the database is, from the settings. Strings live in *conf or in the arena. For SQLite the
 * name is the file's path: dbname in dbpath, or in the configuration file's directory where dbpath
 * is empty; a dbname that begins with `/` stands as it is.
 */
void store_config_from(const struct conf *conf, struct store_config *out, struct arena *arena);

#endif
