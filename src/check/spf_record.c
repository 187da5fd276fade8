/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/spf_record.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/arena.h"
#include "base/text.h"
#include "check/spf_macro.h"

#define VERSION "v=spf1"
#define VERSION_LENGTH (sizeof(VERSION) - 1)

#define BITS4 32
#define BITS6 128

#define SHOWN_MOST 60 /* characters of a term that people are shown */

/* A stretch of the record. */
struct span {
	const char *s;
	size_t len;
};

/* What is being read, and what has been seen. */
struct reading {
	struct arena *arena;
	struct spf_record record;
	bool explanation;
	struct span term;
	const char *wrong;
};

enum argument { ARGUMENT_NONE, ARGUMENT_OPTIONAL, ARGUMENT_REQUIRED, ARGUMENT_NETWORK };

static const struct mechanism {
	const char *name;
	enum spf_kind kind;
	enum argument argument;
	bool cidr;
} mechanisms[] = {
    {"all", SPF_KIND_ALL, ARGUMENT_NONE, false},
    {"include", SPF_KIND_INCLUDE, ARGUMENT_REQUIRED, false},
    {"a", SPF_KIND_A, ARGUMENT_OPTIONAL, true},
    {"mx", SPF_KIND_MX, ARGUMENT_OPTIONAL, true},
    {"ptr", SPF_KIND_PTR, ARGUMENT_OPTIONAL, false},
    {"ip4", SPF_KIND_IP4, ARGUMENT_NETWORK, false},
    {"ip6", SPF_KIND_IP6, ARGUMENT_NETWORK, false},
    {"exists", SPF_KIND_EXISTS, ARGUMENT_REQUIRED, false},
};

bool spf_record_is(const unsigned char *data, size_t len)
{
	char version[VERSION_LENGTH + 1] = "";

	if (len < VERSION_LENGTH || (len > VERSION_LENGTH && data[VERSION_LENGTH] != ' '))
		return false;
	memcpy(version, data, VERSION_LENGTH);
	return text_equal_nocase(version, VERSION);
}

static bool span_is(struct span span, const char *word)
{
	size_t len = strlen(word);

	/* a span's bytes always end in NUL somewhere behind it */
	return span.len == len && text_starts_nocase(span.s, word);
}

static struct span span_from(struct span span, size_t at)
{
	return (struct span){span.s + at, span.len - at};
}

/* A piece of the record for people: clean and not too long. */
static const char *shown(struct arena *arena, struct span span)
{
	bool cut = span.len > SHOWN_MOST;
	const char *copy = arena_strndup(arena, span.s, cut ? SHOWN_MOST : span.len);

	copy = text_clean(arena, copy, cut ? SHOWN_MOST : span.len);
	return cut ? arena_printf(arena, "%s...", copy) : copy;
}

static bool wrong(struct reading *r, const char *what)
{
	if (!r->wrong)
		r->wrong = arena_printf(r->arena, "%s in \"%s\"", what, shown(r->arena, r->term));
	return false;
}

/* Length of a name of the grammar at the beginning: ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ). */
static size_t name_length(struct span span)
{
	size_t i = 0;

	for (; i < span.len; i++) {
		char c = span.s[i];
		bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool other = (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';

		if (!alpha && !(i && other))
			break;
	}
	return i;
}

/* Digits without a leading zero, at most `most`. */
static bool read_bits(struct span digits, unsigned most, unsigned *bits)
{
	unsigned value = 0;

	if (!digits.len || digits.len > 3 || (digits.len > 1 && digits.s[0] == '0'))
		return false;
	for (size_t i = 0; i < digits.len; i++) {
		if (digits.s[i] < '0' || digits.s[i] > '9')
			return false;
		value = value * 10 + (unsigned)(digits.s[i] - '0');
	}
	if (value > most)
		return false;
	*bits = value;
	return true;
}

/* Takes `/N` (slashes 1) or `//N` (slashes 2) off the end; there need not be one. */
static bool take_bits(struct span *span, size_t slashes, unsigned most, unsigned *bits)
{
	size_t digits = span->len, found = 0;

	while (digits && span->s[digits - 1] >= '0' && span->s[digits - 1] <= '9')
		digits--;
	while (found < digits && span->s[digits - 1 - found] == '/')
		found++;
	if (digits == span->len || found != slashes)
		return true;
	if (!read_bits(span_from(*span, digits), most, bits))
		return false;
	span->len = digits - slashes;
	return true;
}

static bool read_target(struct reading *r, struct span spec, const char **target)
{
	const char *what = spf_macro_check_domain(spec.s, spec.len);

	if (what)
		return wrong(r, what);
	*target = arena_strndup(r->arena, spec.s, spec.len);
	return true;
}

/* ip4 and ip6: `:` network [`/` bits]. */
static bool read_network(struct reading *r, struct span argument, struct spf_term *term)
{
	bool four = term->kind == SPF_KIND_IP4;
	char address[INET6_ADDRSTRLEN] = "";

	if (!argument.len || argument.s[0] != ':')
		return wrong(r, "a missing address");
	argument = span_from(argument, 1);
	if (!(four ? take_bits(&argument, 1, BITS4, &term->bits4)
		   : take_bits(&argument, 1, BITS6, &term->bits6)))
		return wrong(r, "a bad prefix length");
	term->address.family = four ? AF_INET : AF_INET6;
	if (argument.len >= sizeof(address))
		return wrong(r, "a bad address");
	memcpy(address, argument.s, argument.len);
	return inet_pton(term->address.family, address, term->address.bytes) == 1 ||
	       wrong(r, "a bad address");
}

static bool read_argument(struct reading *r, const struct mechanism *mechanism,
			  struct span argument, struct spf_term *term)
{
	if (mechanism->argument == ARGUMENT_NETWORK)
		return read_network(r, argument, term);
	if (mechanism->cidr && (!take_bits(&argument, 2, BITS6, &term->bits6) ||
				!take_bits(&argument, 1, BITS4, &term->bits4)))
		return wrong(r, "a bad prefix length");
	if (!argument.len)
		return mechanism->argument != ARGUMENT_REQUIRED || wrong(r, "a missing domain");
	if (mechanism->argument == ARGUMENT_NONE || argument.s[0] != ':')
		return wrong(r, "an argument that does not belong there");
	return read_target(r, span_from(argument, 1), &term->target);
}

static bool read_mechanism(struct reading *r)
{
	struct spf_term term = {.qualifier = '+', .bits4 = BITS4, .bits6 = BITS6};
	struct span name = r->term;
	size_t len;

	if (strchr("+-~?", name.s[0])) {
		term.qualifier = name.s[0];
		name = span_from(name, 1);
	}
	for (len = 0; len < name.len && name.s[len] != ':' && name.s[len] != '/';)
		len++;
	for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
		if (!span_is((struct span){name.s, len}, mechanisms[i].name))
			continue;
		term.kind = mechanisms[i].kind;
		if (!read_argument(r, &mechanisms[i], span_from(name, len), &term))
			return false;
		term.text = shown(r->arena, r->term);
		r->record.terms[r->record.count++] = term;
		return true;
	}
	r->wrong = arena_printf(r->arena, "unknown mechanism \"%s\"",
				shown(r->arena, (struct span){name.s, len}));
	return false;
}

static bool read_redirect(struct reading *r, struct span spec)
{
	struct spf_term *term = arena_alloc(r->arena, sizeof(*term));

	if (r->record.redirect)
		return wrong(r, "a second redirect");
	term->kind = SPF_KIND_REDIRECT;
	if (!read_target(r, spec, &term->target))
		return false;
	term->text = shown(r->arena, r->term);
	r->record.redirect = term;
	return true;
}

static bool read_explanation(struct reading *r, struct span spec)
{
	const char *ignored;

	if (r->explanation)
		return wrong(r, "a second exp");
	r->explanation = true;
	return read_target(r, spec, &ignored);
}

static bool read_term(struct reading *r)
{
	size_t len = name_length(r->term);
	struct span name = {r->term.s, len};
	const char *what;

	if (len == r->term.len || r->term.s[len] != '=')
		return read_mechanism(r);
	if (!len)
		return wrong(r, "a modifier without a name");
	if (span_is(name, "redirect"))
		return read_redirect(r, span_from(r->term, len + 1));
	if (span_is(name, "exp"))
		return read_explanation(r, span_from(r->term, len + 1));
	what = spf_macro_check_string(r->term.s + len + 1, r->term.len - len - 1);
	return !what || wrong(r, what);
}

/* Control characters separate nothing (section 4.6.1), and nothing but ASCII is allowed (3.1). */
static bool is_visible(struct span span)
{
	for (size_t i = 0; i < span.len; i++)
		if (span.s[i] < 0x20 || span.s[i] > 0x7e)
			return false;
	return true;
}

/* At most: each term has a space before it. */
static size_t count_terms(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == ' ';
	return n;
}

const char *spf_record_parse(struct arena *arena, const unsigned char *data, size_t len,
			     struct spf_record *out)
{
	struct reading r = {.arena = arena};
	const char *text;

	if (len > SPF_RECORD_MOST)
		return "a record of more than 4096 octets";
	text = arena_strndup(arena, (const char *)data, len);
	if (!is_visible((struct span){text, len}))
		return "a character that is not visible ASCII";
	r.record.terms = arena_alloc(arena, count_terms(text) * sizeof(*r.record.terms));
	for (size_t i = VERSION_LENGTH; i < len; i += r.term.len + 1) {
		r.term.s = text + i;
		r.term.len = strcspn(r.term.s, " ");
		if (r.term.len && !read_term(&r))
			return r.wrong;
	}
	*out = r.record;
	return NULL;
}
