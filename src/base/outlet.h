/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_OUTLET_H
#define BLEY_BASE_OUTLET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Writing within a bounded time to what somebody else empties: where he hangs, alive and with
 * everything open, who writes goes on.
 */

/* A log daemon's unix socket. */
struct outlet {
	const char *path;
	bool stream; /* else of datagrams; found out when connecting */
	int fd;	     /* -1: not connected */
};
#define OUTLET_INIT(name)                \
	{                                \
		.path = (name), .fd = -1 \
	}

/* Connects where it is not, waiting up to wait_ms. False, with errno. */
bool outlet_open(struct outlet *o, int wait_ms);
void outlet_close(struct outlet *o);

/*
 * One message; data[len] is a NUL, which ends it on a stream. Waits up to wait_ms for room, and
 * connects anew where the daemon was started again. False, with errno (EAGAIN: no room in time).
 */
bool outlet_send(struct outlet *o, const char *data, size_t len, int wait_ms);

/* The same for any file descriptor, blocking or not, which stays as it is. Of more than PIPE_BUF
 * bytes a pipe may have taken a part. */
bool outlet_write(int fd, const char *data, size_t len, int wait_ms);

#endif
