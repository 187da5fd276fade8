/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/graph_sql.h"

#define EXPRESSION_SIZE 200

struct taker {
	store_take_graph *take;
	void *context;
};

static bool take_row(void *context, char *const *row)
{
	const struct taker *taker = context;
	long long numbers[3];

	for (int i = 0; i < 3; i++)
		numbers[i] = strtoll(row[i], NULL, 10);
	taker->take(taker->context, (int)numbers[0], (enum store_graph_class)numbers[1],
		    numbers[2]);
	return true;
}

enum store_result my_graph(struct store *store, const struct store_graph_query *query,
			   store_take_graph *take, void *context)
{
	long long start_s = query->start_s, slot_s = query->slot_s;
	struct taker taker = {.take = take, .context = context};
	char start[EXPRESSION_SIZE], slot[EXPRESSION_SIZE];
	struct strbuf sql = STRBUF_INIT;
	enum store_result result = my_take_time(store);

	if (result != STORE_OK)
		return result;
	snprintf(start, sizeof(start), "TIMESTAMP('1970-01-01') + INTERVAL %lld SECOND", start_s);
	snprintf(slot, sizeof(slot),
		 "greatest(0, least(%d, (TIMESTAMPDIFF(SECOND, '1970-01-01', logtime) - %lld)"
		 " DIV %lld))",
		 query->slots - 1, start_s, slot_s);
	graph_sql(&sql, query, start, slot);
	result = my_stream(store, sql.buf, NULL, 0, take_row, &taker);
	strbuf_release(&sql);
	return result;
}
