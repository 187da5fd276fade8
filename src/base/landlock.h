/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_LANDLOCK_H
#define BLEY_BASE_LANDLOCK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What this process may do to files, and to which TCP ports it may connect, given up for good
 * (Linux, landlock(7)). Files that are open already stay usable. What the kernel does not know of
 * is left as it is.
 */

/* What the kernel can, as its ABI number: 1 files, 2 renaming, 3 truncating, 4 TCP ports, 5
 * devices, 6 signals and abstract sockets. 0: it cannot, or this process is not allowed to. */
int landlock_abi(void);

#define LANDLOCK_ABI_PORTS 4
#define LANDLOCK_ABI_SIGNALS 6

enum landlock_rights {
	LANDLOCK_READ = 1,    /* files, and what a folder holds */
	LANDLOCK_WRITE = 2,   /* files that are there */
	LANDLOCK_MAKE = 4,    /* files */
	LANDLOCK_REMOVE = 8,  /* files, and what is in them */
	LANDLOCK_FOLDERS = 16 /* make them */
};

struct landlock {
	int fd;
	int abi;
	uint64_t files; /* the rights that are taken away where no rule gives them back */
};

/* Begins a set of rules under which nothing is allowed. any_port: TCP is not looked at.
 * any_abstract: nor are sockets with abstract names. False, with errno, where that is not possible.
 */
bool landlock_begin(struct landlock *l, bool any_port, bool any_abstract);

/* Allows rights to a file, or to a folder and all beneath it. False, with errno (ENOENT: there is
 * none). */
bool landlock_allow_file(const struct landlock *l, const char *path, unsigned rights);

/* Allows connecting to a TCP port. False, with errno (EINVAL: rules that do not look at TCP), where
 * the kernel does not take it. True without doing anything where the kernel knows no ports. */
bool landlock_allow_port(const struct landlock *l, unsigned port);

/* Puts the rules into force; prctl(2) must have set no_new_privs. False, with errno: nothing is in
 * force. Closes the set in any case. */
bool landlock_enter(struct landlock *l);

/* Closes the set without putting it into force. */
void landlock_cancel(struct landlock *l);

#endif
