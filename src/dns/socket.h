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

/* Begins to connect and takes a copy of the query. False where there is no socket or the server is
 * out of reach already: *s is then as it was. */
bool stream_open(struct stream *s, const struct server *server, const unsigned char *query,
		 size_t len);

/* What to poll(2) its fd for. */
short stream_events(const struct stream *s);

/* Writes and reads as far as that goes. STREAM_FAILED: the peer closed the connection or it broke;
 * the stream is still to be closed. */
enum stream_state stream_advance(struct stream *s);

/* The answer, without its length, once stream_advance() has said STREAM_DONE. It is the stream's,
 * and there until stream_close(). May be empty. */
const unsigned char *stream_answer(const struct stream *s, size_t *len);

/* Frees what it holds; one that is not in use is fine. */
void stream_close(struct stream *s);

#endif
