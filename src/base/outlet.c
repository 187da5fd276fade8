/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* pwritev2 */
#include "base/outlet.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define US_PER_MS INT64_C(1000)

/*
 * O_NONBLOCK will not do: it would hold for all who have the same standard error. Of several that
 * poll(2) tells of the last room in a pipe only one gets it, and the others would wait. ENOTSUP: no
 * pipe, or one of an older kernel.
 */
static ssize_t put_in_pipe(int fd, const char *data, size_t len)
{
#ifdef RWF_NOWAIT
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct stat st;

	if (!fstat(fd, &st) && S_ISFIFO(st.st_mode))
		return pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);
#endif
	errno = ENOTSUP;
	return -1;
}

/* One write that does not wait. */
static ssize_t put(int fd, const char *data, size_t len)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0 || errno != ENOTSOCK)
		return n;
	n = put_in_pipe(fd, data, len);
	if (n >= 0 || (errno != ENOTSUP && errno != ENOSYS))
		return n;
	if (poll(&room, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, data, len);
}

/* Whether there is time left to try again, which may be before there is room. */
static bool wait_for_room(int fd, int64_t until_us)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	int left_ms = clock_left_ms(until_us);

	if (left_ms > 0)
		poll(&room, 1, left_ms);
	return left_ms > 0;
}

bool outlet_write(int fd, const char *data, size_t len, int wait_ms)
{
	int64_t until_us = clock_us() + wait_ms * US_PER_MS;

	while (len) {
		ssize_t n = put(fd, data, len);

		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (n == 0 ||
			   (errno != EINTR && (errno != EAGAIN || !wait_for_room(fd, until_us)))) {
			return false;
		}
	}
	return true;
}

static bool connect_as(struct outlet *o, bool stream, int wait_ms)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	/* connect(2) to a stream waits that long where the daemon accepts nobody; 0 is for ever */
	struct timeval most = {.tv_sec = wait_ms / 1000,
			       .tv_usec = wait_ms ? wait_ms % 1000 * 1000L : 1};
	int failure;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", o->path);
	o->stream = stream;
	o->fd = socket(AF_UNIX, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	if (o->fd < 0)
		return false;
	setsockopt(o->fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	if (!connect(o->fd, (const struct sockaddr *)&address, sizeof(address)))
		return true;
	failure = errno;
	outlet_close(o);
	errno = failure;
	return false;
}

bool outlet_open(struct outlet *o, int wait_ms)
{
	if (o->fd >= 0 || connect_as(o, o->stream, wait_ms))
		return true;
	return errno == EPROTOTYPE && connect_as(o, !o->stream, wait_ms);
}

void outlet_close(struct outlet *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}

bool outlet_send(struct outlet *o, const char *data, size_t len, int wait_ms)
{
	int64_t until_us = clock_us() + wait_ms * US_PER_MS;
	bool fresh = o->fd < 0;
	int failure;

	if (!outlet_open(o, wait_ms))
		return false;
	if (outlet_write(o->fd, data, len + o->stream, clock_left_ms(until_us)))
		return true;
	failure = errno;
	/* a stream may have taken a part; and another daemon may have come with the same name */
	outlet_close(o);
	errno = failure;
	return !fresh && failure != EAGAIN && outlet_send(o, data, len, clock_left_ms(until_us));
}
