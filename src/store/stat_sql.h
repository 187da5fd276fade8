/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_STAT_SQL_H
#define BLEY_STORE_STAT_SQL_H

#include <limits.h>

/* What the statements for bleyctl's sums have in common. */

/* The numbers of enum store_stat_reason, from what was written down about a decision; the
 * thresholds' places, or values, are given. */
#define STAT_REASON(dnswl, dnsbl) STAT_REASON_BEGIN dnswl STAT_REASON_MIDDLE dnsbl STAT_REASON_END
#define STAT_REASON_BEGIN                                                          \
	" CASE WHEN check_postmaster > 0 THEN 0 WHEN check_cache > 0 THEN 1"       \
	" WHEN check_db IN (0, 1) THEN 2"                                          \
	" WHEN check_db > 1 THEN CASE WHEN action LIKE 'DEFER%' THEN 4 ELSE 3 END" \
	" WHEN check_dnswl >= "
#define STAT_REASON_MIDDLE " THEN 5 WHEN check_dnsbl >= "
#define STAT_REASON_END " THEN 6 WHEN action LIKE 'DEFER%' THEN 7 ELSE 8 END"

/*
 * Each greylisted tuple's first deferral and the first time that it was let through afterwards. A
 * tuple whose first deferral is older than what is looked at is not counted. Behind it belong the
 * oldest time, `GROUP BY` a tuple and `WHERE first IS NOT NULL`.
 */
#define STAT_TUPLES                                                                          \
	" FROM (SELECT min(CASE WHEN check_db = -1 THEN logtime END) AS first,"              \
	" min(CASE WHEN check_db > 1 AND action NOT LIKE 'DEFER%' THEN logtime END) AS back" \
	" FROM bley_log WHERE check_cache = 0"                                               \
	" AND (check_db > 1 OR (check_db = -1 AND action LIKE 'DEFER%')) AND logtime >= "

/* What a score is compared with; a threshold of 0 is never reached. */
static inline int stat_threshold(int value)
{
	return value > 0 ? value : INT_MAX;
}

#endif
