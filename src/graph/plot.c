/* SPDX-License-Identifier: BSD-3-Clause */
#include "graph/graph.h"

#include <stdio.h>
#include <time.h>

/* Everything is placed in pixels, which gnuplot wants as parts of the whole. */
#define WIDTH 900
#define PLOT_HEIGHT 370 /* title, plot and the axis' labels */
#define ROW_HEIGHT 22	/* of the legend */
#define MARGIN 70
#define COLUMN_WIDTH 400
#define BOX 14		 /* a legend's colour */
#define NUMBER_WIDTH 62	 /* right-aligned */
#define FIRST_NUMBER 250 /* where it ends */
#define LABEL_HEIGHT 60	 /* below the axis */

#define FONT "DejaVu Sans,12"
#define TITLE_FONT "DejaVu Sans,15"

enum { KIND_AR, KIND_CH, KIND_DELAY, KIND_CHECKS };

/* Parts of a stack: classes from `first` up to but without `end`. */
struct series {
	const char *title, *colour;
	int first, end;
};

#define ONE(class) (class), (class) + 1

static const struct series ar_series[] = {
    {"accepted", "#0072B2", 0, STORE_GRAPH_BAD_CACHE},
    {"deferred", "#E69F00", STORE_GRAPH_BAD_CACHE, STORE_GRAPH_CLASSES},
};

/* Okabe and Ito's eight, and shades of them that differ in lightness. What was accepted is cool and
 * lies below; what was deferred is warm. */
static const struct series ch_series[] = {
    {"good cache", "#56B4E9", ONE(STORE_GRAPH_GOOD_CACHE)},
    {"whitelisted", "#004A74", ONE(STORE_GRAPH_WHITELISTED)},
    {"known good", "#009E73", ONE(STORE_GRAPH_KNOWN_GOOD)},
    {"good grey (has waited)", "#B5E3D5", ONE(STORE_GRAPH_GOOD_GREY)},
    {"in DNSWL", "#0072B2", ONE(STORE_GRAPH_DNSWL)},
    {"new good", "#CDE9F9", ONE(STORE_GRAPH_NEW_GOOD)},
    {"bad cache", "#D55E00", ONE(STORE_GRAPH_BAD_CACHE)},
    {"bad grey (too early)", "#F7D9C4", ONE(STORE_GRAPH_BAD_GREY)},
    {"in DNSBL", "#000000", ONE(STORE_GRAPH_DNSBL)},
    {"bad HELO", "#E69F00", ONE(STORE_GRAPH_HELO)},
    {"from DynIP", "#CC79A7", ONE(STORE_GRAPH_DYN)},
    {"bad SPF", "#F0E442", ONE(STORE_GRAPH_SPF)},
    {"sender==recipient", "#7A3E62", ONE(STORE_GRAPH_S_EQ_R)},
    {"other thresholds", "#999999", ONE(STORE_GRAPH_OTHER)},
};

#define AR_COUNT (sizeof(ar_series) / sizeof(ar_series[0]))
#define CH_COUNT (sizeof(ch_series) / sizeof(ch_series[0]))

static int kind_of(int picture)
{
	if (picture >= 2 * GRAPH_PERIODS)
		return picture == 2 * GRAPH_PERIODS ? KIND_DELAY : KIND_CHECKS;
	return picture % 2 ? KIND_CH : KIND_AR;
}

static const struct series *series_of(int kind, size_t *count)
{
	*count = kind == KIND_AR ? AR_COUNT : CH_COUNT;
	return kind == KIND_AR ? ar_series : ch_series;
}

void graph_picture_name(int picture, char out[GRAPH_NAME_SIZE])
{
	static const char *const of_kind[] = {"ar-", "ch-", "delay", "checks"};
	int kind = kind_of(picture);

	snprintf(out, GRAPH_NAME_SIZE, "%s%s", of_kind[kind],
		 kind < KIND_DELAY ? graph_periods[picture / 2].name : "");
}

void graph_picture_title(int picture, struct strbuf *out)
{
	static const char *const of_kind[] = {"Accepted and deferred", "Decisions by check",
					      "How long greylisted mail really waited",
					      "What had greylisted mail that came back, or not"};
	int kind = kind_of(picture);

	strbuf_addstr(out, of_kind[kind]);
	if (kind < KIND_DELAY)
		strbuf_addf(out, ", %s (per %s)", graph_periods[picture / 2].title,
			    graph_periods[picture / 2].slot);
	else
		strbuf_addf(out, ", %d days", GRAPH_TUNE_DAYS);
}

static int64_t slot_sum(const struct graph_data *data, int period, int slot,
			const struct series *series)
{
	int64_t sum = 0;

	for (int what = series->first; what < series->end; what++)
		sum += data->decisions[period][slot][what];
	return sum;
}

struct sums {
	int64_t max, min, total;
};

static struct sums series_sums(const struct graph_data *data, int period,
			       const struct series *series)
{
	struct sums sums = {.min = INT64_MAX};

	for (int slot = 0; slot < GRAPH_SLOTS; slot++) {
		int64_t count = slot_sum(data, period, slot, series);

		sums.total += count;
		sums.max = count > sums.max ? count : sums.max;
		sums.min = count < sums.min ? count : sums.min;
	}
	return sums;
}

static int64_t picture_total(const struct graph_data *data, int picture)
{
	static const struct series all = {.first = 0, .end = STORE_GRAPH_CLASSES};
	int kind = kind_of(picture);
	int64_t total = 0;

	if (kind < KIND_DELAY)
		return series_sums(data, picture / 2, &all).total;
	for (int i = 0; kind == KIND_DELAY && i < GRAPH_BINS; i++)
		total += data->delays[i];
	for (int i = 0; kind == KIND_CHECKS && i < STORE_GRAPH_CLASSES; i++)
		total += data->tuples[i][0] + data->tuples[i][1];
	return total;
}

static void text_of_stack(const struct graph_data *data, int picture, struct strbuf *out)
{
	size_t count;
	const struct series *series = series_of(kind_of(picture), &count);

	for (size_t i = 0; i < count; i++) {
		struct sums sums = series_sums(data, picture / 2, &series[i]);

		if (sums.total)
			strbuf_addf(out, "; %s %lld (at most %lld, at least %lld each %s)",
				    series[i].title, (long long)sums.total, (long long)sums.max,
				    (long long)sums.min, graph_periods[picture / 2].slot);
	}
}

void graph_picture_text(const struct graph_data *data, int picture, struct strbuf *out)
{
	int kind = kind_of(picture);

	graph_picture_title(picture, out);
	if (!picture_total(data, picture))
		strbuf_addstr(out, ": no mail in this period");
	else if (kind < KIND_DELAY)
		text_of_stack(data, picture, out);
	for (int i = 0; kind == KIND_DELAY && i < GRAPH_BINS; i++)
		if (data->delays[i])
			strbuf_addf(out, "; %s: %lld", graph_bins[i].title,
				    (long long)data->delays[i]);
	for (int i = STORE_GRAPH_DNSBL; kind == KIND_CHECKS && i < STORE_GRAPH_CLASSES; i++)
		if (data->tuples[i][0] + data->tuples[i][1])
			strbuf_addf(out, "; %s: %lld came back, %lld did not", ch_series[i].title,
				    (long long)data->tuples[i][1], (long long)data->tuples[i][0]);
}

/* --- gnuplot */

static double across(int x)
{
	return (double)x / WIDTH;
}

static void add_label(struct strbuf *out, const char *text, int x, double y, const char *how)
{
	strbuf_addf(out, "set label \"%s\" at screen %.4f, screen %.4f %s\n", text, across(x), y,
		    how);
}

static void add_number(struct strbuf *out, double number, int decimals, int x, double y)
{
	char text[32];

	snprintf(text, sizeof(text), "%.*f", decimals, number);
	add_label(out, text, x, y, "right");
}

static void add_box(struct strbuf *out, const char *colour, int x, double y, int height)
{
	double half = (double)BOX / 2 / height;

	strbuf_addf(out,
		    "set object rectangle from screen %.4f, screen %.4f to screen %.4f, screen "
		    "%.4f fillcolor rgb \"%s\" fillstyle solid 1.0 border rgb \"#555555\"\n",
		    across(x), y - half, across(x + BOX), y + half, colour);
}

static double row_y(int row, int height)
{
	return 1.0 - (PLOT_HEIGHT + (row + 0.5) * ROW_HEIGHT) / height;
}

static void add_legend(const struct graph_data *data, int picture, int height, struct strbuf *out)
{
	static const char *const heads[] = {"max", "avg", "min"};
	int rows[2] = {1, 1};
	size_t count;
	const struct series *series = series_of(kind_of(picture), &count);

	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 3; j++)
			add_label(out, heads[j],
				  MARGIN + i * COLUMN_WIDTH + FIRST_NUMBER + j * NUMBER_WIDTH,
				  row_y(0, height), "right textcolor rgb \"#555555\"");
	for (size_t i = 0; i < count; i++) {
		int column = series[i].first >= STORE_GRAPH_BAD_CACHE;
		int x = MARGIN + column * COLUMN_WIDTH;
		double y = row_y(rows[column], height);
		struct sums sums = series_sums(data, picture / 2, &series[i]);

		if (series[i].first == STORE_GRAPH_OTHER && !sums.total)
			continue;
		rows[column]++;
		add_box(out, series[i].colour, x, y, height);
		add_label(out, series[i].title, x + BOX + 8, y, "left");
		add_number(out, (double)sums.max, 0, x + FIRST_NUMBER, y);
		add_number(out, (double)sums.total / GRAPH_SLOTS, 1,
			   x + FIRST_NUMBER + NUMBER_WIDTH, y);
		add_number(out, (double)sums.min, 0, x + FIRST_NUMBER + 2 * NUMBER_WIDTH, y);
	}
}

/* Each slot lies between two ticks, with the local time at each. */
static void add_times(const struct graph_data *data, const struct graph_period *period,
		      struct strbuf *out)
{
	strbuf_addf(out, "set xrange [0:%d]\nset xtics (", GRAPH_SLOTS);
	for (int i = 0; i <= GRAPH_SLOTS; i++) {
		time_t when = (time_t)(data->now_s - (GRAPH_SLOTS - i) * period->slot_s);
		char text[64] = "";
		struct tm local;

		if (i % 2 == 0 && localtime_r(&when, &local))
			strftime(text, sizeof(text), period->time_format, &local);
		strbuf_addf(out, "%s\"%s\" %d", i ? ", " : "", text, i);
	}
	strbuf_addstr(out, ")\n");
}

/* Two points a slot, so that its area is its count: x and the stack's edges. */
static void add_stack_data(const struct graph_data *data, int picture, struct strbuf *out)
{
	size_t count;
	const struct series *series = series_of(kind_of(picture), &count);

	strbuf_addstr(out, "$data << END\n");
	for (int point = 0; point < 2 * GRAPH_SLOTS; point++) {
		int64_t edge = 0;

		strbuf_addf(out, "%d 0", (point + 1) / 2);
		for (size_t i = 0; i < count; i++) {
			edge += slot_sum(data, picture / 2, point / 2, &series[i]);
			strbuf_addf(out, " %lld", (long long)edge);
		}
		strbuf_addch(out, '\n');
	}
	strbuf_addstr(out, "END\n");
}

static void add_stack_plot(int picture, struct strbuf *out)
{
	size_t count;
	const struct series *series = series_of(kind_of(picture), &count);

	for (size_t i = 0; i < count; i++)
		strbuf_addf(out,
			    "%s $data using 1:%zu:%zu with filledcurves fillstyle solid 1.0 "
			    "noborder fillcolor rgb \"%s\" notitle",
			    i ? "," : "plot", i + 2, i + 3, series[i].colour);
	strbuf_addch(out, '\n');
}

static int stack_height(int kind)
{
	const int rows = kind == KIND_AR ? 2 : 9; /* with the head */

	return PLOT_HEIGHT + rows * ROW_HEIGHT + ROW_HEIGHT / 2;
}

static void add_stack(const struct graph_data *data, int picture, int height, struct strbuf *out)
{
	add_times(data, &graph_periods[picture / 2], out);
	strbuf_addf(out, "set ylabel \"decisions per %s\"\n", graph_periods[picture / 2].slot);
	add_legend(data, picture, height, out);
	add_stack_data(data, picture, out);
}

static void add_delays(const struct graph_data *data, struct strbuf *out)
{
	strbuf_addf(out, "set xrange [-0.5:%d.5]\nset ylabel \"triplets\"\nset xtics (",
		    GRAPH_BINS - 1);
	for (int i = 0; i < GRAPH_BINS; i++)
		strbuf_addf(out, "%s\"%s\" %d", i ? ", " : "", graph_bins[i].title, i);
	strbuf_addstr(out, ")\n$data << END\n");
	for (int i = 0; i < GRAPH_BINS; i++)
		strbuf_addf(out, "%d %lld\n", i, (long long)data->delays[i]);
	strbuf_addstr(out, "END\n");
}

static void add_checks(const struct graph_data *data, int height, struct strbuf *out)
{
	double y = row_y(0, height);

	strbuf_addf(out,
		    "set xrange [%d.5:%d.5]\nset ylabel \"triplets\"\nset xtics font \",10\" (",
		    STORE_GRAPH_DNSBL - 1, STORE_GRAPH_CLASSES - 1);
	for (int i = STORE_GRAPH_DNSBL; i < STORE_GRAPH_CLASSES; i++)
		strbuf_addf(out, "%s\"%s\" %d", i > STORE_GRAPH_DNSBL ? ", " : "",
			    ch_series[i].title, i);
	strbuf_addstr(out, ")\n$data << END\n");
	for (int i = STORE_GRAPH_DNSBL; i < STORE_GRAPH_CLASSES; i++)
		strbuf_addf(out, "%d %lld %lld\n", i, (long long)data->tuples[i][1],
			    (long long)data->tuples[i][0]);
	strbuf_addstr(out, "END\n");
	add_box(out, "#0072B2", MARGIN, y, height);
	add_label(out, "came back and passed (false alarms)", MARGIN + BOX + 8, y, "left");
	add_box(out, "#E69F00", MARGIN + COLUMN_WIDTH, y, height);
	add_label(out, "has not come back", MARGIN + COLUMN_WIDTH + BOX + 8, y, "left");
}

static void add_plot(const struct graph_data *data, int picture, struct strbuf *out)
{
	int kind = kind_of(picture);

	if (!picture_total(data, picture))
		strbuf_addstr(out, "plot [0:1] [0:1] NaN notitle\n");
	else if (kind < KIND_DELAY)
		add_stack_plot(picture, out);
	else if (kind == KIND_DELAY)
		strbuf_addstr(out,
			      "plot $data using 1:2 with boxes fillcolor rgb \"#0072B2\" "
			      "notitle, $data using 1:2:2 with labels offset 0, 0.7 notitle\n");
	else
		strbuf_addstr(
		    out,
		    "plot $data using ($1 - 0.2):2 with boxes fillcolor rgb \"#0072B2\" notitle,"
		    " $data using ($1 + 0.2):3 with boxes fillcolor rgb \"#E69F00\" notitle,"
		    " $data using ($1 - 0.2):2:2 with labels offset 0, 0.7 notitle,"
		    " $data using ($1 + 0.2):3:3 with labels offset 0, 0.7 notitle\n");
}

static void add_frame(const struct graph_data *data, int picture, int height, struct strbuf *out)
{
	int kind = kind_of(picture);

	strbuf_addstr(out, "reset\nset title \"");
	graph_picture_title(picture, out);
	strbuf_addstr(out, "\" font \"" TITLE_FONT "\"\nunset key\n");
	if (!picture_total(data, picture)) {
		strbuf_addstr(out, "unset border\nunset tics\n"
				   "set label \"no mail in this period\" at screen 0.5, screen 0.5 "
				   "center font \"" TITLE_FONT "\" textcolor rgb \"#555555\"\n");
		return;
	}
	strbuf_addf(out,
		    "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset bmargin at screen "
		    "%.4f\n",
		    across(MARGIN + 40), across(WIDTH - MARGIN),
		    1.0 - (double)(PLOT_HEIGHT - LABEL_HEIGHT) / height);
	strbuf_addstr(out, "set border 3\nset tics nomirror out\nset grid ytics back linecolor rgb "
			   "\"#dddddd\"\nset yrange [0:*]\nset offsets 0, 0, graph 0.08, 0\n"
			   "set boxwidth 0.38\nset style fill solid 1.0 noborder\n");
	if (kind < KIND_DELAY)
		add_stack(data, picture, height, out);
	else if (kind == KIND_DELAY)
		add_delays(data, out);
	else
		add_checks(data, height, out);
}

void graph_script(const struct graph_data *data, struct strbuf *out)
{
	static const char *const terminals[][2] = {{"svg noenhanced background rgb 'white'", "svg"},
						   {"pngcairo noenhanced", "png"}};
	char name[GRAPH_NAME_SIZE];

	for (int picture = 0; picture < GRAPH_PICTURES; picture++) {
		int kind = kind_of(picture);
		int height = kind < KIND_DELAY && picture_total(data, picture)
				 ? stack_height(kind)
				 : PLOT_HEIGHT + ROW_HEIGHT;

		graph_picture_name(picture, name);
		add_frame(data, picture, height, out);
		for (int i = 0; i < 2; i++) {
			strbuf_addf(out,
				    "set terminal %s size %d,%d font \"" FONT
				    "\"\nset output '%s.%s'\n",
				    terminals[i][0], WIDTH, height, name, terminals[i][1]);
			add_plot(data, picture, out);
			strbuf_addstr(out, "unset output\n");
		}
	}
}
