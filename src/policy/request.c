/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/request.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/text.h"

/* The attributes that matter; the first five are required. */
enum attribute {
	ATTRIBUTE_SENDER,
	ATTRIBUTE_RECIPIENT,
	ATTRIBUTE_CLIENT_ADDRESS,
	ATTRIBUTE_CLIENT_NAME,
	ATTRIBUTE_HELO_NAME,
	ATTRIBUTES_REQUIRED,
	ATTRIBUTE_INSTANCE = ATTRIBUTES_REQUIRED,
	ATTRIBUTE_REQUEST,
	ATTRIBUTES
};

static const char *const attribute_names[ATTRIBUTES] = {
    [ATTRIBUTE_SENDER] = "sender",
    [ATTRIBUTE_RECIPIENT] = "recipient",
    [ATTRIBUTE_CLIENT_ADDRESS] = "client_address",
    [ATTRIBUTE_CLIENT_NAME] = "client_name",
    [ATTRIBUTE_HELO_NAME] = "helo_name",
    [ATTRIBUTE_INSTANCE] = "instance",
    [ATTRIBUTE_REQUEST] = "request",
};

/* Values as they lie in the input's buffer, each ending in NUL at its length. */
struct attributes {
	const char *value[ATTRIBUTES]; /* NULL: not sent */
	size_t len[ATTRIBUTES];
	size_t count; /* of all attributes, known or not */
};

void request_input_init(struct request_input *in, int fd)
{
	in->fd = fd;
	in->start = in->end = 0;
	in->at_end = false;
}

bool request_input_waiting(const struct request_input *in)
{
	return in->start < in->end;
}

/* Reads what there is behind the bytes held already, waiting for the first of it. */
static enum request_result input_fill(struct request_input *in)
{
	ssize_t n;

	do {
		if (in->at_end)
			return REQUEST_END;
		n = read(in->fd, in->buf + in->end, REQUEST_MAX_BYTES - in->end);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return REQUEST_FAILED;
	if (n == 0) {
		in->at_end = true;
		return REQUEST_END;
	}
	in->end += (size_t)n;
	return REQUEST_OK;
}

/* Moves what is left over from the last request to the front; values of that one become invalid. */
static void input_compact(struct request_input *in)
{
	if (!in->start)
		return;
	memmove(in->buf, in->buf + in->start, in->end - in->start);
	in->end -= in->start;
	in->start = 0;
}

/* Skips the rest of a request, up to and with its empty line. `in->start` is at the begin of a
 * line. */
static enum request_result input_skip(struct request_input *in)
{
	enum request_result result;
	bool blank = true; /* nothing but white space on this line yet */

	for (;;) {
		while (in->start < in->end) {
			char c = in->buf[in->start++];

			if (c == '\n' && blank)
				return REQUEST_OK;
			blank = c == '\n' || (blank && text_is_space(c));
		}
		in->start = in->end = 0;
		result = input_fill(in);
		if (result != REQUEST_OK)
			return result;
	}
}

/* The next line, trimmed, its end replaced by NUL. REQUEST_TOO_LARGE where the buffer is full
 * without one. */
static enum request_result input_line(struct request_input *in, char **line, size_t *len)
{
	size_t searched = in->start;
	char *end, *begin;

	while (!(end = memchr(in->buf + searched, '\n', in->end - searched))) {
		enum request_result result;

		searched = in->end;
		if (in->end == REQUEST_MAX_BYTES)
			return REQUEST_TOO_LARGE;
		result = input_fill(in);
		if (result != REQUEST_OK)
			return result;
	}
	begin = in->buf + in->start;
	in->start = (size_t)(end - in->buf) + 1;
	while (begin < end && text_is_space(*begin))
		begin++;
	while (end > begin && text_is_space(end[-1]))
		end--;
	*end = '\0';
	*line = begin;
	*len = (size_t)(end - begin);
	return REQUEST_OK;
}

/* Takes `name=value` (split at the first `=`) into the attributes. A line without `=` is nothing.
 */
static void attributes_add(struct attributes *all, char *line, size_t len)
{
	char *equals = memchr(line, '=', len);

	if (!equals)
		return;
	all->count++;
	if (memchr(line, '\0', (size_t)(equals - line)))
		return; /* no name at all, though it may begin like one */
	*equals = '\0';
	for (int i = 0; i < ATTRIBUTES; i++) {
		if (!text_equal_nocase(line, attribute_names[i]))
			continue;
		all->value[i] = equals + 1;
		all->len[i] = len - (size_t)(equals + 1 - line);
		return;
	}
}

/* The same line at the front: what was before it is given up. */
static char *input_begin_at(struct request_input *in, char *line)
{
	in->start -= (size_t)(line - in->buf);
	in->end -= (size_t)(line - in->buf);
	memmove(in->buf, line, in->end);
	return in->buf;
}

/* Reads lines up to the empty one that ends a request. What comes before the first attribute and
 * ends in an empty line means nothing, and takes no room from the request. */
static enum request_result attributes_read(struct request_input *in, struct attributes *all)
{
	enum request_result result;
	size_t len;
	char *line;

	for (;;) {
		result = input_line(in, &line, &len);
		if (result == REQUEST_TOO_LARGE && !all->count && in->start) {
			input_compact(in);
			continue;
		}
		if (result != REQUEST_OK)
			return result;
		if (len && !all->count && line > in->buf && memchr(line, '=', len))
			line = input_begin_at(in, line);
		if (len)
			attributes_add(all, line, len);
		else if (all->count)
			return REQUEST_OK;
		if (all->count > REQUEST_MAX_ATTRIBUTES)
			return REQUEST_TOO_LARGE;
	}
}

/* Lower case, and at most `max` bytes of it. */
static char *normal_text(struct arena *arena, const char *value, size_t max)
{
	size_t len = strlen(value);
	char *text = arena_strndup(arena, value, text_cut(value, len, max));

	text_lower(text);
	return text;
}

/* `a+list@b` is `a@b`: the extension is not part of who writes to whom. Only in the local part. */
const char *request_address(struct arena *arena, const char *text)
{
	char *address = normal_text(arena, text, REQUEST_MAX_BYTES);
	char *plus = strchr(address, '+');
	char *at = strrchr(address, '@');

	if (plus && !at)
		*plus = '\0';
	else if (plus && plus < at)
		memmove(plus, at, strlen(at) + 1);
	address[text_cut(address, strlen(address), REQUEST_MAX_ADDRESS)] = '\0';
	return address;
}

static const char *normal_name(struct arena *arena, const char *value)
{
	char *name = normal_text(arena, value, REQUEST_MAX_BYTES);
	size_t len = strlen(name);

	if (len && name[len - 1] == '.')
		name[len - 1] = '\0';
	return name;
}

/* What makes a request one that cannot be decided, or NULL. */
static const char *find_problem(struct arena *arena, const struct attributes *all,
				const char *const *value)
{
	for (int i = 0; i < ATTRIBUTES_REQUIRED; i++)
		if (!all->value[i])
			return arena_printf(arena, "the attribute %s is missing",
					    attribute_names[i]);
	if (all->value[ATTRIBUTE_REQUEST] &&
	    !text_equal_nocase(value[ATTRIBUTE_REQUEST], "smtpd_access_policy"))
		return arena_printf(arena, "request=%s is not smtpd_access_policy",
				    value[ATTRIBUTE_REQUEST]);
	return NULL;
}

bool request_normalise(struct arena *arena, const struct request_values *values,
		       struct request *out)
{
	struct request r = {.problem = NULL};

	/* Postfix sends none at DATA when a message has several recipients. */
	if (!*values->recipient)
		r.problem = "the attribute recipient is empty";
	else if (!ipaddr_parse(values->client_address, &r.client))
		r.problem = arena_printf(arena, "client_address=%s is no IP address",
					 values->client_address);
	if (r.problem) {
		out->problem = r.problem;
		return false;
	}
	ipaddr_format(&r.client, r.client_address);
	r.raw_sender = values->sender;
	r.sender = request_address(arena, r.raw_sender);
	r.recipient = request_address(arena, values->recipient);
	r.client_name = normal_name(arena, values->client_name);
	if (!*r.client_name)
		r.client_name = "unknown";
	r.helo_name = normal_name(arena, values->helo_name);
	r.instance = values->instance;
	*out = r;
	return true;
}

static enum request_result request_fill(struct arena *arena, const struct attributes *all,
					struct request *out)
{
	const char *value[ATTRIBUTES];
	const char *problem;

	for (int i = 0; i < ATTRIBUTES; i++)
		value[i] = all->value[i] ? text_clean(arena, all->value[i], all->len[i]) : "";
	problem = find_problem(arena, all, value);
	if (problem) {
		out->problem = problem;
		return REQUEST_INCOMPLETE;
	}
	if (!request_normalise(arena,
			       &(struct request_values){
				   .sender = value[ATTRIBUTE_SENDER],
				   .recipient = value[ATTRIBUTE_RECIPIENT],
				   .client_address = value[ATTRIBUTE_CLIENT_ADDRESS],
				   .client_name = value[ATTRIBUTE_CLIENT_NAME],
				   .helo_name = value[ATTRIBUTE_HELO_NAME],
				   .instance = value[ATTRIBUTE_INSTANCE],
			       },
			       out))
		return REQUEST_INCOMPLETE;
	return REQUEST_OK;
}

enum request_result request_read(struct request_input *in, struct arena *arena, struct request *out)
{
	struct attributes all = {.count = 0};
	enum request_result result;

	input_compact(in);
	result = attributes_read(in, &all);
	if (result == REQUEST_OK)
		return request_fill(arena, &all, out);
	if (result != REQUEST_TOO_LARGE)
		return result;
	result = input_skip(in);
	if (result != REQUEST_OK)
		return result;
	out->problem = arena_printf(arena, "a request of more than %d bytes or %d attributes",
				    REQUEST_MAX_BYTES, REQUEST_MAX_ATTRIBUTES);
	return REQUEST_TOO_LARGE;
}
