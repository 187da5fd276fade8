/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/reply.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "conf/conf.h"
#include "policy/verdict.h"

#include "config.h"

/* What a header template's %(name)s stand for. */
struct template_value {
	const char *name;
	const char *value;
};

static const char *host_name(struct arena *arena)
{
	struct utsname uts;

	if (uname(&uts) < 0)
		return "localhost";
	return text_clean(arena, arena_strdup(arena, uts.nodename), strlen(uts.nodename));
}

/* RFC 5322 section 3.3. The program never calls setlocale(3), so the names are English. */
static const char *mail_date(struct arena *arena, time_t now)
{
	char text[64];
	struct tm tm;

	if (!localtime_r(&now, &tm) ||
	    !strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S %z", &tm))
		return "";
	return arena_strdup(arena, text);
}

/* Whether `(name)s` with a known name stands at s; then adds its value. Returns its length or 0. */
static size_t expand_name(struct strbuf *out, const char *s, const struct template_value *values,
			  size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(values[i].name);

		if (s[0] != '(' || strncmp(s + 1, values[i].name, len) != 0 ||
		    strncmp(s + 1 + len, ")s", 2) != 0)
			continue;
		strbuf_addstr(out, values[i].value);
		return len + strlen("()s");
	}
	return 0;
}

/*
 * %(name)s becomes its value, %% a percent sign, anything else stays as written. The Python
 * daemon's files double the percent sign of a name, too: %%(name)s is the same.
 */
static void expand(struct strbuf *out, const char *template, const struct template_value *values,
		   size_t count)
{
	for (const char *s = template; *s;) {
		size_t doubled = s[0] == '%' && s[1] == '%' ? 1 : 0, len = 0;

		if (*s == '%')
			len = expand_name(out, s + 1 + doubled, values, count);
		if (!len)
			strbuf_addch(out, *s);
		s += 1 + doubled + len;
	}
}

static const char *greylist_header(struct arena *arena, const struct conf *conf,
				   const struct verdict *verdict, time_t now)
{
	const struct template_value values[] = {
	    {"delta", arena_printf(arena, "%lld", (long long)(verdict->waited_us / US_PER_S))},
	    {"version", BLEY_VERSION},
	    {"hostname", host_name(arena)},
	    {"date", mail_date(arena, now)},
	};
	struct strbuf out = STRBUF_INIT;
	const char *text;

	strbuf_addstr(&out, "PREPEND ");
	expand(&out, conf->greylist_header, values, sizeof(values) / sizeof(values[0]));
	text = arena_strndup(arena, out.buf, out.len);
	strbuf_release(&out);
	return text;
}

const char *reply_text(struct arena *arena, const struct conf *conf, const struct verdict *verdict,
		       time_t now)
{
	const char *cached = verdict->reason == VERDICT_BY_CACHE ? " (cached result)" : "";

	switch (verdict->action) {
	case VERDICT_DEFER:
		return arena_printf(arena, "DEFER_IF_PERMIT %s%s", conf->reject_msg, cached);
	case VERDICT_PREPEND:
		if (*conf->greylist_header)
			return greylist_header(arena, conf, verdict, now);
		break;
	case VERDICT_DUNNO:
		break;
	}
	return "DUNNO";
}

bool reply_write(int fd, const char *text)
{
	struct strbuf out = STRBUF_INIT;
	const char *rest;
	ssize_t n = 0;

	strbuf_addf(&out, "action=%s\n\n", text);
	for (rest = out.buf; *rest; rest += n) {
		n = write(fd, rest, strlen(rest));
		if (n < 0 && errno != EINTR)
			break;
		if (n < 0)
			n = 0;
	}
	strbuf_release(&out);
	return n >= 0;
}
