/* SPDX-License-Identifier: BSD-3-Clause */
#include "graph/picture.h"

#include <stdio.h>

#define ONE(class) (class), (class) + 1

static const struct series ar_series[] = {
    {"accepted", {"#0072B2", "#4AA3DF"}, 0, STORE_GRAPH_BAD_CACHE},
    {"deferred", {"#E69F00", "#E69F00"}, STORE_GRAPH_BAD_CACHE, STORE_GRAPH_CLASSES},
};

/* What was accepted is cool and lies below; what was deferred is warm. Of any two colours the
 * difference (CIEDE2000) is 12 or more also for those who lack one kind of cones, of two that lie
 * beside each other 21. */
static const struct series ch_series[] = {
    {"good cache", {"#59A3FF", "#65B5FE"}, ONE(STORE_GRAPH_GOOD_CACHE)},
    {"whitelisted", {"#223F72", "#37548E"}, ONE(STORE_GRAPH_WHITELISTED)},
    {"known good", {"#088B5A", "#149D6B"}, ONE(STORE_GRAPH_KNOWN_GOOD)},
    {"good grey (waited)", {"#D5EBE1", "#8BF1FF"}, ONE(STORE_GRAPH_GOOD_GREY)},
    {"in DNSWL", {"#0069D2", "#0078EF"}, ONE(STORE_GRAPH_DNSWL)},
    {"new good", {"#62E9FE", "#EDFFF4"}, ONE(STORE_GRAPH_NEW_GOOD)},
    {"bad cache", {"#990700", "#B75F01"}, ONE(STORE_GRAPH_BAD_CACHE)},
    {"bad grey (too early)", {"#C3BF90", "#FBDEA8"}, ONE(STORE_GRAPH_BAD_GREY)},
    {"in DNSBL", {"#000000", "#5B5358"}, ONE(STORE_GRAPH_DNSBL)},
    {"bad HELO", {"#969B00", "#E99C00"}, ONE(STORE_GRAPH_HELO)},
    {"from DynIP", {"#925E7E", "#987399"}, ONE(STORE_GRAPH_DYN)},
    {"bad SPF", {"#FED701", "#FFFF1E"}, ONE(STORE_GRAPH_SPF)},
    {"sender==recipient", {"#68313D", "#88402F"}, ONE(STORE_GRAPH_S_EQ_R)},
    {"other thresholds", {"#98A3A6", "#B4ABAE"}, ONE(STORE_GRAPH_OTHER)},
};

#define AR_COUNT (sizeof(ar_series) / sizeof(ar_series[0]))
#define CH_COUNT (sizeof(ch_series) / sizeof(ch_series[0]))

enum picture_kind picture_kind(int picture)
{
	if (picture >= 2 * GRAPH_PERIODS)
		return picture == 2 * GRAPH_PERIODS ? PICTURE_DELAY : PICTURE_CHECKS;
	return picture % 2 ? PICTURE_CH : PICTURE_AR;
}

const struct series *picture_series(enum picture_kind kind, size_t *count)
{
	*count = kind == PICTURE_AR ? AR_COUNT : CH_COUNT;
	return kind == PICTURE_AR ? ar_series : ch_series;
}

const struct series *picture_class(enum store_graph_class what)
{
	return &ch_series[what];
}

const char *picture_subject(int picture)
{
	static const char *const of_kind[] = {"Accepted and deferred", "Decisions by check",
					      "How long greylisted mail really waited",
					      "Greylisted mail that came back, or not"};

	return of_kind[picture_kind(picture)];
}

void picture_time(int picture, struct strbuf *out)
{
	const struct graph_period *period = &graph_periods[picture / 2];

	if (picture_kind(picture) < PICTURE_DELAY)
		strbuf_addf(out, "%s (%d slots of %s)", period->title, GRAPH_SLOTS, period->slot);
	else
		strbuf_addf(out, "%d days", GRAPH_TUNE_DAYS);
}

void graph_file_name(int picture, enum graph_variant variant, char out[GRAPH_NAME_SIZE])
{
	static const char *const of_kind[] = {"ar-", "ch-", "delay", "checks"};
	static const char *const endings[] = {".svg", "-dark.svg", "-narrow.svg",
					      "-narrow-dark.svg", ".png"};
	enum picture_kind kind = picture_kind(picture);

	snprintf(out, GRAPH_NAME_SIZE, "%s%s%s", of_kind[kind],
		 kind < PICTURE_DELAY ? graph_periods[picture / 2].name : "", endings[variant]);
}

int64_t series_slot(const struct graph_data *data, int period, int slot,
		    const struct series *series)
{
	int64_t sum = 0;

	for (int what = series->first; what < series->end; what++)
		sum += data->decisions[period][slot][what];
	return sum;
}

struct sums series_sums(const struct graph_data *data, int period, const struct series *series)
{
	struct sums sums = {.min = INT64_MAX};

	for (int slot = 0; slot < GRAPH_SLOTS; slot++) {
		int64_t count = series_slot(data, period, slot, series);

		sums.total += count;
		sums.max = count > sums.max ? count : sums.max;
		sums.min = count < sums.min ? count : sums.min;
	}
	return sums;
}

int64_t picture_total(const struct graph_data *data, int picture)
{
	static const struct series all = {.first = 0, .end = STORE_GRAPH_CLASSES};
	enum picture_kind kind = picture_kind(picture);
	int64_t total = 0;

	if (kind < PICTURE_DELAY)
		return series_sums(data, picture / 2, &all).total;
	for (int i = 0; kind == PICTURE_DELAY && i < GRAPH_BINS; i++)
		total += data->delays[i];
	for (int i = 0; kind == PICTURE_CHECKS && i < STORE_GRAPH_CLASSES; i++)
		total += data->tuples[i][0] + data->tuples[i][1];
	return total;
}

static void text_of_stack(const struct graph_data *data, int picture, struct strbuf *out)
{
	size_t count;
	const struct series *series = picture_series(picture_kind(picture), &count);

	for (size_t i = 0; i < count; i++) {
		struct sums sums = series_sums(data, picture / 2, &series[i]);

		if (sums.total)
			strbuf_addf(out, "; %s %lld (at most %lld, at least %lld in %s)",
				    series[i].title, (long long)sums.total, (long long)sums.max,
				    (long long)sums.min, graph_periods[picture / 2].slot);
	}
}

void graph_picture_text(const struct graph_data *data, int picture, struct strbuf *out)
{
	enum picture_kind kind = picture_kind(picture);

	strbuf_addf(out, "%s, ", picture_subject(picture));
	picture_time(picture, out);
	if (!picture_total(data, picture))
		strbuf_addstr(out, ": no mail in this period");
	else if (kind < PICTURE_DELAY)
		text_of_stack(data, picture, out);
	for (int i = 0; kind == PICTURE_DELAY && i < GRAPH_BINS; i++)
		if (data->delays[i])
			strbuf_addf(out, "; %s: %lld", graph_bins[i].title,
				    (long long)data->delays[i]);
	for (int i = STORE_GRAPH_DNSBL; kind == PICTURE_CHECKS && i < STORE_GRAPH_CLASSES; i++)
		if (data->tuples[i][0] + data->tuples[i][1])
			strbuf_addf(out, "; %s: %lld came back, %lld did not", ch_series[i].title,
				    (long long)data->tuples[i][1], (long long)data->tuples[i][0]);
}
