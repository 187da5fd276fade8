/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The template of the header that a mail gets which has waited: eight bytes of time waited, eight
 * of the clock, then the setting's text. A second, plain expansion says what must come out.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/strbuf.h"
#include "base/text.h"
#include "conf/conf.h"
#include "conf/conf_value.h"
#include "fuzz.h"
#include "policy/reply.h"
#include "policy/verdict.h"

#include "config.h"

#define ANSWER_MOST 8192 /* far less than the line of an answer that Postfix reads */
#define CLOCK_MOST INT64_C(253402214400) /* in the year 9999 */
#define UNTOUCHED "untouched"

static const struct conf_key *header_key(void)
{
	const struct conf_key *key = conf_keys;

	while (strcmp(key->name, "greylist_header") != 0)
		key++;
	return key;
}

/* Replaces one name, from left to right. */
static char *replace(char *text, const char *name, const char *value)
{
	struct strbuf out = STRBUF_INIT;
	char *at, *rest = text, *made;

	while ((at = strstr(rest, name)) != NULL) {
		strbuf_add(&out, rest, (size_t)(at - rest));
		strbuf_addstr(&out, value);
		rest = at + strlen(name);
	}
	strbuf_addstr(&out, rest);
	made = fuzz_text((const uint8_t *)out.buf, out.len);
	strbuf_release(&out);
	free(text);
	return made;
}

/* First marks for what stands in the template, then values for the marks: a value is not expanded
 * in its turn. */
static char *model_expand(const char *template, const char *delta, const char *date)
{
	static const char *const names[] = {"(delta)s", "(version)s", "(hostname)s", "(date)s"};
	struct utsname uts;
	const char *values[] = {delta, BLEY_VERSION, "", date};
	struct strbuf marked = STRBUF_INIT;
	char *text;

	fuzz_require(uname(&uts) == 0);
	values[2] = uts.nodename;
	/* \1 to \4 stand for the names, \5 for a percent sign: none can be in a template. */
	for (const char *s = template; *s; s++) {
		const char *behind = s + (s[0] == '%' && s[1] == '%' ? 2 : 1);
		size_t name = 0;

		if (*s != '%') {
			strbuf_addch(&marked, *s);
			continue;
		}
		while (name < 4 && strncmp(behind, names[name], strlen(names[name])) != 0)
			name++;
		strbuf_addch(&marked, (char)(name < 4 ? name + 1 : 5));
		s = behind + (name < 4 ? strlen(names[name]) : 0) - 1;
	}
	text = fuzz_text((const uint8_t *)marked.buf, marked.len);
	strbuf_release(&marked);
	text = replace(text, "\5", "%");
	for (size_t name = 0; name < 4; name++)
		text = replace(text, (const char[]){(char)(name + 1), '\0'}, values[name]);
	return text;
}

static void check_answer(struct conf *conf, int64_t waited_us, time_t now)
{
	struct verdict verdict = {.action = VERDICT_PREPEND, .waited_us = waited_us};
	const char *answer = reply_text(&conf->arena, conf, &verdict, now);
	char date[64], *expected;
	struct tm tm;

	fuzz_require(*answer && strlen(answer) < ANSWER_MOST);
	fuzz_require(text_is_clean(answer, strlen(answer)));
	if (!*conf->greylist_header) {
		fuzz_require(!strcmp(answer, "DUNNO"));
		return;
	}
	fuzz_require(localtime_r(&now, &tm) != NULL);
	fuzz_require(strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S %z", &tm) == 31);
	expected = model_expand(
	    conf->greylist_header,
	    arena_printf(&conf->arena, "%lld", (long long)(waited_us / 1000000)), date);
	fuzz_require(!strncmp(answer, "PREPEND ", 8) && !strcmp(answer + 8, expected));
	free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	int64_t waited_us = fuzz_long(&in) & INT64_MAX, now = fuzz_long(&in) & INT64_MAX;
	struct conf conf = {.greylist_header = UNTOUCHED, .file = ""};
	char *text = fuzz_text(in.data, in.size);
	const char *wrong;
	bool partly = false;

	/* The reader of the file lets nothing else through. */
	if (text_is_clean(text, in.size)) {
		conf_value_doubt(&conf, header_key(), text);
		wrong = conf_value_read(&conf, header_key(), text, &partly);
		fuzz_require(!partly);
		if (wrong)
			fuzz_require(*wrong && !strcmp(conf.greylist_header, UNTOUCHED));
		else
			check_answer(&conf, waited_us, (time_t)(now % CLOCK_MOST));
	}
	free(text);
	arena_release(&conf.arena);
	return 0;
}
