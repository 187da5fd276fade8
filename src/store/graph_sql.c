/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/graph_sql.h"

/* The Python daemon's rows may lack scores. */
#define N(column) "coalesce(" column ", 0)"
#define CACHED N("check_cache") " > 0"
#define KNOWN "coalesce(check_db, -1)"
#define DEFERRED "coalesce(action, '') LIKE 'DEFER%'"

static void add_when(struct strbuf *out, const char *condition, enum store_graph_class what)
{
	strbuf_addf(out, " WHEN %s THEN %d", condition, (int)what);
}

/* A threshold of 0 is never reached. */
static void add_reached(struct strbuf *out, const char *score, int threshold,
			enum store_graph_class what)
{
	if (threshold > 0)
		strbuf_addf(out, " WHEN %s >= %d THEN %d", score, threshold, (int)what);
}

/* The check with which the sum reaches the threshold. */
static void add_sums(struct strbuf *out, int threshold)
{
	static const char *const scores[] = {N("check_helo"), N("check_dyn"), N("check_spf"),
					     N("check_s_eq_r")};
	struct strbuf sum = STRBUF_INIT;

	for (int i = 0; i < 4; i++) {
		strbuf_addf(&sum, "%s%s", i ? " + " : "", scores[i]);
		add_reached(out, sum.buf, threshold,
			    (enum store_graph_class)(STORE_GRAPH_HELO + i));
	}
	strbuf_release(&sum);
}

static void add_class(struct strbuf *out, const struct store_graph_query *query)
{
	strbuf_addstr(out, "CASE WHEN " DEFERRED " THEN CASE");
	add_when(out, CACHED " AND " KNOWN " < 2", STORE_GRAPH_BAD_CACHE);
	add_when(out, KNOWN " >= 2", STORE_GRAPH_BAD_GREY);
	add_reached(out, N("check_dnsbl"), query->dnsbl_threshold, STORE_GRAPH_DNSBL);
	add_sums(out, query->rfc_threshold);
	strbuf_addf(out, " ELSE %d END", STORE_GRAPH_OTHER);
	add_when(out, CACHED, STORE_GRAPH_GOOD_CACHE);
	add_when(out, N("check_postmaster") " > 0", STORE_GRAPH_WHITELISTED);
	add_when(out, KNOWN " IN (0, 1)", STORE_GRAPH_KNOWN_GOOD);
	add_when(out, KNOWN " >= 2", STORE_GRAPH_GOOD_GREY);
	add_reached(out, N("check_dnswl"), query->dnswl_threshold, STORE_GRAPH_DNSWL);
	strbuf_addf(out, " ELSE %d END", STORE_GRAPH_NEW_GOOD);
}

static void add_decisions(struct strbuf *out, const struct store_graph_query *query,
			  const char *start, const char *slot)
{
	strbuf_addf(out, "SELECT %s, ", slot);
	add_class(out, query);
	strbuf_addf(out, ", count(*) FROM bley_log WHERE logtime >= %s GROUP BY 1, 2", start);
}

/* A tuple whose first deferral is older than what is looked at is not counted. */
static void add_tuples(struct strbuf *out, const struct store_graph_query *query, const char *start)
{
	strbuf_addstr(out, "SELECT back, class, count(*) FROM (SELECT min(CASE WHEN " KNOWN
			   " = -1 THEN ");
	add_class(out, query);
	strbuf_addf(out,
		    " END) AS class, max(CASE WHEN %s >= 2 AND NOT %s THEN 1 ELSE 0 END) AS back"
		    " FROM bley_log WHERE logtime >= %s AND NOT %s"
		    " AND (%s >= 2 OR (%s = -1 AND %s)) GROUP BY ip, sender, recipient) AS t"
		    " WHERE class IS NOT NULL GROUP BY back, class",
		    KNOWN, DEFERRED, start, CACHED, KNOWN, KNOWN, DEFERRED);
}

void graph_sql(struct strbuf *out, const struct store_graph_query *query, const char *start,
	       const char *slot)
{
	if (query->kind == STORE_GRAPH_DECISIONS)
		add_decisions(out, query, start, slot);
	else
		add_tuples(out, query, start);
}

bool graph_take(const struct store_graph_query *query, int64_t slot, int64_t what, int64_t count,
		store_take_graph *take, void *context)
{
	int slots = query->kind == STORE_GRAPH_DECISIONS ? query->slots : 2;

	if (slot < 0 || slot >= slots || what < 0 || what >= STORE_GRAPH_CLASSES || count < 0)
		return false;
	take(context, (int)slot, (enum store_graph_class)what, count);
	return true;
}
