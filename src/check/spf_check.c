/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/spf_check.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "check/spf_macro.h"
#include "check/spf_state.h"

static const char *prefix_of(enum spf_result result)
{
	switch (result) {
	case SPF_RESULT_TEMPERROR:
		return "temperror: ";
	case SPF_RESULT_PERMERROR:
		return "permerror: ";
	default:
		return "";
	}
}

bool spf_state_end(struct spf_state *state, enum spf_result result, const char *format, ...)
{
	va_list ap;

	if (state->over)
		return false;
	va_start(ap, format);
	state->over = true;
	state->result = result;
	state->why = arena_printf(state->arena, "%s%s", prefix_of(result),
				  arena_vprintf(state->arena, format, ap));
	va_end(ap);
	return false;
}

/* Gives the term a number and writes it down under it. */
static void write_numbered(struct spf_state *state, struct strbuf *out,
			   const struct spf_level *level, const struct spf_term *term,
			   const char *before)
{
	struct spf_step *step = &state->steps[state->step_count];

	*step = (struct spf_step){.level = level, .term = term};
	spf_eval_name(out, before, state->step_count++);
}

/* A mechanism that asks DNS. */
static void write_lookup(struct spf_state *state, struct strbuf *out, const struct spf_level *level,
			 const struct spf_term *term)
{
	unsigned bits = spf_state_bits(state, term);

	strbuf_addf(out, " %c", term->qualifier);
	switch (term->kind) {
	case SPF_KIND_INCLUDE:
		write_numbered(state, out, level, term, "include:");
		break;
	case SPF_KIND_EXISTS:
		write_numbered(state, out, level, term, "exists:");
		break;
	case SPF_KIND_PTR: /* answered by us: libspf2 takes errors and too many names amiss */
		write_numbered(state, out, level, term, "a:");
		break;
	default:
		write_numbered(state, out, level, term, term->kind == SPF_KIND_MX ? "mx:" : "a:");
		if (bits)
			strbuf_addf(out, state->client->family == AF_INET ? "/%u" : "//%u", bits);
	}
}

static bool has_client(const struct spf_state *state, const struct spf_term *term)
{
	return term->address.family == state->client->family &&
	       spf_state_in_network(state, term->address.bytes, spf_state_bits(state, term));
}

/* An ip4 or ip6 that the client is in. */
static void write_network(const struct spf_state *state, struct strbuf *out,
			  const struct spf_term *term)
{
	unsigned bits = spf_state_bits(state, term);
	char address[INET6_ADDRSTRLEN] = "";

	inet_ntop(term->address.family, term->address.bytes, address, sizeof(address));
	if (!bits) /* libspf2 has no /0 */
		strbuf_addf(out, " %call", term->qualifier);
	else
		strbuf_addf(out, " %cip%c:%s/%u", term->qualifier,
			    term->kind == SPF_KIND_IP4 ? '4' : '6', address, bits);
}

/*
 * The record as libspf2 is given it, its questions on their way: what can still decide, in the few
 * forms that it gets right, with numbers for names. It keeps no more than 511 octets of mechanisms
 * and forgets the rest without a word, so networks that the client is not in are left out, and all
 * that stands behind a mechanism that must match.
 */
static const char *write_record(struct spf_state *state, const struct spf_level *level)
{
	const struct spf_record *record = &level->record;
	struct strbuf out = STRBUF_INIT;
	unsigned lookups = state->lookups, first = state->step_count;
	bool open = true;
	const char *text;

	strbuf_addstr(&out, "v=spf1");
	for (size_t i = 0; i < record->count && open; i++) {
		const struct spf_term *term = &record->terms[i];

		if (term->kind == SPF_KIND_ALL) {
			strbuf_addf(&out, " %call", term->qualifier);
			open = false;
		} else if (term->kind == SPF_KIND_IP4 || term->kind == SPF_KIND_IP6) {
			open = !has_client(state, term);
			if (!open)
				write_network(state, &out, term);
		} else {
			write_lookup(state, &out, level, term);
			open = lookups++ < SPF_LOOKUPS_MOST;
		}
	}
	if (open && record->redirect)
		write_numbered(state, &out, level, record->redirect, " redirect=");
	for (unsigned i = first; i < state->step_count; i++)
		spf_lookup_ahead(state, &state->steps[i]);
	text = arena_strdup(state->arena, out.buf);
	strbuf_release(&out);
	return text;
}

/* The one SPF record among a domain's TXT records (section 4.5). False where there is more than
 * one. */
static bool select_record(const struct dns_question *question, const struct dns_record **record)
{
	*record = NULL;
	for (size_t i = 0; i < question->count; i++) {
		if (!spf_record_is(question->records[i].data, question->records[i].len))
			continue;
		if (*record)
			return false;
		*record = &question->records[i];
	}
	return true;
}

static bool parse_record(struct spf_state *state, struct spf_level *level,
			 const unsigned char *data, size_t len)
{
	const char *wrong = spf_record_parse(state->arena, data, len, &level->record);

	return !wrong ||
	       spf_state_end(state, SPF_RESULT_PERMERROR, "%s, in %s", wrong, level->domain);
}

/* Finds a domain's record. *level is NULL where it publishes none. False where that ends the check.
 */
static bool find_record(struct spf_state *state, const char *domain, struct spf_level **level)
{
	struct spf_level *found = arena_alloc(state->arena, sizeof(*found));
	const struct dns_question *question = spf_lookup(state, domain, DNS_TXT);
	const struct dns_record *record;

	found->domain = domain;
	*level = NULL;
	if (spf_lookup_failed(question))
		return spf_lookup_end(state, question, found);
	if (!select_record(question, &record))
		return spf_state_end(state, SPF_RESULT_PERMERROR, "more than one record, in %s",
				     domain);
	if (!record)
		return true;
	*level = found;
	return parse_record(state, found, record->data, record->len);
}

/* Section 4.6.4: counted over all records. */
static bool count_lookup(struct spf_state *state, const struct spf_step *step)
{
	return ++state->lookups <= SPF_LOOKUPS_MOST ||
	       spf_state_end(state, SPF_RESULT_PERMERROR, "more than %d lookups, in %s",
			     SPF_LOOKUPS_MOST, step->level->domain);
}

static bool on_addresses(struct spf_source *source, unsigned number,
			 const struct dns_record **records, size_t *count)
{
	struct spf_state *state = (struct spf_state *)source;
	struct spf_step *step = &state->steps[number];

	if (state->over || !count_lookup(state, step) || !spf_lookup_addresses(state, step))
		return false;
	*records = step->records;
	*count = step->count;
	return true;
}

static bool on_record(struct spf_source *source, unsigned number, const char **text)
{
	struct spf_state *state = (struct spf_state *)source;
	struct spf_step *step = &state->steps[number];

	if (state->over || !count_lookup(state, step) ||
	    !find_record(state, spf_lookup_target(state, step->level, step->term), &step->below))
		return false;
	if (!step->below)
		return spf_state_end(state, SPF_RESULT_PERMERROR,
				     "no record where \"%s\" points to, in %s", step->term->text,
				     step->level->domain);
	*text = write_record(state, step->below);
	return true;
}

static const struct spf_step *step_of(const struct spf_state *state, const struct spf_level *level,
				      const struct spf_term *term)
{
	for (unsigned i = 0; i < state->step_count; i++)
		if (state->steps[i].level == level && state->steps[i].term == term)
			return &state->steps[i];
	return NULL;
}

static const struct spf_term *deciding_term(const struct spf_state *state,
					    const struct spf_level **level);

static bool term_matches(const struct spf_state *state, const struct spf_level *level,
			 const struct spf_term *term)
{
	const struct spf_step *step = step_of(state, level, term);

	switch (term->kind) {
	case SPF_KIND_ALL:
		return true;
	case SPF_KIND_IP4:
	case SPF_KIND_IP6:
		return has_client(state, term);
	case SPF_KIND_INCLUDE:
		if (!step || !step->below)
			return false;
		level = step->below;
		term = deciding_term(state, &level);
		return term && term->qualifier == '+';
	default:
		return step && step->matches;
	}
}

/*
 * The term that decided, for people, by the answers that libspf2 was given: it does not say itself.
 * *level then is the one that the term stands in. NULL where none matched.
 */
static const struct spf_term *deciding_term(const struct spf_state *state,
					    const struct spf_level **level)
{
	const struct spf_step *redirect;

	for (;;) {
		const struct spf_record *record = &(*level)->record;

		for (size_t i = 0; i < record->count; i++)
			if (term_matches(state, *level, &record->terms[i]))
				return &record->terms[i];
		redirect = record->redirect ? step_of(state, *level, record->redirect) : NULL;
		if (!redirect || !redirect->below)
			return NULL;
		*level = redirect->below;
	}
}

static enum spf_result result_of(char qualifier)
{
	switch (qualifier) {
	case '+':
		return SPF_RESULT_PASS;
	case '-':
		return SPF_RESULT_FAIL;
	case '~':
		return SPF_RESULT_SOFTFAIL;
	default:
		return SPF_RESULT_NEUTRAL;
	}
}

static void evaluate(struct spf_state *state, const struct spf_level *level, const char *note)
{
	char qualifier = spf_eval(&state->source, write_record(state, level), state->client);
	const struct spf_term *term;

	if (state->over)
		return;
	if (!qualifier) {
		spf_state_end(state, SPF_RESULT_TEMPERROR, "libspf2 failed, in %s", level->domain);
		return;
	}
	term = deciding_term(state, &level);
	state->result = result_of(qualifier);
	state->why = arena_printf(state->arena, "%s in %s%s",
				  term ? term->text : "no mechanism matches", level->domain, note);
}

/* Section 4.3: a domain name of two labels or more. It is asked and shown as it is, so nothing
 * strange in it. */
static bool is_domain(struct arena *arena, const char *domain)
{
	for (const char *c = domain; *c; c++)
		if (*c <= 0x20 || *c >= 0x7f || strchr("[]\\\"", *c))
			return false;
	return strchr(domain, '.') && spf_macro_dns_name(arena, domain);
}

static const char *without_final_dot(struct arena *arena, const char *name)
{
	size_t len = strlen(name);

	return len && name[len - 1] == '.' ? arena_strndup(arena, name, len - 1) : name;
}

/* Sections 2.4 and 4.3: whose record is asked for. */
static void set_sender(struct spf_state *state, const struct spf_query *query)
{
	const char *sender = query->sender, *at = strrchr(sender, '@');

	state->local = "postmaster";
	state->helo = without_final_dot(state->arena, query->helo);
	if (at && at != sender)
		state->local = arena_strndup(state->arena, sender, (size_t)(at - sender));
	state->domain = without_final_dot(state->arena, spf_domain(sender, query->helo));
}

static void check_host(struct spf_state *state, const char *guess)
{
	struct spf_level *level, assumed = {.domain = state->domain};

	if (!is_domain(state->arena, state->domain)) {
		spf_state_end(state, SPF_RESULT_NONE, "\"%s\" is no domain that can be asked",
			      state->domain);
		return;
	}
	if (!find_record(state, state->domain, &level))
		return;
	if (level)
		evaluate(state, level, "");
	else if (!guess)
		spf_state_end(state, SPF_RESULT_NONE, "no record in %s", state->domain);
	else if (parse_record(state, &assumed, (const unsigned char *)guess, strlen(guess)))
		evaluate(state, &assumed, " (an assumed record)");
}

enum spf_result spf_check(struct resolver *resolver, struct arena *arena,
			  const struct spf_query *query, const char **why)
{
	struct spf_state *state = arena_alloc(arena, sizeof(*state));

	state->source = (struct spf_source){.addresses = on_addresses, .record = on_record};
	state->resolver = resolver;
	state->arena = arena;
	state->client = query->client;
	set_sender(state, query);
	check_host(state, query->guess);
	*why = text_clean(arena, state->why, strlen(state->why));
	return state->result;
}
