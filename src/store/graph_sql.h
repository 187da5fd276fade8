/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_GRAPH_SQL_H
#define BLEY_STORE_GRAPH_SQL_H

/*
 * What the servers' drivers share of their statements for bleygraph. Each is a format of printf(3)
 * for numbers only. The Python daemon's rows may lack scores.
 */
#define GRAPH_N(column) "coalesce(" column ", 0)"
#define GRAPH_DEFERRED "coalesce(action, '') LIKE 'DEFER%%'"
#define GRAPH_KNOWN "coalesce(check_db, -1)"
#define GRAPH_SUM_HELO GRAPH_N("check_helo")
#define GRAPH_SUM_DYN GRAPH_SUM_HELO " + " GRAPH_N("check_dyn")
#define GRAPH_SUM_SPF GRAPH_SUM_DYN " + " GRAPH_N("check_spf")
#define GRAPH_SUM_ALL GRAPH_SUM_SPF " + " GRAPH_N("check_s_eq_r")

/* The numbers of enum store_graph_class; takes the thresholds of DNSBL, four times that of the
 * other checks, that of DNSWL. */
#define GRAPH_CLASS                                                                                                            \
	"CASE WHEN " GRAPH_DEFERRED " THEN CASE WHEN " GRAPH_N(                                                                \
	    "check_cache") " > 0 AND " GRAPH_KNOWN " < 2 THEN 6 WHEN " GRAPH_KNOWN                                             \
			   " >= 2 THEN 7 WHEN " GRAPH_N(                                                                       \
			       "check_dnsbl") " >= %d THEN 8 WHEN " GRAPH_SUM_HELO                                             \
					      " >= %d THEN 9 WHEN " GRAPH_SUM_DYN                                              \
					      " >= %d THEN 10 WHEN " GRAPH_SUM_SPF                                             \
					      " >= %d THEN 11 WHEN " GRAPH_SUM_ALL                                             \
					      " >= %d THEN 12 ELSE 13 END WHEN " GRAPH_N("check_"                              \
											 "cache") " > 0 THEN 0 WHEN " GRAPH_N( \
						  "check_postmaster") " > 0 THEN 1 "                                           \
								      "WHEN " GRAPH_KNOWN                                      \
								      " IN (0, 1) THEN 2 "                                     \
								      "WHEN " GRAPH_KNOWN                                      \
								      " >= 2 THEN 3 "                                          \
								      "WHEN " GRAPH_N(                                         \
									  "check_dnswl") " >= %d "                             \
											 "THEN 4 "                             \
											 "ELSE 5 "                             \
											 "END"

/* A tuple whose first deferral is older than what is looked at is not counted. `class` goes after
 * the first part, the beginning of the time looked at after the second. */
#define GRAPH_TUPLES_BEGIN \
	"SELECT back, class, count(*) FROM (SELECT min(CASE WHEN " GRAPH_KNOWN " = -1 THEN "
#define GRAPH_TUPLES_MIDDLE                                                          \
	" END) AS class, max(CASE WHEN " GRAPH_KNOWN " >= 2 AND NOT " GRAPH_DEFERRED \
	" THEN 1 ELSE 0 END) AS back FROM bley_log WHERE " GRAPH_N(                  \
	    "check_cache") " = 0 AND (" GRAPH_KNOWN " >= 2 OR (" GRAPH_KNOWN         \
			   " = -1 AND " GRAPH_DEFERRED ")) AND logtime >= "
#define GRAPH_TUPLES_END \
	" GROUP BY ip, sender, recipient) AS t WHERE class IS NOT NULL GROUP BY back, class"

#endif
