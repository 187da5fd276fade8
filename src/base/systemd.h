/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_SYSTEMD_H
#define BLEY_BASE_SYSTEMD_H

#include <stddef.h>
#include <sys/uio.h> /* struct iovec */

/* Table of the module `systemd` (libsystemd): its own calls, nothing of ours. */
struct systemd_module {
	int (*listen_fds)(int unset_environment);		 /* sd_listen_fds(3) */
	int (*journal_sendv)(const struct iovec *iov, int n);	 /* sd_journal_sendv(3) */
	int (*notify)(int unset_environment, const char *state); /* sd_notify(3) */
};

#endif
