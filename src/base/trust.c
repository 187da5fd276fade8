/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/trust.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"

static bool is_open_folder(const char *path)
{
	struct stat st;

	return !stat(path, &st) && (st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX);
}

const char *trust_doubt(struct arena *arena, const char *path, const struct stat *st)
{
	char *folder = arena_strdup(arena, path), *slash = strrchr(folder, '/');

	if (S_ISREG(st->st_mode) && (st->st_mode & S_IWOTH))
		return arena_printf(arena, "everybody may write it: chmod o-w %s", path);
	if (!slash)
		return is_open_folder(".") ? "everybody may replace it: chmod o-w ." : NULL;
	for (; slash; slash = strrchr(folder, '/')) {
		*slash = '\0';
		if (is_open_folder(*folder ? folder : "/"))
			return arena_printf(arena, "everybody may replace it: chmod o-w %s",
					    *folder ? folder : "/");
	}
	return NULL;
}
