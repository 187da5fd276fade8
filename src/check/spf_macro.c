/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/spf_macro.h"

#include <limits.h>
#include <string.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/ipaddr.h"
#include "base/strbuf.h"

#define NAME_MOST 253
#define LABEL_MOST 63

#define DELIMITERS ".-+,/_="

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* One macro-expand, taken apart. */
struct macro {
	char letter; /* lower case; for %% %_ %- the second character */
	bool escape; /* URL escaping: an upper case letter */
	bool reverse;
	unsigned parts; /* right-hand parts to keep; UINT_MAX: all */
	const char *delimiters;
	size_t delimiter_count;
	size_t length; /* of the whole in the text */
};

/* The number of parts to keep, where there is one; returns its length. */
static size_t read_parts(const char *s, size_t len, unsigned *parts)
{
	unsigned value = 0;
	size_t i = 0;

	for (; i < len && is_digit(s[i]); i++) {
		unsigned digit = (unsigned)(s[i] - '0');

		value = value > (UINT_MAX - digit) / 10 ? UINT_MAX : value * 10 + digit;
	}
	*parts = i ? value : UINT_MAX;
	return i;
}

/* Reads the macro at s[0] == '%'. NULL, or what is wrong. */
static const char *read_macro(const char *s, size_t len, struct macro *out)
{
	struct macro m = {.parts = UINT_MAX, .delimiters = ".", .delimiter_count = 1};
	size_t i = 3, delimiters;

	if (len < 2 || !strchr("%_-{", s[1]))
		return "a % that begins no macro";
	if (s[1] != '{') {
		*out = (struct macro){.letter = s[1], .length = 2};
		return NULL;
	}
	if (len < 3 || !is_alpha(s[2]) || !strchr("slodiphcrtv", to_lower(s[2])))
		return "an unknown macro";
	m.letter = to_lower(s[2]);
	m.escape = m.letter != s[2];
	i += read_parts(s + i, len - i, &m.parts);
	if (m.parts == 0)
		return "a macro with 0 parts";
	if (i < len && to_lower(s[i]) == 'r') {
		m.reverse = true;
		i++;
	}
	for (delimiters = i; i < len && s[i] && strchr(DELIMITERS, s[i]);)
		i++;
	if (i > delimiters) {
		m.delimiters = s + delimiters;
		m.delimiter_count = i - delimiters;
	}
	if (i == len || s[i] != '}')
		return "a macro that does not end";
	m.length = i + 1;
	*out = m;
	return NULL;
}

/* Checks a macro-string; *tail is where the text behind its last macro begins. */
static const char *check_string(const char *s, size_t len, bool explanation, size_t *tail,
				unsigned *macros)
{
	struct macro m;

	*tail = 0;
	*macros = 0;
	for (size_t i = 0; i < len;) {
		const char *wrong;

		if (s[i] < 0x21 || s[i] > 0x7e)
			return "a character that is not visible ASCII";
		if (s[i] != '%') {
			i++;
			continue;
		}
		wrong = read_macro(s + i, len - i, &m);
		if (wrong)
			return wrong;
		if (!explanation && strchr("crt", m.letter))
			return "a macro that is for explanations only";
		i += m.length;
		*tail = i;
		(*macros)++;
	}
	return NULL;
}

const char *spf_macro_check_string(const char *s, size_t len)
{
	unsigned macros;
	size_t tail;

	return check_string(s, len, true, &tail, &macros);
}

/* `toplabel` of the grammar: letters, digits and hyphens, not all digits, no hyphen at an end. */
static bool is_toplabel(const char *s, size_t len)
{
	bool digits = true;

	if (!len || s[0] == '-' || s[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_alpha(s[i]) && !is_digit(s[i]) && s[i] != '-')
			return false;
		digits = digits && is_digit(s[i]);
	}
	return !digits;
}

const char *spf_macro_check_domain(const char *s, size_t len)
{
	const char *wrong;
	unsigned macros;
	size_t tail, dot;

	if (!len)
		return "an empty domain";
	wrong = check_string(s, len, false, &tail, &macros);
	if (wrong)
		return wrong;
	if (len > SPF_MACRO_STRING_MOST)
		return "a domain of more than 300 octets";
	if (macros > SPF_MACRO_MOST)
		return "a domain of more than 30 macros";
	if (tail == len)
		return NULL;
	if (s[len - 1] == '.')
		len--;
	for (dot = len; dot > tail && s[dot - 1] != '.';)
		dot--;
	return dot > tail && is_toplabel(s + dot, len - dot) ? NULL
							     : "a domain without a valid top label";
}

static bool is_delimiter(const struct macro *m, char c)
{
	return c && memchr(m->delimiters, c, m->delimiter_count);
}

static bool is_unreserved(char c)
{
	return is_alpha(c) || is_digit(c) || (c && strchr("-._~", c));
}

static void add_escaped(struct strbuf *out, const struct macro *m, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (m->escape && !is_unreserved(s[i]))
			strbuf_addf(out, "%%%02X", (unsigned)(unsigned char)s[i]);
		else
			strbuf_addch(out, s[i]);
	}
}

/* Parts in reverse order; the right-hand ones then are the first of the value. */
static void add_reversed(struct strbuf *out, const struct macro *m, const char *value, size_t len)
{
	unsigned parts = 0;
	size_t end = 0, begin;

	while (end < len && !(is_delimiter(m, value[end]) && ++parts == m->parts))
		end++;
	for (;; end = begin - 1) {
		for (begin = end; begin && !is_delimiter(m, value[begin - 1]);)
			begin--;
		add_escaped(out, m, value + begin, end - begin);
		if (!begin)
			return;
		strbuf_addch(out, '.');
	}
}

static void add_forward(struct strbuf *out, const struct macro *m, const char *value, size_t len)
{
	unsigned parts = 0;
	size_t begin = len, end;

	while (begin && !(is_delimiter(m, value[begin - 1]) && ++parts == m->parts))
		begin--;
	for (;; begin = end + 1) {
		for (end = begin; end < len && !is_delimiter(m, value[end]);)
			end++;
		add_escaped(out, m, value + begin, end - begin);
		if (end == len)
			return;
		strbuf_addch(out, '.');
	}
}

/* %{i}: dotted quad, or 32 nibbles with dots. */
static const char *client_text(struct arena *arena, const struct ipaddr *client)
{
	char reversed[IPADDR_REVERSE_SIZE], *text;
	size_t len;

	if (client->family == AF_INET) {
		text = arena_alloc(arena, IPADDR_TEXT_SIZE);
		ipaddr_format(client, text);
		return text;
	}
	ipaddr_reverse(client, reversed);
	len = strlen(reversed);
	text = arena_alloc(arena, len + 1);
	for (size_t i = 0; i < len; i++)
		text[i] = reversed[len - 1 - i];
	return text;
}

static const char *macro_value(struct arena *arena, char letter, const struct spf_macros *macros)
{
	switch (letter) {
	case 's':
		return arena_printf(arena, "%s@%s", macros->local, macros->sender_domain);
	case 'l':
		return macros->local;
	case 'o':
		return macros->sender_domain;
	case 'd':
		return macros->domain;
	case 'i':
		return client_text(arena, macros->client);
	case 'p':
		return macros->validated_name(macros->context);
	case 'v':
		return macros->client->family == AF_INET ? "in-addr" : "ip6";
	case 'h':
		return macros->helo;
	case '_':
		return " ";
	case '-':
		return "%20";
	default:
		return "%";
	}
}

static void add_macro(struct strbuf *out, struct arena *arena, const struct macro *m,
		      const struct spf_macros *macros)
{
	const char *value = macro_value(arena, m->letter, macros);

	if (!m->delimiters)
		strbuf_addstr(out, value);
	else if (m->reverse)
		add_reversed(out, m, value, strlen(value));
	else
		add_forward(out, m, value, strlen(value));
}

const char *spf_macro_expand(struct arena *arena, const char *spec, const struct spf_macros *macros)
{
	struct strbuf out = STRBUF_INIT;
	size_t len = strlen(spec);
	const char *name, *dot;
	struct macro m;

	for (size_t i = 0; i < len;) {
		if (spec[i] == '%' && !read_macro(spec + i, len - i, &m)) {
			add_macro(&out, arena, &m, macros);
			i += m.length;
		} else {
			strbuf_addch(&out, spec[i++]);
		}
	}
	name = out.buf;
	len = out.len;
	if (len && name[len - 1] == '.')
		len--;
	while (len > NAME_MOST && (dot = memchr(name, '.', len))) {
		len -= (size_t)(dot + 1 - name);
		name = dot + 1;
	}
	name = arena_strndup(arena, name, len);
	strbuf_release(&out);
	return name;
}

/* What DNS asks and compares literally; anything else is escaped as \DDD. */
static bool is_plain(char c)
{
	return c > 0x20 && c < 0x7f && c != '\\';
}

const char *spf_macro_dns_name(struct arena *arena, const char *name)
{
	size_t len = strlen(name), label = 0;
	char *out, *to;

	if (!len || len > NAME_MOST)
		return NULL;
	out = to = arena_alloc(arena, len * sizeof("\\DDD"));
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		label = c == '.' ? 0 : label + 1;
		if (label > LABEL_MOST || (c == '.' && (i == 0 || name[i - 1] == '.')))
			return NULL;
		if (is_plain(name[i])) {
			*to++ = name[i];
			continue;
		}
		*to++ = '\\';
		*to++ = (char)('0' + c / 100);
		*to++ = (char)('0' + c / 10 % 10);
		*to++ = (char)('0' + c % 10);
	}
	return label ? out : NULL;
}
