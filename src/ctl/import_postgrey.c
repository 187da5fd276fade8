/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/mem.h"
#include "ctl/dump.h"
#include "ctl/import.h"

/*
 * postgrey (1.37) keeps two files. postgrey.db has `net/sender/recipient` in lower case, with the
 * first and the last attempt's time; net is the client's network (/24 or /64) without its prefix
 * or, with --lookup-by-host, the client as `192.0.2.1/32`. postgrey_clients.db has the very address
 * of each client that has waited once. bley remembers clients, so a network's triplet is imported
 * for each client in it that is known to have waited.
 */
enum { NET_BITS = 24, NET_BITS_IPV6 = 64, SHA1_DIGITS = 40 };

static bool is_hash(const char *key)
{
	return strlen(key) == SHA1_DIGITS && strspn(key, "0123456789abcdef") == SHA1_DIGITS;
}

static bool complain_of_hash(void)
{
	ctl_complain("import: postgrey ran with --privacy: its database has hashes only, which "
		     "cannot be turned back");
	return false;
}

static bool take_client(struct import *import, const struct dump *dump)
{
	struct ipaddr ip;

	if (is_hash(dump->key))
		return complain_of_hash();
	if (!ipaddr_parse(dump->key, &ip))
		return true;
	if (import->clients == import->room)
		import->client = mem_grow(import->client, &import->room, sizeof(*import->client));
	import->client[import->clients++] = ip;
	return true;
}

/* In this order a network's clients follow it, one behind the other. */
static int compare(const void *a, const void *b)
{
	const struct ipaddr *x = a, *y = b;

	return x->family != y->family ? (x->family < y->family ? -1 : 1)
				      : memcmp(x->bytes, y->bytes, sizeof(x->bytes));
}

/* The first client that is not before the network. */
static size_t find_net(const struct import *import, const struct ipaddr *net)
{
	size_t low = 0, high = import->clients;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(&import->client[middle], net) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static enum store_result import_net(struct import *import, const struct ipaddr *net, char *sender,
				    char *recipient)
{
	unsigned bits = net->family == AF_INET ? NET_BITS : NET_BITS_IPV6;
	size_t first = find_net(import, net), i = first;
	enum store_result result = STORE_OK;

	for (; i < import->clients && result == STORE_OK; i++) {
		struct ipaddr masked = import->client[i];

		ipaddr_mask(&masked, bits);
		if (!ipaddr_equal(&masked, net))
			break;
		result = import_triplet(import, &import->client[i], sender, recipient);
	}
	if (i == first)
		import->unknown_client++;
	return result;
}

/* Whether the client is one host; *rest begins behind the prefix then. */
static bool skip_prefix(const struct ipaddr *client, char **rest)
{
	const char *prefix = client->family == AF_INET ? "32/" : "128/";
	size_t len = strlen(prefix);

	if (strncmp(*rest, prefix, len) != 0)
		return false;
	*rest += len;
	return true;
}

/* Local parts may have slashes, domains have none. */
static char *split_addresses(char *sender)
{
	char *at = strchr(sender, '@'), *slash = strchr(sender, '/');

	if (at && *sender != '/' && strchr(at + 1, '@'))
		slash = strchr(at, '/');
	if (!slash)
		return NULL;
	*slash = '\0';
	return slash + 1;
}

/* As postgrey itself tells who has waited. */
static bool has_waited(const struct import *import, const char *value, bool *bad)
{
	int64_t first, last;

	*bad = sscanf(value, "%" SCNd64 ",%" SCNd64, &first, &last) != 2 || first < 0 || last < 0;
	return !*bad && last - first >= import->delay_s;
}

static enum store_result import_record(struct import *import, const struct dump *dump)
{
	char *sender = strchr(dump->key, '/'), *recipient;
	struct ipaddr client;
	bool bad, is_host;

	if (!sender)
		goto bad;
	*sender++ = '\0';
	if (!ipaddr_parse(dump->key, &client))
		goto bad;
	is_host = skip_prefix(&client, &sender);
	recipient = split_addresses(sender);
	if (!recipient)
		goto bad;
	if (!has_waited(import, dump->value, &bad)) {
		if (bad)
			goto bad;
		import->waiting++;
		return STORE_OK;
	}
	/* postgrey writes # for numbers, and bley compares the sender as it is */
	if (strchr(sender, '#')) {
		import->abbreviated++;
		return STORE_OK;
	}
	return is_host ? import_triplet(import, &client, sender, recipient)
		       : import_net(import, &client, sender, recipient);
bad:
	import->bad++;
	return STORE_OK;
}

static bool read_clients(struct import *import, const char *file)
{
	struct dump dump;
	bool good = true;

	if (!dump_open(&dump, file))
		return false;
	while (good && dump_next(&dump))
		good = take_client(import, &dump);
	if (import->clients)
		qsort(import->client, import->clients, sizeof(*import->client), compare);
	if (dump_close(&dump) || !good)
		return good;
	ctl_complain("import: %s cannot be read whole: fewer clients are known", file);
	return true;
}

static enum ctl_status import_triplets(struct import *import, const char *file)
{
	enum store_result result = STORE_OK;
	bool readable = true, whole;
	struct dump dump;

	if (!dump_open(&dump, file))
		return CTL_WRONG;
	while (result == STORE_OK && readable && dump_next(&dump)) {
		if (is_hash(dump.key))
			readable = complain_of_hash();
		else
			result = import_record(import, &dump);
	}
	whole = dump_close(&dump);
	if (result != STORE_OK) {
		ctl_complain("import: %s", import->driver->error(import->store));
		return CTL_WRONG;
	}
	if (!readable)
		return CTL_WRONG;
	if (!whole)
		ctl_complain("import: %s cannot be read to its end", file);
	return whole ? CTL_OK : CTL_WRONG;
}

enum ctl_status import_postgrey(struct import *import, const char *directory)
{
	enum ctl_status status = CTL_WRONG;
	struct arena arena = ARENA_INIT;

	if (read_clients(import, arena_printf(&arena, "%s/postgrey_clients.db", directory)))
		status = import_triplets(import, arena_printf(&arena, "%s/postgrey.db", directory));
	free(import->client);
	arena_release(&arena);
	return status;
}
