/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/whitelist.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/ipaddr.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define MISS 0U

static char folder[] = "/tmp/test_whitelist.XXXXXX";
static char file[sizeof(folder) + sizeof("/list")];

/* What was complained about last, and how often. */
static struct {
	unsigned count, line;
	char message[1000];
} said;

static void note_complaint(void *context, const char *from, unsigned line, const char *message)
{
	assert_ptr_equal(context, &said);
	assert_string_equal(from, file);
	said.count++;
	said.line = line;
	snprintf(said.message, sizeof(said.message), "%s", message);
}

static struct whitelist *load_bytes(enum whitelist_kind kind, const char *text, size_t len)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	memset(&said, 0, sizeof(said));
	return whitelist_load(kind, file, note_complaint, &said);
}

static struct whitelist *load(enum whitelist_kind kind, const char *text)
{
	return load_bytes(kind, text, strlen(text));
}

/* The line of the entry that lists it, or MISS. */
static unsigned recipient_line(struct whitelist *list, const char *recipient)
{
	struct whitelist_match match = {.line = MISS};
	bool found = whitelist_recipient(list, recipient, &match);

	assert_int_equal(found, whitelist_recipient(list, recipient, NULL));
	return found ? match.line : MISS;
}

static unsigned client_line(struct whitelist *list, const char *name, const char *address)
{
	struct whitelist_match match = {.line = MISS};
	struct ipaddr ip;

	assert_true(ipaddr_parse(address, &ip));
	return whitelist_client(list, name, &ip, &match) ? match.line : MISS;
}

static void recipients_in_every_form(void **state)
{
	static const struct {
		const char *recipient;
		unsigned line;
	} rows[] = {
	    {"user@example.com", 1},
	    {"john.user@example.com", MISS},
	    {"xuser@example.com", MISS},
	    {"user@sub.example.com", MISS},
	    {"other@example.com", MISS},
	    {"postmaster@example.com", 2},
	    {"postmaster@anything.example", 2},
	    {"postmaster@", 2},
	    {"postmaster", 2},
	    {"xpostmaster@example.com", MISS},
	    {"postmasterx@example.com", MISS},
	    {"a@example.net", 3},
	    {"a@sub.example.net", 3},
	    {"a@very.sub.example.net", 3},
	    {"a@notexample.net", MISS},
	    {"a@example.net.org", MISS},
	    {"example.net", MISS},
	    {"a@only.example", 4},
	    {"a@sub.only.example", MISS},
	    {"a@subs.example", MISS},
	    {"a@below.subs.example", 5},
	    {"a@far.below.subs.example", 5},
	    {"list-42-request@lists.example", 6},
	    {"list-42@lists.example", MISS},
	    {"upper@case.example", 7},
	    {"\xc3\xbcser@b\xc3\xbc"
	     "cher.example",
	     8},
	    {"a@literal.example", MISS},
	    {"x@[192.0.2.1]", 9},
	    {"y@[192.0.2.1]", MISS},
	    {"a@[192.0.2.2]", 10},
	    {"\"odd@local\"@example.com", 11},
	    {"dot@final.example", 12},
	    {"a@final2.example", 13},
	    {"", MISS},
	    {"@", MISS},
	    {"@example.net", 3},
	    {"a@.", MISS},
	    {"a@..", MISS},
	};
	struct whitelist *list = load(WHITELIST_RECIPIENTS, "user@example.com\n"
							    "postmaster@\n"
							    "example.net\n"
							    "@only.example\n"
							    ".subs.example\n"
							    "/^list-\\d+-request@/\n"
							    "Upper@CASE.Example\n"
							    "\xc3\xbcser@b\xc3\xbc"
							    "cher.example\n"
							    "x@[192.0.2.1]\n"
							    "@[192.0.2.2]\n"
							    "\"odd@local\"@example.com\n"
							    "dot@final.example.\n"
							    "@final2.example.\n");
	(void)state;

	assert_int_equal(said.count, 0);
	assert_int_equal(whitelist_count(list), 13);
	for (size_t i = 0; i < COUNT(rows); i++)
		if (recipient_line(list, rows[i].recipient) != rows[i].line)
			fail_msg("%s: line %u, expected %u", rows[i].recipient,
				 recipient_line(list, rows[i].recipient), rows[i].line);
	assert_int_equal(said.count, 0);
	whitelist_free(list);
}

static void clients_in_every_form(void **state)
{
	static const struct {
		const char *name, *address;
		unsigned line;
	} rows[] = {
	    {"example.net", "10.0.0.1", 1},
	    {"mail.example.net", "10.0.0.1", 1},
	    {"a.b.c.example.net", "10.0.0.1", 1},
	    {"notexample.net", "10.0.0.1", MISS},
	    {"example.net.org", "10.0.0.1", MISS},
	    {"net", "10.0.0.1", MISS},
	    {"below.subs.example", "10.0.0.1", 2},
	    {"subs.example", "10.0.0.1", MISS},
	    {"unknown", "192.0.2.7", 3},
	    {"unknown", "::ffff:192.0.2.7", 3},
	    {"unknown", "192.0.2.8", MISS},
	    {"unknown", "192.0.2.200", 4},
	    {"unknown", "192.0.2.203", 4},
	    {"unknown", "192.0.2.204", MISS},
	    {"mail.example.org", "192.0.2.203", 4},
	    {"unknown", "2001:db8::1", 5},
	    {"unknown", "2001:db8:ffff::1", 5},
	    {"unknown", "2001:db9::1", MISS},
	    {"unknown", "198.51.100.255", 6},
	    {"unknown", "198.51.101.0", MISS},
	    {"unknown", "203.0.0.1", 7},
	    {"unknown", "203.1.0.1", MISS},
	    {"unknown", "100.1.2.3", 8},
	    {"smtp12.pool.example", "10.0.0.1", 9},
	    {"smtp.pool.example", "10.0.0.1", MISS},
	    {"upper.example", "10.0.0.1", 10},
	    {"final.example", "10.0.0.1", 11},
	    {"unknown", "2001:db9::5", 12},
	    {"under_score-dash.example", "10.0.0.1", 13},
	    {"host5", "10.0.0.1", 14},
	    {"", "10.0.0.1", MISS},
	    {".", "10.0.0.1", MISS},
	    {"...", "10.0.0.1", MISS},
	};
	struct whitelist *list = load(WHITELIST_CLIENTS, "example.net\n"
							 ".subs.example\n"
							 "192.0.2.7\n"
							 "192.0.2.200/30\n"
							 "2001:db8::/32\n"
							 "198.51.100\n"
							 "203.0\n"
							 "100\n"
							 "/^smtp\\d+\\.pool\\.example$/\n"
							 "UPPER.Example\n"
							 "final.example.\n"
							 "2001:0DB9:0::5\n"
							 "under_score-dash.example\n"
							 "host5\n");
	(void)state;

	assert_int_equal(said.count, 0);
	assert_int_equal(whitelist_count(list), 14);
	for (size_t i = 0; i < COUNT(rows); i++)
		if (client_line(list, rows[i].name, rows[i].address) != rows[i].line)
			fail_msg("%s %s: line %u, expected %u", rows[i].name, rows[i].address,
				 client_line(list, rows[i].name, rows[i].address), rows[i].line);
	assert_int_equal(said.count, 0);
	whitelist_free(list);
}

/* Expressions see the name and nothing else, and see `unknown` as it stands. */
static void expressions_see_the_client_name(void **state)
{
	struct whitelist *list = load(WHITELIST_CLIENTS, "/^192\\.0\\.2\\./\n/^unk/\n");
	(void)state;

	assert_int_equal(client_line(list, "mail.example.com", "192.0.2.1"), MISS);
	assert_int_equal(client_line(list, "unknown", "192.0.2.1"), 2);
	whitelist_free(list);
	list = load(WHITELIST_CLIENTS, "known\nunknown.\n");
	assert_int_equal(client_line(list, "unknown", "192.0.2.1"), MISS);
	assert_int_equal(client_line(list, "known", "192.0.2.1"), 1);
	whitelist_free(list);
}

static void all_networks_hold_everything_of_their_family(void **state)
{
	struct whitelist *list = load(WHITELIST_CLIENTS, "0.0.0.0/0\n192.0.2.0/24\n192.0.2.9\n");
	(void)state;

	assert_int_equal(client_line(list, "unknown", "8.8.8.8"), 1);
	assert_int_equal(client_line(list, "unknown", "192.0.2.1"), 2);
	assert_int_equal(client_line(list, "unknown", "192.0.2.9"), 3);
	assert_int_equal(client_line(list, "unknown", "::1"), MISS);
	whitelist_free(list);
	list = load(WHITELIST_CLIENTS, "::/0\n");
	assert_int_equal(client_line(list, "unknown", "::1"), 1);
	assert_int_equal(client_line(list, "unknown", "192.0.2.1"), MISS);
	whitelist_free(list);
}

static void lines_as_people_write_them(void **state)
{
	static const char text[] = "\xef\xbb\xbf"
				   "# a file from Windows, with a mark at its begin\r\n"
				   "\r\n"
				   "   ; another comment\r\n"
				   "one@example.com\r\n"
				   "\ttwo@example.com  \t # Lo\xefs\0c\r\n"
				   "three@example.com;no blank\r\n"
				   "/^four#4@/ # a comment\r\n"
				   "/^five;5@/;a comment\r\n"
				   "/^six\\/6@/\r\n"
				   "/^seven/7@/\r\n"
				   "/^eight\\\\/ # Lo\xefs\r\n"
				   "last@example.com";
	static const char *const recipients[] = {
	    "one@example.com", "two@example.com", "three@example.com",
	    "four#4@x",	       "five;5@x",	  "six/6@x",
	    "seven/7@x",       "eight\\@x",	  "last@example.com"};
	struct whitelist *list = load_bytes(WHITELIST_RECIPIENTS, text, sizeof(text) - 1);
	struct whitelist_match match;
	(void)state;

	assert_string_equal(said.message, "");
	assert_int_equal(whitelist_count(list), COUNT(recipients));
	for (unsigned i = 0; i < COUNT(recipients); i++)
		assert_int_equal(recipient_line(list, recipients[i]), 4 + i);
	assert_true(whitelist_recipient(list, "two@example.com", &match));
	assert_string_equal(match.entry, "two@example.com");
	assert_true(whitelist_recipient(list, "four#4@x", &match));
	assert_string_equal(match.entry, "/^four#4@/");
	whitelist_free(list);
}

static void the_first_of_two_alike_is_named(void **state)
{
	struct whitelist *list = load(WHITELIST_RECIPIENTS, "a@example.com\nA@Example.com\n"
							    "example.com\nexample.com\n");
	(void)state;

	assert_int_equal(recipient_line(list, "a@example.com"), 1);
	assert_int_equal(recipient_line(list, "b@example.com"), 3);
	whitelist_free(list);
}

struct fault {
	const char *entry, *says;
};

static const struct fault client_faults[] = {
    {"*.example.com", "neither a host name"},
    {"user@example.com", "neither a host name"},
    {"@example.com", "neither a host name"},
    {"a..example.com", "neither a host name"},
    {"..example.com", "neither a host name"},
    {"a..", "neither a host name"},
    {"a~b", "neither a host name"},
    {"a=b", "neither a host name"},
    {"a{b", "neither a host name"},
    {"1.2.3.x4.5/a", "neither a host name"},
    {".", "neither a host name"},
    {"..", "neither a host name"},
    {"[192.0.2.1]", "neither a host name"},
    {"192.0.2.256", "neither a host name"},
    {"192.0.2.1.5", "neither a host name"},
    {"01.2.3.4", "neither a host name"},
    {"300", "neither a host name"},
    {".5", "neither a host name"},
    {"192.0.2.0/33", "neither a host name"},
    {"192.0.2.0/", "neither a host name"},
    {"192.0.2.0/255.255.255.0", "neither a host name"},
    {"2001:db8::/129", "neither a host name"},
    {"2001:db8::g", "neither a host name"},
    {"example.com/24", "neither a host name"},
    {"one.example two.example", "one entry a line"},
    {"one.example\ttwo.example", "one entry a line"},
    {"Unknown", "clients without a verified name"},
    {"a\x01", "control characters"},
    {"a\x7f.example", "control characters"},
    {"a\xff.example", "no UTF-8"},
    {"a\xc3.example # Lo\xc3\xafs", "no UTF-8"},
    {"/", "ends with a slash"},
    {"/ # comment", "ends with a slash"},
    {"//", "empty expression"},
    {"// # comment", "empty expression"},
    {"/a", "ends with a slash"},
    {"/a\r", "ends with a slash"},
    {"/a/i", "case is ignored anyway"},
    {"/a\\/", "ends with a slash"},
    {"/a\\", "ends with a slash"},
    {"/a/ b", "ends with a slash"},
    {"/a\xff/", "no UTF-8"},
    {"/a\xff", "no UTF-8"},
};

static const struct fault recipient_faults[] = {
    {"@", "neither user@"},
    {"user@exa mple.com", "one entry a line"},
    {"user@exam*ple", "neither user@"},
    {"user@.example.com", "neither user@"},
    {"user@example..com", "neither user@"},
    {"@.example.com", "neither user@"},
    {"@example..com", "neither user@"},
    {"*.example.com", "neither user@"},
    {".", "neither user@"},
    {"user+list@example.com", "what follows a +"},
    {"user+@", "what follows a +"},
    {"/", "ends with a slash"},
};

static void try_faults(enum whitelist_kind kind, const struct fault *faults, size_t count,
		       const char *good)
{
	char text[300];

	for (size_t i = 0; i < count; i++) {
		struct whitelist *list;

		snprintf(text, sizeof(text), "# a comment\n%s\n%s\n", faults[i].entry, good);
		list = load(kind, text);
		if (said.count != 1 || said.line != 2 || !strstr(said.message, faults[i].says))
			fail_msg("%s: %u complaints, line %u, %s", faults[i].entry, said.count,
				 said.line, said.message);
		assert_int_equal(whitelist_count(list), 1); /* the rest counts */
		whitelist_free(list);
	}
}

static void faults_are_told_and_the_rest_counts(void **state)
{
	(void)state;
	try_faults(WHITELIST_CLIENTS, client_faults, COUNT(client_faults), "good.example");
	try_faults(WHITELIST_RECIPIENTS, recipient_faults, COUNT(recipient_faults), "good@example");
}

static void nul_bytes_are_no_text(void **state)
{
	static const char text[] = "a\0.example\n/b\0c/\n\0\nd.example\n";
	struct whitelist *list = load_bytes(WHITELIST_CLIENTS, text, sizeof(text) - 1);
	(void)state;

	assert_int_equal(said.count, 3);
	assert_int_equal(said.line, 3);
	assert_int_equal(client_line(list, "d.example", "192.0.2.1"), 4);
	assert_int_equal(client_line(list, "a", "192.0.2.1"), MISS);
	whitelist_free(list);
}

static void host_bits_are_cleared_with_a_word(void **state)
{
	struct whitelist *list = load(WHITELIST_CLIENTS, "192.0.2.201/30\n");
	(void)state;

	assert_int_equal(said.count, 1);
	assert_int_equal(said.line, 1);
	assert_non_null(strstr(said.message, "192.0.2.200/30"));
	assert_int_equal(client_line(list, "unknown", "192.0.2.200"), 1);
	whitelist_free(list);
}

static void long_lines_and_names(void **state)
{
	char *text = malloc(2000000);
	struct whitelist *list;
	(void)state;

	memset(text, 'a', 1000000);
	strcpy(text + 1000000, ".example\ngood.example\n#");
	memset(text + strlen(text), 'c', 900000);
	list = load_bytes(WHITELIST_CLIENTS, text, 1900000);
	assert_int_equal(said.count, 1);
	assert_true(strlen(said.message) < 300);
	assert_int_equal(client_line(list, "good.example", "192.0.2.1"), 2);
	/* a name that no DNS has is below nothing */
	memset(text, '.', 100000);
	strcpy(text + 100000, ".good.example");
	assert_int_equal(client_line(list, text, "192.0.2.1"), MISS);
	whitelist_free(list);
	free(text);
}

static void an_empty_file_lists_nothing(void **state)
{
	struct whitelist *list = load(WHITELIST_RECIPIENTS, "");
	(void)state;

	assert_int_equal(said.count, 0);
	assert_int_equal(whitelist_count(list), 0);
	assert_int_equal(recipient_line(list, "postmaster@example.com"), MISS);
	whitelist_free(list);
	list = load(WHITELIST_CLIENTS, "\xef\xbb\xbf");
	assert_int_equal(said.count, 0);
	assert_int_equal(client_line(list, "mail.example.com", "192.0.2.1"), MISS);
	whitelist_free(list);
	whitelist_free(NULL);
}

static void try_unreadable(const char *reason)
{
	struct whitelist_match match;
	struct ipaddr ip = {0};
	struct whitelist *list;

	memset(&said, 0, sizeof(said));
	list = whitelist_load(WHITELIST_RECIPIENTS, file, note_complaint, &said);
	assert_int_equal(said.count, 1);
	assert_int_equal(said.line, 0);
	assert_non_null(strstr(said.message, reason));
	assert_int_equal(whitelist_count(list), 1);
	assert_true(whitelist_recipient(list, "postmaster@example.com", &match));
	assert_string_equal(match.entry, "postmaster@");
	assert_int_equal(match.line, 0);
	assert_false(whitelist_recipient(list, "abuse@example.com", NULL));
	whitelist_free(list);

	list = whitelist_load(WHITELIST_CLIENTS, file, note_complaint, &said);
	assert_int_equal(said.count, 2);
	assert_int_equal(whitelist_count(list), 0);
	assert_true(ipaddr_parse("192.0.2.1", &ip));
	assert_false(whitelist_client(list, "postmaster", &ip, NULL));
	whitelist_free(list);
}

static void a_file_that_cannot_be_read(void **state)
{
	struct whitelist *list;
	(void)state;

	unlink(file);
	try_unreadable("No such file");
	assert_int_equal(mkdir(file, 0700), 0);
	try_unreadable("Is a directory");
	rmdir(file);
	assert_int_equal(mkfifo(file, 0600), 0); /* must not wait for a writer */
	memset(&said, 0, sizeof(said));
	list = whitelist_load(WHITELIST_CLIENTS, file, note_complaint, &said);
	assert_int_equal(whitelist_count(list), 0);
	whitelist_free(list);
	unlink(file);
}

static void a_file_without_end_is_cut(void **state)
{
	struct whitelist *list;
	int fd;
	(void)state;

	whitelist_free(load(WHITELIST_CLIENTS, "good.example\n"));
	fd = open(file, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 20 * 1024 * 1024), 0);
	close(fd);
	list = whitelist_load(WHITELIST_CLIENTS, file, note_complaint, &said);
	assert_int_equal(said.count, 1);
	assert_non_null(strstr(said.message, "16 MiB"));
	assert_int_equal(client_line(list, "good.example", "192.0.2.1"), 1);
	whitelist_free(list);

	/* the same without a single line end */
	assert_int_equal(truncate(file, 0), 0);
	assert_int_equal(truncate(file, 20 * 1024 * 1024), 0);
	list = whitelist_load(WHITELIST_CLIENTS, file, note_complaint, &said);
	assert_int_equal(said.count, 2);
	assert_int_equal(whitelist_count(list), 0);
	whitelist_free(list);
}

static void expressions_compile_when_needed(void **state)
{
	struct whitelist *list = load(WHITELIST_CLIENTS, "/(/\n/good/\nplain.example\n/a{2,1}/\n");
	(void)state;

	assert_int_equal(said.count, 0);
	assert_int_equal(client_line(list, "plain.example", "192.0.2.1"), 3);
	assert_int_equal(said.count, 0);
	assert_int_equal(client_line(list, "good.example", "192.0.2.1"), 2);
	assert_int_equal(said.count, 1);
	assert_int_equal(said.line, 1);
	assert_int_equal(client_line(list, "good.example", "192.0.2.1"), 2);
	assert_int_equal(said.count, 1);
	assert_int_equal(whitelist_compile(list), 2);
	assert_int_equal(said.count, 2);
	assert_int_equal(said.line, 4);
	assert_int_equal(whitelist_compile(list), 2);
	assert_int_equal(said.count, 2);
	assert_int_equal(client_line(list, "other.example", "192.0.2.1"), MISS);
	whitelist_free(list);
}

static void a_catastrophic_expression_is_no_match(void **state)
{
	static const char name[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";
	struct whitelist *list = load(WHITELIST_CLIENTS, "/(a+)+$/\n/!/\n");
	(void)state;

	assert_int_equal(client_line(list, name, "192.0.2.1"), 2);
	assert_int_equal(said.count, 1);
	assert_int_equal(said.line, 1);
	assert_non_null(strstr(said.message, "too many steps"));
	assert_int_equal(client_line(list, name, "192.0.2.1"), 2);
	assert_int_equal(said.count, 1);
	assert_int_equal(client_line(list, "aaaa", "192.0.2.1"), 1);
	whitelist_free(list);
}

/* Names whose 32 bits of FNV-1a are the same. */
static void colliding_names(void **state)
{
	struct whitelist *list = load(WHITELIST_RECIPIENTS, "declinate@\nliquid@\n");
	(void)state;

	assert_int_equal(recipient_line(list, "declinate@example.com"), 1);
	assert_int_equal(recipient_line(list, "liquid@example.com"), 2);
	assert_int_equal(recipient_line(list, "macallums@example.com"), MISS);
	assert_int_equal(recipient_line(list, "costarring@example.com"), MISS);
	/* the same key in another form */
	assert_int_equal(recipient_line(list, "a@liquid"), MISS);
	whitelist_free(list);
}

/* Many entries, so that the table has collisions and grows. */
static void large_lists(void **state)
{
	const unsigned lines = 20000;
	char *text = malloc(lines * 64), *to = text, name[64], address[64];
	struct whitelist *list;
	(void)state;

	for (unsigned i = 0; i < lines; i++)
		to += i % 2 ? sprintf(to, "10.%u.%u.%u\n", i >> 16, i >> 8 & 255, i & 255)
			    : sprintf(to, "host%u.example.com\n", i);
	list = load(WHITELIST_CLIENTS, text);
	assert_int_equal(said.count, 0);
	assert_int_equal(whitelist_count(list), lines);
	for (unsigned i = 0; i < lines; i++) {
		snprintf(name, sizeof(name), "host%u.example.com", i);
		snprintf(address, sizeof(address), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		assert_int_equal(client_line(list, name, "192.0.2.1"), i % 2 ? MISS : i + 1);
		assert_int_equal(client_line(list, "unknown", address), i % 2 ? i + 1 : MISS);
	}
	whitelist_free(list);
	free(text);
}

/* The forms that postgrey's lists use, each once. */
static void postgrey_forms(void **state)
{
	static const struct {
		const char *name, *address;
		unsigned line;
	} rows[] = {
	    {"ms-smtp-03.rr.example", "10.0.0.1", 2},
	    {"cv17pub.mail.example", "10.0.0.1", 3},
	    {"relay3-g21.free.example", "10.0.0.1", 4},
	    {"smtp_out4-g1.free.example", "10.0.0.1", 4},
	    {"smtp.free.example", "10.0.0.1", MISS},
	    {"a.b.server.systems.example", "10.0.0.1", 5},
	    {"mail.trailing.example", "10.0.0.1", 6},
	    {"mta2.slow.example", "10.0.0.1", 7},
	    {"fallback-mx9.atl.example", "10.0.0.1", 8},
	    {"unknown", "2001:db8:4051:800:1::1", 9},
	    {"unknown", "2001:db8:4051:801::1", MISS},
	    {"unknown", "205.201.143.255", 10},
	    {"unknown", "205.201.144.0", MISS},
	    {"unknown", "195.235.39.1", 11},
	};
	struct whitelist *list = load(WHITELIST_CLIENTS,
				      "# version 1, (Lo\xc3\xafs; \"quoted\" #1)\n"
				      "/^ms-smtp.*\\.rr\\.example$/\n"
				      "/^[sc][v]\\d+pub\\.mail\\.example$/\n"
				      "/^(?:smtp\\w*|relay)[0-9]+-g[0-9]+\\.free\\.example$/\n"
				      "/^.*?.server.systems.example$/\n"
				      "trailing.example \n"
				      "/^mta[12].slow.example$/\n"
				      "/^(?:mail|fallback-mx)\\d+.atl.example$/\n"
				      "2001:0db8:4051:0800::/64\n"
				      "205.201.128.0/20\n"
				      "195.235.39\n");
	(void)state;

	assert_int_equal(said.count, 0);
	assert_int_equal(whitelist_compile(list), 0);
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(client_line(list, rows[i].name, rows[i].address), rows[i].line);
	whitelist_free(list);
}

/* Debian's own lists must load whole; they are there where postgrey is installed or unpacked. */
static void postgrey_lists_load_whole(void **state)
{
	const char *root = getenv("POSTGREY_ROOT");
	char path[500];
	struct whitelist *list;
	(void)state;

	snprintf(path, sizeof(path), "%s/usr/share/postgrey/whitelist_clients", root ? root : "");
	if (access(path, R_OK)) {
		print_message("skipped: %s is not there (package postgrey)\n", path);
		skip();
	}
	unlink(file);
	assert_int_equal(symlink(path, file), 0);
	memset(&said, 0, sizeof(said));
	list = whitelist_load(WHITELIST_CLIENTS, file, note_complaint, &said);
	if (said.count)
		fail_msg("%s:%u: %s", path, said.line, said.message);
	assert_int_equal(whitelist_compile(list), 0);
	assert_true(whitelist_count(list) > 150);
	assert_true(client_line(list, "mail.debian.org", "192.0.2.1") != MISS);
	assert_true(client_line(list, "smtp7.orange.fr", "192.0.2.1") != MISS);
	assert_true(client_line(list, "unknown", "195.235.39.77") != MISS);
	assert_true(client_line(list, "unknown", "205.201.143.255") != MISS);
	assert_true(client_line(list, "mail.example.com", "192.0.2.1") == MISS);
	whitelist_free(list);

	snprintf(path, sizeof(path), "%s/usr/share/postgrey/whitelist_recipients",
		 root ? root : "");
	unlink(file);
	assert_int_equal(symlink(path, file), 0);
	list = whitelist_load(WHITELIST_RECIPIENTS, file, note_complaint, &said);
	assert_int_equal(said.count, 0);
	assert_true(recipient_line(list, "abuse@example.com") != MISS);
	whitelist_free(list);
	unlink(file);
}

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(file, sizeof(file), "%s/list", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(file);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recipients_in_every_form),
	    cmocka_unit_test(clients_in_every_form),
	    cmocka_unit_test(expressions_see_the_client_name),
	    cmocka_unit_test(all_networks_hold_everything_of_their_family),
	    cmocka_unit_test(lines_as_people_write_them),
	    cmocka_unit_test(the_first_of_two_alike_is_named),
	    cmocka_unit_test(faults_are_told_and_the_rest_counts),
	    cmocka_unit_test(nul_bytes_are_no_text),
	    cmocka_unit_test(host_bits_are_cleared_with_a_word),
	    cmocka_unit_test(long_lines_and_names),
	    cmocka_unit_test(an_empty_file_lists_nothing),
	    cmocka_unit_test(a_file_that_cannot_be_read),
	    cmocka_unit_test(a_file_without_end_is_cut),
	    cmocka_unit_test(expressions_compile_when_needed),
	    cmocka_unit_test(a_catastrophic_expression_is_no_match),
	    cmocka_unit_test(colliding_names),
	    cmocka_unit_test(large_lists),
	    cmocka_unit_test(postgrey_forms),
	    cmocka_unit_test(postgrey_lists_load_whole),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
