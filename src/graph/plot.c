/* SPDX-License-Identifier: BSD-3-Clause */
#include "graph/picture.h"

#include <stdio.h>
#include <time.h>

/* Everything is placed in pixels from the left and the top, which gnuplot wants as parts of the
 * whole from the left and the bottom. */
struct form {
	int width, margin;
	int title_lines, title_row;    /* a row's height, here and below */
	int plot, plot_left, plot_end; /* of a stack: its height, and between where it lies */
	int axis;		       /* the height of the times below it */
	int times_step;		       /* slots from one time on the axis to the next */
	int bar, bars_left;	       /* a bar's height with the gap, where it begins */
	int row;		       /* of the legend */
	int columns, column;	       /* it stands in so many, and one's width */
	int first_number, number;      /* where a column's first number ends, and one's width */
};

static const struct form wide = {
    .width = 900,
    .margin = 32,
    .title_lines = 1,
    .title_row = 44,
    .plot = 260,
    .plot_left = 110,
    .plot_end = 840,
    .axis = 66,
    .times_step = 2,
    .bar = 32,
    .bars_left = 210,
    .row = 24,
    .columns = 2,
    .column = 440,
    .first_number = 266,
    .number = 64,
};

static const struct form narrow = {
    .width = 360,
    .margin = 8,
    .title_lines = 2,
    .title_row = 24,
    .plot = 230,
    .plot_left = 60,
    .plot_end = 328,
    .axis = 58,
    .times_step = 3,
    .bar = 28,
    .bars_left = 142,
    .row = 22,
    .columns = 1,
    .column = 360,
    .first_number = 240,
    .number = 52,
};

struct scheme {
	const char *background, *text, *soft, *grid;
};

static const struct scheme schemes[GRAPH_SCHEMES] = {
    {"#ffffff", "#222222", "#555555", "#dddddd"},
    {"#1d2022", "#e6e6e6", "#b0b0b0", "#3a3e41"},
};

/* What shows SVG knows its own fonts. */
#define SVG_FONT "sans-serif"
#define PNG_FONT "DejaVu Sans"

static const struct variant {
	const char *terminal;
	const struct form *form;
	int scheme;
	const char *font, *title_font;
} variants[GRAPH_VARIANTS] = {
    [GRAPH_SVG] = {"svg", &wide, 0, SVG_FONT ",15", SVG_FONT ",19"},
    [GRAPH_SVG_DARK] = {"svg", &wide, 1, SVG_FONT ",15", SVG_FONT ",19"},
    [GRAPH_SVG_NARROW] = {"svg", &narrow, 0, SVG_FONT ",13", SVG_FONT ",15"},
    [GRAPH_SVG_NARROW_DARK] = {"svg", &narrow, 1, SVG_FONT ",13", SVG_FONT ",15"},
    [GRAPH_PNG] = {"pngcairo", &wide, 0, PNG_FONT ",11.5", PNG_FONT ",14"},
};

#define BOX 14	   /* a legend's colour */
#define BOX_GAP 8  /* and what it stands for */
#define PADDING 14 /* below the last row */
#define BAR_PARTS 2
#define PLOT_NOTHING "unset border\nunset tics\nplot [0:1] [0:1] NaN notitle\n"

/* The colours of what came back and what has not. */
enum { CAME_BACK, STAYED_AWAY };

struct drawing {
	const struct graph_data *data;
	int picture;
	enum picture_kind kind;
	const struct variant *variant;
	const struct form *form;
	const struct scheme *scheme;
	int height;
	struct strbuf *out;
};

static const char *colour_of(const struct drawing *d, const struct series *series)
{
	return series->colour[d->variant->scheme];
}

static const char *bar_colour(const struct drawing *d, int which)
{
	size_t count;

	return colour_of(d, &picture_series(PICTURE_AR, &count)[which]);
}

/* --- how high it is */

/* What other thresholds deferred has a row only where there is such mail. */
static bool is_shown(const struct drawing *d, const struct series *series)
{
	return series->first != STORE_GRAPH_OTHER ||
	       series_sums(d->data, d->picture / 2, series).total > 0;
}

static int group_of(const struct series *series)
{
	return series->first >= STORE_GRAPH_BAD_CACHE;
}

static int legend_rows(const struct drawing *d)
{
	bool beside = d->form->columns > 1;
	int rows[2] = {1, beside || d->kind == PICTURE_CH}; /* their heads */
	size_t count;
	const struct series *series = picture_series(d->kind, &count);

	for (size_t i = 0; i < count; i++)
		rows[group_of(&series[i])] += is_shown(d, &series[i]);
	if (!beside)
		return rows[0] + rows[1];
	return rows[0] > rows[1] ? rows[0] : rows[1];
}

static int top(const struct form *form)
{
	return form->title_lines * form->title_row + PADDING;
}

/* Of the bars' pictures. */
static int bar_count(const struct drawing *d)
{
	return d->kind == PICTURE_DELAY ? GRAPH_BINS
					: BAR_PARTS * (STORE_GRAPH_CLASSES - STORE_GRAPH_DNSBL);
}

/* Without the legend. */
static int upper_height(const struct drawing *d)
{
	const struct form *form = d->form;

	if (d->kind >= PICTURE_DELAY)
		return top(form) + bar_count(d) * form->bar + PADDING;
	return top(form) + form->plot + form->axis;
}

static int height_of(const struct drawing *d)
{
	const struct form *form = d->form;
	int rows = 0;

	if (!picture_total(d->data, d->picture))
		return top(form) + 4 * form->row;
	if (d->kind < PICTURE_DELAY)
		rows = legend_rows(d);
	else if (d->kind == PICTURE_CHECKS)
		rows = BAR_PARTS / form->columns;
	return upper_height(d) + rows * form->row + PADDING;
}

static struct drawing drawing_of(const struct graph_data *data, int picture,
				 enum graph_variant which, struct strbuf *out)
{
	const struct variant *variant = &variants[which];
	struct drawing d = {.data = data,
			    .picture = picture,
			    .kind = picture_kind(picture),
			    .variant = variant,
			    .form = variant->form,
			    .scheme = &schemes[variant->scheme],
			    .out = out};

	d.height = height_of(&d);
	return d;
}

struct graph_size graph_picture_size(const struct graph_data *data, int picture,
				     enum graph_variant variant)
{
	struct drawing d = drawing_of(data, picture, variant, NULL);

	return (struct graph_size){.width = d.form->width, .height = d.height};
}

/* --- its parts */

static double across(const struct drawing *d, double x)
{
	return x / d->form->width;
}

static double up(const struct drawing *d, double y)
{
	return 1.0 - y / d->height;
}

static void add_label(const struct drawing *d, const char *text, double x, double y,
		      const char *align, const char *colour)
{
	strbuf_addf(d->out,
		    "set label \"%s\" at screen %.4f, screen %.4f %s textcolor rgb \"%s\"\n", text,
		    across(d, x), up(d, y), align, colour);
}

/* In six characters at most. */
static void format_number(char out[32], double number, int decimals)
{
	static const char *const units[] = {"", "k", "M", "G", "T"};
	int unit = 0;

	while (number >= 99999.5 && unit < 4) {
		number /= 1000;
		unit++;
	}
	snprintf(out, 32, "%.*f%s", unit || number >= 999.95 ? 0 : decimals, number, units[unit]);
}

static void add_number(const struct drawing *d, double number, int decimals, int x, double y)
{
	char text[32];

	format_number(text, number, decimals);
	add_label(d, text, x, y, "right", d->scheme->text);
}

static void add_rectangle(const struct drawing *d, double x, double y, double width, double height,
			  const char *colour, const char *border)
{
	strbuf_addf(d->out,
		    "set object rectangle from screen %.4f, screen %.4f to screen %.4f, screen "
		    "%.4f fillcolor rgb \"%s\" fillstyle solid 1.0 border rgb \"%s\"\n",
		    across(d, x), up(d, y + height), across(d, x + width), up(d, y), colour,
		    border);
}

static void add_entry(const struct drawing *d, const char *colour, const char *title, int x,
		      double y)
{
	add_rectangle(d, x, y - BOX / 2.0, BOX, BOX, colour, d->scheme->soft);
	add_label(d, title, x + BOX + BOX_GAP, y, "left", d->scheme->text);
}

static double row_y(const struct drawing *d, int row)
{
	return upper_height(d) + (row + 0.5) * d->form->row;
}

static void add_title_line(const struct drawing *d, const char *text, int line)
{
	const struct form *form = d->form;
	double y = PADDING + (line + 0.5) * form->title_row - (double)form->title_row / 4;
	struct strbuf how = STRBUF_INIT;

	strbuf_addf(&how, "left font \"%s\"", line ? d->variant->font : d->variant->title_font);
	add_label(d, text, form->margin, y, how.buf, line ? d->scheme->soft : d->scheme->text);
	strbuf_release(&how);
}

static void add_title(const struct drawing *d)
{
	struct strbuf text = STRBUF_INIT;

	strbuf_addstr(&text, picture_subject(d->picture));
	if (d->form->title_lines > 1) {
		add_title_line(d, text.buf, 0);
		strbuf_clear(&text);
	} else
		strbuf_addstr(&text, ", ");
	picture_time(d->picture, &text);
	add_title_line(d, text.buf, d->form->title_lines - 1);
	strbuf_release(&text);
}

static void add_heads(const struct drawing *d, int group, int x, double y)
{
	static const char *const groups[] = {"accepted", "deferred"};
	static const char *const heads[] = {"max", "avg", "min"};

	if (d->kind == PICTURE_CH)
		add_label(d, groups[group], x, y, "left", d->scheme->soft);
	for (int i = 0; i < 3; i++)
		add_label(d, heads[i], x + d->form->first_number + i * d->form->number, y, "right",
			  d->scheme->soft);
}

static void add_legend_row(const struct drawing *d, const struct series *series, int x, double y)
{
	struct sums sums = series_sums(d->data, d->picture / 2, series);
	int number = x + d->form->first_number;

	add_entry(d, colour_of(d, series), series->title, x, y);
	add_number(d, (double)sums.max, 0, number, y);
	add_number(d, (double)sums.total / GRAPH_SLOTS, 1, number + d->form->number, y);
	add_number(d, (double)sums.min, 0, number + 2 * d->form->number, y);
}

/* Accepted and deferred mail beside each other, or the one below the other. */
static void add_legend(const struct drawing *d)
{
	bool beside = d->form->columns > 1;
	int group = -1, row = 0, x = d->form->margin;
	size_t count;
	const struct series *series = picture_series(d->kind, &count);

	for (size_t i = 0; i < count; i++) {
		if (!is_shown(d, &series[i]))
			continue;
		if (group_of(&series[i]) != group) {
			group = group_of(&series[i]);
			row = beside ? 0 : row;
			x = d->form->margin + (beside ? group * d->form->column : 0);
			if (beside || !group || d->kind == PICTURE_CH)
				add_heads(d, group, x, row_y(d, row++));
		}
		add_legend_row(d, &series[i], x, row_y(d, row++));
	}
}

/* Each slot lies between two ticks, with the local time at some. */
static void add_times(const struct drawing *d)
{
	const struct graph_period *period = &graph_periods[d->picture / 2];

	strbuf_addf(d->out, "set xrange [0:%d]\nset xtics (", GRAPH_SLOTS);
	for (int i = 0; i <= GRAPH_SLOTS; i++) {
		time_t when = (time_t)(d->data->now_s - (GRAPH_SLOTS - i) * period->slot_s);
		char text[64] = "";
		struct tm local;

		if (i % d->form->times_step == 0 && localtime_r(&when, &local))
			strftime(text, sizeof(text), period->time_format, &local);
		strbuf_addf(d->out, "%s\"%s\" %d", i ? ", " : "", text, i);
	}
	strbuf_addstr(d->out, ")\n");
}

/* Decisions are whole, and large numbers are to leave room for the picture. */
static void add_counts(const struct drawing *d)
{
	static const struct series all = {.first = 0, .end = STORE_GRAPH_CLASSES};
	int64_t most = series_sums(d->data, d->picture / 2, &all).max;

	if (most < 8)
		strbuf_addstr(d->out, "set ytics 1\n");
	strbuf_addf(d->out, "set format y \"%s\"\n",
		    most < 100000    ? "%.0f"
		    : most < 1000000 ? "%.0s%c"
				     : "%.1s%c");
	if (d->form->title_lines == 1)
		strbuf_addf(d->out, "set ylabel \"decisions in %s\" textcolor rgb \"%s\"\n",
			    graph_periods[d->picture / 2].slot, d->scheme->soft);
}

/* Two points a slot, so that its area is its count: x and the stack's edges. */
static void add_stack_data(const struct drawing *d)
{
	size_t count;
	const struct series *series = picture_series(d->kind, &count);

	strbuf_addstr(d->out, "$data << END\n");
	for (int point = 0; point < 2 * GRAPH_SLOTS; point++) {
		int64_t edge = 0;

		strbuf_addf(d->out, "%d 0", (point + 1) / 2);
		for (size_t i = 0; i < count; i++) {
			edge += series_slot(d->data, d->picture / 2, point / 2, &series[i]);
			strbuf_addf(d->out, " %lld", (long long)edge);
		}
		strbuf_addch(d->out, '\n');
	}
	strbuf_addstr(d->out, "END\n");
}

/* With a line on top, for a colour that is hardly darker or lighter than the ground. */
static void add_stack_plot(const struct drawing *d)
{
	size_t count;
	const struct series *series = picture_series(d->kind, &count);

	strbuf_addstr(d->out, "plot ");
	for (size_t i = 0; i < count; i++)
		strbuf_addf(d->out,
			    "$data using 1:%zu:%zu with filledcurves fillstyle solid 1.0 noborder "
			    "fillcolor rgb \"%s\" notitle, ",
			    i + 2, i + 3, colour_of(d, &series[i]));
	strbuf_addf(d->out,
		    "$data using 1:%zu with lines linewidth 1 linecolor rgb \"%s\" notitle\n",
		    count + 2, d->scheme->soft);
}

static void add_stack(const struct drawing *d)
{
	const struct form *form = d->form;

	strbuf_addf(d->out,
		    "set lmargin at screen %.4f\nset rmargin at screen %.4f\n"
		    "set tmargin at screen %.4f\nset bmargin at screen %.4f\n",
		    across(d, form->plot_left), across(d, form->plot_end), up(d, top(form)),
		    up(d, top(form) + form->plot));
	strbuf_addf(d->out,
		    "set border 3 linecolor rgb \"%s\"\nset tics nomirror out scale 0.5 textcolor "
		    "rgb \"%s\"\n"
		    "set grid ytics back linecolor rgb \"%s\" linetype 1\nset yrange [0:*]\n"
		    "set offsets 0, 0, graph 0.05, 0\n",
		    d->scheme->soft, d->scheme->text, d->scheme->grid);
	add_times(d);
	add_counts(d);
	add_legend(d);
	add_stack_data(d);
	add_stack_plot(d);
}

/* --- bars, each a row with its name and number */

struct bar {
	const char *title;
	int64_t count;
	int colour;
};

static struct bar bar_of(const struct drawing *d, int i)
{
	const struct graph_data *data = d->data;
	int what = STORE_GRAPH_DNSBL + i / BAR_PARTS;

	if (d->kind == PICTURE_DELAY)
		return (struct bar){graph_bins[i].title, data->delays[i], CAME_BACK};
	if (i % BAR_PARTS == CAME_BACK)
		return (struct bar){picture_class((enum store_graph_class)what)->title,
				    data->tuples[what][1], CAME_BACK};
	return (struct bar){"", data->tuples[what][0], STAYED_AWAY};
}

static void add_bar(const struct drawing *d, int i, int64_t most)
{
	const struct form *form = d->form;
	struct bar bar = bar_of(d, i);
	int room = form->width - form->margin - form->bars_left - form->number;
	double width = (double)room * (double)bar.count / (double)most;
	double y = top(form) + (i + 0.5) * form->bar, height = form->bar * 0.75;
	bool paired = d->kind == PICTURE_CHECKS; /* with less between the two of a pair */
	char number[32];

	if (paired)
		y += form->bar * (i % BAR_PARTS ? -0.08 : 0.08);
	add_label(d, bar.title, form->bars_left - BOX_GAP, paired ? y + height / 2 : y, "right",
		  d->scheme->text);
	add_rectangle(d, form->bars_left, y - height / 2, width > 1 ? width : 1, height,
		      bar_colour(d, bar.colour), bar_colour(d, bar.colour));
	format_number(number, (double)bar.count, 0);
	add_label(d, number, form->bars_left + width + BOX_GAP, y, "left", d->scheme->text);
}

static void add_bars(const struct drawing *d)
{
	static const char *const titles[BAR_PARTS] = {"came back and passed (false alarms)",
						      "has not come back"};
	const struct form *form = d->form;
	int64_t most = 1;

	for (int i = 0; i < bar_count(d); i++)
		most = bar_of(d, i).count > most ? bar_of(d, i).count : most;
	for (int i = 0; i < bar_count(d); i++)
		add_bar(d, i, most);
	for (int i = 0; d->kind == PICTURE_CHECKS && i < BAR_PARTS; i++)
		add_entry(d, bar_colour(d, i), titles[i],
			  form->margin + i % form->columns * form->column,
			  row_y(d, i / form->columns));
	strbuf_addstr(d->out, PLOT_NOTHING);
}

static void add_emptiness(const struct drawing *d)
{
	add_label(d, "no mail in this period", d->form->width / 2.0,
		  top(d->form) + 1.5 * d->form->row, "center", d->scheme->soft);
	strbuf_addstr(d->out, PLOT_NOTHING);
}

static void add_picture(const struct drawing *d, const char *file)
{
	strbuf_addf(d->out,
		    "reset\nset terminal %s noenhanced background rgb \"%s\" size %d,%d font "
		    "\"%s\"\nset output '%s'\nunset key\n",
		    d->variant->terminal, d->scheme->background, d->form->width, d->height,
		    d->variant->font, file);
	add_title(d);
	if (!picture_total(d->data, d->picture))
		add_emptiness(d);
	else if (d->kind < PICTURE_DELAY)
		add_stack(d);
	else
		add_bars(d);
	strbuf_addstr(d->out, "unset output\n");
}

void graph_script(const struct graph_data *data, struct strbuf *out)
{
	char file[GRAPH_NAME_SIZE];

	for (int picture = 0; picture < GRAPH_PICTURES; picture++)
		for (int variant = 0; variant < GRAPH_VARIANTS; variant++) {
			struct drawing d = drawing_of(data, picture, (enum graph_variant)variant,
						      out);

			graph_file_name(picture, (enum graph_variant)variant, file);
			add_picture(&d, file);
		}
}
