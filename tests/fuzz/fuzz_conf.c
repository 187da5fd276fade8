/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A configuration file. Whatever it holds, each setting is within its bounds, problems are told in
 * clean words and not without end, and the settings written down and read again are the same.
 */
#include <stdlib.h>
#include <string.h>

#include "base/regex.h"
#include "base/text.h"
#include "check/check.h"
#include "conf/conf.h"
#include "conf/conf_value.h"
#include "fuzz.h"

#define PROBLEMS_MOST 102
#define ANSWER_MOST 800

static void check_text(const char *text)
{
	fuzz_require(text != NULL && text_is_clean(text, strlen(text)));
}

static void check_choice(const struct conf_key *key, const char *text)
{
	const char *found = strstr(key->choices, text);

	fuzz_require(*text && found && !strchr(text, ' '));
}

static void check_action(const char *text)
{
	static const char *const never[] = {"REJECT", "DISCARD", "REDIRECT", "FILTER", "5"};

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		fuzz_require(!text_starts_nocase(text, never[i]));
	fuzz_require(*text != '\0');
}

static void check_regex(const char *text)
{
	char error[256];
	struct regex *regex = regex_compile(text, strlen(text), error, sizeof(error));

	fuzz_require(regex != NULL);
	regex_free(regex);
}

static void check_list(const struct conf_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		check_text(list->items[i]);
		fuzz_require(*list->items[i] && !strpbrk(list->items[i], ", \t"));
	}
}

static void check_number(const struct conf_key *key, int64_t number, int64_t unit)
{
	fuzz_require(number >= key->min * unit && number <= key->max * unit);
}

static void check_setting(const struct conf *conf, const struct conf_key *key)
{
	const void *member = (const char *)conf + key->offset;
	const struct dnsl_entries *entries = member;

	switch (key->type) {
	case CONF_INTEGER:
		check_number(key, *(const int *)member, 1);
		return;
	case CONF_DURATION:
		check_number(key, *(const int64_t *)member, conf_unit_seconds(key->unit));
		return;
	case CONF_BOOLEAN:
		return;
	case CONF_SERVERS:
		check_list(member);
		return;
	case CONF_DNSL:
		for (size_t i = 0; i < entries->count; i++)
			check_text(entries->items[i].zone);
		return;
	default:
		break;
	}
	check_text(*(const char *const *)member);
	if (key->type == CONF_CHOICE)
		check_choice(key, *(const char *const *)member);
	else if (key->type == CONF_ACTION)
		check_action(*(const char *const *)member);
	else if (key->type == CONF_REGEX)
		check_regex(*(const char *const *)member);
	if (key->type == CONF_ACTION || key->type == CONF_REPLY || key->type == CONF_HEADER)
		fuzz_require(strlen(*(const char *const *)member) <= ANSWER_MOST);
}

/* The expressions as they are used, on a name that bad ones find hard. */
static void check_names(const struct conf *conf)
{
	struct arena arena = ARENA_INIT;
	struct check_subject subject = {
	    .client_name =
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-1-2-3.pool!.example"};
	struct check check = {.conf = conf, .subject = &subject, .arena = &arena};
	struct check_score score = check_dyn(&check);

	fuzz_require((score.score == 0 || score.score == 1) && score.why);
	arena_release(&arena);
}

static void check_problems(const struct conf *conf)
{
	size_t count = 0, errors = 0, file = strlen(conf->file);
	unsigned line = 0;

	for (const struct conf_problem *p = conf->problems; p; p = p->next) {
		fuzz_require(!strncmp(p->message, conf->file, file) && p->message[file] == ':');
		check_text(p->message);
		fuzz_require(p->line >= line);
		line = p->line;
		count++;
		errors += p->severity == CONF_ERROR;
	}
	fuzz_require(count <= PROBLEMS_MOST && errors <= conf->errors + 1);
	fuzz_require(!conf->errors || count);
}

static void print(const struct conf *conf, char **text, size_t *size)
{
	FILE *out = open_memstream(text, size);

	fuzz_require(out != NULL);
	conf_print_settings(conf, out);
	fuzz_require(!fclose(out));
}

/* Without what hides the password, which cannot be read back. */
static void check_again(const struct conf *conf)
{
	char *text, *again;
	size_t size, again_size;
	struct conf other;

	print(conf, &text, &size);
	conf_load(&other, fuzz_file(1, text, size));
	fuzz_require(other.usable && !other.errors);
	print(&other, &again, &again_size);
	fuzz_require(size == again_size && !memcmp(text, again, size));
	free(text);
	free(again);
	conf_release(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf conf;

	conf_load(&conf, fuzz_file(0, data, size));
	fuzz_require(conf.usable);
	for (size_t i = 0; i < conf_key_count; i++)
		check_setting(&conf, &conf_keys[i]);
	check_problems(&conf);
	check_names(&conf);
	check_again(&conf);
	conf_release(&conf);
	return 0;
}
