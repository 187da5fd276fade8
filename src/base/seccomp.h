/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_SECCOMP_H
#define BLEY_BASE_SECCOMP_H

#include <stdbool.h>

/* Whether this kernel takes system call filters and this build has one for its processor. */
bool seccomp_available(void);

/*
 * From now on this process can neither run programs nor make processes, change its user or another
 * file's rights, look into or signal other processes, mount, load modules, or open sockets but
 * those of the Internet and of this machine. Such calls fail with EPERM or, where a library then
 * has another way, ENOSYS: nothing is killed, since mail is to flow. The kernel's audit log names
 * them. prctl(2) must have set no_new_privs. False, with errno, where it cannot be done.
 */
bool seccomp_enter(void);

#endif
