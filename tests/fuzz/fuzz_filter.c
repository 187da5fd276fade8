/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A filter as Postfix's postscreen_dnsbl_sites has it, beside a second, plain reading of it: which
 * of all 4 x 256 octets match.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "conf/dnsl_entry.h"
#include "fuzz.h"

#define OCTETS 4
#define VALUES 256
#define FIELDS_MOST 8192 /* more than an input can hold */

struct model {
	bool matches[OCTETS][VALUES];
};

/* All digits, at least one, at most 255; else -1. */
static int model_number(const char *text)
{
	size_t len = strlen(text);
	long number;

	if (!len || strspn(text, "0123456789") != len)
		return -1;
	text += strspn(text, "0");
	if (strlen(text) > 3)
		return -1;
	number = strtol(*text ? text : "0", NULL, 10);
	return number < VALUES ? (int)number : -1;
}

/* Cuts the text into its parts; how many there are. */
static size_t cut(char *text, char at, char *parts[FIELDS_MOST])
{
	size_t count = 0;

	do {
		char *end = strchr(text, at);

		if (count == FIELDS_MOST)
			return 0;
		if (end)
			*end++ = '\0';
		parts[count++] = text;
		text = end;
	} while (text);
	return count;
}

/* `7` or `2-11` */
static bool model_member(char *text, bool matches[VALUES])
{
	char *dash = strchr(text, '-');
	int from, to;

	if (dash)
		*dash = '\0';
	from = model_number(text);
	to = dash ? model_number(dash + 1) : from;
	if (from < 0 || to < from)
		return false;
	for (; from <= to; from++)
		matches[from] = true;
	return true;
}

static bool model_field(char *text, bool matches[VALUES])
{
	char *members[FIELDS_MOST];
	size_t len = strlen(text), count;
	int number = model_number(text);

	if (*text != '[') {
		if (number >= 0)
			matches[number] = true;
		return number >= 0;
	}
	if (len < 3 || text[len - 1] != ']')
		return false;
	text[len - 1] = '\0';
	count = cut(text + 1, ';', members);
	for (size_t i = 0; i < count; i++)
		if (!model_member(members[i], matches))
			return false;
	return count > 0;
}

/* With each `..` as `-`, what is left of dots divides the fields. */
static bool model_fields(const char *text, size_t len, struct model *model)
{
	char *copy = malloc(len + 1), *to = copy, *fields[FIELDS_MOST];
	bool good;

	fuzz_require(copy != NULL);
	for (size_t i = 0; i < len; i++) {
		bool range = text[i] == '.' && i + 1 < len && text[i + 1] == '.';

		*to++ = range ? '-' : text[i];
		i += range;
	}
	*to = '\0';
	memset(model, 0, sizeof(*model));
	good = !memchr(text, '-', len) && cut(copy, '.', fields) == OCTETS;
	for (size_t i = 0; good && i < OCTETS; i++)
		good = model_field(fields[i], model->matches[i]);
	free(copy);
	return good;
}

static bool model_filter(const char *text, struct model *model)
{
	size_t len = strlen(text);

	if (model_fields(text, len, model))
		return true;
	return len > 2 && text[0] == '[' && text[len - 1] == ']' &&
	       model_fields(text + 1, len - 2, model);
}

/* Each octet for itself: the others are taken from what matches. */
static void compare(const struct dnsl_entry *entry, const struct model *model)
{
	unsigned char octets[OCTETS] = {0};

	for (size_t i = 0; i < OCTETS; i++)
		while (!model->matches[i][octets[i]])
			octets[i]++;
	fuzz_require(dnsl_entry_matches(entry, octets));
	for (size_t i = 0; i < OCTETS; i++) {
		unsigned char kept = octets[i];

		for (unsigned value = 0; value < VALUES; value++) {
			octets[i] = (unsigned char)value;
			fuzz_require(dnsl_entry_matches(entry, octets) == model->matches[i][value]);
		}
		octets[i] = kept;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = ARENA_INIT;
	char *text = fuzz_text(data, size);
	const char *filter = text, *error;
	struct dnsl_entry entry = {.zone = NULL};
	struct model model;

	text[strcspn(text, "*")] = '\0'; /* where the weight would begin */
	error = dnsl_entry_parse(&arena, arena_printf(&arena, "list.example=%s", filter), &entry);
	fuzz_require(!error == model_filter(filter, &model));
	fuzz_require(!error == (entry.zone != NULL));
	if (!error)
		compare(&entry, &model);
	free(text);
	arena_release(&arena);
	return 0;
}
