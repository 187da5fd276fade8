/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/table.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"

#define GAP 2 /* blanks between columns */

enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };

/* Characters, not bytes. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

void table_init(struct table *t, FILE *out, const char *const *titles, size_t columns)
{
	*t = (struct table){.out = out, .titles = titles, .columns = columns};
	for (size_t i = 0; titles && i < t->columns; i++)
		t->width[i] = width_of(titles[i]);
}

static void print_row(const struct table *t, const char *const *cells)
{
	for (size_t i = 0; i < t->columns; i++) {
		size_t width = width_of(cells[i]);
		size_t pad = t->width[i] > width ? t->width[i] - width : 0;

		fputs(cells[i], t->out);
		if (i + 1 < t->columns)
			fprintf(t->out, "%*s", (int)pad + GAP, "");
	}
	putc('\n', t->out);
}

static void print_held(struct table *t)
{
	if (t->titles)
		print_row(t, t->titles);
	for (size_t row = 0; row < t->held; row++)
		print_row(t, t->cells[row]);
	t->held = 0;
	arena_reset(&t->arena);
}

void table_row(struct table *t, const char *const *cells)
{
	const char *clean[TABLE_COLUMNS_MOST] = {NULL};

	for (size_t i = 0; i < t->columns; i++)
		clean[i] = table_text(&t->arena, cells[i]);
	if (t->rows++ >= TABLE_HELD) {
		print_row(t, clean);
		arena_reset(&t->arena);
		return;
	}
	for (size_t i = 0; i < t->columns; i++) {
		size_t width = width_of(clean[i]);

		if (width > t->width[i])
			t->width[i] = width;
		t->cells[t->held][i] = arena_strdup(&t->arena, clean[i]);
	}
	if (++t->held == TABLE_HELD)
		print_held(t);
}

void table_end(struct table *t)
{
	if (t->held)
		print_held(t);
	arena_release(&t->arena);
}

/* Whether a UTF-8 character turns the direction of what follows: U+200E, U+200F, U+202A to U+202E,
 * U+2066 to U+2069. A terminal that heeds them shows one address as another. */
static bool turns_text(const char *s)
{
	unsigned char last;

	if (s[0] != '\xe2' || (s[1] != '\x80' && s[1] != '\x81'))
		return false;
	last = (unsigned char)s[2];
	if (s[1] == '\x81')
		return last >= 0xa6 && last <= 0xa9;
	return last == 0x8e || last == 0x8f || (last >= 0xaa && last <= 0xae);
}

const char *table_text(struct arena *arena, const char *text)
{
	char *clean = arena_strdup(arena, text_clean(arena, text, strlen(text)));

	for (char *s = clean; *s; s++)
		if (turns_text(s))
			for (size_t i = 0; i < TEXT_REPLACEMENT_LENGTH; i++) /* as long as those */
				s[i] = TEXT_REPLACEMENT[i];
	return clean;
}

const char *table_address(struct arena *arena, const char *address)
{
	return *address ? table_text(arena, address) : "<>";
}

int64_t table_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

const char *table_time(struct arena *arena, int64_t us)
{
	time_t s = (time_t)(us / US_PER_S);
	char text[64];
	struct tm tm;

	if (!localtime_r(&s, &tm) || !strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm))
		return "?";
	return arena_strdup(arena, text);
}

const char *table_duration(struct arena *arena, int64_t seconds)
{
	int s = (int)(seconds % MINUTE), m = (int)(seconds % HOUR / MINUTE);
	int h = (int)(seconds % DAY / HOUR);

	if (seconds < MINUTE)
		return arena_printf(arena, "%ds", s);
	if (seconds < HOUR)
		return arena_printf(arena, "%dm %ds", m, s);
	if (seconds < DAY)
		return arena_printf(arena, "%dh %dm", h, m);
	return arena_printf(arena, "%lldd %dh", (long long)(seconds / DAY), h);
}
