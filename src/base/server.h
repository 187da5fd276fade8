/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_SERVER_H
#define BLEY_BASE_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* A name server's address, as settings and resolv.conf(5) have it. */

#define SERVER_PORT 53
#define SERVERS_MOST 8 /* that are asked in turn */

struct server {
	struct sockaddr_storage address;
	socklen_t len;
};

/* Reads an address, IPv4 or IPv6 with or without a zone (RFC 4007), to be asked at this port; false
 * where it is none, *out is then untouched. */
bool server_set(const char *address, uint16_t port, struct server *out);

/* Likewise `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; without a port it is SERVER_PORT. */
bool server_parse(const char *text, struct server *out);

/* The port, in the host's order of octets. */
uint16_t server_port(const struct server *server);

#endif
