/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/conf_value.h"

#include <string.h>

#include "base/regex.h"
#include "base/server.h"
#include "base/text.h"

/* An answer ends up in one line of SMTP (RFC 5321 section 4.5.3.1.5: 512 bytes), a header in one
 * line of a message (RFC 5322 section 2.1.1: 998); both get a little added. */
#define REPLY_MOST 400
#define HEADER_MOST 800

#define NUMBER_MOST 1000000000 /* beyond the range of every key, and far from overflow */

static const struct unit {
	char letter;
	int64_t seconds;
	const char *name;
} units[] = {{'s', 1, "seconds"}, {'m', 60, "minutes"}, {'h', 3600, "hours"}, {'d', 86400, "days"}};

#define UNITS (sizeof(units) / sizeof(units[0]))

static const struct unit *find_unit(char letter)
{
	for (size_t i = 0; i < UNITS; i++)
		if (units[i].letter == letter)
			return &units[i];
	return NULL;
}

int64_t conf_unit_seconds(char letter)
{
	const struct unit *unit = find_unit(letter);

	return unit ? unit->seconds : 0;
}

const char *conf_unit_name(char letter)
{
	const struct unit *unit = find_unit(letter);

	return unit ? unit->name : "";
}

const char *conf_value_allowed(struct arena *arena, const struct conf_key *key)
{
	switch (key->type) {
	case CONF_INTEGER:
		return arena_printf(arena, "a number from %lld to %lld", (long long)key->min,
				    (long long)key->max);
	case CONF_DURATION:
		return arena_printf(arena,
				    "a time from %lld to %lld %s, or with another unit behind the "
				    "number: s, m, h or d",
				    (long long)key->min, (long long)key->max,
				    conf_unit_name(key->unit));
	case CONF_BOOLEAN:
		return "1, yes, true or on; 0, no, false or off";
	case CONF_CHOICE:
		return arena_printf(arena, "one of %s", key->choices);
	case CONF_ACTION:
		return "DUNNO, OK, PERMIT, DEFER, DEFER_IF_PERMIT, DEFER_IF_REJECT, WARN, INFO, "
		       "HOLD "
		       "or a code 4xx, and a text";
	case CONF_HEADER:
		return "`Name: text`, or nothing";
	case CONF_REGEX:
		return "an expression (pcre2pattern(3))";
	case CONF_DNSL:
		return "a list of zone, zone=filter, zone*weight or zone=filter*weight";
	case CONF_SERVERS:
		return "a list of ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT";
	default:
		return "a text";
	}
}

void conf_value_undouble(char *text)
{
	char *to = text;

	for (const char *s = text; *s; s++) {
		*to++ = *s;
		if (s[0] == '%' && s[1] == '%')
			s++;
	}
	*to = '\0';
}

/* Digits, and perhaps a sign before them; *end is what follows. False where there are none. */
static bool read_number(const char *text, int64_t *out, const char **end)
{
	bool negative = *text == '-';
	int64_t number = 0;

	if (*text == '-' || *text == '+')
		text++;
	if (*text < '0' || *text > '9')
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		if (number < NUMBER_MOST)
			number = number * 10 + (*text - '0');
	*out = negative ? -number : number;
	*end = text;
	return true;
}

static bool read_integer(const struct conf_key *key, const char *text, int *out)
{
	const char *end;
	int64_t number;

	if (!read_number(text, &number, &end) || *end || number < key->min || number > key->max)
		return false;
	*out = (int)number;
	return true;
}

/* A number, and perhaps a unit behind it. */
static bool read_duration(const struct conf_key *key, const char *text, int64_t *out)
{
	int64_t number, unit = conf_unit_seconds(key->unit), own = unit;
	const char *end;

	if (!read_number(text, &number, &end))
		return false;
	while (text_is_space(*end))
		end++;
	if (*end) {
		own = conf_unit_seconds(end[0]);
		if (!own || end[1])
			return false;
	}
	number *= own;
	if (number < key->min * unit || number > key->max * unit)
		return false;
	*out = number;
	return true;
}

static bool read_boolean(const char *text, bool *out)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {{"1", true},  {"yes", true}, {"true", true},   {"on", true},
		     {"0", false}, {"no", false}, {"false", false}, {"off", false}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!text_equal_nocase(text, words[i].word))
			continue;
		*out = words[i].value;
		return true;
	}
	return false;
}

/* The word of a key's choices that text is, spelled as there; NULL where it is none. */
static const char *find_choice(struct arena *arena, const struct conf_key *key, const char *text)
{
	for (const char *s = key->choices ? key->choices : ""; *s;) {
		size_t len = strcspn(s, " ");
		const char *word = arena_strndup(arena, s, len);

		if (text_equal_nocase(word, text))
			return word;
		s += len + strspn(s + len, " ");
	}
	return NULL;
}

/* A relative name is meant from where the configuration file lies. */
static const char *read_file(struct conf *conf, const struct conf_key *key, const char *text)
{
	const char *choice = find_choice(&conf->arena, key, text);
	const char *slash = strrchr(conf->file, '/');

	if (choice)
		return choice;
	if (!*text || *text == '/' || !slash)
		return arena_strdup(&conf->arena, text);
	while (text[0] == '.' && text[1] == '/')
		text += 2;
	return arena_printf(&conf->arena, "%.*s/%s", (int)(slash - conf->file), conf->file, text);
}

static bool separates(char c)
{
	return c == ',' || text_is_space(c);
}

static void read_list(struct arena *arena, const char *text, struct conf_list *out)
{
	/* every second character at most begins a word */
	const char **items = arena_alloc(arena, (strlen(text) / 2 + 1) * sizeof(*items));
	size_t count = 0, len;

	for (const char *s = text; *s; s += len) {
		for (len = 0; s[len] && !separates(s[len]);)
			len++;
		if (len)
			items[count++] = arena_strndup(arena, s, len);
		else
			len = 1;
	}
	*out = (struct conf_list){.items = items, .count = count};
}

/* What is wrong with the first that cannot be used; those that can are taken. */
static const char *read_servers(struct arena *arena, const char *text, struct conf_list *out,
				bool *partly)
{
	const char *wrong = NULL, **items;
	struct conf_list words;
	struct server server;
	size_t count = 0;

	read_list(arena, text, &words);
	items = arena_alloc(arena, SERVERS_MOST * sizeof(*items));
	for (size_t i = 0; i < words.count; i++) {
		if (!server_parse(words.items[i], &server))
			wrong = wrong ? wrong
				      : arena_printf(arena, "`%s` is no name server's address",
						     words.items[i]);
		else if (count < SERVERS_MOST)
			items[count++] = words.items[i];
		else
			wrong = wrong ? wrong
				      : arena_printf(arena, "`%s` is more than the %d that can be",
						     words.items[i], SERVERS_MOST);
	}
	*partly = wrong && count;
	if (!wrong || count)
		*out = (struct conf_list){.items = items, .count = count};
	return wrong;
}

/*
 * What an answer on failure may be. Nothing that refuses mail for good (REJECT, 5xx), loses it
 * (DISCARD) or sends it elsewhere: a broken database is no reason.
 */
static const char *read_action(struct arena *arena, const char *text, const char **out)
{
	static const char *const words[] = {
	    "DUNNO",	       "OK",   "PERMIT", "DEFER", "DEFER_IF_PERMIT",
	    "DEFER_IF_REJECT", "WARN", "INFO",	 "HOLD"};
	size_t len = strcspn(text, " ");
	const char *word = arena_strndup(arena, text, len);

	if (strlen(text) > REPLY_MOST)
		return arena_printf(arena, "longer than %d bytes", REPLY_MOST);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!text_equal_nocase(word, words[i]))
			continue;
		*out = arena_printf(arena, "%s%s", words[i], text + len);
		return NULL;
	}
	if (len == 3 && text[0] == '4' && text[1] >= '0' && text[1] <= '5' && text[2] >= '0' &&
	    text[2] <= '9') {
		*out = arena_strdup(arena, text);
		return NULL;
	}
	if (text_equal_nocase(word, "REJECT") || *text == '5')
		return "would bounce mail for good when only bley is broken";
	return "no action that is safe on a failure";
}

/* Empty, or a header's name, a colon and more (RFC 5322 section 2.2). */
static const char *check_header(struct arena *arena, const char *text)
{
	size_t len = 0;

	while (text[len] > ' ' && text[len] < 0x7f && text[len] != ':')
		len++;
	if (strlen(text) > HEADER_MOST)
		return arena_printf(arena, "longer than %d bytes", HEADER_MOST);
	if (*text && (!len || text[len] != ':'))
		return "no header";
	return NULL;
}

static const char *read_dnsl(struct conf *conf, const char *text, struct dnsl_entries *out,
			     bool *partly)
{
	struct dnsl_entries entries = {.items = NULL};
	const char *wrong = dnsl_entries_parse(&conf->arena, text, &entries);

	if (wrong && !entries.count)
		return wrong;
	*out = entries;
	*partly = wrong != NULL;
	return wrong;
}

/* What keeps an expression from being compiled, in the arena. The default is known to be good: to
 * compile it for nothing in each process would cost more than reading the whole file. */
static const char *check_regex(struct arena *arena, const struct conf_key *key, const char *text)
{
	struct regex *regex;
	char error[256];

	if (!strcmp(text, key->fallback))
		return NULL;
	regex = regex_compile(text, strlen(text), error, sizeof(error));
	regex_free(regex);
	return regex ? NULL : arena_printf(arena, "does not compile (%s)", error);
}

/* An expression or a text, in the arena. */
static const char *read_text(struct conf *conf, const struct conf_key *key, const char *text,
			     const char **out)
{
	const char *wrong = NULL;

	if (key->type == CONF_HEADER)
		wrong = check_header(&conf->arena, text);
	else if (key->type == CONF_REGEX)
		wrong = check_regex(&conf->arena, key, text);
	else if (key->type == CONF_REPLY && strlen(text) > REPLY_MOST)
		wrong = arena_printf(&conf->arena, "longer than %d bytes", REPLY_MOST);
	if (!wrong)
		*out = arena_strdup(&conf->arena, text);
	return wrong;
}

const char *conf_value_read(struct conf *conf, const struct conf_key *key, char *text, bool *partly)
{
	static const char no[] = "is not allowed";
	void *member = (char *)conf + key->offset;
	const char *choice;

	if (key->type != CONF_HEADER)
		conf_value_undouble(text);
	switch (key->type) {
	case CONF_INTEGER:
		return read_integer(key, text, member) ? NULL : no;
	case CONF_DURATION:
		return read_duration(key, text, member) ? NULL : no;
	case CONF_BOOLEAN:
		return read_boolean(text, member) ? NULL : no;
	case CONF_CHOICE:
		choice = find_choice(&conf->arena, key, text);
		if (choice)
			*(const char **)member = choice;
		return choice ? NULL : no;
	case CONF_FILE:
		*(const char **)member = read_file(conf, key, text);
		return NULL;
	case CONF_SERVERS:
		return read_servers(&conf->arena, text, member, partly);
	case CONF_DNSL:
		return read_dnsl(conf, text, member, partly);
	case CONF_ACTION:
		return read_action(&conf->arena, text, member);
	default:
		return read_text(conf, key, text, member);
	}
}

/* The length of `(name)s` at s where the header can have that name, or 0. */
static size_t header_name(const char *s)
{
	static const char *const names[] = {"(delta)s", "(version)s", "(hostname)s", "(date)s"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(s, names[i], strlen(names[i])))
			return strlen(names[i]);
	return 0;
}

static const char *doubt_header(struct arena *arena, const char *text)
{
	for (const char *s = text; (s = strchr(s, '%'));) {
		const char *name = s[1] == '%' ? s + 2 : s + 1;
		size_t len = header_name(name);

		if (!len && *name == '(')
			return arena_printf(arena,
					    "%%%.*s is not known and stays as written; there are "
					    "%%(delta)s, %%(version)s, %%(hostname)s and %%(date)s",
					    (int)strcspn(name, " ;,"), name);
		if (!len && name == s + 1)
			return "a % that begins no %(name)s stays as written; write it as %%";
		s = name + len;
	}
	return NULL;
}

const char *conf_value_doubt(struct conf *conf, const struct conf_key *key, const char *text)
{
	if (key->type == CONF_HEADER)
		return doubt_header(&conf->arena, text);
	/* A Python file could name another setting so. */
	if (key->type != CONF_SECRET && strstr(text, "%(") && !strstr(text, "%%("))
		return "%(name)s is not replaced here and stays as written";
	return NULL;
}
