/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_ACCEPTOR_H
#define BLEY_POLICY_ACCEPTOR_H

#include <stdbool.h>
#include <stddef.h>

struct conf;
struct settings_options;

/* Whether fd is a socket that connections are to be accepted from (systemd Accept=no, inetd
 * `wait`). */
bool acceptor_is_listening(int fd);

/*
 * Warm mode: accepts connections from the listening sockets and serves each in a process of its
 * own, forked from this one. A process that has served a connection waits for the next with its
 * database connection open; there is always one waiting, up to max_handlers. Settings and
 * whitelists that change on disk are picked up, at once on SIGHUP. Ends on SIGTERM, and after
 * idle_exit without a connection.
 * Takes *conf over and releases it, unless it cannot begin: then the cause is logged, the process
 * is to end, and *conf stays as it is. Returns the program's exit status.
 */
int acceptor_run(const struct settings_options *options, struct conf *conf, const int *fds,
		 size_t count);

#endif
