/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CTL_TABLE_H
#define BLEY_CTL_TABLE_H

#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"

#define TABLE_COLUMNS_MOST 8
#define TABLE_HELD 64 /* rows */

/*
 * Text in columns, aligned. The first rows are held back to see how wide the columns are; the rest
 * goes out at once, so that memory stays flat however long the table is. What is printed is made
 * harmless (text_clean()).
 */
struct table {
	FILE *out;
	const char *const *titles; /* NULL: none */
	size_t columns;
	size_t width[TABLE_COLUMNS_MOST];
	const char *cells[TABLE_HELD][TABLE_COLUMNS_MOST];
	size_t held;
	size_t rows; /* all so far */
	struct arena arena;
};

void table_init(struct table *t, FILE *out, const char *const *titles, size_t columns);
void table_row(struct table *t, const char *const *cells);

/* Prints what is held back and gives the memory back. */
void table_end(struct table *t);

/* Text as it may be printed, and an address likewise, the null sender as `<>`. */
const char *table_text(struct arena *arena, const char *text);
const char *table_address(struct arena *arena, const char *address);

/* `2026-11-24 10:15:00`, local time; `1h 12m`. */
const char *table_time(struct arena *arena, int64_t us);
const char *table_duration(struct arena *arena, int64_t seconds);

/* Now, in microseconds since 1970. */
int64_t table_now(void);

#endif
