/* SPDX-License-Identifier: BSD-3-Clause */
#include "dns/servers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS_FILE_MOST 3 /* resolv.conf(5) MAXNS */
#define SERVERS_TIMEOUT_MS 5000
#define SERVERS_TIMEOUT_MOST 30 /* seconds, resolv.conf(5) */
#define SERVERS_ATTEMPTS 2
#define SERVERS_ATTEMPTS_MOST 5
#define SERVERS_LINE_MOST 1024

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
		if (word && server_set(word, SERVER_PORT, &s->items[s->count]))
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
		out->count = server_set("127.0.0.1", SERVER_PORT, &out->items[0]);
	return is_final;
}
