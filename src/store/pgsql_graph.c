/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pgsql.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/graph_sql.h"

#define EXPRESSION_SIZE 200

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

enum store_result pg_graph(struct store *store, const struct store_graph_query *query,
			   store_take_graph *take, void *context)
{
	long long start_s = query->start_s, slot_s = query->slot_s;
	struct taker taker = {.take = take, .context = context};
	char start[EXPRESSION_SIZE], slot[EXPRESSION_SIZE];
	struct strbuf sql = STRBUF_INIT;
	enum store_result result = pg_report_begin(store);

	if (result != STORE_OK)
		return result;
	snprintf(start, sizeof(start), "timestamp '1970-01-01' + %lld * interval '1 second'",
		 start_s);
	snprintf(slot, sizeof(slot),
		 "greatest(0, least(%d, floor((extract(epoch FROM logtime) - %lld) / %lld)))::int",
		 query->slots - 1, start_s, slot_s);
	graph_sql(&sql, query, start, slot);
	result = pg_stream(store, &(const struct pg_call){.sql = sql.buf}, take_row, &taker);
	strbuf_release(&sql);
	return pg_report_end(store, result);
}
