/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/mem.h"
#include "policy/request.h"

#define BODY "client_address=192.0.2.1\nclient_name=mail.example.net\nhelo_name=mail.example.net\n"
#define WHOLE \
	"request=smtpd_access_policy\nsender=a@example.net\nrecipient=b@example.org\n" BODY "\n"

/* A connection whose other end says what a test wants. */
struct line {
	struct request_input input;
	struct arena arena;
	struct request request;
	int peer;
};

static int setup(void **state)
{
	struct line *line = mem_alloc(sizeof(*line));
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return -1;
	line->peer = fds[1];
	request_input_init(&line->input, fds[0]);
	*state = line;
	return 0;
}

static int teardown(void **state)
{
	struct line *line = *state;

	arena_release(&line->arena);
	close(line->input.fd);
	if (line->peer >= 0)
		close(line->peer);
	free(line);
	return 0;
}

/* Says it all at once; the socket's buffer is large enough for what the tests say. */
static void say_bytes(struct line *line, const void *data, size_t len)
{
	assert_int_equal(write(line->peer, data, len), len);
}

static void say(struct line *line, const char *text)
{
	say_bytes(line, text, strlen(text));
}

static void hang_up(struct line *line)
{
	close(line->peer);
	line->peer = -1;
}

static enum request_result next(struct line *line)
{
	arena_reset(&line->arena);
	return request_read(&line->input, &line->arena, &line->request);
}

/* Reads one request with these two addresses. */
static void addresses(struct line *line, const char *sender, const char *recipient)
{
	char text[2048];

	snprintf(text, sizeof(text), "sender=%s\nrecipient=%s\n" BODY "\n", sender, recipient);
	say(line, text);
	assert_int_equal(next(line), REQUEST_OK);
}

static void test_plain(void **state)
{
	struct line *line = *state;
	const struct request *r = &line->request;

	say(line, WHOLE);
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(r->sender, "a@example.net");
	assert_string_equal(r->recipient, "b@example.org");
	assert_string_equal(r->client_address, "192.0.2.1");
	assert_string_equal(r->client_name, "mail.example.net");
	assert_string_equal(r->helo_name, "mail.example.net");
	assert_string_equal(r->instance, "");
	assert_false(request_input_waiting(&line->input));
	hang_up(line);
	assert_int_equal(next(line), REQUEST_END);
	assert_int_equal(next(line), REQUEST_END);
}

static void test_two_at_once(void **state)
{
	struct line *line = *state;

	say(line, WHOLE "sender=c@example.net\nrecipient=d@example.org\ninstance=x.1\n" BODY "\n");
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.sender, "a@example.net");
	assert_true(request_input_waiting(&line->input));
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.sender, "c@example.net");
	assert_string_equal(line->request.instance, "x.1");
}

static void test_crlf_blanks_case(void **state)
{
	struct line *line = *state;

	say(line, "  SENDER=John.Doe@Example.NET \r\nRecipient=B@EXAMPLE.org\r\n"
		  "\tclient_address=192.0.2.1\r\nclient_name=Mail.Example.Net.\r\n"
		  "helo_name=MAIL.example.net.\r\n \t \r\n");
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.sender, "john.doe@example.net");
	assert_string_equal(line->request.raw_sender, "John.Doe@Example.NET");
	assert_string_equal(line->request.recipient, "b@example.org");
	assert_string_equal(line->request.client_name, "mail.example.net");
	assert_string_equal(line->request.helo_name, "mail.example.net");
}

static void test_empty_lines_and_rubbish(void **state)
{
	struct line *line = *state;

	say(line, "\n\r\n\nno equals sign here\n\n" WHOLE "\n");
	assert_int_equal(next(line), REQUEST_OK);
	say(line,
	    "sender=x@y\nthis is nothing\nsender=a@example.net\nunknown=1\nrecipient=b@c\n" BODY
	    "\n");
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.sender, "a@example.net"); /* the last one counts */
	hang_up(line);
	assert_int_equal(next(line), REQUEST_END);
}

static void test_missing(void **state)
{
	static const char *const names[] = {"sender", "recipient", "client_address", "client_name",
					    "helo_name"};
	struct line *line = *state;

	for (size_t i = 0; i < 5; i++) {
		for (size_t j = 0; j < 5; j++) {
			char text[100];

			snprintf(text, sizeof(text), "%s=192.0.2.1\n", names[j]);
			if (j != i)
				say(line, text);
		}
		say(line, "\n");
		assert_int_equal(next(line), REQUEST_INCOMPLETE);
		assert_non_null(strstr(line->request.problem, names[i]));
	}
	say(line, "sender=a@b\nrecipient=\n" BODY "\n");
	assert_int_equal(next(line), REQUEST_INCOMPLETE);
	assert_non_null(strstr(line->request.problem, "recipient is empty"));
	say(line, WHOLE);
	assert_int_equal(next(line), REQUEST_OK);
}

static void test_other_request(void **state)
{
	struct line *line = *state;

	say(line, "request=junk\nsender=a@b\nrecipient=c@d\n" BODY "\n");
	assert_int_equal(next(line), REQUEST_INCOMPLETE);
	assert_non_null(strstr(line->request.problem, "request=junk"));
	say(line, "request=SMTPD_access_policy\nsender=a@b\nrecipient=c@d\n" BODY "\n");
	assert_int_equal(next(line), REQUEST_OK);
}

static void test_bad_address(void **state)
{
	struct line *line = *state;

	say(line,
	    "sender=a@b\nrecipient=c@d\nclient_name=x\nhelo_name=x\nclient_address=1.2.3\n\n");
	assert_int_equal(next(line), REQUEST_INCOMPLETE);
	assert_non_null(strstr(line->request.problem, "client_address=1.2.3"));
}

static void test_extension(void **state)
{
	struct line *line = *state;
	static const char *const cases[][2] = {
	    {"a+list@b", "a@b"},
	    {"a+x+y@b", "a@b"},
	    {"a@b+c", "a@b+c"},
	    {"a+x@b+c", "a@b+c"},
	    {"a+b", "a"},
	    {"+x@b", "@b"},
	    {"a+x=y@b", "a@b"},
	    {"\"a+b@c\"@d", "\"a@d"},
	    {"plain@b", "plain@b"},
	    {"+", ""},
	    {"A+B@C.Example", "a@c.example"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		addresses(line, cases[i][0], "r@x");
		assert_string_equal(line->request.sender, cases[i][1]);
		assert_string_equal(line->request.raw_sender, cases[i][0]);
		addresses(line, "", cases[i][0][0] == '+' && !cases[i][0][1] ? "x" : cases[i][0]);
	}
	assert_string_equal(line->request.sender, "");
	assert_string_equal(line->request.recipient, "a@c.example");
}

static void test_equals_in_value(void **state)
{
	struct line *line = *state;

	addresses(line, "a b=c@example.com", "x=y=z@d");
	assert_string_equal(line->request.sender, "a b=c@example.com");
	assert_string_equal(line->request.recipient, "x=y=z@d");
}

static void test_cut(void **state)
{
	struct line *line = *state;
	char sender[400];

	memset(sender, 'a', sizeof(sender));
	sender[300] = '\0';
	addresses(line, sender, "b@c");
	assert_int_equal(strlen(line->request.sender), REQUEST_MAX_ADDRESS);
	assert_int_equal(strlen(line->request.raw_sender), 300);
	/* an umlaut across the cut goes as a whole */
	memcpy(sender + 253, "\xc3\xa4", 2);
	addresses(line, sender, "b@c");
	assert_int_equal(strlen(line->request.sender), 253);
	/* the extension goes first */
	memset(sender, 'a', 300);
	sender[10] = '+';
	memcpy(sender + 290, "@example.c", 10);
	addresses(line, sender, "b@c");
	assert_string_equal(line->request.sender, "aaaaaaaaaa@example.c");
}

static void test_unclean(void **state)
{
	static const char text[] =
	    "sender=a\0b\x01@c\nrecipient=\xff\xc3\xa4@d\xc2\x85\nhelo_name=x\ty\n"
	    "client_name=\nclient_address=192.0.2.1\nsender\0x=z\n\n";
	struct line *line = *state;

	say_bytes(line, text, sizeof(text) - 1);
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.sender, "a\xef\xbf\xbd"
						  "b\xef\xbf\xbd@c");
	assert_string_equal(line->request.recipient, "\xef\xbf\xbd\xc3\xa4@d\xef\xbf\xbd");
	assert_string_equal(line->request.helo_name, "x\xef\xbf\xbdy");
	assert_string_equal(line->request.client_name, "unknown");
}

static void test_ipv6(void **state)
{
	struct line *line = *state;

	say(line,
	    "sender=\nrecipient=c@d\nclient_name=x\nhelo_name=x\nclient_address=2001:DB8::1\n\n");
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.client_address,
			    "2001:0db8:0000:0000:0000:0000:0000:0001");
	say(line, "sender=\nrecipient=c@d\nclient_name=x\nhelo_name=x\n"
		  "client_address=::ffff:192.0.2.1\n\n");
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.client_address, "192.0.2.1");
}

static void test_end_in_the_middle(void **state)
{
	struct line *line = *state;

	say(line, "sender=a@b\nrecipient=c@d\n" BODY);
	hang_up(line);
	assert_int_equal(next(line), REQUEST_END);
}

static void test_too_many_attributes(void **state)
{
	struct line *line = *state;

	for (int i = 0; i < REQUEST_MAX_ATTRIBUTES - 6; i++)
		say(line, "x=y\n");
	say(line, WHOLE);
	assert_int_equal(next(line), REQUEST_OK);
	for (int i = 0; i < REQUEST_MAX_ATTRIBUTES - 5; i++)
		say(line, "x=y\n");
	say(line, WHOLE WHOLE);
	assert_int_equal(next(line), REQUEST_TOO_LARGE);
	assert_non_null(line->request.problem);
	assert_int_equal(next(line), REQUEST_OK);
}

/* Writes from a child, because more is said than the socket holds. */
static void say_much(struct line *line, size_t size, char fill, const char *then)
{
	fflush(NULL);
	if (fork() == 0) {
		char *text = mem_alloc(size + strlen(then));
		size_t len = size + strlen(then), done = 0;

		memset(text, fill, size);
		memcpy(text + size, then, strlen(then));
		while (done < len) {
			ssize_t n = write(line->peer, text + done, len - done);

			if (n <= 0)
				_exit(1);
			done += (size_t)n;
		}
		_exit(0);
	}
	hang_up(line);
}

static void test_long_line(void **state)
{
	struct line *line = *state;

	say_much(line, 1 << 20, 'x', "\nsender=late@b\n\n" WHOLE);
	assert_int_equal(next(line), REQUEST_TOO_LARGE);
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.sender, "a@example.net");
	assert_int_equal(next(line), REQUEST_END);
}

/* A blank so long that it fills the buffer is a blank line still: it ends the request. */
static void test_long_blank_line(void **state)
{
	struct line *line = *state;

	say_much(line, 200000, ' ', "\n" WHOLE);
	assert_int_equal(next(line), REQUEST_TOO_LARGE);
	assert_int_equal(next(line), REQUEST_OK);
	assert_int_equal(next(line), REQUEST_END);
}

static void test_what_means_nothing_takes_no_room(void **state)
{
	struct line *line = *state;

	say_much(line, 200000, '\n', WHOLE WHOLE);
	assert_int_equal(next(line), REQUEST_OK);
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.sender, "a@example.net");
	assert_int_equal(next(line), REQUEST_END);
}

/* `size` times `fill`, and then a request of 40 KB. */
static void assert_large_request_behind(struct line *line, size_t size, char fill)
{
	char *rest = mem_alloc(40000 + sizeof("\n\nx=\n" WHOLE));

	strcpy(rest, "\n\nx=");
	memset(rest + strlen(rest), 'x', 40000);
	strcat(rest, "\n" WHOLE);
	say_much(line, size, fill, rest);
	free(rest);
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.sender, "a@example.net");
	assert_int_equal(next(line), REQUEST_END);
}

static void test_a_long_line_that_means_nothing_before_a_large_request(void **state)
{
	assert_large_request_behind(*state, 60000, 'x');
}

static void test_empty_lines_before_a_large_request(void **state)
{
	assert_large_request_behind(*state, 30000, '\n');
}

static void test_long_line_without_end(void **state)
{
	struct line *line = *state;

	say_much(line, 200000, 'x', "");
	assert_int_equal(next(line), REQUEST_END);
}

static void test_byte_by_byte(void **state)
{
	struct line *line = *state;
	int pair[2];

	/* the reader sees the request grow by one byte at a time */
	assert_int_equal(pipe(pair), 0);
	close(line->input.fd);
	fflush(NULL);
	if (fork() == 0) {
		close(pair[0]);
		for (const char *s = WHOLE; *s; s++)
			if (write(pair[1], s, 1) != 1)
				_exit(1);
		_exit(0);
	}
	close(pair[1]);
	request_input_init(&line->input, pair[0]);
	assert_int_equal(next(line), REQUEST_OK);
	assert_string_equal(line->request.recipient, "b@example.org");
	assert_int_equal(next(line), REQUEST_END);
}

static void test_failed(void **state)
{
	struct line *line = *state;
	int fd = line->input.fd;

	line->input.fd = -1;
	assert_int_equal(next(line), REQUEST_FAILED);
	line->input.fd = fd;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_plain),
	    TEST(test_two_at_once),
	    TEST(test_crlf_blanks_case),
	    TEST(test_empty_lines_and_rubbish),
	    TEST(test_missing),
	    TEST(test_other_request),
	    TEST(test_bad_address),
	    TEST(test_extension),
	    TEST(test_equals_in_value),
	    TEST(test_cut),
	    TEST(test_unclean),
	    TEST(test_ipv6),
	    TEST(test_end_in_the_middle),
	    TEST(test_too_many_attributes),
	    TEST(test_long_line),
	    TEST(test_long_blank_line),
	    TEST(test_what_means_nothing_takes_no_room),
	    TEST(test_a_long_line_that_means_nothing_before_a_large_request),
	    TEST(test_empty_lines_before_a_large_request),
	    TEST(test_long_line_without_end),
	    TEST(test_byte_by_byte),

	    TEST(test_failed),
	};

	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
