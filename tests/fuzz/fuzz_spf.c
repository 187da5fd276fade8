/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a sender publishes. The input is a zone, one record a line: a digit for its name (0 is the
 * domain checked, N is N.d.example), a letter for its type (T A 6 M, P for the client's own reverse
 * name, F for an A and TXT that fail), and the data. A first line that begins with # is the sender.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/ipaddr.h"
#include "base/text.h"
#include "check/spf.h"
#include "check/spf_check.h"
#include "fuzz.h"
#include "../unit/zone.h"

#define RECORDS_MOST 64
#define TIMEOUT_MS 1000

static const char *const names[] = {"d.example",   "1.d.example", "2.d.example", "3.d.example",
				    "4.d.example", "5.d.example", "6.d.example", "7.d.example",
				    "8.d.example", "9.d.example"};

static const struct {
	const char *address, *reverse;
} clients[] = {
    {"192.0.2.1", "1.2.0.192.in-addr.arpa"},
    {"2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"},
};

struct fuzz {
	struct arena arena;
	struct zone_record records[RECORDS_MOST];
	size_t count;
	const char *sender;
};

static void add(struct fuzz *f, const char *name, enum dns_type type, const char *data, size_t len)
{
	if (f->count < RECORDS_MOST)
		f->records[f->count++] = (struct zone_record){
		    .name = name, .type = type, .data = data, .len = len};
}

static void add_failing(struct fuzz *f, const char *name, enum dns_type type)
{
	if (f->count < RECORDS_MOST)
		f->records[f->count++] = (struct zone_record){
		    .name = name, .type = type, .status = DNS_SERVFAIL};
}

static void add_line(struct fuzz *f, const char *reverse, const uint8_t *line, size_t len)
{
	const char *name, *data;

	if (len < 2)
		return;
	name = names[line[0] % 10];
	data = arena_strndup(&f->arena, (const char *)line + 2, len - 2);
	switch (line[1]) {
	case 'A':
		add(f, name, DNS_A, data, 0);
		break;
	case '6':
		add(f, name, DNS_AAAA, data, 0);
		break;
	case 'M':
		add(f, name, DNS_MX, data, 0);
		break;
	case 'P':
		add(f, reverse, DNS_PTR, data, 0);
		break;
	case 'F':
		add_failing(f, name, DNS_A);
		add_failing(f, name, DNS_TXT);
		break;
	default:
		add(f, name, DNS_TXT, data, len - 2);
	}
}

static void read_zone(struct fuzz *f, const char *reverse, const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size, *next;

	f->sender = "joe@d.example";
	if (size && data[0] == '#') {
		next = memchr(data, '\n', size);
		next = next ? next : end;
		f->sender = arena_strndup(&f->arena, (const char *)data + 1,
					  (size_t)(next - data) - 1);
		data = next;
	}
	for (; data < end; data = next + (next < end)) {
		next = memchr(data, '\n', (size_t)(end - data));
		next = next ? next : end;
		add_line(f, reverse, data, (size_t)(next - data));
	}
}

/* The result is libspf2's, the reason ours: they must agree. */
static void check_why(enum spf_result result, const char *why)
{
	static const char qualifiers[] = {[SPF_RESULT_FAIL] = '-', [SPF_RESULT_SOFTFAIL] = '~'};
	bool none = text_starts_nocase(why, "no mechanism matches in ");

	fuzz_require(text_is_clean(why, strlen(why)));
	switch (result) {
	case SPF_RESULT_FAIL:
	case SPF_RESULT_SOFTFAIL:
		fuzz_require(why[0] == qualifiers[result]);
		break;
	case SPF_RESULT_PASS:
		fuzz_require(!none && !strchr("-~?", why[0]));
		break;
	case SPF_RESULT_NEUTRAL:
		fuzz_require(none || why[0] == '?');
		break;
	case SPF_RESULT_TEMPERROR:
		fuzz_require(text_starts_nocase(why, "temperror: DNS "));
		break;
	case SPF_RESULT_PERMERROR:
		fuzz_require(text_starts_nocase(why, "permerror: "));
		break;
	case SPF_RESULT_NONE:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		struct fuzz f = {.arena = ARENA_INIT};
		struct resolver *resolver;
		struct ipaddr client;
		const char *why;
		enum spf_result result;

		read_zone(&f, clients[i].reverse, data, size);
		fuzz_require(ipaddr_parse(clients[i].address, &client));
		resolver = zone_resolver(zone_new(f.records, f.count));
		resolver->ops->begin(resolver, &f.arena, TIMEOUT_MS);
		result = spf_check(resolver, &f.arena,
				   &(struct spf_query){.client = &client,
						       .sender = f.sender,
						       .helo = "helo.example",
						       .guess = i ? SPF_GUESS : NULL},
				   &why);
		check_why(result, why);
		resolver->ops->destroy(resolver);
		arena_release(&f.arena);
	}
	return 0;
}
