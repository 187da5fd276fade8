/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/text.h"
#include "ctl/import.h"

/*
 * sqlgrey (1.8) and gld (1.7) have their memory in SQL databases of any kind and place. Their
 * administrator's own client runs a query there, whose rows say all that counts: what it is, the
 * client, the sender and the recipient. The queries are the same for SQLite, PostgreSQL and MySQL.
 *
 * sqlgrey names recipients only for mail that waits; of what has passed it keeps the sender, or its
 * domain, and the client: an address, or its network as `192.0.2` or as the half of an IPv6
 * address. gld counts in n how often a triplet has come, the first time included; with LIGHTGREY
 * the client ends in `.0` and stands for its network. Its whitelist has addresses and networks of
 * clients, and mail addresses, which here are unreadable.
 */
static const struct {
	const char *source, *query;
} queries[] = {
    {"sqlgrey", "SELECT 'client', src, '', '' FROM (SELECT src FROM from_awl"
		" UNION SELECT src FROM domain_awl) AS awl"
		" UNION ALL SELECT 'waits', src, '', rcpt FROM connect"},
    {"gld", "SELECT CASE WHEN n > 1 THEN 'passed' ELSE 'waits' END, ip, sender, recipient"
	    " FROM greylist WHERE trim(ip) NOT LIKE '%.0'"
	    " UNION ALL SELECT DISTINCT 'client', substr(trim(ip), 1, length(trim(ip)) - 2), '', ''"
	    " FROM greylist WHERE trim(ip) LIKE '%.0' AND n > 1"
	    " UNION ALL SELECT 'client', mail, '', '' FROM whitelist"},
};

enum { KIND, CLIENT, SENDER, RECIPIENT, COLUMNS };

const char *import_query(const char *source)
{
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
		if (!strcmp(queries[i].source, source))
			return queries[i].query;
	return NULL;
}

/* Columns are parted by tabs (mysql) or bars (sqlite3, psql). Some databases pad them. */
static bool split(char *line, char *column[COLUMNS])
{
	const char separators[] = {strchr(line, '\t') ? '\t' : '|', '\0'};
	int count = 0;
	char *word;

	while ((word = strsep(&line, separators)) && count < COLUMNS)
		column[count++] = text_trim(word);
	return count == COLUMNS && !word;
}

static bool is_net(const char *text)
{
	struct ipnet net;
	bool host_bits;

	return ipnet_parse(text, &net, &host_bits);
}

/* A line for whitelist_clients_file, which reads networks as sqlgrey writes them. */
static bool import_client(struct import *import, struct arena *arena, const char *client,
			  FILE *whitelist)
{
	if (!is_net(client))
		client = arena_printf(arena, "%s::/64", client);
	if (!is_net(client))
		return false;
	if (whitelist)
		fprintf(whitelist, "%s\n", client);
	import->listed++;
	return true;
}

static enum store_result import_row(struct import *import, char *line, FILE *whitelist)
{
	struct arena arena = ARENA_INIT;
	enum store_result result = STORE_OK;
	char *column[COLUMNS];
	struct ipaddr client;
	bool good = split(line, column);

	if (good && !strcmp(column[KIND], "waits"))
		import->waiting++;
	else if (good && !strcmp(column[KIND], "client"))
		good = import_client(import, &arena, column[CLIENT], whitelist);
	else if (good && !strcmp(column[KIND], "passed") && *column[RECIPIENT] &&
		 ipaddr_parse(column[CLIENT], &client))
		result = import_triplet(import, &client, column[SENDER], column[RECIPIENT]);
	else
		good = false;
	if (!good)
		import->bad++;
	arena_release(&arena);
	return result;
}

static enum ctl_status import_stream(struct import *import, FILE *in, FILE *whitelist)
{
	enum store_result result = STORE_OK;
	char *line = NULL;
	size_t size = 0;

	while (result == STORE_OK && getline(&line, &size, in) >= 0)
		result = import_row(import, line, whitelist);
	free(line);
	if (result != STORE_OK)
		ctl_complain("import: %s", import->driver->error(import->store));
	else if (ferror(in))
		ctl_complain("import: cannot read: %s", strerror(errno));
	return result == STORE_OK && !ferror(in) ? CTL_OK : CTL_WRONG;
}

static FILE *open_file(const char *file, const char *mode)
{
	FILE *stream = fopen(file, mode);

	if (!stream)
		ctl_complain("import: %s: %s", file, strerror(errno));
	return stream;
}

enum ctl_status import_rows(struct import *import, const char *file)
{
	bool from_file = file && strcmp(file, "-") != 0,
	     writes = import->whitelist && !import->dry_run;
	FILE *in = from_file ? open_file(file, "r") : stdin, *whitelist = NULL;
	enum ctl_status status = CTL_WRONG;

	if (in && writes)
		whitelist = open_file(import->whitelist, "a");
	if (!in || (writes && !whitelist))
		goto out;
	if (whitelist)
		fprintf(whitelist, "\n# clients that %s let through\n", import->source);
	status = import_stream(import, in, whitelist);
	if (whitelist && fclose(whitelist)) {
		ctl_complain("import: %s: %s", import->whitelist, strerror(errno));
		status = CTL_WRONG;
	}
out:
	if (in && from_file)
		fclose(in);
	return status;
}
