/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/select.h"
#include "ctl/table.h"

#define CLIENTS 10
#define DEFAULT_SINCE "24h"

enum { SINCE, PROMETHEUS, JSON };

static const struct ctl_option options[] = {
    [SINCE] = {"since", "TIME", "count what happened since (24h, 7d, 2026-11-24)"},
    [PROMETHEUS] = {"prometheus", NULL, "print for Prometheus' textfile collector"},
    [JSON] = {"json", NULL, "print JSON"},
    {NULL, NULL, NULL},
};

static const char *const reasons[STORE_REASONS] = {
    [STORE_REASON_WHITELIST] = "whitelist",
    [STORE_REASON_CACHE] = "cache",
    [STORE_REASON_KNOWN] = "known",
    [STORE_REASON_WAITED] = "waited",
    [STORE_REASON_TOO_EARLY] = "too_early",
    [STORE_REASON_DNSWL] = "dnswl",
    [STORE_REASON_DNSBL] = "dnsbl",
    [STORE_REASON_CHECKS] = "checks",
    [STORE_REASON_UNSUSPECTED] = "unsuspected",
};

/* What the database has counted. The waits are bounded by its rounding. */
struct stats {
	int64_t window_s;
	struct store_stat *items[STORE_STAT_CLIENT + 1];
	size_t count[STORE_STAT_CLIENT + 1], room[STORE_STAT_CLIENT + 1];
	int64_t decisions, accepted, delayed; /* delayed: those that had to wait */
	int64_t returned, waited_s, never;
	struct arena arena;
};

static void take(void *context, const struct store_stat *stat)
{
	struct stats *s = context;
	enum store_stat_kind kind = stat->kind;
	struct store_stat *item;

	if (s->count[kind] == s->room[kind])
		s->items[kind] = mem_grow(s->items[kind], &s->room[kind], sizeof(*s->items[kind]));
	item = &s->items[kind][s->count[kind]++];
	*item = *stat;
	item->name = arena_strdup(&s->arena, stat->name);
	if (stat->reason < 0 || stat->reason >= STORE_REASONS)
		item->reason = STORE_REASON_UNSUSPECTED;
}

/* Most first; databases have their own orders. */
static int compare(const void *a, const void *b)
{
	const struct store_stat *x = a, *y = b;
	int names = strcmp(x->name, y->name);

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return names ? names : (int)x->reason - (int)y->reason;
}

static void add_up(struct stats *s)
{
	if (s->count[STORE_STAT_DECISIONS])
		qsort(s->items[STORE_STAT_DECISIONS], s->count[STORE_STAT_DECISIONS],
		      sizeof(struct store_stat), compare);
	for (size_t i = 0; i < s->count[STORE_STAT_DECISIONS]; i++) {
		const struct store_stat *item = &s->items[STORE_STAT_DECISIONS][i];

		s->decisions += item->count;
		if (strncmp(item->name, "DEFER", strlen("DEFER")) == 0)
			continue;
		s->accepted += item->count;
		if (item->reason == STORE_REASON_WAITED)
			s->delayed += item->count;
	}
	for (size_t i = 0; i < s->count[STORE_STAT_TUPLES]; i++) {
		const struct store_stat *item = &s->items[STORE_STAT_TUPLES][i];

		if (item->seconds < 0) {
			s->never += item->count;
			continue;
		}
		s->returned += item->count;
		s->waited_s += item->count * item->seconds;
	}
}

/* The smallest wait that so many per cent did not exceed. */
static int64_t percentile(const struct stats *s, int percent)
{
	int64_t wanted = (s->returned * percent + 99) / 100, seen = 0;

	for (size_t i = 0; i < s->count[STORE_STAT_TUPLES]; i++) {
		const struct store_stat *item = &s->items[STORE_STAT_TUPLES][i];

		if (item->seconds >= 0)
			seen += item->count;
		if (item->seconds >= 0 && seen >= wanted)
			return item->seconds;
	}
	return 0;
}

static double share(int64_t part, int64_t whole)
{
	return whole > 0 ? (double)part / (double)whole : 0;
}

static const char *number(struct arena *arena, int64_t value)
{
	return arena_printf(arena, "%lld", (long long)value);
}

static const char *per_cent(struct arena *arena, int64_t part, int64_t whole)
{
	return arena_printf(arena, "%.1f%%", 100 * share(part, whole));
}

static void print_decisions(const struct stats *s, struct arena *arena)
{
	static const char *const titles[] = {"ACTION", "REASON", "DECISIONS", "SHARE"};
	struct table table;

	table_init(&table, stdout, titles, 4);
	for (size_t i = 0; i < s->count[STORE_STAT_DECISIONS]; i++) {
		const struct store_stat *item = &s->items[STORE_STAT_DECISIONS][i];

		table_row(&table, (const char *const[]){
				      item->name, reasons[item->reason], number(arena, item->count),
				      per_cent(arena, item->count, s->decisions)});
	}
	table_row(&table, (const char *const[]){"all", "", number(arena, s->decisions), ""});
	table_end(&table);
}

static void print_waits(const struct stats *s, struct arena *arena)
{
	int64_t greylisted = s->returned + s->never;
	struct table table;

	puts("");
	table_init(&table, stdout, NULL, 2);
	table_row(&table, (const char *const[]){"greylisted", number(arena, greylisted)});
	table_row(&table,
		  (const char *const[]){"  came back and passed",
					arena_printf(arena, "%lld (%s)", (long long)s->returned,
						     per_cent(arena, s->returned, greylisted))});
	table_row(&table, (const char *const[]){"  not (yet)", number(arena, s->never)});
	if (s->returned) {
		table_row(&table, (const char *const[]){"  wait, median",
							table_duration(arena, percentile(s, 50))});
		table_row(&table, (const char *const[]){"  wait, 90th percentile",
							table_duration(arena, percentile(s, 90))});
	}
	table_row(&table,
		  (const char *const[]){"let through after a wait",
					arena_printf(arena, "%lld of %lld (%s)",
						     (long long)s->delayed, (long long)s->accepted,
						     per_cent(arena, s->delayed, s->accepted))});
	table_end(&table);
}

static void print_clients(const struct stats *s, struct arena *arena)
{
	static const char *const titles[] = {"CLIENT", "DECISIONS", "DEFERRED"};
	struct table table;

	if (!s->count[STORE_STAT_CLIENT])
		return;
	puts("");
	table_init(&table, stdout, titles, 3);
	for (size_t i = 0; i < s->count[STORE_STAT_CLIENT]; i++) {
		const struct store_stat *item = &s->items[STORE_STAT_CLIENT][i];

		table_row(&table, (const char *const[]){item->name, number(arena, item->count),
							number(arena, item->deferred)});
	}
	table_end(&table);
}

static void print_text(struct stats *s)
{
	print_decisions(s, &s->arena);
	print_waits(s, &s->arena);
	print_clients(s, &s->arena);
}

static void print_json(struct stats *s)
{
	struct json j = JSON_INIT(stdout);

	json_open(&j, NULL, '{');
	json_int(&j, "window_seconds", s->window_s);
	json_int(&j, "decisions", s->decisions);
	json_open(&j, "by_action_and_reason", '[');
	for (size_t i = 0; i < s->count[STORE_STAT_DECISIONS]; i++) {
		const struct store_stat *item = &s->items[STORE_STAT_DECISIONS][i];

		json_open(&j, NULL, '{');
		json_text(&j, "action", item->name);
		json_text(&j, "reason", reasons[item->reason]);
		json_int(&j, "count", item->count);
		json_close(&j);
	}
	json_close(&j);
	json_int(&j, "accepted", s->accepted);
	json_int(&j, "accepted_after_wait", s->delayed);
	json_int(&j, "greylisted_returned", s->returned);
	json_int(&j, "greylisted_not_returned", s->never);
	json_int(&j, "wait_median_seconds", percentile(s, 50));
	json_int(&j, "wait_p90_seconds", percentile(s, 90));
	json_open(&j, "clients", '[');
	for (size_t i = 0; i < s->count[STORE_STAT_CLIENT]; i++) {
		const struct store_stat *item = &s->items[STORE_STAT_CLIENT][i];

		json_open(&j, NULL, '{');
		json_text(&j, "client_address", item->name);
		json_int(&j, "decisions", item->count);
		json_int(&j, "deferred", item->deferred);
		json_close(&j);
	}
	json_close(&j);
	json_close(&j);
}

/* How many decisions have the label of the i-th, once it is made harmless; 0: they are counted with
 * an earlier one. A label that comes twice makes the whole file void. */
static int64_t count_alike(struct stats *s, size_t i)
{
	const struct store_stat *items = s->items[STORE_STAT_DECISIONS];
	const char *label = table_text(&s->arena, items[i].name);
	int64_t total = 0;

	for (size_t k = 0; k < s->count[STORE_STAT_DECISIONS]; k++) {
		if (items[k].reason != items[i].reason ||
		    strcmp(table_text(&s->arena, items[k].name), label) != 0)
			continue;
		if (k < i)
			return 0;
		total += items[k].count;
	}
	return total;
}

static void print_label(struct arena *arena, const char *text)
{
	for (text = table_text(arena, text); *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
}

static void print_metric(const char *name, const char *type, const char *help)
{
	printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_gauge(const char *name, const char *help, int64_t value)
{
	print_metric(name, "gauge", help);
	printf("%s %lld\n", name, (long long)value);
}

/* All are about the window only, so they go up and down: gauges, and no counters. */
static void print_prometheus(struct stats *s)
{
	print_gauge("bley_window_seconds", "How far back the other metrics of bley look.",
		    s->window_s);
	if (s->count[STORE_STAT_DECISIONS])
		print_metric("bley_decisions", "gauge", "Decisions, by action and reason.");
	for (size_t i = 0; i < s->count[STORE_STAT_DECISIONS]; i++) {
		const struct store_stat *item = &s->items[STORE_STAT_DECISIONS][i];

		int64_t alike = count_alike(s, i);

		if (!alike)
			continue;
		fputs("bley_decisions{action=\"", stdout);
		print_label(&s->arena, item->name);
		printf("\",reason=\"%s\"} %lld\n", reasons[item->reason], (long long)alike);
	}
	print_gauge("bley_accepted", "Decisions to let a mail pass.", s->accepted);
	print_gauge("bley_accepted_after_wait", "Those of them that had to wait first.",
		    s->delayed);
	print_gauge("bley_greylisted_returned", "Greylisted triplets that came back and passed.",
		    s->returned);
	print_gauge("bley_greylisted_not_returned", "Greylisted triplets that did not, yet.",
		    s->never);
	print_metric("bley_greylist_wait_seconds", "summary",
		     "Time from the first attempt to the one that passed.");
	printf("bley_greylist_wait_seconds{quantile=\"0.5\"} %lld\n", (long long)percentile(s, 50));
	printf("bley_greylist_wait_seconds{quantile=\"0.9\"} %lld\n", (long long)percentile(s, 90));
	printf("bley_greylist_wait_seconds_sum %lld\n", (long long)s->waited_s);
	printf("bley_greylist_wait_seconds_count %lld\n", (long long)s->returned);
}

static enum ctl_status count(struct ctl *ctl, int64_t since_us, void (*print)(struct stats *))
{
	struct stats stats = {.window_s = since_us / US_PER_S};
	struct store_stat_query query = {.since_us = since_us, .clients = CLIENTS};
	enum store_result result;
	struct store *store;
	const struct store_driver *driver = ctl_store_as_it_is(ctl, &store, &result);

	if (!driver)
		return CTL_WRONG;
	query.dnswl_threshold = ctl->conf.dnswl_threshold;
	query.dnsbl_threshold = ctl->conf.dnsbl_threshold;
	result = driver->stats(store, &query, take, &stats);
	if (result == STORE_OK) {
		add_up(&stats);
		print(&stats);
	}
	for (int i = 0; i <= STORE_STAT_CLIENT; i++)
		free(stats.items[i]);
	arena_release(&stats.arena);
	return ctl_finish(driver, store, result);
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	const char *since = args->option[SINCE] ? args->option[SINCE] : DEFAULT_SINCE;
	int64_t since_us;

	if (args->option[PROMETHEUS] && args->option[JSON]) {
		ctl_complain("stats: --prometheus or --json, not both");
		return CTL_USAGE;
	}
	if (!select_since("stats", since, &since_us))
		return CTL_USAGE;
	return count(ctl, since_us,
		     args->option[PROMETHEUS] ? print_prometheus
		     : args->option[JSON]     ? print_json
					      : print_text);
}

const struct ctl_command ctl_stats = {
    .name = "stats",
    .summary = "count decisions, waits and clients",
    .options = options,
    .run = run,
};
