/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "ctl/select.h"

enum { DELAY, DRY_RUN, QUERY, WHITELIST };
enum { SOURCE, FROM, ARGUMENTS };
enum { DEFAULT_DELAY_S = 300 };

static const struct ctl_option options[] = {
    [DELAY] = {"delay", "SECONDS", "postgrey's --delay (default: 300)"},
    [DRY_RUN] = {"dry-run", NULL, "count only, import nothing"},
    [QUERY] = {"query", NULL, "print the SQL whose rows sqlgrey and gld are imported from"},
    [WHITELIST] = {"whitelist", "FILE", "write clients without recipients to this whitelist"},
    {NULL, NULL, NULL},
};

static enum store_result import_tuple(struct import *import, const struct store_tuple *tuple)
{
	struct store_decision decision = {.tuple = *tuple, .change = STORE_PASS};
	struct store_memory memory;
	bool lost_race;
	int status;
	enum store_result result = import->driver->recall(import->store, tuple, 0, &memory);

	if (result != STORE_OK)
		return result;
	if (memory.status == STORE_CLEAN || memory.status == STORE_LISTED) {
		import->known++;
		return STORE_OK;
	}
	if (!import->dry_run)
		result = import->driver->remember(import->store, &decision, &status, &lost_race);
	if (result == STORE_OK)
		import->imported++;
	return result;
}

enum store_result import_triplet(struct import *import, const struct ipaddr *client, char *sender,
				 char *recipient)
{
	static char null_sender[] = "<>";
	struct arena arena = ARENA_INIT;
	char text[IPADDR_TEXT_SIZE], ip[IPADDR_TEXT_SIZE];
	char *words[] = {text, *sender ? sender : null_sender, recipient};
	struct store_tuple tuple;
	enum store_result result = STORE_OK;

	ipaddr_format(client, text);
	if (select_tuple(&arena, "import", words, ip, &tuple))
		result = import_tuple(import, &tuple);
	arena_release(&arena);
	return result;
}

static void print_left_out(const struct import *import)
{
	printf("left out: %" PRId64 " that have not waited, %" PRId64
	       " of networks without a known client, %" PRId64
	       " with an abbreviated sender, %" PRId64 " unreadable\n",
	       import->waiting, import->unknown_client, import->abbreviated, import->bad);
}

static void print_counts(const struct import *import)
{
	printf("%" PRId64 " triplets %s, %" PRId64 " were known already\n", import->imported,
	       import->dry_run ? "would be imported" : "imported", import->known);
	if (!import_query(import->source)) {
		print_left_out(import);
		return;
	}
	printf("%" PRId64 " clients without recipients", import->listed);
	if (import->whitelist)
		printf(" %s %s", import->dry_run ? "for" : "are in", import->whitelist);
	else if (import->listed)
		printf(" left out: --whitelist FILE would let them pass");
	printf("\nleft out: %" PRId64 " that have not waited, %" PRId64 " unreadable\n",
	       import->waiting, import->bad);
}

static enum ctl_status import_all(struct ctl *ctl, struct import *import, const char *from)
{
	enum ctl_status status;

	import->driver = ctl_store_for_import(ctl, import->dry_run, &import->store);
	if (!import->driver)
		return CTL_WRONG;
	status = import_query(import->source) ? import_rows(import, from)
					      : import_postgrey(import, from);
	if (status == CTL_OK) {
		print_counts(import);
		return ctl_finish(import->driver, import->store, STORE_OK);
	}
	import->driver->close(import->store);
	return status;
}

static enum ctl_status print_query(const char *query)
{
	return puts(query) < 0 || fflush(stdout) ? CTL_WRONG : CTL_OK;
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	const char *source = args->item[SOURCE], *query = import_query(source);
	struct import import = {.source = source,
				.dry_run = args->option[DRY_RUN] != NULL,
				.delay_s = DEFAULT_DELAY_S,
				.whitelist = args->option[WHITELIST]};

	if (!query && strcmp(source, "postgrey") != 0)
		ctl_complain("import: '%s' cannot be imported, only postgrey, sqlgrey and gld",
			     source);
	else if (query && args->option[QUERY])
		return print_query(query);
	else if (!query && (args->option[QUERY] || import.whitelist))
		ctl_complain("import: --query and --whitelist are for sqlgrey and gld");
	else if (!query && args->count < ARGUMENTS)
		ctl_complain("import: where are postgrey's databases?");
	else if (!args->option[DELAY] || select_number("import", "number of seconds from 0 on",
						       args->option[DELAY], 0, &import.delay_s))
		return import_all(ctl, &import, args->count > FROM ? args->item[FROM] : NULL);
	return CTL_USAGE;
}

const struct ctl_command ctl_import = {
    .name = "import",
    .arguments = "postgrey DIR | sqlgrey [FILE] | gld [FILE]",
    .arguments_min = FROM,
    .arguments_max = ARGUMENTS,
    .summary = "take over what another greylisting service has learned",
    .options = options,
    .run = run,
};
