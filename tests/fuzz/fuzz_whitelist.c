/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whitelist. The first line is a recipient or a client's name, the second a client's address, the
 * rest the file. A file finds what its lines find, each as a file of its own, a line finds what a
 * plain second reading of it says, and an entry as it is named in the answer finds the same again.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/ipaddr.h"
#include "base/text.h"
#include "check/whitelist.h"
#include "fuzz.h"

#define LINES_MOST 40
#define NAME_MOST 253	  /* characters of a domain name */
#define COMPLAINTS_MOST 3 /* of a line: when read, when compiled, when asked */

struct query {
	enum whitelist_kind kind;
	const char *name;
	struct ipaddr ip;
	size_t complaints;
};

/* What one list says. */
struct answer {
	bool hit;
	unsigned line;
	char *entry; /* to be freed */
	size_t count;
};

static void complain(void *context, const char *file, unsigned line, const char *message)
{
	struct query *query = context;

	(void)line;
	fuzz_require(*file && *message && text_is_clean(message, strlen(message)));
	query->complaints++;
}

static bool is_listed(struct query *query, struct whitelist *list, struct whitelist_match *match)
{
	if (query->kind == WHITELIST_RECIPIENTS)
		return whitelist_recipient(list, query->name, match);
	return whitelist_client(list, query->name, &query->ip, match);
}

static struct answer ask(struct query *query, const void *data, size_t size)
{
	struct whitelist *list = whitelist_load(query->kind, fuzz_file(0, data, size), complain,
						query);
	struct whitelist_match match = {.entry = NULL};
	struct answer answer = {.count = whitelist_count(list)};

	answer.hit = is_listed(query, list, &match);
	fuzz_require(answer.hit == is_listed(query, list, NULL));
	if (answer.hit) {
		answer.entry = fuzz_text((const uint8_t *)match.entry, strlen(match.entry));
		answer.line = match.line;
	} else {
		fuzz_require(!match.entry);
	}
	whitelist_free(list);
	return answer;
}

/* Whether the name is the domain, or below it. */
static bool is_below(const char *name, const char *domain)
{
	size_t len = strlen(name), domain_len = strlen(domain);

	return len <= NAME_MOST && len > domain_len && name[len - domain_len - 1] == '.' &&
	       !strcasecmp(name + len - domain_len, domain);
}

static bool is_domain(const char *name, const char *domain)
{
	return strlen(name) <= NAME_MOST && !strcasecmp(name, domain);
}

/* `.example.com` or `example.com` */
static bool model_domain(const char *entry, const char *name)
{
	if (*entry == '.')
		return is_below(name, entry + 1);
	return is_domain(name, entry) || is_below(name, entry);
}

static bool model_recipient(const char *entry, const char *recipient)
{
	const char *entry_at = strrchr(entry, '@'), *at = strrchr(recipient, '@');
	size_t local = at ? (size_t)(at - recipient) : strlen(recipient);

	if (!entry_at)
		return at && model_domain(entry, at + 1);
	if (entry_at == entry)
		return at && is_domain(at + 1, entry + 1);
	if (entry_at[1])
		return !strcasecmp(entry, recipient);
	return (size_t)(entry_at - entry) == local && !strncasecmp(entry, recipient, local);
}

static bool model_client(const struct query *query, const char *entry)
{
	struct ipnet net;
	bool host_bits;

	if (ipnet_parse(entry, &net, &host_bits))
		return ipnet_contains(&net, &query->ip);
	return strcmp(query->name, "unknown") != 0 && model_domain(entry, query->name);
}

/* What a line of one plain entry means (bley-whitelist(5)). */
static void check_meaning(const struct query *query, struct fuzz_input line, bool first, bool hit)
{
	char *text = fuzz_text(line.data, line.size), *entry = text;
	size_t len;

	if (first && !strncmp(entry, "\xef\xbb\xbf", 3))
		entry += 3;
	entry[strcspn(entry, "#;")] = '\0';
	entry = text_trim(entry);
	len = strlen(entry);
	/* a domain's final dot says nothing */
	if (len > 1 && entry[len - 1] == '.')
		entry[len - 1] = '\0';
	if (*entry != '/')
		fuzz_require(hit == (query->kind == WHITELIST_CLIENTS
					 ? model_client(query, entry)
					 : model_recipient(entry, query->name)));
	free(text);
}

/* A line by itself; one that is not the file's first keeps a line before it. */
static struct answer ask_line(struct query *query, struct fuzz_input line, bool first)
{
	char *text = malloc(line.size + 2);
	struct answer answer;

	fuzz_require(text != NULL);
	text[0] = '\n';
	memcpy(text + 1, line.data, line.size);
	answer = ask(query, text + first, line.size + 1 - first);
	free(text);
	return answer;
}

static void check_lines(struct query *query, struct fuzz_input file, const struct answer *whole)
{
	size_t count = 0, lines = 0;
	bool hit = false, named = false;

	while (file.size && lines < LINES_MOST) {
		struct fuzz_input line = fuzz_line(&file);
		struct answer answer = ask_line(query, line, !lines);

		if (answer.count)
			check_meaning(query, line, !lines, answer.hit);
		lines++;
		count += answer.count;
		hit |= answer.hit;
		named |= answer.hit && whole->line == lines;
		free(answer.entry);
	}
	if (file.size)
		return;
	fuzz_require(hit == whole->hit && count == whole->count);
	fuzz_require(named == whole->hit);
	fuzz_require(query->complaints <= 2 * COMPLAINTS_MOST * lines);
}

static void check_entry(struct query *query, const struct answer *whole)
{
	struct answer again;

	if (!whole->hit)
		return;
	again = ask_line(
	    query, (struct fuzz_input){(const uint8_t *)whole->entry, strlen(whole->entry)}, false);
	fuzz_require(again.hit && again.count == 1 && !strcmp(again.entry, whole->entry));
	free(again.entry);
}

static void check_list(struct query *query, struct fuzz_input file)
{
	struct answer whole;

	query->complaints = 0;
	whole = ask(query, file.data, file.size);
	check_lines(query, file, &whole);
	check_entry(query, &whole);
	free(whole.entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size}, first = fuzz_line(&in), second = fuzz_line(&in);
	char *name = fuzz_text(first.data, first.size), *address;
	struct query query = {.kind = WHITELIST_RECIPIENTS, .name = name};

	address = fuzz_text(second.data, second.size);
	if (!ipaddr_parse(address, &query.ip))
		ipaddr_parse("192.0.2.1", &query.ip);
	text_lower(name);
	if (text_is_clean(name, strlen(name))) {
		check_list(&query, in);
		query.kind = WHITELIST_CLIENTS;
		check_list(&query, in);
	}
	free(name);
	free(address);
	return 0;
}
