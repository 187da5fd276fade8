/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_SQLITE_TIME_H
#define BLEY_STORE_SQLITE_TIME_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Times as the SQLite database holds them: text in the form of Python's sqlite3 adapter,
 * `YYYY-MM-DD HH:MM:SS.ffffff`, which sorts as it counts. In C: microseconds since 1970, UTC.
 */
#define SQLITE_TIME_SIZE 27 /* with the NUL */

int64_t sqlite_time_now(void);

/* us: from 1970 to 9999; what lies outside is brought to the nearer end. */
void sqlite_time_format(int64_t us, char out[SQLITE_TIME_SIZE]);

/*
 * Reads such a time; also with `T` between date and time, fewer or more digits of a fraction, none,
 * without seconds or without a time of day, and a final `Z`. False where it is none; *us is then
 * untouched. The second reads local time (a time that the clocks went through twice: either).
 */
bool sqlite_time_parse(const char *text, int64_t *us);
bool sqlite_time_parse_local(const char *text, int64_t *us);

#endif
