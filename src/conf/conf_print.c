/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/conf.h"

#include <string.h>

#include "base/strbuf.h"
#include "base/text.h"
#include "conf/conf_value.h"

#define COLUMNS 78 /* of prose */

/* Where a group of keys begins, in the order of conf_keys.def, and its heading. */
static const struct group {
	const char *first;
	const char *heading;
} groups[] = {
    {"dbtype", "The database"},
    {"reject_msg", "What is answered"},
    {"dnsbls", "DNS lists"},
    {"greylist_period", "How long a mail waits, how long it is remembered"},
    {"use_spf", "Other checks"},
    {"dns_timeout", "DNS"},
    {"exim_workaround", "Connections, and what is let through"},
    {"log_file", "Logging"},
    {"listen_addr", "Kept from the Python daemon"},
};

static const char *group_heading(const struct conf_key *key)
{
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (!strcmp(groups[i].first, key->name))
			return groups[i].heading;
	return NULL;
}

/* Whether a key is the first of its section. */
static bool begins_section(const struct conf_key *key)
{
	return key == conf_keys || strcmp(key[-1].section, key->section) != 0;
}

/* The largest value of a field's filter from `value` on without a gap. */
static unsigned range_end(const uint32_t bits[8], unsigned value)
{
	while (value < 255 && bits[(value + 1) / 32] >> ((value + 1) % 32) & 1)
		value++;
	return value;
}

/* One octet of a filter: `2`, `[2..9;11..255]`. */
static void print_field(struct strbuf *out, const uint32_t bits[8])
{
	struct strbuf members = STRBUF_INIT;
	unsigned count = 0;

	for (unsigned value = 0; value < 256; value++) {
		unsigned last;

		if (!(bits[value / 32] >> (value % 32) & 1))
			continue;
		last = range_end(bits, value);
		strbuf_addf(&members, "%s%u", members.len ? ";" : "", value);
		if (last > value)
			strbuf_addf(&members, "..%u", last);
		count += last - value + 1;
		value = last;
	}
	strbuf_addf(out, "%s%s%s", count == 1 ? "" : "[", members.buf, count == 1 ? "" : "]");
	strbuf_release(&members);
}

static void print_dnsl(struct strbuf *out, const struct dnsl_entries *entries)
{
	for (size_t i = 0; i < entries->count; i++) {
		const struct dnsl_entry *entry = &entries->items[i];

		strbuf_addf(out, "%s%s", i ? ", " : "", entry->zone);
		for (size_t field = 0; entry->filtered && field < 4; field++) {
			strbuf_addch(out, field ? '.' : '=');
			print_field(out, entry->filter[field]);
		}
		if (entry->weight != 1)
			strbuf_addf(out, "*%d", entry->weight);
	}
}

/* A text as the file holds it: percent signs doubled. */
static void print_text(struct strbuf *out, const char *text)
{
	for (; *text; text++) {
		strbuf_addch(out, *text);
		if (*text == '%')
			strbuf_addch(out, '%');
	}
}

static void print_list(struct strbuf *out, const struct conf_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		strbuf_addstr(out, i ? ", " : "");
		print_text(out, list->items[i]);
	}
}

/* In the key's unit where it goes, else in seconds. */
static void print_duration(struct strbuf *out, const struct conf_key *key, int64_t seconds)
{
	int64_t unit = conf_unit_seconds(key->unit);

	if (seconds % unit == 0)
		strbuf_addf(out, "%lld%c", (long long)(seconds / unit), key->unit);
	else
		strbuf_addf(out, "%llds", (long long)seconds);
}

static void print_value(struct strbuf *out, const struct conf *conf, const struct conf_key *key)
{
	const void *member = (const char *)conf + key->offset;

	switch (key->type) {
	case CONF_INTEGER:
		strbuf_addf(out, "%d", *(const int *)member);
		break;
	case CONF_BOOLEAN:
		strbuf_addch(out, *(const bool *)member ? '1' : '0');
		break;
	case CONF_DURATION:
		print_duration(out, key, *(const int64_t *)member);
		break;
	case CONF_SERVERS:
		print_list(out, member);
		break;
	case CONF_DNSL:
		print_dnsl(out, member);
		break;
	case CONF_SECRET:
		strbuf_addstr(out, "(hidden)");
		break;
	case CONF_HEADER:
		strbuf_addstr(out, *(const char *const *)member);
		break;
	default:
		print_text(out, *(const char *const *)member);
		break;
	}
}

void conf_print_settings(const struct conf *conf, FILE *out)
{
	struct strbuf value = STRBUF_INIT;

	for (const struct conf_key *key = conf_keys; key < conf_keys + conf_key_count; key++) {
		if (begins_section(key))
			fprintf(out, "%s[%s]\n", key == conf_keys ? "" : "\n", key->section);
		strbuf_clear(&value);
		print_value(&value, conf, key);
		fprintf(out, "%s =%s%s\n", key->name, value.len ? " " : "", value.buf);
	}
	strbuf_release(&value);
}

/* A text in lines of at most COLUMNS, `prefix` before each. */
static void print_wrapped(FILE *out, const char *prefix, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t len = strcspn(text, " ");

		if (column && column + 1 + len > COLUMNS) {
			fputc('\n', out);
			column = 0;
		}
		fprintf(out, "%s%.*s", column ? " " : prefix, (int)len, text);
		column += len + (column ? 1 : strlen(prefix));
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void print_comment(FILE *out, const char *text)
{
	print_wrapped(out, "# ", text);
}

/* What a key takes, where its prose does not say all of it; NULL where there is nothing to add. */
static const char *range_text(struct arena *arena, const struct conf_key *key)
{
	switch (key->type) {
	case CONF_DURATION:
		return arena_printf(arena, "In %s, %lld to %lld.", conf_unit_name(key->unit),
				    (long long)key->min, (long long)key->max);
	case CONF_INTEGER:
		return arena_printf(arena, "A number from %lld to %lld.", (long long)key->min,
				    (long long)key->max);
	case CONF_BOOLEAN:
		return "1 (yes, true, on) or 0 (no, false, off).";
	default:
		return NULL;
	}
}

static void print_example_key(const struct conf_key *key, struct arena *arena, FILE *out)
{
	const char *range = range_text(arena, key);
	const char *heading = group_heading(key);

	if (begins_section(key))
		fprintf(out, "\n[%s]\n", key->section);
	if (heading)
		fprintf(out, "\n# --- %s ---\n", heading);
	fputc('\n', out);
	print_comment(
	    out, arena_printf(arena, "%s%s%s", key->prose, range ? " " : "", range ? range : ""));
	if (key->sample)
		fprintf(out, "%s = %s\n", key->name, key->sample);
	else
		fprintf(out, "#%s =%s%s\n", key->name, *key->fallback ? " " : "", key->fallback);
}

void conf_print_example(FILE *out)
{
	struct arena arena = ARENA_INIT;

	print_comment(out,
		      "The configuration of bley, see bley.conf(5). What is commented out shows "
		      "the default. Times may carry a unit: 90s, 5m, 2h, 1d. Lines that begin "
		      "with white space continue the line before; a percent sign is written "
		      "twice. `bleyctl check' finds mistakes.");
	for (size_t i = 0; i < conf_key_count; i++)
		print_example_key(&conf_keys[i], &arena, out);
	arena_release(&arena);
}

/* Adds a text in which mdoc finds no request and no escape. */
static void escape_mdoc(struct strbuf *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char before = i ? text[i - 1] : ' ';

		if (before == ' ' && (text[i] == '.' || text[i] == '\''))
			strbuf_addstr(out, "\\&");
		if (text[i] == '\\')
			strbuf_addstr(out, "\\e");
		else if (text[i] == '-')
			strbuf_addstr(out, "\\-");
		else
			strbuf_addch(out, text[i]);
	}
}

/* The length of the sentence that text begins with. */
static size_t sentence_length(const char *text)
{
	for (const char *s = text; (s = strstr(s, ". ")); s++)
		if ((s[2] >= 'A' && s[2] <= 'Z') || s[2] == '%' || s[2] == '1')
			return (size_t)(s - text) + 1;
	return strlen(text);
}

/* Each sentence begins a line. */
static void print_mdoc_prose(FILE *out, const char *text)
{
	struct strbuf sentence = STRBUF_INIT;

	while (*text) {
		size_t len = sentence_length(text);

		strbuf_clear(&sentence);
		escape_mdoc(&sentence, text, len);
		print_wrapped(out, "", sentence.buf);
		text += len;
		text += strspn(text, " ");
	}
	strbuf_release(&sentence);
}

static void print_mdoc_literal(FILE *out, const char *text)
{
	struct strbuf escaped = STRBUF_INIT;

	escape_mdoc(&escaped, text, strlen(text));
	fprintf(out, ".Ql \"%s\"\n", escaped.buf);
	strbuf_release(&escaped);
}

static void print_mdoc_key(const struct conf_key *key, struct arena *arena, FILE *out)
{
	const char *range = range_text(arena, key);

	fprintf(out, ".It Ic %s\n", key->name);
	print_mdoc_prose(out, key->prose);
	if (range)
		print_mdoc_prose(out, range);
	if (!*key->fallback) {
		fputs("Default: empty.\n", out);
		return;
	}
	fputs("Default:\n", out);
	print_mdoc_literal(out, key->fallback);
}

void conf_print_mdoc(FILE *out)
{
	struct arena arena = ARENA_INIT;

	for (const struct conf_key *key = conf_keys; key < conf_keys + conf_key_count; key++) {
		const char *heading = group_heading(key);

		if (heading || begins_section(key)) {
			if (key > conf_keys)
				fputs(".El\n", out);
			if (heading)
				fprintf(out, ".Ss %s\n", heading);
			else
				fprintf(out, ".Ss Section %s\n", key->section);
			fputs(".Bl -tag -width Ds\n", out);
		}
		print_mdoc_key(key, &arena, out);
	}
	fputs(".El\n", out);
	arena_release(&arena);
}
