/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_SYSTEMD_H
#define BLEY_BASE_SYSTEMD_H

/* Table of the module `systemd` (libsystemd): its own calls, nothing of ours. */
struct systemd_module {
	int (*listen_fds)(int unset_environment);		 /* sd_listen_fds(3) */
	int (*notify)(int unset_environment, const char *state); /* sd_notify(3) */
};

#endif
