/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/storage.h"

#include <string.h>

#include "base/arena.h"
#include "conf/conf.h"
#include "store/store.h"

/* The directory of the configuration file, for a database that is said to be nowhere else. */
static const char *conf_directory(const struct conf *conf, struct arena *arena)
{
	const char *file = conf->file ? conf->file : conf_default_file();
	const char *slash = strrchr(file, '/');

	if (!slash)
		return ".";
	return slash == file ? "/" : arena_strndup(arena, file, (size_t)(slash - file));
}

static const char *sqlite_file(const struct conf *conf, struct arena *arena)
{
	const char *directory = conf->dbpath;
	size_t len;

	if (conf->dbname[0] == '/')
		return conf->dbname;
	if (!directory[0])
		directory = conf_directory(conf, arena);
	len = strlen(directory);
	return arena_printf(arena, directory[len - 1] == '/' ? "%s%s" : "%s/%s", directory,
			    conf->dbname);
}

void store_config_from(const struct conf *conf, struct store_config *out, struct arena *arena)
{
	*out = (struct store_config){
	    .type = conf->dbtype,
	    .host = conf->dbhost,
	    .port = conf->dbport,
	    .user = conf->dbuser,
	    .password = conf->dbpass,
	    .name = conf->dbname,
	    .tls = conf->dbtls,
	    .timeout_ms = (int)(conf->db_timeout * 1000),
	};
	if (!strcmp(conf->dbtype, "sqlite3"))
		out->name = sqlite_file(conf, arena);
}
