/* SPDX-License-Identifier: BSD-3-Clause */
#include <limits.h>
#include <stdio.h>

#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/select.h"
#include "ctl/table.h"
#include "policy/session.h"

#define DECISIONS 20 /* the newest so many are shown */

enum { JSON };

static const struct ctl_option options[] = {
    [JSON] = {"json", NULL, "print JSON"},
    {NULL, NULL, NULL},
};

struct output {
	struct json json;
	struct table table;
	struct arena arena; /* of the row in hand */
	struct verdict_policy policy;
	int64_t now_us;
};

/* When a greylisted tuple would pass; 0: it need not wait. */
static int64_t passes_us(const struct output *o, const struct store_row *row)
{
	if (row->status < STORE_GREY)
		return 0;
	return o->now_us - row->age_us + verdict_wait_us(&o->policy, row->fail_count);
}

static bool json_row(void *context, const struct store_row *row)
{
	struct output *o = context;
	int64_t passes = passes_us(o, row);
	struct json *j = &o->json;

	json_open(j, NULL, '{');
	json_text(j, "client_address", row->tuple.ip);
	json_text(j, "sender", row->tuple.sender);
	json_text(j, "recipient", row->tuple.recipient);
	json_text(j, "status", select_status_name(row->status));
	json_int(j, "failures", row->fail_count);
	json_time(j, "last_action", o->now_us - row->age_us);
	if (passes)
		json_time(j, "passes_after", passes);
	else
		json_text(j, "passes_after", NULL);
	json_close(j);
	return !ferror(stdout);
}

static const char *explain_row(struct output *o, const struct store_row *row)
{
	struct arena *arena = &o->arena;
	int64_t passes = passes_us(o, row), then = o->now_us - row->age_us;

	if (!passes)
		return arena_printf(arena, "%s, seen last %s", select_status_name(row->status),
				    table_time(arena, then));
	return arena_printf(arena, "grey, first seen %s, %d failures, passes %s%s",
			    table_time(arena, then), row->fail_count,
			    passes <= o->now_us ? "since " : "after ", table_time(arena, passes));
}

static bool print_row(void *context, const struct store_row *row)
{
	struct output *o = context;
	struct arena *arena = &o->arena;

	table_row(&o->table, (const char *const[]){
				 row->tuple.ip, table_address(arena, row->tuple.sender),
				 table_address(arena, row->tuple.recipient), explain_row(o, row)});
	arena_reset(arena);
	return !ferror(stdout);
}

static bool json_log(void *context, const struct store_log_row *row, int64_t time_us)
{
	struct output *o = context;
	struct json *j = &o->json;

	json_open(j, NULL, '{');
	json_time(j, "time", time_us);
	json_text(j, "action", row->action);
	json_text(j, "client_address", row->tuple.ip);
	json_text(j, "sender", row->tuple.sender);
	json_text(j, "recipient", row->tuple.recipient);
	json_close(j);
	return !ferror(stdout);
}

static bool print_log(void *context, const struct store_log_row *row, int64_t time_us)
{
	struct output *o = context;
	struct arena *arena = &o->arena;

	table_row(&o->table,
		  (const char *const[]){table_time(arena, time_us), row->action, row->tuple.ip,
					table_address(arena, row->tuple.sender),
					table_address(arena, row->tuple.recipient)});
	arena_reset(arena);
	return !ferror(stdout);
}

static enum store_result show_text(const struct store_driver *driver, struct store *store,
				   const struct store_filter *filter, struct output *o)
{
	static const char *const row_titles[] = {"CLIENT", "SENDER", "RECIPIENT", "STATUS"};
	static const char *const log_titles[] = {"DECIDED", "ACTION", "CLIENT", "SENDER",
						 "RECIPIENT"};
	struct store_filter newest = *filter;
	enum store_result result;
	size_t rows;

	table_init(&o->table, stdout, row_titles, 4);
	result = driver->list(store, filter, print_row, o);
	rows = o->table.rows;
	table_end(&o->table);
	if (!rows && result == STORE_OK)
		puts("nothing known");
	if (result != STORE_OK)
		return result;
	newest.limit = DECISIONS;
	table_init(&o->table, stdout, log_titles, 5);
	result = driver->read_log(store, &newest, 0, 0, print_log, o);
	table_end(&o->table);
	return result;
}

static enum store_result show_json(const struct store_driver *driver, struct store *store,
				   const struct store_filter *filter, struct output *o)
{
	struct store_filter newest = *filter;
	enum store_result result;

	json_open(&o->json, NULL, '{');
	json_open(&o->json, "tuples", '[');
	result = driver->list(store, filter, json_row, o);
	json_close(&o->json);
	json_open(&o->json, "decisions", '[');
	newest.limit = DECISIONS;
	if (result == STORE_OK)
		result = driver->read_log(store, &newest, 0, 0, json_log, o);
	json_close(&o->json);
	json_close(&o->json);
	return result;
}

static enum ctl_status show(struct ctl *ctl, const struct store_filter *filter, bool use_json)
{
	struct output o = {.json = JSON_INIT(stdout), .now_us = table_now()};
	enum store_result result;
	struct store *store;
	const struct store_driver *driver = ctl_store_as_it_is(ctl, &store, &result);

	if (!driver)
		return CTL_WRONG;
	o.policy = session_policy(&ctl->conf);
	result = use_json ? show_json(driver, store, filter, &o)
			  : show_text(driver, store, filter, &o);
	arena_release(&o.arena);
	return ctl_finish(driver, store, result);
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	struct arena arena = ARENA_INIT;
	enum ctl_status status = CTL_USAGE;
	struct store_filter filter;
	struct ipnet net;

	if (select_word(&arena, "show", args->item[0], &net, &filter))
		status = show(ctl, &filter, args->option[JSON] != NULL);
	arena_release(&arena);
	return status;
}

const struct ctl_command ctl_show = {
    .name = "show",
    .arguments = "IP|NET|ADDRESS",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "print all about a client, a sender or a recipient",
    .options = options,
    .run = run,
};
