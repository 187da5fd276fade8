/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/arena.h"
#include "check/check.h"
#include "conf/conf.h"
#include "conf/dnsl_name.h"
#include "zone.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define C "9.2.0.192." /* the client 192.0.2.9 as lists are asked for it */
#define GRACE_MS 50    /* of check_dnsl() for answers that decide nothing */
#define TIMEOUT_MS 5000

static const struct zone_record records[] = {
    {.name = C "bl2.example", .type = DNS_A, .data = "127.0.0.2"},
    {.name = C "bl4.example", .type = DNS_A, .data = "127.0.0.4", .delay_ms = 10},
    {.name = C "both.example", .type = DNS_A, .data = "127.0.0.2"},
    {.name = C "both.example", .type = DNS_A, .data = "127.0.0.4"},
    {.name = C "empty.example", .type = DNS_TXT, .data = "no address"},
    {.name = "other.clean.example", .type = DNS_A, .data = "127.0.0.2"},
    {.name = C "slow.example", .type = DNS_A, .data = "127.0.0.2", .delay_ms = 2000},
    {.name = C "slowclean.example", .type = DNS_A, .status = DNS_NXDOMAIN, .delay_ms = 2000},
    {.name = C "silent.example", .type = DNS_A, .status = DNS_TIMEOUT},
    {.name = C "silent2.example", .type = DNS_A, .status = DNS_TIMEOUT},
    {.name = C "servfail.example", .type = DNS_A, .status = DNS_SERVFAIL},
    {.name = C "refused.example", .type = DNS_A, .status = DNS_REFUSED},
    {.name = C "typo.example", .type = DNS_A, .data = "127.255.255.252"},
    {.name = C "public.example", .type = DNS_A, .data = "127.255.255.254"},
    {.name = C "limit.example", .type = DNS_A, .data = "127.255.255.255"},
    {.name = C "one.example", .type = DNS_A, .data = "127.0.0.1"},
    {.name = C "quota.example", .type = DNS_A, .data = "127.0.0.255"},
    {.name = "*.parked.example", .type = DNS_A, .data = "203.0.113.9"},
    {.name = C "mixed.example", .type = DNS_A, .data = "203.0.113.9"},
    {.name = C "mixed.example", .type = DNS_A, .data = "127.255.255.254"},
    {.name = C "mixed.example", .type = DNS_A, .data = "127.0.0.3"},
    {.name = C "alias.example", .type = ZONE_CNAME, .data = C "bl2.example"},
    {.name = C "wl.example", .type = DNS_A, .data = "127.0.5.2", .delay_ms = 20},
    {.name = C "abcdef0123456789abcdef0123.zen.dq.example", .type = DNS_A, .data = "127.0.0.2"},
    {.name = C "abcdef0123456789abcdef0124.zen.dq.example",
     .type = DNS_A,
     .data = "127.255.255.255"},
    {.name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl2.example",
     .type = DNS_A,
     .data = "127.0.0.2"},
    {.name = "sender.example", .type = DNS_TXT, .data = "v=spf1 -all", .delay_ms = 1000},
};

/* One decision and what came of it. */
struct run {
	const char *white, *black;
	int white_threshold, black_threshold;
	const char *client, *sender, *helo;
	bool prefetch_spf, no_resolver;

	struct check_score dnswl, dnsbl;
	struct check_note *notes;
	size_t asked, answered;
	int64_t elapsed_ms;
};

static struct arena arena;
static struct zone *zone;

static int setup(void **state)
{
	(void)state;
	arena = ARENA_INIT;
	zone = zone_new(records, COUNT(records));
	return 0;
}

static int teardown(void **state)
{
	struct resolver *r = zone_resolver(zone);

	(void)state;
	r->ops->destroy(r);
	arena_release(&arena);
	return 0;
}

static void run(struct run *t)
{
	struct conf conf = {.dnswl_threshold = t->white_threshold,
			    .dnsbl_threshold = t->black_threshold};
	struct check_subject subject = {.client_name = "unknown",
					.helo_name = t->helo ? t->helo : "helo.example",
					.sender = "",
					.recipient = "r@example",
					.raw_sender = t->sender ? t->sender : ""};
	struct check check = {.conf = &conf, .subject = &subject, .arena = &arena};
	struct resolver *r = zone_resolver(zone);

	assert_null(dnsl_entries_parse(&arena, t->white ? t->white : "", &conf.dnswls));
	assert_null(dnsl_entries_parse(&arena, t->black ? t->black : "", &conf.dnsbls));
	assert_true(ipaddr_parse(t->client ? t->client : "192.0.2.9", &subject.client));
	check.resolver = t->no_resolver ? NULL : r;
	r->ops->begin(r, &arena, TIMEOUT_MS);
	check_dnsl(&check, t->prefetch_spf, &t->dnswl, &t->dnsbl);
	assert_non_null(t->dnswl.why);
	assert_non_null(t->dnsbl.why);
	t->notes = check.notes;
	t->asked = zone_asked(zone);
	t->answered = zone_answered(zone);
	t->elapsed_ms = zone_elapsed_ms(zone);
}

static size_t count_notes(const struct run *t)
{
	size_t n = 0;

	for (const struct check_note *note = t->notes; note; note = note->next)
		n++;
	return n;
}

/* Blacklists at a threshold no sum reaches, so that all are waited for. */
static int black_score(const char *lists)
{
	struct run t = {.black = lists, .black_threshold = 100};

	/* A weight that keeps the outcome open until the last list has answered. */
	t.black = arena_printf(&arena, "%s, slowclean.example*1000", lists);
	run(&t);
	assert_int_equal(t.answered, t.asked);
	return t.dnsbl.score;
}

static void scores(void **state)
{
	static const struct {
		const char *lists;
		int score;
	} rows[] = {
	    {"bl2.example", 1},
	    {"clean.example", 0},
	    {"empty.example", 0},
	    {"bl2.example, bl4.example", 2},
	    {"both.example", 1},
	    {"alias.example", 1},
	    /* weights */
	    {"bl2.example*3", 3},
	    {"bl2.example*-2", -2},
	    {"bl2.example*3, bl4.example*-1", 2},
	    {"both.example*5", 5},
	    /* filters */
	    {"bl2.example=127.0.0.2", 1},
	    {"bl2.example=127.0.0.3", 0},
	    {"bl2.example=127.0.0.[2..11]", 1},
	    {"bl2.example=127.0.0.[4..11]", 0},
	    {"bl2.example=127.0.0.[1;2;3]*4", 4},
	    {"both.example=127.0.0.2, both.example=127.0.0.4*2", 3},
	    {"both.example=127.0.0.2, both.example=127.0.0.5*2", 1},
	    {"both.example=127.0.0.[2..4], both.example", 2},
	    /* what is no listing */
	    {"typo.example, public.example, limit.example", 0},
	    {"limit.example=127.[0..255].[0..255].[0..255]", 0},
	    {"limit.example=127.255.255.255", 0},
	    {"one.example", 0},
	    {"one.example=127.0.0.1", 1},
	    {"one.example=127.0.0.2", 0},
	    {"quota.example", 1}, /* a code of whitelists only */
	    {"parked.example", 0},
	    {"parked.example=203.0.113.9", 0},
	    {"mixed.example", 1},
	    /* failures */
	    {"servfail.example, refused.example", 0},
	    {"servfail.example, bl2.example", 1},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int score = black_score(rows[i].lists);

		if (score != rows[i].score)
			fail_msg("%s: %d instead of %d", rows[i].lists, score, rows[i].score);
	}
}

static void white_codes(void **state)
{
	struct run quota = {.white = "quota.example", .white_threshold = 1},
		   wide = {.white = "quota.example=127.0.0.[0..255]", .white_threshold = 1},
		   listed = {.white = "wl.example=127.0.[2..9;11..255].[0..3]",
			     .white_threshold = 1},
		   other = {.white = "wl.example=127.0.10.[0..3]", .white_threshold = 1};

	(void)state;
	run(&quota);
	assert_int_equal(quota.dnswl.score, 0);
	assert_int_equal(count_notes(&quota), 1);
	run(&wide);
	assert_int_equal(wide.dnswl.score, 0);
	run(&listed);
	assert_int_equal(listed.dnswl.score, 1);
	assert_string_equal(listed.dnswl.why, "listed by wl.example (127.0.5.2)");
	run(&other);
	assert_int_equal(other.dnswl.score, 0);
	assert_int_equal(count_notes(&other), 0);
}

static void same_zone_is_asked_once(void **state)
{
	struct run t = {.white = "both.example=127.0.0.9",
			.black = "both.example=127.0.0.2, both.example=127.0.0.4, both.example",
			.white_threshold = 1,
			.black_threshold = 3};

	(void)state;
	run(&t);
	assert_int_equal(t.asked, 1);
	assert_int_equal(t.dnsbl.score, 3);
	assert_int_equal(t.dnswl.score, 0);
}

static void threshold_zero_is_off(void **state)
{
	struct run none = {.white = "wl.example", .black = "bl2.example"},
		   white = {.white = "wl.example", .black = "bl2.example", .white_threshold = 1},
		   black = {.white = "wl.example", .black = "bl2.example", .black_threshold = 1};

	(void)state;
	run(&none);
	assert_int_equal(none.asked, 0);
	assert_int_equal(none.dnswl.score, 0);
	assert_int_equal(none.dnsbl.score, 0);
	run(&white);
	assert_int_equal(white.asked, 1);
	assert_int_equal(white.dnswl.score, 1);
	assert_int_equal(white.dnsbl.score, 0);
	run(&black);
	assert_int_equal(black.asked, 1);
	assert_int_equal(black.dnswl.score, 0);
	assert_int_equal(black.dnsbl.score, 1);
}

static void blacklist_over_threshold_ends_it(void **state)
{
	struct run one = {.black = "bl2.example, slow.example, silent.example",
			  .black_threshold = 1},
		   two = {.black = "bl2.example, slow.example, silent.example",
			  .black_threshold = 2};

	(void)state;
	run(&one);
	assert_int_equal(one.dnsbl.score, 1);
	assert_int_equal(one.asked, 3);
	assert_int_equal(one.answered, 1);
	assert_int_equal(one.elapsed_ms, 0);
	run(&two);
	assert_int_equal(two.dnsbl.score, 2);
	assert_int_equal(two.answered, 2);
	assert_int_equal(two.elapsed_ms, 2000);
}

static void whitelist_that_can_decide_is_waited_for(void **state)
{
	struct run hit = {.white = "slow.example",
			  .black = "bl2.example, silent.example",
			  .white_threshold = 1,
			  .black_threshold = 1},
		   miss = {.white = "slowclean.example",
			   .black = "bl2.example, silent.example",
			   .white_threshold = 1,
			   .black_threshold = 1},
		   silent = {.white = "silent.example",
			     .black = "bl2.example",
			     .white_threshold = 1,
			     .black_threshold = 1},
		   cannot = {.white = "silent.example",
			     .black = "bl2.example",
			     .white_threshold = 2,
			     .black_threshold = 1};

	(void)state;
	run(&hit);
	assert_int_equal(hit.dnswl.score, 1);
	assert_int_equal(hit.answered, 2);
	assert_int_equal(hit.elapsed_ms, 2000);
	run(&miss);
	assert_int_equal(miss.dnswl.score, 0);
	assert_int_equal(miss.dnsbl.score, 1);
	assert_int_equal(miss.elapsed_ms, 2000);
	run(&silent);
	assert_int_equal(silent.dnswl.score, 0);
	assert_int_equal(silent.dnsbl.score, 1);
	assert_int_equal(silent.elapsed_ms, TIMEOUT_MS);
	run(&cannot);
	assert_int_equal(cannot.dnsbl.score, 1);
	assert_int_equal(cannot.elapsed_ms, GRACE_MS);
}

static void whitelisted_does_not_wait_for_blacklists(void **state)
{
	struct run t = {.white = "wl.example, silent.example",
			.black = "slow.example",
			.white_threshold = 1,
			.black_threshold = 1};

	(void)state;
	run(&t);
	assert_int_equal(t.dnswl.score, 1);
	assert_int_equal(t.answered, 1);
	assert_int_equal(t.elapsed_ms, 20);
}

static void negative_weights_keep_it_open(void **state)
{
	struct run open = {.black = "bl2.example, slow.example*-1", .black_threshold = 1},
		   sure = {.black = "bl2.example*2, slow.example*-1", .black_threshold = 1},
		   late = {.black = "bl2.example, silent.example*-1", .black_threshold = 1},
		   hopeless = {.black = "silent.example*-1, clean.example", .black_threshold = 1};

	(void)state;
	run(&open);
	assert_int_equal(open.dnsbl.score, 0);
	assert_int_equal(open.elapsed_ms, 2000);
	run(&sure);
	assert_int_equal(sure.dnsbl.score, 2);
	assert_int_equal(sure.elapsed_ms, 0);
	run(&late);
	assert_int_equal(late.dnsbl.score, 1);
	assert_int_equal(late.elapsed_ms, TIMEOUT_MS);
	run(&hopeless);
	assert_int_equal(hopeless.dnsbl.score, 0);
	assert_int_equal(hopeless.elapsed_ms, GRACE_MS);
}

static void what_cannot_be_reached_is_not_waited_for(void **state)
{
	struct run t = {.black = "clean.example, silent.example, bl2.example",
			.black_threshold = 3};

	(void)state;
	run(&t);
	assert_int_equal(t.elapsed_ms, GRACE_MS); /* not the time that DNS may take */
	assert_int_equal(t.asked, 3);
	assert_int_equal(t.dnsbl.score, 1); /* for the log */
}

static void ipv6_by_nibbles(void **state)
{
	struct run listed = {.black = "bl2.example", .black_threshold = 1, .client = "2001:db8::1"},
		   mapped = {.black = "bl2.example",
			     .black_threshold = 1,
			     .client = "::ffff:192.0.2.9"},
		   other = {.black = "bl2.example", .black_threshold = 1, .client = "2001:db8::2"};

	(void)state;
	run(&listed);
	assert_int_equal(listed.dnsbl.score, 1);
	run(&mapped);
	assert_int_equal(mapped.dnsbl.score, 1);
	run(&other);
	assert_int_equal(other.dnsbl.score, 0);
}

static void notes(void **state)
{
	static const struct {
		const char *list, *part;
	} rows[] = {
	    {"typo.example", "misspelt"},
	    {"public.example", "public name server"},
	    {"limit.example", "query limit"},
	    {"one.example", "127.0.0.1"},
	    {"parked.example", "203.0.113.9"},
	    {"parked.example, parked.example=127.0.0.2", "203.0.113.9"},
	    {"servfail.example", "SERVFAIL"},
	    {"refused.example", "REFUSED"},
	    {"silent.example, clean.example", "did not answer in time"},
	    {"silent.example, silent2.example", "no DNS list answered"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct run t = {.black = rows[i].list, .black_threshold = 1};

		run(&t);
		if (count_notes(&t) != 1 || !strstr(t.notes->text, rows[i].part))
			fail_msg("%s: %zu notes: %s", rows[i].list, count_notes(&t),
				 t.notes ? t.notes->text : "");
	}
}

static void notes_have_one_key_a_list(void **state)
{
	struct run a = {.black = "parked.example", .black_threshold = 1},
		   b = {.black = "mixed.example, typo.example", .black_threshold = 3};

	(void)state;
	run(&a);
	assert_string_equal(a.notes->key, "parked.example");
	assert_non_null(strstr(a.notes->text, "blacklist parked.example"));
	b.black = "mixed.example, typo.example, clean.example*5";
	run(&b);
	assert_int_equal(count_notes(&b), 2);
	assert_string_not_equal(b.notes->key, b.notes->next->key);
}

static void a_healthy_list_has_no_note(void **state)
{
	struct run t = {.black = "bl2.example, clean.example, empty.example", .black_threshold = 2};

	(void)state;
	run(&t);
	assert_int_equal(count_notes(&t), 0);
}

static void keys_stay_private(void **state)
{
	struct run hit = {.black = "abcdef0123456789abcdef0123.zen.dq.example",
			  .black_threshold = 1},
		   bad = {.black = "abcdef0123456789abcdef0124.zen.dq.example",
			  .black_threshold = 1};

	(void)state;
	run(&hit);
	assert_int_equal(hit.dnsbl.score, 1);
	assert_string_equal(hit.dnsbl.why, "listed by KEY.zen.dq.example (127.0.0.2)");
	run(&bad);
	assert_null(strstr(bad.notes->text, "abcdef"));
	assert_null(strstr(bad.notes->key, "abcdef"));
	assert_string_equal(dnsl_public_name(&arena, "zen.spamhaus.org"), "zen.spamhaus.org");
	assert_string_equal(dnsl_public_name(&arena, "averyveryverylongname.org"),
			    "averyveryverylongname.org");
	assert_string_equal(dnsl_public_name(&arena, "0123456789abcdef-x.list.org"),
			    "0123456789abcdef-x.list.org");
	assert_string_equal(dnsl_public_name(&arena, "0123456789abcdef.list.org"), "KEY.list.org");
}

static void why_names_the_lists(void **state)
{
	struct run two = {.black = "bl2.example, bl4.example", .black_threshold = 2},
		   none = {.black = "clean.example", .black_threshold = 1},
		   failed = {.black = "servfail.example", .black_threshold = 1},
		   off = {.black = "bl2.example"};

	(void)state;
	run(&two);
	assert_string_equal(two.dnsbl.why,
			    "listed by bl2.example (127.0.0.2), bl4.example (127.0.0.4)");
	run(&none);
	assert_string_equal(none.dnsbl.why, "not listed");
	assert_string_equal(none.dnswl.why, "not asked");
	run(&failed);
	assert_string_equal(failed.dnsbl.why, "not listed, as far as lists answered");
	run(&off);
	assert_string_equal(off.dnsbl.why, "not asked");
}

static void without_a_resolver(void **state)
{
	struct run t = {.black = "bl2.example", .black_threshold = 1, .no_resolver = true},
		   off = {.black = "bl2.example", .no_resolver = true};

	(void)state;
	run(&t);
	assert_int_equal(t.dnsbl.score, CHECK_UNKNOWN);
	assert_int_equal(t.dnswl.score, 0);
	assert_int_equal(count_notes(&t), 1);
	run(&off);
	assert_int_equal(off.dnsbl.score, 0);
	assert_int_equal(count_notes(&off), 0);
}

static void spf_goes_out_with_the_lists(void **state)
{
	struct run mail = {.black = "bl4.example",
			   .black_threshold = 1,
			   .sender = "Some.One@sender.example",
			   .prefetch_spf = true},
		   null = {.black = "bl4.example", .black_threshold = 1, .prefetch_spf = true},
		   off = {.black = "bl4.example",
			  .black_threshold = 1,
			  .sender = "a@sender.example"},
		   literal = {.black = "bl4.example",
			      .black_threshold = 1,
			      .sender = "a@[192.0.2.9]",
			      .prefetch_spf = true},
		   label = {.black = "bl4.example",
			    .black_threshold = 1,
			    .helo = "localhost",
			    .prefetch_spf = true};

	(void)state;
	run(&mail);
	assert_true(zone_was_asked(zone, "sender.example", DNS_TXT));
	assert_int_equal(mail.asked, 2);
	/* and is not waited for */
	assert_int_equal(mail.elapsed_ms, 10);
	run(&null);
	assert_true(zone_was_asked(zone, "helo.example", DNS_TXT));
	run(&off);
	assert_int_equal(off.asked, 1);
	run(&literal);
	assert_int_equal(literal.asked, 1);
	run(&label);
	assert_int_equal(label.asked, 1);
}

static void deadline_scores_what_there_is(void **state)
{
	struct run t = {.black = "bl2.example, silent.example, silent2.example",
			.black_threshold = 2};

	(void)state;
	run(&t);
	assert_int_equal(t.dnsbl.score, 1);
	assert_int_equal(t.elapsed_ms, TIMEOUT_MS);
	assert_int_equal(count_notes(&t), 2);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(scores),
	    TEST(white_codes),
	    TEST(same_zone_is_asked_once),
	    TEST(threshold_zero_is_off),
	    TEST(blacklist_over_threshold_ends_it),
	    TEST(whitelist_that_can_decide_is_waited_for),
	    TEST(whitelisted_does_not_wait_for_blacklists),
	    TEST(negative_weights_keep_it_open),
	    TEST(what_cannot_be_reached_is_not_waited_for),
	    TEST(ipv6_by_nibbles),
	    TEST(notes),
	    TEST(notes_have_one_key_a_list),
	    TEST(a_healthy_list_has_no_note),
	    TEST(keys_stay_private),
	    TEST(why_names_the_lists),
	    TEST(without_a_resolver),
	    TEST(spf_goes_out_with_the_lists),
	    TEST(deadline_scores_what_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
