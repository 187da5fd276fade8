/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_GRAPH_GRAPH_H
#define BLEY_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "conf/conf.h"
#include "store/store.h"

/*
 * bleygraph's parts: data.c asks the database, picture.c knows what the pictures show of its sums,
 * plot.c makes a script for gnuplot, page.c a page, output.c runs gnuplot and puts the files in
 * their place. Nothing here prints; failures are told in `error`, one line.
 */

#define GRAPH_SLOTS 12
#define GRAPH_PERIODS 5
#define GRAPH_BINS 8	   /* of the delays' histogram */
#define GRAPH_TUNE_DAYS 28 /* what the pictures that help to tune look at */

struct graph_period {
	const char *name;  /* 12h: in the files' names */
	const char *title; /* 12 hours */
	const char *slot;  /* 1 hour */
	int64_t slot_s;
	const char *time_format; /* strftime(3), for the axis */
};

struct graph_bin {
	const char *title;
	int64_t below_s; /* not in the bin any more */
};

extern const struct graph_period graph_periods[GRAPH_PERIODS];
extern const struct graph_bin graph_bins[GRAPH_BINS];

struct graph_data {
	int64_t now_s;
	int64_t decisions[GRAPH_PERIODS][GRAPH_SLOTS][STORE_GRAPH_CLASSES];
	int64_t delays[GRAPH_BINS];
	int64_t tuples[STORE_GRAPH_CLASSES][2]; /* never came back, came back */
};

/* now_s: when the last slot ends, seconds since 1970. */
enum store_result graph_collect(const struct store_driver *driver, struct store *store,
				const struct conf *conf, int64_t now_s, struct graph_data *out);

#define GRAPH_PICTURES (2 * GRAPH_PERIODS + 2)

/* Each picture is drawn for readers who prefer light or dark colours, on wide and narrow screens;
 * as PNG only for what cannot show SVG. */
enum graph_variant {
	GRAPH_SVG,
	GRAPH_SVG_DARK,
	GRAPH_SVG_NARROW,
	GRAPH_SVG_NARROW_DARK,
	GRAPH_PNG,
	GRAPH_VARIANTS
};
#define GRAPH_SCHEMES 2 /* light and dark */

/* A picture's file, in a buffer of the caller. */
#define GRAPH_NAME_SIZE 32
void graph_file_name(int picture, enum graph_variant variant, char out[GRAPH_NAME_SIZE]);

/* What a picture shows, as plain text: its title, and for those who cannot see it its sums. */
void graph_picture_text(const struct graph_data *data, int picture, struct strbuf *out);

/* In pixels. */
struct graph_size {
	int width, height;
};
struct graph_size graph_picture_size(const struct graph_data *data, int picture,
				     enum graph_variant variant);

/* The script that draws all files of all pictures into gnuplot's working folder. */
void graph_script(const struct graph_data *data, struct strbuf *out);

/* index.html; source: what the counts were made from. */
void graph_page(const struct graph_data *data, const char *source, struct strbuf *out);

/* A signal's handler: ends graph_write(), with a failure and nothing left behind. The signal that
 * came, or 0. */
void graph_stop(int number);
int graph_stopped(void);

/*
 * Draws with gnuplot and replaces the files in destdir, which is made where it is missing. Changes
 * the working folder of the process, to one that is gone afterwards. False, with `error`, where
 * destdir cannot be made or written, or gnuplot cannot be run, fails or is stopped: the files that
 * are there are then as they were. Only where replacing them itself fails some may be new.
 */
bool graph_write(const char *destdir, const struct strbuf *script, const struct strbuf *page,
		 char *error, size_t size);

#endif
