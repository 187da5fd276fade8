/* SPDX-License-Identifier: BSD-3-Clause */
#include "dns/servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS_PORT 53
#define SERVERS_FILE_MOST 3 /* resolv.conf(5) MAXNS */
#define SERVERS_TIMEOUT_MS 5000
#define SERVERS_TIMEOUT_MOST 30 /* seconds, resolv.conf(5) */
#define SERVERS_ATTEMPTS 2
#define SERVERS_ATTEMPTS_MOST 5
#define SERVERS_LINE_MOST 1024

static bool server_set_v4(const char *address, uint16_t port, struct server *out)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, address, &in.sin_addr) != 1)
		return false;
	*out = (struct server){.len = sizeof(in)};
	memcpy(&out->address, &in, sizeof(in));
	return true;
}

/* A zone is the name or the number of an interface (RFC 4007). */
static bool server_zone(const char *zone, uint32_t *out)
{
	unsigned long number;
	char *end;

	*out = if_nametoindex(zone);
	if (*out > 0)
		return true;
	number = strtoul(zone, &end, 10);
	if (*zone < '0' || *zone > '9' || *end != '\0' || number > UINT32_MAX)
		return false;
	*out = (uint32_t)number;
	return true;
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

static bool server_port(const char *text, uint16_t *out)
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

bool server_parse(const char *text, struct server *out)
{
	char copy[INET6_ADDRSTRLEN + IF_NAMESIZE + sizeof("[%]:65535")];
	uint16_t port = SERVERS_PORT;
	char *colon, *end;

	if (strlen(text) >= sizeof(copy))
		return false;
	strcpy(copy, text);
	if (*copy == '[') {
		end = strchr(copy, ']');
		if (!end || (end[1] != '\0' && (end[1] != ':' || !server_port(end + 2, &port))))
			return false;
		*end = '\0';
		return server_set_v6(copy + 1, port, out) || server_set_v4(copy + 1, port, out);
	}
	colon = strchr(copy, ':');
	if (!colon)
		return server_set_v4(copy, port, out);
	if (strchr(colon + 1, ':'))
		return server_set_v6(copy, port, out);
	*colon = '\0';
	return server_port(colon + 1, &port) && server_set_v4(copy, port, out);
}

static void servers_reset(struct servers *s)
{
	*s = (struct servers){.timeout_ms = SERVERS_TIMEOUT_MS, .attempts = SERVERS_ATTEMPTS};
}

bool servers_from_config(struct servers *out, const struct resolver_config *config, char *error,
			 size_t size)
{
	struct servers s;

	servers_reset(&s);
	for (size_t i = 0; i < config->count && s.count < SERVERS_MOST; i++)
		if (server_parse(config->servers[i], &s.items[s.count]))
			s.count++;
	if (s.count == 0) {
		snprintf(error, size,
			 "no name server can be used: \"%s\" is not ADDRESS, ADDRESS:PORT or "
			 "[ADDRESS]:PORT",
			 config->count > 0 ? config->servers[0] : "");
		return false;
	}
	*out = s;
	return true;
}

/* A number behind `name`, such as `timeout:3`, cut to 1 and most; false where the option is
 * another. */
static bool servers_option(const char *option, const char *name, unsigned most, unsigned *out)
{
	unsigned long value;

	if (strncmp(option, name, strlen(name)) != 0)
		return false;
	value = strtoul(option + strlen(name), NULL, 10);
	*out = value < 1 ? 1 : value > most ? most : (unsigned)value;
	return true;
}

static void servers_read_line(struct servers *s, char *line)
{
	char *rest = NULL;
	const char *keyword = strtok_r(line, " \t\r\n", &rest), *word;
	unsigned seconds;

	if (!keyword)
		return;
	if (strcmp(keyword, "nameserver") == 0 && s->count < SERVERS_FILE_MOST) {
		word = strtok_r(NULL, " \t\r\n", &rest);
		if (word && (server_set_v4(word, SERVERS_PORT, &s->items[s->count]) ||
			     server_set_v6(word, SERVERS_PORT, &s->items[s->count])))
			s->count++;
	} else if (strcmp(keyword, "options") == 0) {
		while ((word = strtok_r(NULL, " \t\r\n", &rest))) {
			if (servers_option(word, "timeout:", SERVERS_TIMEOUT_MOST, &seconds))
				s->timeout_ms = (int64_t)seconds * 1000;
			servers_option(word, "attempts:", SERVERS_ATTEMPTS_MOST, &s->attempts);
		}
	}
}

bool servers_from_file(struct servers *out, const char *file)
{
	char line[SERVERS_LINE_MOST];
	FILE *in = fopen(file, "re");
	bool is_missing = !in && errno == ENOENT,
	     is_final = in || errno == ENOENT || errno == EACCES;

	if (!in && !is_missing && out->count > 0)
		return is_final;
	servers_reset(out);
	while (in && fgets(line, sizeof(line), in))
		servers_read_line(out, line);
	if (in)
		fclose(in);
	if (out->count == 0)
		out->count = server_set_v4("127.0.0.1", SERVERS_PORT, &out->items[0]);
	return is_final;
}
