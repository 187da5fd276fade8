/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_GRAPH_SQL_H
#define BLEY_STORE_GRAPH_SQL_H

#include "base/strbuf.h"
#include "store/store.h"

/*
 * The statement for bleygraph's sums, the same for all drivers: its rows are slot, class, count.
 * What differs comes as SQL: `start`, the query's start_s as the column has times, and `slot`, the
 * slot that logtime lies in, from 0.
 */
void graph_sql(struct strbuf *out, const struct store_graph_query *query, const char *start,
	       const char *slot);

/* Passes a row on. False where it is none that the statement can give: nothing is passed on. */
bool graph_take(const struct store_graph_query *query, int64_t slot, int64_t what, int64_t count,
		store_take_graph *take, void *context);

#endif
