/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/json.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"

/* One character (len bytes of UTF-8), which may be a control character or a line separator. */
static void put_char(FILE *out, const char *s, size_t len)
{
	const unsigned char *u = (const unsigned char *)s;
	unsigned code = u[0];

	if (text_is_clean(s, len)) {
		if (*s == '"' || *s == '\\')
			putc('\\', out);
		fwrite(s, 1, len, out);
		return;
	}
	if (len == 2)
		code = (u[0] & 0x1fU) << 6 | (u[1] & 0x3fU);
	else if (len == 3)
		code = (u[0] & 0x0fU) << 12 | (u[1] & 0x3fU) << 6 | (u[2] & 0x3fU);
	fprintf(out, "\\u%04x", code);
}

static bool is_plain(char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

static void put_string(FILE *out, const char *s)
{
	size_t left = strlen(s), len;

	putc('"', out);
	for (; left; s += len, left -= len) {
		/* nearly all there is: plain characters in one go */
		for (len = 0; len < left && is_plain(s[len]); len++)
			;
		fwrite(s, 1, len, out);
		if (len)
			continue;
		len = text_utf8_length(s, left);
		if (len) {
			put_char(out, s, len);
		} else {
			fputs("\\ufffd", out);
			len = 1;
		}
	}
	putc('"', out);
}

/* What stands before a value. The first two levels have a line for each. */
static void begin(struct json *j, const char *key)
{
	if (j->follows)
		putc(',', j->out);
	if (j->depth == 1)
		fputs("\n ", j->out);
	else if (j->follows)
		putc(' ', j->out);
	j->follows = true;
	if (!key)
		return;
	put_string(j->out, key);
	fputs(": ", j->out);
}

void json_open(struct json *j, const char *key, char bracket)
{
	begin(j, key);
	putc(bracket, j->out);
	j->closing[j->depth++] = bracket == '{' ? '}' : ']';
	j->follows = false;
}

void json_close(struct json *j)
{
	j->depth--;
	if (j->depth == 0 && j->follows)
		putc('\n', j->out);
	putc(j->closing[j->depth], j->out);
	j->follows = true;
	if (j->depth == 0)
		putc('\n', j->out);
}

void json_int(struct json *j, const char *key, int64_t value)
{
	begin(j, key);
	fprintf(j->out, "%" PRId64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	begin(j, key);
	fputs(value ? "true" : "false", j->out);
}

void json_text(struct json *j, const char *key, const char *text)
{
	begin(j, key);
	if (text)
		put_string(j->out, text);
	else
		fputs("null", j->out);
}

void json_time(struct json *j, const char *key, int64_t us)
{
	time_t s = (time_t)(us / US_PER_S);
	char text[64];
	struct tm tm;

	if (!gmtime_r(&s, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		json_text(j, key, NULL);
	else
		json_text(j, key, text);
}
