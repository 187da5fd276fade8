/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/ipaddr.h"
#include "check/spf_macro.h"
#include "check/spf_record.h"

static struct arena arena;

static const char *parse(const char *text, struct spf_record *out)
{
	return spf_record_parse(&arena, (const unsigned char *)text, strlen(text), out);
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static bool is(const char *text)
{
	return spf_record_is((const unsigned char *)text, strlen(text));
}

static void test_version(void **state)
{
	(void)state;
	assert_true(is("v=spf1"));
	assert_true(is("V=sPf1 -all"));
	assert_false(is(""));
	assert_false(is("v=spf"));
	assert_false(is("v=spf10"));
	assert_false(is("v=spf1-all"));
	assert_false(is(" v=spf1"));
	assert_false(spf_record_is((const unsigned char *)"v=spf1\0", 7));
}

static void test_terms(void **state)
{
	struct spf_record r = {.count = 0};

	(void)state;
	assert_null(parse("v=spf1 a mx:x.example/24//64 -ip4:192.0.2.1/30 ~ip6:2001:db8::/32 "
			  "foo=bar exp=why.example ?ptr redirect=%{d}.example",
			  &r));
	assert_int_equal(r.count, 5);
	assert_int_equal(r.terms[0].kind, SPF_KIND_A);
	assert_int_equal(r.terms[0].qualifier, '+');
	assert_null(r.terms[0].target);
	assert_int_equal(r.terms[0].bits4, 32);
	assert_int_equal(r.terms[0].bits6, 128);
	assert_int_equal(r.terms[1].kind, SPF_KIND_MX);
	assert_string_equal(r.terms[1].target, "x.example");
	assert_int_equal(r.terms[1].bits4, 24);
	assert_int_equal(r.terms[1].bits6, 64);
	assert_int_equal(r.terms[2].kind, SPF_KIND_IP4);
	assert_int_equal(r.terms[2].qualifier, '-');
	assert_int_equal(r.terms[2].address.family, AF_INET);
	assert_memory_equal(r.terms[2].address.bytes, "\xc0\x00\x02\x01", 4);
	assert_int_equal(r.terms[2].bits4, 30);
	assert_int_equal(r.terms[3].kind, SPF_KIND_IP6);
	assert_int_equal(r.terms[3].bits6, 32);
	assert_string_equal(r.terms[3].text, "~ip6:2001:db8::/32");
	assert_int_equal(r.terms[4].kind, SPF_KIND_PTR);
	assert_int_equal(r.terms[4].qualifier, '?');
	assert_non_null(r.redirect);
	assert_string_equal(r.redirect->target, "%{d}.example");
}

static void test_untouched_on_failure(void **state)
{
	struct spf_record r = {.count = 77};

	(void)state;
	assert_string_equal(parse("v=spf1 -all a:", &r), "an empty domain in \"a:\"");
	assert_int_equal(r.count, 77);
}

/* What is shown of a record is clean and short. */
static void test_messages(void **state)
{
	struct spf_record r;
	const char *wrong;

	(void)state;
	wrong = parse("v=spf1 "
		      "nonsense-nonsense-nonsense-nonsense-nonsense-nonsense-nonsense-nonsense",
		      &r);
	assert_string_equal(wrong, "unknown mechanism "
				   "\"nonsense-nonsense-nonsense-nonsense-nonsense-nonsense-"
				   "nonsen...\"");
	assert_string_equal(parse("v=spf1 \033[1m", &r), "a character that is not visible ASCII");
}

static const char *no_name(void *context)
{
	(void)context;
	return "unknown";
}

static const char *expand(const char *spec)
{
	struct ipaddr client;
	const struct spf_macros macros = {.local = "strong-bad",
					  .sender_domain = "email.example.com",
					  .domain = "email.example.com",
					  .helo = "mx.example.org",
					  .client = &client,
					  .validated_name = no_name};

	assert_true(ipaddr_parse("192.0.2.3", &client));
	return spf_macro_expand(&arena, spec, &macros);
}

/* The sender and client of RFC 7208 section 7.4. */
static void test_expansion(void **state)
{
	static const struct {
		const char *spec, *name;
	} cases[] = {
	    {"%{s}", "strong-bad@email.example.com"},
	    {"%{o}", "email.example.com"},
	    {"%{d}", "email.example.com"},
	    {"%{d4}", "email.example.com"},
	    {"%{d3}", "email.example.com"},
	    {"%{d2}", "example.com"},
	    {"%{d1}", "com"},
	    {"%{dr}", "com.example.email"},
	    {"%{d2r}", "example.email"},
	    {"%{l}", "strong-bad"},
	    {"%{l-}", "strong.bad"},
	    {"%{lr}", "strong-bad"},
	    {"%{lr-}", "bad.strong"},
	    {"%{l1r-}", "strong"},
	    {"%{ir}.%{v}.%{p}.%{h}", "3.2.0.192.in-addr.unknown.mx.example.org"},
	    {"%{S}", "strong-bad%40email.example.com"},
	    {"a%%b%_c%-d.example.", "a%b c%20d.example"},
	    {"%{o.}", "email.example.com"},
	    {"%{o=/_,+}", "email.example.com"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(expand(cases[i].spec), cases[i].name);
}

static void test_names(void **state)
{
	char name[300];

	(void)state;
	assert_string_equal(spf_macro_dns_name(&arena, "a.example"), "a.example");
	assert_string_equal(spf_macro_dns_name(&arena, "a b\\.\xff"), "a\\032b\\092.\\255");
	assert_null(spf_macro_dns_name(&arena, ""));
	assert_null(spf_macro_dns_name(&arena, "."));
	assert_null(spf_macro_dns_name(&arena, ".a"));
	assert_null(spf_macro_dns_name(&arena, "a."));
	assert_null(spf_macro_dns_name(&arena, "a..b"));
	memset(name, 'a', sizeof(name));
	name[63] = '\0';
	assert_non_null(spf_macro_dns_name(&arena, name));
	name[63] = 'a';
	name[64] = '\0';
	assert_null(spf_macro_dns_name(&arena, name));
	name[64] = 'a';
	for (size_t i = 1; i < sizeof(name); i += 2)
		name[i] = '.';
	name[253] = '\0';
	assert_non_null(spf_macro_dns_name(&arena, name));
	name[253] = '.';
	name[255] = '\0';
	assert_null(spf_macro_dns_name(&arena, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_version),   cmocka_unit_test(test_terms),
	    cmocka_unit_test(test_messages),  cmocka_unit_test(test_untouched_on_failure),
	    cmocka_unit_test(test_expansion), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("spf_record", tests, NULL, teardown);
}
