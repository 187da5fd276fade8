/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_DNS_SOCKET_H
#define BLEY_DNS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

struct server;

/* How packets travel; internal to the module `resolver_ldns`. Nothing here blocks. */

#define SOCKET_NONE (-1)

/*
 * A UDP socket connected to a server, so that the kernel checks where answers come from, on a port
 * the kernel picks at random. SOCKET_NONE where that cannot be.
 */
int socket_udp(const struct server *server);

/* One question and its answer over TCP (RFC 7766). */
struct stream {
	int fd; /* SOCKET_NONE: not in use */
	bool writing;
	unsigned char *buf; /* with the two octets of length in front */
	size_t done, want;  /* octets of buf written or read */
};

#define STREAM_INIT ((struct stream){.fd = SOCKET_NONE})

enum stream_state {
	STREAM_BUSY, /* wait for stream_events() */
	STREAM_DONE, /* the answer is stream_answer() */
	STREAM_FAILED
};

bool stream_open(struct stream *s, const struct server *server, const unsigned char *query,
		 size_t len);
short stream_events(const struct stream *s);
enum stream_state stream_advance(struct stream *s);
const unsigned char *stream_answer(const struct stream *s, size_t *len);
void stream_close(struct stream *s);

#endif
