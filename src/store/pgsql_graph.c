/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <limits.h>
#include <stdlib.h>

#include "base/strbuf.h"
#include "store/graph_sql.h"

#define START "timestamp '1970-01-01' + %lld * interval '1 second'"
#define SLOT "greatest(0, least(%d, floor((extract(epoch FROM logtime) - %lld) / %lld)))::int"

struct taker {
	store_take_graph *take;
	void *context;
};

static bool take_row(void *context, const PGresult *row)
{
	const struct taker *taker = context;
	long long numbers[3];

	for (int i = 0; i < 3; i++)
		numbers[i] = strtoll(PQgetvalue(row, 0, i), NULL, 10);
	taker->take(taker->context, (int)numbers[0], (enum store_graph_class)numbers[1],
		    numbers[2]);
	return true;
}

static int threshold(int value)
{
	return value > 0 ? value : INT_MAX;
}

static void add_class(struct strbuf *sql, const struct store_graph_query *query)
{
	int dnsbl = threshold(query->dnsbl_threshold), rfc = threshold(query->rfc_threshold);

	strbuf_addf(sql, GRAPH_CLASS, dnsbl, rfc, rfc, rfc, rfc, threshold(query->dnswl_threshold));
}

static void add_decisions(struct strbuf *sql, const struct store_graph_query *query)
{
	long long start_s = query->start_s, slot_s = query->slot_s;

	strbuf_addf(sql, "SELECT " SLOT ", ", query->slots - 1, start_s, slot_s);
	add_class(sql, query);
	strbuf_addf(sql, ", count(*) FROM bley_log WHERE logtime >= " START " GROUP BY 1, 2",
		    start_s);
}

static void add_tuples(struct strbuf *sql, const struct store_graph_query *query)
{
	strbuf_addf(sql, GRAPH_TUPLES_BEGIN);
	add_class(sql, query);
	strbuf_addf(sql, GRAPH_TUPLES_MIDDLE START GRAPH_TUPLES_END, (long long)query->start_s);
}

enum store_result pg_graph(struct store *store, const struct store_graph_query *query,
			   store_take_graph *take, void *context)
{
	struct taker taker = {.take = take, .context = context};
	struct strbuf sql = STRBUF_INIT;
	enum store_result result;

	if (query->kind == STORE_GRAPH_DECISIONS)
		add_decisions(&sql, query);
	else
		add_tuples(&sql, query);
	result = pg_stream(store, &(const struct pg_call){.sql = sql.buf}, take_row, &taker);
	strbuf_release(&sql);
	return result;
}
