/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/ipaddr.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "check/check.h"
#include "check/spf.h"
#include "check/spf_check.h"
#include "conf/conf.h"
#include "zone.h"

/* libspf2's, declared here: its headers and check/spf.h name their results alike */
void SPF_errorx(const char *file, int line, const char *format, ...);

/*
 * The cases of tests/unit/spf.rows: a `== title` begins a zone, `NAME TYPE DATA` is a record of it
 * (DATA `!STATUS` a failure, \xHH any byte), `? RESULT CLIENT SENDER HELO [WHY]` a case.
 */

#define LINE_SIZE 20000
#define TIMEOUT_MS 5000

struct row {
	unsigned line;
	const char *title;
	struct zone_record *zone;
	size_t *zone_count; /* known when the zone ends */
	char result[16], client[64], sender[400], helo[300], why[300];
};

/* Everything that the rows need lives as long as the tests. */
static struct arena rows_arena;

static int from_hex(char c)
{
	return c >= 'a' ? c - 'a' + 10 : c >= 'A' ? c - 'A' + 10 : c - '0';
}

/* In place; returns the length. */
static size_t unescape(char *s)
{
	char *to = s, *begin = s;

	for (; *s; to++) {
		if (s[0] == '\\' && s[1] == 'x') {
			*to = (char)(from_hex(s[2]) * 16 + from_hex(s[3]));
			s += 4;
		} else {
			*to = *s++;
		}
	}
	*to = '\0';
	return (size_t)(to - begin);
}

static enum dns_type type_of(const char *word)
{
	static const struct {
		const char *word;
		enum dns_type type;
	} types[] = {{"A", DNS_A},     {"AAAA", DNS_AAAA}, {"MX", DNS_MX},
		     {"TXT", DNS_TXT}, {"PTR", DNS_PTR},   {"CNAME", ZONE_CNAME}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(word, types[i].word))
			return types[i].type;
	fail_msg("spf.rows: no such type: %s", word);
	return DNS_A;
}

static enum dns_status status_of(const char *word)
{
	if (!strcmp(word, "!SERVFAIL"))
		return DNS_SERVFAIL;
	if (!strcmp(word, "!REFUSED"))
		return DNS_REFUSED;
	if (!strcmp(word, "!TIMEOUT"))
		return DNS_TIMEOUT;
	if (!strcmp(word, "!NODATA"))
		return DNS_NODATA;
	return DNS_PENDING;
}

static struct zone_record read_record(char *line)
{
	char *type = strchr(line, ' '), *data;
	struct zone_record record = {.name = line};

	assert_non_null(type);
	*type++ = '\0';
	data = strchr(type, ' ');
	assert_non_null(data);
	*data++ = '\0';
	record.type = type_of(type);
	record.status = status_of(data);
	record.len = unescape(data);
	record.data = data;
	return record;
}

static void read_case(const char *line, struct row *row)
{
	int used = 0;

	if (sscanf(line, "? %15s %63s %399s %299s %n", row->result, row->client, row->sender,
		   row->helo, &used) < 4)
		fail_msg("spf.rows: not a case: %s", line);
	snprintf(row->why, sizeof(row->why), "%s", line + used);
	unescape(row->sender);
	unescape(row->helo);
	if (!strcmp(row->sender, "<>"))
		row->sender[0] = '\0';
}

static struct row *read_rows(const char *path, size_t *count)
{
	static char line[LINE_SIZE];
	struct row *rows = NULL;
	struct row here = {.title = ""};
	size_t room = 0, zone_room = 0;
	FILE *f = fopen(path, "r");

	if (!f)
		fail_msg("cannot open %s", path);
	*count = 0;
	while (fgets(line, sizeof(line), f)) {
		char *text = arena_strdup(&rows_arena, line);

		here.line++;
		text[strcspn(text, "\n")] = '\0';
		if (!*text || *text == '#')
			continue;
		if (!strncmp(text, "== ", 3)) {
			here.title = text + 3;
			here.zone_count = arena_alloc(&rows_arena, sizeof(*here.zone_count));
			zone_room = 300;
			here.zone = arena_alloc(&rows_arena, zone_room * sizeof(*here.zone));
		} else if (*text == '?') {
			if (*count == room) {
				room = room ? room * 2 : 64;
				rows = mem_resize(rows, room * sizeof(*rows));
			}
			rows[*count] = here;
			read_case(text, &rows[(*count)++]);
		} else {
			assert_true(*here.zone_count < zone_room);
			here.zone[(*here.zone_count)++] = read_record(text);
		}
	}
	fclose(f);
	return rows;
}

static enum spf_result check_in(struct resolver *resolver, struct arena *arena, const char *client,
				const char *sender, const char *helo, const char **why)
{
	struct ipaddr address;
	struct spf_query query = {.client = &address, .sender = sender, .helo = helo};

	assert_true(ipaddr_parse(client, &address));
	resolver->ops->begin(resolver, arena, TIMEOUT_MS);
	return spf_check(resolver, arena, &query, why);
}

static void test_row(void **state)
{
	const struct row *row = *state;
	struct zone *zone = zone_new(row->zone, *row->zone_count);
	struct resolver *resolver = zone_resolver(zone);
	struct arena arena = ARENA_INIT;
	const char *why;
	enum spf_result result = check_in(resolver, &arena, row->client, row->sender, row->helo,
					  &why);

	if (strcmp(spf_result_name(result), row->result) || (*row->why && strcmp(why, row->why)))
		fail_msg("spf.rows:%u: %s: %s (%s)", row->line, row->title, spf_result_name(result),
			 why);
	assert_true(text_is_clean(why, strlen(why)));
	resolver->ops->destroy(resolver);
	arena_release(&arena);
}

/* A zone of a few records, and what the check says in it. */
struct small {
	struct zone_record records[16];
	size_t count;
};

static void add(struct small *small, const char *name, enum dns_type type, const char *data)
{
	small->records[small->count++] = (struct zone_record){
	    .name = name, .type = type, .data = data};
}

static enum spf_result check_small(const struct small *small, struct arena *arena,
				   const char *client, const char *sender, const char **why)
{
	struct zone *zone = zone_new(small->records, small->count);
	struct resolver *resolver = zone_resolver(zone);
	enum spf_result result = check_in(resolver, arena, client, sender, "helo.example", why);

	resolver->ops->destroy(resolver);
	return result;
}

static void assert_result(const struct small *small, const char *client, enum spf_result expected,
			  const char *expected_why)
{
	struct arena arena = ARENA_INIT;
	const char *why;

	assert_int_equal(check_small(small, &arena, client, "joe@example.com", &why), expected);
	if (expected_why)
		assert_string_equal(why, expected_why);
	arena_release(&arena);
}

/* `text` n times between two others. */
static const char *repeated(const char *before, const char *text, size_t n, const char *after)
{
	struct strbuf out = STRBUF_INIT;
	const char *copy;

	strbuf_addstr(&out, before);
	while (n--)
		strbuf_addstr(&out, text);
	strbuf_addstr(&out, after);
	copy = arena_strdup(&rows_arena, out.buf);
	strbuf_release(&out);
	return copy;
}

/* CVE-2023-42118, first way: an explanation whose compiled form is just over libspf2's buffer. */
static void test_attack_by_explanation(void **state)
{
	struct small zone = {.count = 0};

	(void)state;
	add(&zone, "example.com", DNS_TXT, "v=spf1 -all exp=e.example.com");
	add(&zone, "e.example.com", DNS_TXT, repeated("", "%{i}", 127, "abcdef"));
	assert_result(&zone, "192.0.2.1", SPF_RESULT_FAIL, "-all in example.com");
}

/* The second way: the same in the record itself, with a long tail. */
static void test_attack_by_record(void **state)
{
	static const char *const before[] = {
	    "v=spf1 a:",   "v=spf1 exists:",   "v=spf1 include:", "v=spf1 mx:",
	    "v=spf1 ptr:", "v=spf1 redirect=", "v=spf1 +all x=",  "v=spf1 exp="};
	const char *tail = repeated("", "a", 6000, ".example.com -all");

	(void)state;
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		struct small zone = {.count = 0};

		add(&zone, "example.com", DNS_TXT, repeated(before[i], "%{i}", 127, tail));
		assert_result(&zone, "192.0.2.1", SPF_RESULT_PERMERROR,
			      "permerror: a record of more than 4096 octets, in example.com");
	}
}

/* Just within our bounds, and just beyond. */
static void test_bounds(void **state)
{
	struct small zone = {.count = 0};

	(void)state;
	add(&zone, "example.com", DNS_TXT, repeated("v=spf1 a:", "%{d}", 30, " -all"));
	assert_result(&zone, "192.0.2.1", SPF_RESULT_FAIL, NULL);
	zone.records[0].data = repeated("v=spf1 a:", "%{d}", 31, " -all");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_PERMERROR, NULL);
	zone.records[0].data = repeated("v=spf1 exists:", "%{s}", 30, ".example.com ~all");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_SOFTFAIL, NULL);
	zone.records[0].data = repeated("v=spf1 a:", "a", 288, ".example.com -all");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_FAIL, NULL);
	zone.records[0].data = repeated("v=spf1 a:", "a", 289, ".example.com -all");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_PERMERROR, NULL);
	zone.records[0].data = repeated("v=spf1 -all x=", "a", 4096 - 14, "");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_FAIL, NULL);
	zone.records[0].data = repeated("v=spf1 -all x=", "a", 4097 - 14, "");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_PERMERROR, NULL);
	zone.records[0].data = repeated("v=spf1", " a", 2045, "");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_PERMERROR, NULL);
	zone.records[0].data = repeated("v=spf1", " ", 4090, "");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_NEUTRAL, NULL);
}

/* libspf2 keeps 511 octets of mechanisms and forgets the rest. */
static void test_many_networks(void **state)
{
	struct small zone = {.count = 0};

	(void)state;
	add(&zone, "example.com", DNS_TXT,
	    repeated("v=spf1", " ip4:198.51.100.1 ip6:2001:db8::1", 100,
		     " ip4:192.0.2.1 ip6:2001:db8::2 -all"));
	assert_result(&zone, "192.0.2.1", SPF_RESULT_PASS, "ip4:192.0.2.1 in example.com");
	assert_result(&zone, "2001:db8::2", SPF_RESULT_PASS, "ip6:2001:db8::2 in example.com");
	assert_result(&zone, "192.0.2.2", SPF_RESULT_FAIL, "-all in example.com");
}

/* The longest record that can be: ten lookups in each of ten records. */
static void test_most_steps(void **state)
{
	struct small zone = {.count = 0};

	(void)state;
	add(&zone, "example.com", DNS_TXT, "v=spf1 include:1.example.com a a a a a a a a a a -all");
	add(&zone, "1.example.com", DNS_TXT,
	    "v=spf1 include:2.example.com mx mx mx mx mx mx mx mx mx mx -all");
	add(&zone, "2.example.com", DNS_TXT,
	    "v=spf1 include:1.example.com a a a a a a a a a a a redirect=1.example.com");
	assert_result(&zone, "192.0.2.1", SPF_RESULT_PERMERROR, NULL);
}

/* Many addresses, and such that are of no use. */
static void test_many_addresses(void **state)
{
	struct small small = {.count = 0};
	struct zone_record *records = mem_alloc(2001 * sizeof(*records));
	struct arena arena = ARENA_INIT;
	struct resolver *resolver;
	const char *why;

	(void)state;
	add(&small, "example.com", DNS_TXT, "v=spf1 a -all");
	for (size_t i = 0; i < 2000; i++)
		records[i] = (struct zone_record){
		    .name = "example.com",
		    .type = DNS_A,
		    .data = arena_printf(&rows_arena, "10.0.%zu.%zu", i / 200, i % 200)};
	records[2000] = small.records[0];
	resolver = zone_resolver(zone_new(records, 2001));
	assert_int_equal(check_in(resolver, &arena, "10.0.9.199", "a@example.com", "h", &why),
			 SPF_RESULT_PASS);
	assert_int_equal(check_in(resolver, &arena, "10.0.9.200", "a@example.com", "h", &why),
			 SPF_RESULT_FAIL);
	resolver->ops->destroy(resolver);
	arena_release(&arena);
	free(records);
}

static void test_guess(void **state)
{
	struct small small = {.count = 0};
	struct arena arena = ARENA_INIT;
	struct ipaddr client;
	struct spf_query query = {.client = &client,
				  .sender = "joe@example.com",
				  .helo = "helo.example",
				  .guess = SPF_GUESS};
	struct resolver *resolver;
	const char *why;

	(void)state;
	add(&small, "example.com", DNS_A, "192.0.2.1");
	add(&small, "other.example", DNS_TXT, "v=spf1 -all");
	resolver = zone_resolver(zone_new(small.records, small.count));
	resolver->ops->begin(resolver, &arena, TIMEOUT_MS);
	assert_true(ipaddr_parse("192.0.2.200", &client));
	assert_int_equal(spf_check(resolver, &arena, &query, &why), SPF_RESULT_PASS);
	assert_string_equal(why, "a/24 in example.com (an assumed record)");
	assert_true(ipaddr_parse("192.0.3.1", &client));
	assert_int_equal(spf_check(resolver, &arena, &query, &why), SPF_RESULT_NEUTRAL);
	query.sender = "joe@other.example";
	assert_int_equal(spf_check(resolver, &arena, &query, &why), SPF_RESULT_FAIL);
	query.sender = "joe@[192.0.2.1]";
	assert_int_equal(spf_check(resolver, &arena, &query, &why), SPF_RESULT_NONE);
	resolver->ops->destroy(resolver);
	arena_release(&arena);
}

/* How long a check took, and how much was asked, where each answer takes a while. */
static enum spf_result check_slowly(struct small *small, int64_t delay_ms, int64_t *elapsed_ms,
				    size_t *asked)
{
	struct arena arena = ARENA_INIT;
	enum spf_result result;
	struct zone *zone;
	const char *why;

	for (size_t i = 0; i < small->count; i++)
		small->records[i].delay_ms = delay_ms;
	zone = zone_new(small->records, small->count);
	result = check_in(zone_resolver(zone), &arena, "192.0.2.3", "a@example.com", "h", &why);
	*elapsed_ms = zone_elapsed_ms(zone);
	*asked = zone_asked(zone);
	zone_resolver(zone)->ops->destroy(zone_resolver(zone));
	arena_release(&arena);
	return result;
}

/* Hosts of an mx are asked for at once. */
static void test_hosts_at_once(void **state)
{
	struct small small = {.count = 0};
	int64_t elapsed;
	size_t asked;

	(void)state;
	add(&small, "example.com", DNS_TXT, "v=spf1 mx -all");
	add(&small, "example.com", DNS_MX, "10 a.example.com");
	add(&small, "example.com", DNS_MX, "20 b.example.com");
	add(&small, "example.com", DNS_MX, "30 c.example.com");
	add(&small, "a.example.com", DNS_A, "192.0.2.1");
	add(&small, "b.example.com", DNS_A, "192.0.2.2");
	add(&small, "c.example.com", DNS_A, "192.0.2.3");
	assert_int_equal(check_slowly(&small, 100, &elapsed, &asked), SPF_RESULT_PASS);
	assert_int_equal(elapsed, 300);
	assert_int_equal(asked, 5);
}

/* So are the terms of a record. */
static void test_terms_at_once(void **state)
{
	struct small small = {.count = 0};
	int64_t elapsed;
	size_t asked;

	(void)state;
	add(&small, "example.com", DNS_TXT,
	    "v=spf1 a include:i.example include:j.example exists:e.example redirect=r.example");
	add(&small, "example.com", DNS_A, "192.0.2.1");
	add(&small, "i.example", DNS_TXT, "v=spf1 a -all");
	add(&small, "i.example", DNS_A, "192.0.2.1");
	add(&small, "j.example", DNS_TXT, "v=spf1 ip4:192.0.2.1 -all");
	add(&small, "e.example", DNS_AAAA, "2001:db8::1");
	add(&small, "r.example", DNS_TXT, "v=spf1 ~all");
	assert_int_equal(check_slowly(&small, 100, &elapsed, &asked), SPF_RESULT_SOFTFAIL);
	assert_int_equal(elapsed, 300);
	assert_int_equal(asked, 7);
}

/* Not more than ten ahead, whatever a record makes of that. */
static void test_not_too_many_ahead(void **state)
{
	struct small small = {.count = 0};
	int64_t elapsed;
	size_t asked;

	(void)state;
	add(&small, "example.com", DNS_TXT,
	    "v=spf1 include:i.example exists:1.e exists:2.e exists:3.e exists:4.e exists:5.e "
	    "exists:6.e exists:7.e exists:8.e exists:9.e exists:10.e exists:11.e -all");
	add(&small, "i.example", DNS_TXT,
	    "v=spf1 exists:1.f exists:2.f exists:3.f exists:4.f exists:5.f exists:6.f +all");
	add(&small, "*.e", DNS_AAAA, "2001:db8::1");
	add(&small, "*.f", DNS_AAAA, "2001:db8::1");
	assert_int_equal(check_slowly(&small, 100, &elapsed, &asked), SPF_RESULT_PERMERROR);
	assert_in_range(asked, 11, 21);
	small.records[0].data = "v=spf1 ip4:192.0.2.3 include:i.example a -all";
	assert_int_equal(check_slowly(&small, 100, &elapsed, &asked), SPF_RESULT_PASS);
	assert_int_equal(asked, 1);
}

/* One deadline for all: what comes later is an error, and nothing waits longer. */
static void test_deadline(void **state)
{
	struct small small = {.count = 0};
	int64_t elapsed;
	size_t asked;

	(void)state;
	add(&small, "example.com", DNS_TXT, "v=spf1 include:a.example.com +all");
	add(&small, "a.example.com", DNS_TXT, "v=spf1 a ~all");
	add(&small, "a.example.com", DNS_A, "192.0.2.1");
	assert_int_equal(check_slowly(&small, 2000, &elapsed, &asked), SPF_RESULT_TEMPERROR);
	assert_int_equal(elapsed, TIMEOUT_MS);
}

/* A resolver that makes libspf2 meet its fatal error. */
static const struct resolver_ops *real_ops;

static void fatal_ask(struct resolver *resolver, struct dns_question *question)
{
	static int asked;

	/* first it is asked ahead, then for libspf2 */
	if (!strcmp(question->name, "fatal.example") && ++asked == 2)
		SPF_errorx(__FILE__, __LINE__, "%s", "out of everything");
	real_ops->ask(resolver, question);
}

static bool survives_fatal_error(void)
{
	struct small small = {.count = 0};
	struct arena arena = ARENA_INIT;
	struct resolver_ops ops;
	struct resolver *resolver;
	const char *why;

	add(&small, "example.com", DNS_TXT, "v=spf1 a:fatal.example +all");
	add(&small, "example.org", DNS_TXT, "v=spf1 +all");
	resolver = zone_resolver(zone_new(small.records, small.count));
	real_ops = resolver->ops;
	ops = *real_ops;
	ops.ask = fatal_ask;
	resolver->ops = &ops;
	return check_in(resolver, &arena, "192.0.2.1", "a@example.com", "h", &why) ==
		   SPF_RESULT_TEMPERROR &&
	       !strcmp(why, "temperror: libspf2 failed, in example.com") &&
	       check_in(resolver, &arena, "192.0.2.1", "a@example.org", "h", &why) ==
		   SPF_RESULT_PASS;
}

/* Its own handler would print and abort. In a child, which ends without being asked for the memory
 * that libspf2 has lost. */
static void test_fatal_error(void **state)
{
	pid_t child;
	int status;

	(void)state;
	child = fork();
	assert_int_not_equal(child, -1);
	if (!child)
		raise(survives_fatal_error() ? SIGKILL : SIGTERM);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

/* A lasting process checks again and again; what it loses, sanitizers and valgrind tell. */
static void test_again_and_again(void **state)
{
	struct small small = {.count = 0};
	struct arena arena = ARENA_INIT;
	struct resolver *resolver;
	const char *why;

	(void)state;
	add(&small, "example.com", DNS_TXT,
	    "v=spf1 a mx ptr exists:%{i}.x.example include:i.example redirect=r.example");
	add(&small, "example.com", DNS_A, "192.0.2.1");
	add(&small, "example.com", DNS_MX, "10 m.example");
	add(&small, "i.example", DNS_TXT, "v=spf1 a:r.example -all");
	add(&small, "r.example", DNS_TXT, "v=spf1 ip4:192.0.2.4 ~all");
	add(&small, "r.example", DNS_A, "192.0.2.5");
	add(&small, "m.example", DNS_A, "192.0.2.6");
	resolver = zone_resolver(zone_new(small.records, small.count));
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(
		    check_in(resolver, &arena, "192.0.2.9", "a@example.com", "h", &why),
		    SPF_RESULT_SOFTFAIL);
		arena_reset(&arena);
	}
	resolver->ops->destroy(resolver);
	arena_release(&arena);
}

/* What the policy is given: through the module, as in life. */
static void test_scores(void **state)
{
	static const struct {
		const char *sender;
		int score;
		const char *why;
	} cases[] = {
	    {"a@pass.example", 0, "pass: +all in pass.example"},
	    {"a@fail.example", 1, "fail: -all in fail.example"},
	    {"a@soft.example", 1, "softfail: ~all in soft.example"},
	    {"a@neutral.example", 0, "neutral: ?all in neutral.example"},
	    {"a@none.example", 0, "none: no record in none.example"},
	    {"a@bad.example", 0, "permerror: unknown mechanism \"b\", in bad.example"},
	    {"a@dead.example", 0, "temperror: DNS for dead.example: failed, in dead.example"},
	    {"", 1, "softfail: ~all in soft.example"},
	};
	struct small small = {.count = 0};
	struct arena arena = ARENA_INIT;
	struct conf conf = {.use_spf = true};
	struct check_subject subject = {.helo_name = "soft.example"};
	struct check check = {.conf = &conf, .subject = &subject, .arena = &arena};

	(void)state;
	add(&small, "pass.example", DNS_TXT, "v=spf1 +all");
	add(&small, "fail.example", DNS_TXT, "v=spf1 -all");
	add(&small, "soft.example", DNS_TXT, "v=spf1 ~all");
	add(&small, "neutral.example", DNS_TXT, "v=spf1 ?all");
	add(&small, "bad.example", DNS_TXT, "v=spf1 b -all");
	add(&small, "dead.example", DNS_TXT, "");
	small.records[small.count - 1].status = DNS_SERVFAIL;
	assert_true(ipaddr_parse("192.0.2.1", &subject.client));
	check.resolver = zone_resolver(zone_new(small.records, small.count));
	check.resolver->ops->begin(check.resolver, &arena, TIMEOUT_MS);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct check_score score;

		subject.raw_sender = cases[i].sender;
		score = check_spf(&check);
		assert_int_equal(score.score, cases[i].score);
		assert_string_equal(score.why, cases[i].why);
	}
	assert_null(check.notes);
	check.resolver->ops->destroy(check.resolver);
	check.resolver = NULL;
	assert_int_equal(check_spf(&check).score, CHECK_UNKNOWN);
	arena_release(&arena);
}

static int run_rows(const char *path)
{
	struct CMUnitTest *tests;
	struct row *rows;
	size_t count;
	int failed;

	rows = read_rows(path, &count);
	tests = mem_alloc((count + 1) * sizeof(*tests));
	for (size_t i = 0; i < count; i++)
		tests[i] = (struct CMUnitTest){
		    .name = arena_printf(&rows_arena, "line %u: %s", rows[i].line, rows[i].title),
		    .test_func = test_row,
		    .initial_state = &rows[i]};
	failed = _cmocka_run_group_tests("spf.rows", tests, count, NULL, NULL);
	free(tests);
	free(rows);
	return failed;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_attack_by_explanation),
	    cmocka_unit_test(test_attack_by_record),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_many_networks),
	    cmocka_unit_test(test_most_steps),
	    cmocka_unit_test(test_many_addresses),
	    cmocka_unit_test(test_guess),
	    cmocka_unit_test(test_hosts_at_once),
	    cmocka_unit_test(test_terms_at_once),
	    cmocka_unit_test(test_not_too_many_ahead),
	    cmocka_unit_test(test_deadline),
	    cmocka_unit_test(test_fatal_error),
	    cmocka_unit_test(test_again_and_again),
	    cmocka_unit_test(test_scores),
	};
	const char *source = getenv("BLEY_SRC") ? getenv("BLEY_SRC") : ".";
	int failed;

	failed = run_rows(argc > 1 ? argv[1]
				   : arena_printf(&rows_arena, "%s/tests/unit/spf.rows", source));
	failed += cmocka_run_group_tests_name("spf", tests, NULL, NULL);
	arena_release(&rows_arena);
	return failed;
}
