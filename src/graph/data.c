/* SPDX-License-Identifier: BSD-3-Clause */
#include "graph/graph.h"

#include "base/clock.h"

#define HOUR_S INT64_C(3600)
#define DAY_S (24 * HOUR_S)

const struct graph_period graph_periods[GRAPH_PERIODS] = {
    {"12h", "12 hours", "1 hour", HOUR_S, "%H:%M"},
    {"24h", "24 hours", "2 hours", 2 * HOUR_S, "%H:%M"},
    {"7d", "7 days", "12 hours", 12 * HOUR_S, "%d %b\\n%H:%M"},
    {"28d", "28 days", "2 days", 2 * DAY_S, "%d %b"},
    {"365d", "365 days", "28 days", 28 * DAY_S, "%d %b\\n%Y"},
};

const struct graph_bin graph_bins[GRAPH_BINS] = {
    {"< 15 min", HOUR_S / 4}, {"< 30 min", HOUR_S / 2}, {"< 1 h", HOUR_S}, {"< 2 h", 2 * HOUR_S},
    {"< 4 h", 4 * HOUR_S},    {"< 12 h", 12 * HOUR_S},	{"< 1 d", DAY_S},  {"longer", INT64_MAX},
};

static void take_decisions(void *context, int slot, enum store_graph_class what, int64_t count)
{
	int64_t(*slots)[STORE_GRAPH_CLASSES] = context;

	slots[slot][what] += count;
}

static void take_tuples(void *context, int slot, enum store_graph_class what, int64_t count)
{
	struct graph_data *data = context;

	data->tuples[what][slot] += count;
}

static void take_delay(void *context, const struct store_stat *stat)
{
	struct graph_data *data = context;
	int bin = 0;

	if (stat->seconds < 0)
		return;
	while (bin < GRAPH_BINS - 1 && stat->seconds >= graph_bins[bin].below_s)
		bin++;
	data->delays[bin] += stat->count;
}

static enum store_result collect_tuning(const struct store_driver *driver, struct store *store,
					struct store_graph_query query, struct graph_data *data)
{
	struct store_stat_query stats = {.since_us = GRAPH_TUNE_DAYS * DAY_S * US_PER_S,
					 .kinds = 1u << STORE_STAT_TUPLES};
	enum store_result result;

	query.kind = STORE_GRAPH_TUPLES;
	query.start_s = data->now_s - GRAPH_TUNE_DAYS * DAY_S;
	result = driver->graph(store, &query, take_tuples, data);
	return result == STORE_OK ? driver->stats(store, &stats, take_delay, data) : result;
}

enum store_result graph_collect(const struct store_driver *driver, struct store *store,
				const struct conf *conf, int64_t now_s, struct graph_data *out)
{
	struct store_graph_query query = {.kind = STORE_GRAPH_DECISIONS,
					  .slots = GRAPH_SLOTS,
					  .dnswl_threshold = conf->dnswl_threshold,
					  .dnsbl_threshold = conf->dnsbl_threshold,
					  .rfc_threshold = conf->rfc_threshold};
	struct graph_data data = {.now_s = now_s};
	enum store_result result = STORE_OK;

	for (int i = 0; result == STORE_OK && i < GRAPH_PERIODS; i++) {
		query.slot_s = graph_periods[i].slot_s;
		query.start_s = now_s - GRAPH_SLOTS * query.slot_s;
		result = driver->graph(store, &query, take_decisions, data.decisions[i]);
	}
	if (result == STORE_OK)
		result = collect_tuning(driver, store, query, &data);
	if (result == STORE_OK)
		*out = data;
	return result;
}
