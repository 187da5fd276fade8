/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stream of requests on a connection, read whole, byte by byte, and in pieces of any size: what
 * comes out must be the same. A second, plain reading says which requests are in it. The first byte
 * begins the sizes of the pieces. In the rest FUZZ_STRETCH and a byte stand for very many of that
 * byte, so that the bounds are within reach.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "fuzz.h"

/* The code under test, with our bytes in place of a socket's. */
static ssize_t fuzz_read(int fd, void *buffer, size_t size);
#define read fuzz_read
#include "policy/request.c"
#undef read

#define FUZZ_STRETCH 0xfe
#define FUZZ_STRETCHED 4093
#define STREAM_MOST (REQUEST_MAX_BYTES + 8 * FUZZ_STRETCHED)
#define BYTEWISE_MOST 8192 /* longer streams are read in somewhat larger pieces */
#define RESULTS_MOST 4096

/* Where fuzz_read() is. */
static struct {
	const char *data;
	size_t size, at;
	size_t piece;	 /* bytes at a time; 0: of any size */
	uint32_t random; /* decides which */
} stream;

static ssize_t fuzz_read(int fd, void *buffer, size_t size)
{
	size_t len = stream.size - stream.at, piece = stream.piece;

	(void)fd;
	fuzz_require(size > 0);
	stream.random = stream.random * 1664525 + 1013904223;
	if (!piece)
		piece = 1 + (stream.random >> 24) % ((stream.random >> 16 & 3) ? 16 : 256);
	len = len < piece ? len : piece;
	len = len < size ? len : size;
	memcpy(buffer, stream.data + stream.at, len);
	stream.at += len;
	return (ssize_t)len;
}

/* --- the plain reading ------------------------------------------------------------------------ */

struct line {
	const char *text;
	size_t len;
};

/* The line at `at` without white space around it; false where it does not end before `most`. */
static bool model_line(size_t *at, size_t most, struct line *line)
{
	const char *end = NULL, *begin = stream.data + *at;

	if (most > stream.size)
		most = stream.size;
	if (*at < most)
		end = memchr(begin, '\n', most - *at);
	if (!end)
		return false;
	*at = (size_t)(end - stream.data) + 1;
	while (begin < end && text_is_space(*begin))
		begin++;
	while (end > begin && text_is_space(end[-1]))
		end--;
	*line = (struct line){begin, (size_t)(end - begin)};
	return true;
}

/* Whether the line sets the attribute; then *value is its value. */
static bool model_sets(const struct line *line, const char *name, struct line *value)
{
	size_t len = strlen(name);

	if (line->len <= len || line->text[len] != '=' || strncasecmp(line->text, name, len) != 0)
		return false;
	*value = (struct line){line->text + len + 1, line->len - len - 1};
	return true;
}

/* What a request comes to that has only these lines: the last of each name counts. */
static enum request_result model_result(const struct line *values, const bool *set)
{
	static const char protocol[] = "smtpd_access_policy";
	char *address;
	struct ipaddr ip;
	bool good;

	for (int i = 0; i < ATTRIBUTES_REQUIRED; i++)
		if (!set[i])
			return REQUEST_INCOMPLETE;
	if (set[ATTRIBUTE_REQUEST]) {
		const struct line *value = &values[ATTRIBUTE_REQUEST];

		if (value->len != strlen(protocol) ||
		    strncasecmp(value->text, protocol, value->len) != 0)
			return REQUEST_INCOMPLETE;
	}
	if (!values[ATTRIBUTE_RECIPIENT].len)
		return REQUEST_INCOMPLETE;
	address = fuzz_text((const uint8_t *)values[ATTRIBUTE_CLIENT_ADDRESS].text,
			    values[ATTRIBUTE_CLIENT_ADDRESS].len);
	/* In a zone, which is dropped, anything may stand. */
	for (size_t i = 0; i < values[ATTRIBUTE_CLIENT_ADDRESS].len; i++)
		if (address[i] < ' ' || address[i] == 0x7f)
			address[i] = '?';
	good = ipaddr_parse(address, &ip);
	free(address);
	return good ? REQUEST_OK : REQUEST_INCOMPLETE;
}

static enum request_result model_skip(size_t *at)
{
	struct line line;

	while (model_line(at, stream.size, &line))
		if (!line.len)
			return REQUEST_TOO_LARGE;
	return REQUEST_END;
}

static enum request_result model_read(size_t *at)
{
	struct line values[ATTRIBUTES], line;
	bool set[ATTRIBUTES] = {false};
	size_t begin = *at, count = 0;

	while (model_line(at, begin + REQUEST_MAX_BYTES, &line)) {
		if (!line.len && count)
			return model_result(values, set);
		for (int i = 0; i < ATTRIBUTES; i++)
			if (model_sets(&line, attribute_names[i], &values[i]))
				set[i] = true;
		/* the request begins with its first attribute */
		if (!count)
			begin = *at;
		if (line.len && memchr(line.text, '=', line.len) && !count++)
			begin = (size_t)(line.text - stream.data);
		if (count > REQUEST_MAX_ATTRIBUTES)
			return model_skip(at);
	}
	return stream.size - begin >= REQUEST_MAX_BYTES ? model_skip(at) : REQUEST_END;
}

/* --- what must hold --------------------------------------------------------------------------- */

static void check_address(const char *address)
{
	const char *at = strrchr(address, '@'), *plus = strchr(address, '+');

	fuzz_require(strlen(address) <= REQUEST_MAX_ADDRESS);
	fuzz_require(text_is_clean(address, strlen(address)));
	fuzz_require(!plus || (at && plus > at) || strlen(address) + 4 > REQUEST_MAX_ADDRESS);
	for (const char *s = address; *s; s++)
		fuzz_require(*s < 'A' || *s > 'Z');
}

static void check_request(struct arena *arena, const struct request *r)
{
	char text[IPADDR_TEXT_SIZE];
	struct request again;

	ipaddr_format(&r->client, text);
	fuzz_require(!strcmp(text, r->client_address));
	check_address(r->sender);
	check_address(r->recipient);
	fuzz_require(*r->client_name != '\0');
	fuzz_require(text_is_clean(r->client_name, strlen(r->client_name)));
	fuzz_require(text_is_clean(r->helo_name, strlen(r->helo_name)));
	fuzz_require(text_is_clean(r->instance, strlen(r->instance)));
	/* What is normal stays. */
	if (!*r->recipient)
		return;
	fuzz_require(request_normalise(arena,
				       &(struct request_values){.sender = r->sender,
								.recipient = r->recipient,
								.client_address = r->client_address,
								.client_name = r->client_name,
								.helo_name = r->helo_name,
								.instance = r->instance},
				       &again));
	fuzz_require(!strcmp(again.sender, r->sender) && !strcmp(again.recipient, r->recipient));
	fuzz_require(!strcmp(again.client_address, r->client_address));
}

static void note(struct strbuf *out, struct arena *arena, enum request_result result,
		 const struct request *r)
{
	strbuf_addf(out, "%d:", result);
	if (result != REQUEST_OK) {
		fuzz_require(*r->problem && text_is_clean(r->problem, strlen(r->problem)));
		strbuf_addf(out, "%s\n", r->problem);
		return;
	}
	check_request(arena, r);
	strbuf_addf(out, "%s|%s|%s|%s|%s|%s|%s\n", r->sender, r->recipient, r->raw_sender,
		    r->client_address, r->client_name, r->helo_name, r->instance);
}

/* Reads the whole stream in such pieces; *results is what the requests came to, *out all of it. */
static size_t read_stream(size_t piece, enum request_result *results, struct strbuf *out)
{
	static struct request_input in;
	struct arena arena = ARENA_INIT;
	struct request request;
	enum request_result result;
	size_t count = 0;

	stream.piece = piece;
	stream.at = 0;
	request_input_init(&in, -1);
	while ((result = request_read(&in, &arena, &request)) != REQUEST_END) {
		fuzz_require(result != REQUEST_FAILED && count < RESULTS_MOST);
		results[count++] = result;
		note(out, &arena, result, &request);
		arena_reset(&arena);
	}
	fuzz_require(stream.at == stream.size);
	arena_release(&arena);
	return count;
}

static void check_stream(void)
{
	static enum request_result results[RESULTS_MOST], others[RESULTS_MOST];
	struct strbuf whole = STRBUF_INIT, pieces = STRBUF_INIT;
	size_t count = read_stream(SIZE_MAX, results, &whole), at = 0;
	size_t piece = stream.size <= BYTEWISE_MOST ? 1 : 61;

	for (size_t i = 0; i < count; i++)
		fuzz_require(model_read(&at) == results[i]);
	fuzz_require(model_read(&at) == REQUEST_END);
	fuzz_require(read_stream(piece, others, &pieces) == count &&
		     !strcmp(pieces.buf, whole.buf));
	strbuf_clear(&pieces);
	fuzz_require(read_stream(0, others, &pieces) == count && !strcmp(pieces.buf, whole.buf));
	strbuf_release(&whole);
	strbuf_release(&pieces);
}

static void stretch(struct strbuf *out, struct fuzz_input *in)
{
	static char filler[FUZZ_STRETCHED];

	while (in->size && out->len < STREAM_MOST) {
		uint8_t c = fuzz_byte(in);

		if (c != FUZZ_STRETCH) {
			strbuf_addch(out, (char)c);
			continue;
		}
		memset(filler, fuzz_byte(in), sizeof(filler));
		strbuf_add(out, filler, sizeof(filler));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct strbuf text = STRBUF_INIT;

	stream.random = fuzz_byte(&in);
	stretch(&text, &in);
	stream.data = text.buf;
	stream.size = text.len;
	check_stream();
	strbuf_release(&text);
	return 0;
}
