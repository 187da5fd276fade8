/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/select.h"
#include "ctl/table.h"

enum { STATUS, IP, SENDER, RECIPIENT, SINCE, LIMIT, JSON };

static const struct ctl_option options[] = {
    [STATUS] = {"status", "STATUS", "only these: grey, clean or listed"},
    [IP] = {"ip", "NET", "only clients in this network"},
    [SENDER] = {"sender", "PATTERN", "only these senders; * and ? stand for others"},
    [RECIPIENT] = {"recipient", "PATTERN", "only these recipients"},
    [SINCE] = {"since", "TIME", "only what happened since (24h, 7d, 2026-11-24)"},
    [LIMIT] = {"limit", "N", "the newest N, newest first"},
    [JSON] = {"json", NULL, "print JSON"},
    {NULL, NULL, NULL},
};

static const char *const titles[] = {"STATUS", "FAILED", "SINCE", "CLIENT", "SENDER", "RECIPIENT"};

#define COLUMNS (sizeof(titles) / sizeof(titles[0]))

struct output {
	struct json json;
	struct table table;
	struct arena arena; /* of the row in hand */
	int64_t now_us;
};

static bool print_json(void *context, const struct store_row *row)
{
	struct output *o = context;
	struct json *j = &o->json;

	json_open(j, NULL, '{');
	json_text(j, "status", select_status_name(row->status));
	json_int(j, "failures", row->fail_count);
	json_time(j, "last_action", o->now_us - row->age_us);
	json_text(j, "client_address", row->tuple.ip);
	json_text(j, "sender", row->tuple.sender);
	json_text(j, "recipient", row->tuple.recipient);
	json_close(j);
	return !ferror(stdout);
}

static bool print_row(void *context, const struct store_row *row)
{
	struct output *o = context;
	struct arena *arena = &o->arena;

	table_row(&o->table, (const char *const[]){
				 select_status_name(row->status),
				 arena_printf(arena, "%d", row->fail_count),
				 table_time(arena, o->now_us - row->age_us),
				 row->tuple.ip,
				 table_address(arena, row->tuple.sender),
				 table_address(arena, row->tuple.recipient),
			     });
	arena_reset(arena);
	return !ferror(stdout);
}

static enum ctl_status list(struct ctl *ctl, const struct store_filter *filter, bool use_json)
{
	struct output o = {.json = JSON_INIT(stdout)};
	enum store_result result;
	struct store *store;
	const struct store_driver *driver = ctl_store_as_it_is(ctl, &store, &result);

	if (!driver)
		return CTL_WRONG;
	o.now_us = table_now();
	if (use_json)
		json_open(&o.json, NULL, '[');
	else
		table_init(&o.table, stdout, titles, COLUMNS);
	result = driver->list(store, filter, use_json ? print_json : print_row, &o);
	if (use_json)
		json_close(&o.json);
	else
		table_end(&o.table);
	arena_release(&o.arena);
	return ctl_finish(driver, store, result);
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	struct selection selection = {
	    .status = args->option[STATUS],
	    .ip = args->option[IP],
	    .sender = args->option[SENDER],
	    .recipient = args->option[RECIPIENT],
	    .since = args->option[SINCE],
	    .limit = args->option[LIMIT],
	};
	struct arena arena = ARENA_INIT;
	enum ctl_status status = CTL_USAGE;
	struct store_filter filter;
	struct ipnet net;

	if (select_filter(&arena, "list", &selection, &net, &filter))
		status = list(ctl, &filter, args->option[JSON] != NULL);
	arena_release(&arena);
	return status;
}

const struct ctl_command ctl_list = {
    .name = "list",
    .summary = "print what the database knows of clients, senders and recipients",
    .options = options,
    .run = run,
};
