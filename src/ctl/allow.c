/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "ctl/ctl.h"
#include "ctl/select.h"
#include "ctl/table.h"

enum { ARGUMENTS = 3 };

static enum ctl_status allow(struct ctl *ctl, struct arena *arena, const struct store_tuple *tuple)
{
	struct store *store;
	const struct store_driver *driver = ctl_store(ctl, &store);
	/* The client, too: what is remembered of it for a moment would come first. */
	struct store_decision decision = {
	    .tuple = *tuple, .change = STORE_PASS, .client = STORE_CLIENT_GOOD};
	enum store_result result;
	bool lost_race;
	int status;

	if (!driver)
		return CTL_WRONG;
	if (ctl->conf.cache_valid <= 0)
		decision.client = STORE_CLIENT_NONE;
	result = driver->remember(store, &decision, &status, &lost_race);
	if (result == STORE_OK)
		printf("%s may send from %s to %s now\n", tuple->ip,
		       table_address(arena, tuple->sender), table_address(arena, tuple->recipient));
	return ctl_finish(driver, store, result);
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	struct arena arena = ARENA_INIT;
	enum ctl_status status = CTL_USAGE;
	char ip[IPADDR_TEXT_SIZE];
	struct store_tuple tuple;

	if (select_tuple(&arena, "allow", args->item, ip, &tuple))
		status = allow(ctl, &arena, &tuple);
	arena_release(&arena);
	return status;
}

const struct ctl_command ctl_allow = {
    .name = "allow",
    .arguments = "IP SENDER RECIPIENT",
    .arguments_min = ARGUMENTS,
    .arguments_max = ARGUMENTS,
    .summary = "let a greylisted mail pass when it comes next",
    .run = run,
};
