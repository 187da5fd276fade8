/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/ipaddr.h"
#include "check/spf_macro.h"
#include "check/spf_state.h"

unsigned spf_state_bits(const struct spf_state *state, const struct spf_term *term)
{
	return state->client->family == AF_INET ? term->bits4 : term->bits6;
}

bool spf_state_in_network(const struct spf_state *state, const unsigned char *address,
			  unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	unsigned char mask = (unsigned char)(0xff00U >> rest);

	return !memcmp(address, state->client->bytes, whole) &&
	       (!rest || !((address[whole] ^ state->client->bytes[whole]) & mask));
}

static enum dns_type address_type(const struct spf_state *state)
{
	return state->client->family == AF_INET ? DNS_A : DNS_AAAA;
}

static size_t address_length(const struct spf_state *state)
{
	return state->client->family == AF_INET ? 4 : 16;
}

/* Asks, and does not wait. */
static struct dns_question *ask(struct spf_state *state, const char *name, enum dns_type type)
{
	struct dns_question *question = arena_alloc(state->arena, sizeof(*question));

	question->name = name;
	question->type = type;
	state->resolver->ops->ask(state->resolver, question);
	return question;
}

static void await(struct spf_state *state, struct dns_question *question)
{
	if (question->status == DNS_PENDING)
		state->resolver->ops->wait(state->resolver, question);
}

const struct dns_question *spf_lookup(struct spf_state *state, const char *name, enum dns_type type)
{
	const char *dns_name = spf_macro_dns_name(state->arena, name);
	struct dns_question *question;

	if (dns_name) {
		question = ask(state, dns_name, type);
		await(state, question);
		return question;
	}
	question = arena_alloc(state->arena, sizeof(*question));
	question->name = name;
	question->type = type;
	question->status = DNS_NXDOMAIN;
	return question;
}

bool spf_lookup_failed(const struct dns_question *question)
{
	return question->status != DNS_OK && question->status != DNS_NXDOMAIN &&
	       question->status != DNS_NODATA;
}

static const char *status_text(enum dns_status status)
{
	switch (status) {
	case DNS_REFUSED:
		return "refused";
	case DNS_TIMEOUT:
		return "no answer in time";
	default:
		return "failed";
	}
}

bool spf_lookup_end(struct spf_state *state, const struct dns_question *question,
		    const struct spf_level *level)
{
	return spf_state_end(state, SPF_RESULT_TEMPERROR, "DNS for %s: %s, in %s", question->name,
			     status_text(question->status), level->domain);
}

/* Section 4.6.4: a term whose own question has no answer. */
static bool count_void(struct spf_state *state, const struct dns_question *question,
		       const struct spf_level *level)
{
	if (question->count || ++state->voids <= SPF_VOIDS_MOST)
		return true;
	return spf_state_end(state, SPF_RESULT_PERMERROR,
			     "more than %d lookups without an answer, in %s", SPF_VOIDS_MOST,
			     level->domain);
}

static bool has_client(const struct spf_state *state, const struct dns_record *records,
		       size_t count, unsigned bits)
{
	for (size_t i = 0; i < count; i++)
		if (records[i].len == address_length(state) &&
		    spf_state_in_network(state, records[i].data, bits))
			return true;
	return false;
}

static bool is_client(const struct spf_state *state, const struct dns_question *question)
{
	return question->status == DNS_OK && has_client(state, question->records, question->count,
							(unsigned)address_length(state) * 8);
}

/* What libspf2 is told where it cannot be told the truth: the client's own address. */
static void match_by_word(struct spf_state *state, struct spf_step *step)
{
	struct dns_record *record = arena_alloc(state->arena, sizeof(*record));

	record->data = state->client->bytes;
	record->len = address_length(state);
	step->records = record;
	step->count = 1;
	step->matches = true;
}

static void set_addresses(struct spf_state *state, struct spf_step *step,
			  const struct dns_record *records, size_t count)
{
	unsigned bits = spf_state_bits(state, step->term);

	step->records = records;
	step->count = count;
	step->matches = has_client(state, records, count, bits);
	if (step->matches && !bits) /* libspf2 has no /0 */
		match_by_word(state, step);
}

static bool lookup_a(struct spf_state *state, struct spf_step *step, const char *name)
{
	bool exists = step->term->kind == SPF_KIND_EXISTS;
	const struct dns_question *question = spf_lookup(state, name,
							 exists ? DNS_A : address_type(state));

	if (spf_lookup_failed(question))
		return spf_lookup_end(state, question, step->level);
	if (!count_void(state, question, step->level))
		return false;
	if (!exists) {
		set_addresses(state, step, question->records, question->count);
		return true;
	}
	step->records = question->records;
	step->count = question->count;
	step->matches = question->count > 0;
	return true;
}

static int by_preference(const void *a, const void *b)
{
	const struct dns_record *x = a, *y = b;

	return (x->preference > y->preference) - (x->preference < y->preference);
}

/* The hosts of an mx, most preferred first. */
static struct dns_record *mx_hosts(struct spf_state *state, const struct dns_question *question)
{
	size_t size = question->count * sizeof(struct dns_record);
	struct dns_record *hosts = arena_alloc(state->arena, size + 1);

	if (size)
		memcpy(hosts, question->records, size);
	qsort(hosts, question->count, sizeof(*hosts), by_preference);
	return hosts;
}

static const char *host_name(struct spf_state *state, const struct dns_record *host)
{
	return arena_strndup(state->arena, (const char *)host->data, host->len);
}

/* All hosts are asked for at once. In the order of preference the first one that has the client
 * decides, or that cannot be asked (sections 5 and 5.4). */
static bool lookup_hosts(struct spf_state *state, struct spf_step *step,
			 const struct dns_record *hosts, size_t host_count)
{
	struct dns_question *questions[SPF_HOSTS_MOST];
	struct dns_record *all;
	size_t count = 0;

	for (size_t i = 0; i < host_count; i++)
		questions[i] = ask(state, host_name(state, &hosts[i]), address_type(state));
	for (size_t i = 0; i < host_count; i++) {
		await(state, questions[i]);
		if (spf_lookup_failed(questions[i]))
			return spf_lookup_end(state, questions[i], step->level);
		set_addresses(state, step, questions[i]->records, questions[i]->count);
		if (step->matches)
			return true;
		count += questions[i]->count;
	}
	all = arena_alloc(state->arena, count * sizeof(*all) + 1);
	count = 0;
	for (size_t i = 0; i < host_count; i++)
		for (size_t j = 0; j < questions[i]->count; j++)
			all[count++] = questions[i]->records[j];
	step->records = all;
	step->count = count;
	return true;
}

static bool lookup_mx(struct spf_state *state, struct spf_step *step, const char *name)
{
	const struct dns_question *question = spf_lookup(state, name, DNS_MX);

	if (spf_lookup_failed(question))
		return spf_lookup_end(state, question, step->level);
	if (!count_void(state, question, step->level))
		return false;
	if (question->count > SPF_HOSTS_MOST)
		return spf_state_end(state, SPF_RESULT_PERMERROR,
				     "more than %d hosts for \"%s\", in %s", SPF_HOSTS_MOST,
				     step->term->text, step->level->domain);
	return lookup_hosts(state, step, mx_hosts(state, question), question->count);
}

/* How a host of the client's is preferred for %{p} (section 7.3): the domain itself, one below it,
 * another. */
static int host_rank(const char *name, const char *domain)
{
	size_t len = strlen(name), tail = strlen(domain);

	if (len < tail || strcasecmp(name + len - tail, domain) != 0)
		return 2;
	if (len == tail)
		return 0;
	return name[len - tail - 1] == '.' ? 1 : 2;
}

static const char *reverse_name(struct spf_state *state)
{
	char reverse[IPADDR_REVERSE_SIZE];

	ipaddr_reverse(state->client, reverse);
	return arena_printf(state->arena, "%s.%s.arpa", reverse,
			    state->client->family == AF_INET ? "in-addr" : "ip6");
}

/* The client's names that count, none of them validated. Names with escaped bytes are no host
 * names. */
static void find_names(struct spf_state *state)
{
	size_t count = 0;

	if (state->reverse)
		return;
	state->reverse = spf_lookup(state, reverse_name(state), DNS_PTR);
	for (size_t i = 0; i < state->reverse->count && i < SPF_HOSTS_MOST; i++) {
		const char *name = host_name(state, &state->reverse->records[i]);

		if (!*name || strchr(name, '\\'))
			continue;
		state->names[count] = arena_alloc(state->arena, sizeof(*state->names[0]));
		state->names[count]->name = name;
		state->names[count++]->type = address_type(state);
	}
}

/*
 * The best validated name of the client (section 5.5), of no worse rank than `worst`; NULL where
 * there is none. Errors only make names fewer: they are not the domain's.
 */
static const char *validated_name(struct spf_state *state, const char *domain, int worst)
{
	struct dns_question *name;

	find_names(state);
	for (size_t i = 0; i < SPF_HOSTS_MOST && (name = state->names[i]); i++)
		if (!state->names_asked[i] && host_rank(name->name, domain) <= worst) {
			state->names_asked[i] = true;
			state->resolver->ops->ask(state->resolver, name);
		}
	for (int rank = 0; rank <= worst; rank++) {
		for (size_t i = 0; i < SPF_HOSTS_MOST && (name = state->names[i]); i++) {
			if (host_rank(name->name, domain) != rank)
				continue;
			await(state, name);
			if (is_client(state, name))
				return name->name;
		}
	}
	return NULL;
}

/* %{p} */
struct expansion {
	struct spf_state *state;
	const struct spf_level *level;
};

static const char *expand_validated_name(void *context)
{
	const struct expansion *e = context;
	const char *name = validated_name(e->state, e->level->domain, 2);

	return name ? name : "unknown";
}

const char *spf_lookup_target(struct spf_state *state, const struct spf_level *level,
			      const struct spf_term *term)
{
	struct expansion expansion = {state, level};
	struct spf_macros macros = {
	    .local = state->local,
	    .sender_domain = state->domain,
	    .domain = level->domain,
	    .helo = state->helo,
	    .client = state->client,
	    .validated_name = expand_validated_name,
	    .context = &expansion,
	};

	return term->target ? spf_macro_expand(state->arena, term->target, &macros) : level->domain;
}

static enum dns_type first_type(const struct spf_state *state, enum spf_kind kind)
{
	switch (kind) {
	case SPF_KIND_INCLUDE:
	case SPF_KIND_REDIRECT:
		return DNS_TXT;
	case SPF_KIND_MX:
		return DNS_MX;
	case SPF_KIND_PTR:
		return DNS_PTR;
	case SPF_KIND_EXISTS:
		return DNS_A;
	default:
		return address_type(state);
	}
}

void spf_lookup_ahead(struct spf_state *state, const struct spf_step *step)
{
	const struct spf_term *term = step->term;
	const char *name;

	if (state->ahead + state->lookups >= SPF_LOOKUPS_MOST)
		return;
	if (term->kind == SPF_KIND_PTR)
		name = reverse_name(state);
	else if (term->target && (strstr(term->target, "%{p") || strstr(term->target, "%{P")))
		return; /* that would have to wait for the client's names */
	else
		name = spf_macro_dns_name(state->arena,
					  spf_lookup_target(state, step->level, term));
	if (!name)
		return;
	ask(state, name, first_type(state, term->kind));
	state->ahead++;
}

bool spf_lookup_addresses(struct spf_state *state, struct spf_step *step)
{
	const char *name = spf_lookup_target(state, step->level, step->term);

	switch (step->term->kind) {
	case SPF_KIND_MX:
		return lookup_mx(state, step, name);
	case SPF_KIND_PTR:
		if (*name && validated_name(state, name, 1))
			match_by_word(state, step);
		return true;
	default:
		return lookup_a(state, step, name);
	}
}
