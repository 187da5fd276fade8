/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* O_PATH */
#include "base/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * The kernel's interface as of its ABI 6, written down here: the headers of the machine that builds
 * are often older than the kernel of the one that runs. The C library has no functions for it.
 */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#define CREATE_VERSION 1u /* asks for the ABI's number */
#define RULE_BENEATH 1
#define RULE_PORT 2

struct ruleset {
	uint64_t files, ports, scopes;
};
/* how much of it the kernel knows, by its ABI */
#define RULESET_FILES offsetof(struct ruleset, ports)
#define RULESET_PORTS offsetof(struct ruleset, scopes)

struct rule_beneath {
	uint64_t rights;
	int32_t fd;
} __attribute__((packed));

struct rule_port {
	/* cppcheck-suppress unusedStructMember; the kernel reads them */
	uint64_t rights, port;
};

#define BIT(n) (UINT64_C(1) << (n))
#define MAY_WRITE BIT(1)
#define MAY_READ BIT(2)
#define MAY_LIST BIT(3)
#define MAY_REMOVE BIT(5)
#define MAY_MAKE_FOLDER BIT(7)
#define MAY_MAKE_FILE BIT(8)
#define MAY_TRUNCATE BIT(14)
#define MAY_WITH_FILES (BIT(0) | MAY_WRITE | MAY_READ | MAY_TRUNCATE | BIT(15))

#define PORT_BIND BIT(0)
#define PORT_CONNECT BIT(1)
#define SCOPE_ABSTRACT BIT(0)
#define SCOPE_SIGNAL BIT(1)

/* All rights to files that there are, by ABI. */
static const uint64_t known_rights[] = {
    0, BIT(13) - 1, BIT(14) - 1, BIT(15) - 1, BIT(15) - 1, BIT(16) - 1,
};
#define KNOWN_MOST (int)(sizeof(known_rights) / sizeof(known_rights[0]) - 1)

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);

	return abi < 0 ? 0 : (int)abi;
}

bool landlock_begin(struct landlock *l, bool any_port, bool any_abstract)
{
	int abi = landlock_abi();
	struct ruleset set = {.files = known_rights[abi < KNOWN_MOST ? abi : KNOWN_MOST]};
	size_t size = RULESET_FILES;
	long fd;

	if (abi == 0)
		return false;
	if (abi >= LANDLOCK_ABI_PORTS) {
		set.ports = any_port ? 0 : PORT_BIND | PORT_CONNECT;
		size = RULESET_PORTS;
	}
	if (abi >= LANDLOCK_ABI_SIGNALS) {
		set.scopes = SCOPE_SIGNAL | (any_abstract ? 0 : SCOPE_ABSTRACT);
		size = sizeof(set);
	}
	fd = syscall(SYS_landlock_create_ruleset, &set, size, 0);
	if (fd < 0)
		return false;
	*l = (struct landlock){.fd = (int)fd, .abi = abi, .files = set.files};
	return true;
}

static uint64_t rights_of(unsigned rights)
{
	uint64_t bits = 0;

	if (rights & LANDLOCK_READ)
		bits |= MAY_READ | MAY_LIST;
	if (rights & LANDLOCK_WRITE)
		bits |= MAY_WRITE;
	if (rights & LANDLOCK_MAKE)
		bits |= MAY_MAKE_FILE;
	if (rights & LANDLOCK_REMOVE)
		bits |= MAY_TRUNCATE | MAY_REMOVE;
	if (rights & LANDLOCK_FOLDERS)
		bits |= MAY_MAKE_FOLDER;
	return bits;
}

bool landlock_allow_file(const struct landlock *l, const char *path, unsigned rights)
{
	/* the kernel refuses rights that it does not know */
	struct rule_beneath rule = {.rights = rights_of(rights) & l->files,
				    .fd = open(path, O_PATH | O_CLOEXEC)};
	struct stat st;
	bool allowed = false;
	int failure;

	if (rule.fd < 0)
		return false;
	if (!fstat(rule.fd, &st)) {
		/* and those of folders to a file */
		if (!S_ISDIR(st.st_mode))
			rule.rights &= MAY_WITH_FILES;
		allowed = !syscall(SYS_landlock_add_rule, l->fd, RULE_BENEATH, &rule, 0);
	}
	failure = errno;
	close(rule.fd);
	errno = failure;
	/* a pipe or socket by the name of a file needs no rule */
	return allowed || failure == EBADFD;
}

bool landlock_allow_port(const struct landlock *l, unsigned port)
{
	struct rule_port rule = {.rights = PORT_CONNECT, .port = port};

	if (l->abi < LANDLOCK_ABI_PORTS)
		return true;
	return !syscall(SYS_landlock_add_rule, l->fd, RULE_PORT, &rule, 0);
}

bool landlock_enter(struct landlock *l)
{
	bool entered = !syscall(SYS_landlock_restrict_self, l->fd, 0);
	int failure = errno;

	landlock_cancel(l);
	errno = failure;
	return entered;
}

void landlock_cancel(struct landlock *l)
{
	close(l->fd);
	l->fd = -1;
}
