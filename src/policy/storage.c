/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/storage.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/text.h"
#include "conf/conf.h"
#include "store/store.h"

static const char *sqlite_file(const struct conf *conf, struct arena *arena)
{
	const char *directory = conf->dbpath;
	size_t len;

	if (conf->dbname[0] == '/')
		return conf->dbname;
	if (!directory[0]) /* the configuration's, as it is said to be nowhere else */
		directory = text_folder(arena, conf->file ? conf->file : conf_default_file());
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

/* Of the folder where SQLite makes its other files: where the name is a link, that of what it leads
 * to. */
static bool find_owner(const struct store_config *config, struct stat *st)
{
	struct arena arena = ARENA_INIT;
	char target[PATH_MAX];
	const char *file = realpath(config->name, target) ? target : config->name;
	bool found = !stat(text_folder(&arena, file), st);

	arena_release(&arena);
	return found;
}

bool storage_be_owner(const struct store_config *config, bool for_good, char *error, size_t size)
{
	struct stat st;

	if (geteuid() != 0 || strcmp(config->type, "sqlite3") != 0 || !find_owner(config, &st) ||
	    st.st_uid == 0)
		return true;
	if (!setgroups(1, &st.st_gid) && !(for_good ? setgid(st.st_gid) : setegid(st.st_gid)) &&
	    !(for_good ? setuid(st.st_uid) : seteuid(st.st_uid)))
		return true;
	snprintf(error, size, "%s: cannot become the owner of its folder, user %u: %s",
		 config->name, (unsigned)st.st_uid, strerror(errno));
	return false;
}

void storage_be_root(void)
{
	if (!getuid() && geteuid() != 0 && (seteuid(0) || setegid(0)))
		_exit(1);
}
