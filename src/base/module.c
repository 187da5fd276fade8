/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/trust.h"

#include "config.h"

#define MODULE_MOST 16 /* more than there are */

/* What was loaded stays loaded to the process' end: libraries such as libpq do not like to be
 * unloaded. */
static const struct module *loaded[MODULE_MOST];
static size_t loaded_count;

/* The package that holds a module, in Debian's names; the rest come with bley itself. */
static const char *module_package(const char *name)
{
	if (!strcmp(name, "store_pgsql"))
		return "bley-pgsql";
	if (!strcmp(name, "store_mysql"))
		return "bley-mysql";
	return "bley";
}

/* Whether only root or this user could have put it there. */
static bool is_trusted(const char *path, const struct stat *st, char *error, size_t size)
{
	struct arena arena = ARENA_INIT;
	const char *doubt = NULL;

	if ((st->st_uid != 0 && st->st_uid != geteuid()) || (st->st_mode & (S_IWGRP | S_IWOTH)))
		doubt = "it must belong to root or this user, and nobody else may write it (chown "
			"root, chmod go-w)";
	else
		doubt = trust_doubt(&arena, path, st);
	if (doubt)
		snprintf(error, size, "%s is not loaded: %s", path, doubt);
	arena_release(&arena);
	return !doubt;
}

/* The folder `modules` beside the program, for a build that is not installed. False where there is
 * none. */
static bool build_folder(char *dir, size_t size)
{
	struct stat st;
	ssize_t len = readlink("/proc/self/exe", dir, size - 1);
	char *slash;

	if (len <= 0)
		return false;
	dir[len] = '\0';
	slash = strrchr(dir, '/');
	if (!slash || (size_t)(slash - dir) + sizeof("/modules") > size)
		return false;
	strcpy(slash, "/modules");
	return !stat(dir, &st) && S_ISDIR(st.st_mode);
}

static bool check_path(const char *path, const char *name, char *error, size_t size)
{
	struct stat st;

	if (stat(path, &st)) {
		if (errno == ENOENT)
			snprintf(error, size,
				 "%s is missing: install the package %s, or build bley with it",
				 path, module_package(name));
		else
			snprintf(error, size, "%s: %s", path, strerror(errno));
		return false;
	}
	return is_trusted(path, &st, error, size);
}

static const struct module *open_module(const char *path, const char *name, char *error,
					size_t size)
{
	const struct module *module;
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		snprintf(error, size, "cannot load a module: %s", dlerror());
		return NULL;
	}
	module = dlsym(handle, MODULE_SYMBOL);
	if (module && module->abi == MODULE_ABI && !strcmp(module->name, name))
		return module;
	snprintf(error, size,
		 "%s does not belong to this bley (%s): install both from the same version", path,
		 BLEY_VERSION);
	dlclose(handle);
	return NULL;
}

void module_folder(char *dir, size_t size)
{
	static char folder[PATH_MAX]; /* looked for once: /proc takes its time */

	if (!*folder && !build_folder(folder, sizeof(folder)))
		snprintf(folder, sizeof(folder), "%s", BLEY_MODULEDIR);
	snprintf(dir, size, "%s", folder);
}

const void *module_load(const char *name, char *error, size_t size)
{
	const struct module *module;
	char path[PATH_MAX];
	size_t len;

	for (size_t i = 0; i < loaded_count; i++)
		if (!strcmp(loaded[i]->name, name))
			return loaded[i]->ops;
	module_folder(path, sizeof(path));
	len = strlen(path);
	if (len + strlen(name) + sizeof("/.so") > sizeof(path) || loaded_count == MODULE_MOST) {
		snprintf(error, size, "cannot load the module %s: too long a path or too many",
			 name);
		return NULL;
	}
	if (!check_path(path, name, error, size))
		return NULL;
	snprintf(path + len, sizeof(path) - len, "/%s.so", name);
	if (!check_path(path, name, error, size))
		return NULL;
	module = open_module(path, name, error, size);
	if (!module)
		return NULL;
	loaded[loaded_count++] = module;
	return module->ops;
}
