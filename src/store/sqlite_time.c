/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/sqlite_time.h"

#include <stddef.h>
#include <time.h>

#include "base/clock.h"

#define S_PER_DAY 86400
#define TIME_MOST (INT64_C(253402300800) * US_PER_S - 1) /* the last of 9999 */
#define FRACTION_DIGITS 6

int64_t sqlite_time_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

/* Writes a number right to left, zeros in front. Returns where the next one begins. */
static char *put(char *out, int width, int64_t value, char behind)
{
	for (int i = width - 1; i >= 0; i--) {
		out[i] = (char)('0' + value % 10);
		value /= 10;
	}
	out[width] = behind;
	return out + width + 1;
}

void sqlite_time_format(int64_t us, char out[SQLITE_TIME_SIZE])
{
	struct tm tm;
	time_t s;

	us = us < 0 ? 0 : us > TIME_MOST ? TIME_MOST : us;
	s = (time_t)(us / US_PER_S);
	gmtime_r(&s, &tm);
	out = put(out, 4, tm.tm_year + 1900, '-');
	out = put(out, 2, tm.tm_mon + 1, '-');
	out = put(out, 2, tm.tm_mday, ' ');
	out = put(out, 2, tm.tm_hour, ':');
	out = put(out, 2, tm.tm_min, ':');
	out = put(out, 2, tm.tm_sec, '.');
	put(out, FRACTION_DIGITS, us % US_PER_S, '\0');
}

/* Reads exactly `width` digits with a value from min to max. NULL where they are not there. */
static const char *take(const char *s, int width, int min, int max, int *out)
{
	int value = 0;

	if (!s)
		return NULL;
	for (; width; width--, s++) {
		if (*s < '0' || *s > '9')
			return NULL;
		value = value * 10 + (*s - '0');
	}
	if (value < min || value > max)
		return NULL;
	*out = value;
	return s;
}

static const char *take_char(const char *s, char a, char b)
{
	return s && (*s == a || *s == b) ? s + 1 : NULL;
}

static const char *take_fraction(const char *s, int *us)
{
	int scale = (int)US_PER_S;

	*us = 0;
	for (; *s >= '0' && *s <= '9'; s++) {
		scale /= 10;
		*us += (*s - '0') * scale;
	}
	return s;
}

static const char *take_time_of_day(const char *s, struct tm *tm, int *us)
{
	s = take(s, 2, 0, 23, &tm->tm_hour);
	s = take_char(s, ':', ':');
	s = take(s, 2, 0, 59, &tm->tm_min);
	if (!s || *s != ':')
		return s;
	s = take(s + 1, 2, 0, 60, &tm->tm_sec);
	return s && *s == '.' ? take_fraction(s + 1, us) : s;
}

static bool parse(const char *s, struct tm *tm, int *us)
{
	*tm = (struct tm){.tm_isdst = -1};
	*us = 0;
	s = take(s, 4, 1970, 9999, &tm->tm_year);
	s = take_char(s, '-', '-');
	s = take(s, 2, 1, 12, &tm->tm_mon);
	s = take_char(s, '-', '-');
	s = take(s, 2, 1, 31, &tm->tm_mday);
	if (s && *s)
		s = take_time_of_day(take_char(s, ' ', 'T'), tm, us);
	if (s && *s == 'Z')
		s++;
	if (!s || *s)
		return false;
	tm->tm_year -= 1900;
	tm->tm_mon -= 1;
	return true;
}

/* Days since 1970-01-01 in the Gregorian calendar. The year is taken to begin in March, so that a
 * leap day is its last. */
static int64_t days(const struct tm *tm)
{
	int month = (tm->tm_mon + 10) % 12;
	int64_t year = tm->tm_year + 1900 - (month >= 10);
	int64_t day_of_year = (153 * month + 2) / 5 + tm->tm_mday - 1;

	return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

bool sqlite_time_parse(const char *text, int64_t *us)
{
	struct tm tm;
	int fraction;

	if (!parse(text, &tm, &fraction))
		return false;
	*us = (days(&tm) * S_PER_DAY + tm.tm_hour * INT64_C(3600) + tm.tm_min * INT64_C(60) +
	       tm.tm_sec) *
		  US_PER_S +
	      fraction;
	return true;
}

bool sqlite_time_parse_local(const char *text, int64_t *us)
{
	struct tm tm;
	int fraction;
	time_t s;

	if (!parse(text, &tm, &fraction))
		return false;
	s = mktime(&tm);
	if (s < 0)
		return false;
	*us = (int64_t)s * US_PER_S + fraction;
	return true;
}
