/* SPDX-License-Identifier: BSD-3-Clause */
#include "dns/socket.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "dns/servers.h"

#define STREAM_PREFIX 2 /* octets of length in front of a message */

static int socket_connected(const struct server *server, int type)
{
	int fd = socket(server->address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return SOCKET_NONE;
	if (connect(fd, (const struct sockaddr *)&server->address, server->len) == 0 ||
	    errno == EINPROGRESS || errno == EINTR)
		return fd;
	close(fd);
	return SOCKET_NONE;
}

int socket_udp(const struct server *server)
{
	return socket_connected(server, SOCK_DGRAM);
}

bool stream_open(struct stream *s, const struct server *server, const unsigned char *query,
		 size_t len)
{
	int fd = socket_connected(server, SOCK_STREAM);

	if (fd == SOCKET_NONE)
		return false;
	*s = (struct stream){.fd = fd, .writing = true, .want = STREAM_PREFIX + len};
	s->buf = mem_alloc(s->want);
	s->buf[0] = (unsigned char)(len >> 8);
	s->buf[1] = (unsigned char)len;
	memcpy(s->buf + STREAM_PREFIX, query, len);
	return true;
}

short stream_events(const struct stream *s)
{
	return s->writing ? POLLOUT : POLLIN;
}

static size_t stream_length(const struct stream *s)
{
	return (size_t)s->buf[0] << 8 | s->buf[1];
}

/* The step that comes when all that was wanted is there. False: the answer is complete. */
static bool stream_step(struct stream *s)
{
	if (s->writing) {
		s->writing = false;
		s->done = 0;
		s->want = STREAM_PREFIX;
		return true;
	}
	if (s->want > STREAM_PREFIX || stream_length(s) == 0)
		return false;
	s->want = STREAM_PREFIX + stream_length(s);
	s->buf = mem_resize(s->buf, s->want);
	return true;
}

enum stream_state stream_advance(struct stream *s)
{
	do {
		while (s->done < s->want) {
			ssize_t n = s->writing
					? send(s->fd, s->buf + s->done, s->want - s->done,
					       MSG_NOSIGNAL)
					: recv(s->fd, s->buf + s->done, s->want - s->done, 0);

			if (n > 0)
				s->done += (size_t)n;
			else if (n == 0)
				return STREAM_FAILED;
			else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN)
				return STREAM_BUSY;
			else if (errno != EINTR)
				return STREAM_FAILED;
		}
	} while (stream_step(s));
	return STREAM_DONE;
}

const unsigned char *stream_answer(const struct stream *s, size_t *len)
{
	*len = s->want - STREAM_PREFIX;
	return s->buf + STREAM_PREFIX;
}

void stream_close(struct stream *s)
{
	if (s->fd != SOCKET_NONE)
		close(s->fd);
	free(s->buf);
	*s = STREAM_INIT;
}
