/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/server.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static bool server_set_v4(const char *address, uint16_t port, struct server *out)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, address, &in.sin_addr) != 1)
		return false;
	*out = (struct server){.len = sizeof(in)};
	memcpy(&out->address, &in, sizeof(in));
	return true;
}

/* A zone is the name or the number of an interface (RFC 4007), which may come up later: until then
 * it is 0, and the server cannot be asked. */
static bool server_zone(const char *zone, uint32_t *out)
{
	unsigned long number;
	char *end;

	*out = if_nametoindex(zone);
	if (*out > 0)
		return true;
	number = strtoul(zone, &end, 10);
	if (*zone >= '0' && *zone <= '9' && *end == '\0' && number <= UINT32_MAX)
		*out = (uint32_t)number;
	return *zone && strlen(zone) < IF_NAMESIZE;
}

static bool server_set_v6(const char *address, uint16_t port, struct server *out)
{
	struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	char copy[INET6_ADDRSTRLEN];
	size_t len = strcspn(address, "%");

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, address, len);
	copy[len] = '\0';
	if (inet_pton(AF_INET6, copy, &in.sin6_addr) != 1)
		return false;
	if (address[len] == '%' && !server_zone(address + len + 1, &in.sin6_scope_id))
		return false;
	*out = (struct server){.len = sizeof(in)};
	memcpy(&out->address, &in, sizeof(in));
	return true;
}

static bool read_port(const char *text, uint16_t *out)
{
	unsigned long port;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	port = strtoul(text, &end, 10);
	if (*end != '\0' || port == 0 || port > UINT16_MAX)
		return false;
	*out = (uint16_t)port;
	return true;
}

bool server_set(const char *address, uint16_t port, struct server *out)
{
	return server_set_v4(address, port, out) || server_set_v6(address, port, out);
}

bool server_parse(const char *text, struct server *out)
{
	char copy[INET6_ADDRSTRLEN + IF_NAMESIZE + sizeof("[%]:65535")];
	uint16_t port = SERVER_PORT;
	char *colon, *end;

	if (strlen(text) >= sizeof(copy))
		return false;
	strcpy(copy, text);
	if (*copy == '[') {
		end = strchr(copy, ']');
		if (!end || (end[1] != '\0' && (end[1] != ':' || !read_port(end + 2, &port))))
			return false;
		*end = '\0';
		return server_set(copy + 1, port, out);
	}
	colon = strchr(copy, ':');
	if (!colon)
		return server_set_v4(copy, port, out);
	if (strchr(colon + 1, ':'))
		return server_set_v6(copy, port, out);
	*colon = '\0';
	return read_port(colon + 1, &port) && server_set_v4(copy, port, out);
}

uint16_t server_port(const struct server *server)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (server->address.ss_family == AF_INET) {
		memcpy(&in, &server->address, sizeof(in));
		return ntohs(in.sin_port);
	}
	memcpy(&in6, &server->address, sizeof(in6));
	return ntohs(in6.sin6_port);
}
