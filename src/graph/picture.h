/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_GRAPH_PICTURE_H
#define BLEY_GRAPH_PICTURE_H

/* What plot.c and page.c share: what the pictures show, without a word on how. */

#include "graph/graph.h"

enum picture_kind { PICTURE_AR, PICTURE_CH, PICTURE_DELAY, PICTURE_CHECKS };

/* Parts of a stack: classes from `first` up to but without `end`. */
struct series {
	const char *title;
	const char *colour[GRAPH_SCHEMES];
	int first, end;
};

struct sums {
	int64_t max, min, total; /* of a series' slots */
};

enum picture_kind picture_kind(int picture);

/* Those of the first two kinds, in the order in which they lie on each other; that of one class. */
const struct series *picture_series(enum picture_kind kind, size_t *count);
const struct series *picture_class(enum store_graph_class what);

/* A title's two halves: what it shows, and of which time. */
const char *picture_subject(int picture);
void picture_time(int picture, struct strbuf *out);

int64_t series_slot(const struct graph_data *data, int period, int slot,
		    const struct series *series);
struct sums series_sums(const struct graph_data *data, int period, const struct series *series);

/* 0: no mail in this period. */
int64_t picture_total(const struct graph_data *data, int picture);

#endif
