/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/whitelist.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/ipaddr.h"
#include "base/mem.h"
#include "base/regex.h"
#include "base/text.h"
#include "base/trust.h"

#define FILE_MOST ((size_t)16 * 1024 * 1024)
#define READ_STEP ((size_t)16384)
#define NAME_MOST 253  /* characters of a domain name */
#define SHOWN_MOST 100 /* bytes of an entry that a complaint repeats */
#define BITS_MOST 128
#define NET_KEY_SIZE (IPADDR_TEXT_SIZE + sizeof("/128"))

/* What an entry means; bits, so that a lookup can take several. */
enum form {
	FORM_DOMAIN = 1,      /* example.com: it and its subdomains */
	FORM_DOMAIN_ONLY = 2, /* @example.com */
	FORM_SUBDOMAINS = 4,  /* .example.com */
	FORM_ADDRESS = 8,     /* user@example.com */
	FORM_LOCAL_PART = 16, /* user@ */
	FORM_NETWORK = 32
};

/* Entries are not copied: text and key point into the file's buffer, but a network's key is its one
 * canonical spelling. */
struct entry {
	const char *text; /* as written */
	const char *key;  /* what is looked up; case does not matter */
	size_t len;	  /* of the key */
	enum form form;
	unsigned line;
	uint32_t hash;
	uint32_t next; /* in the same bucket; see struct whitelist */
};

struct expression {
	const char *text; /* as written, with its slashes */
	const char *pattern;
	size_t len;
	unsigned line;
	bool tried;
	bool complained;
	struct regex *regex; /* NULL: not compiled yet, or does not compile */
};

/* Plain entries are found through a hash table; buckets and `next` hold an entry's index + 1, 0 is
 * none. */
struct whitelist {
	enum whitelist_kind kind;
	const char *file;
	whitelist_complain *complain;
	void *context;
	char *buffer; /* the file */
	struct entry *entries;
	size_t count, room;
	struct expression *expressions;
	size_t expression_count, expression_room;
	uint32_t *buckets;
	uint32_t bucket_mask;
	bool bits_v4[BITS_MOST + 1], bits_v6[BITS_MOST + 1]; /* prefix lengths that occur */
	struct arena arena;
};

/* --- the table ----------------------------------------------------------------------------------
 */

static unsigned char fold(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static uint32_t hash_of(const char *key, size_t len)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ fold(key[i])) * 16777619U;
	return hash;
}

static bool equal_folded(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (fold(a[i]) != fold(b[i]))
			return false;
	return true;
}

static void build_table(struct whitelist *list)
{
	size_t size = 1;

	while (size < list->count)
		size *= 2;
	list->buckets = mem_alloc(size * sizeof(*list->buckets));
	list->bucket_mask = (uint32_t)(size - 1);
	/* From the last to the first, so that of two alike the first in the file is found. */
	for (size_t i = list->count; i > 0; i--) {
		struct entry *entry = &list->entries[i - 1];
		uint32_t *bucket = &list->buckets[entry->hash & list->bucket_mask];

		entry->next = *bucket;
		*bucket = (uint32_t)i;
	}
}

/* The first entry of one of these forms with this key, or NULL. */
static const struct entry *find(const struct whitelist *list, const char *key, size_t len,
				unsigned forms)
{
	uint32_t hash = hash_of(key, len);
	uint32_t i = list->buckets[hash & list->bucket_mask];

	for (; i; i = list->entries[i - 1].next) {
		const struct entry *entry = &list->entries[i - 1];

		if (entry->hash == hash && (entry->form & forms) && entry->len == len &&
		    equal_folded(entry->key, key, len))
			return entry;
	}
	return NULL;
}

/* The entry that lists a domain name by itself or by a domain above it. */
static const struct entry *find_domain(const struct whitelist *list, const char *name)
{
	const struct entry *entry;

	if (strlen(name) > NAME_MOST)
		return NULL;
	entry = find(list, name, strlen(name), FORM_DOMAIN | FORM_DOMAIN_ONLY);
	while (!entry && (name = strchr(name, '.')) != NULL) {
		name++;
		entry = find(list, name, strlen(name), FORM_DOMAIN | FORM_SUBDOMAINS);
	}
	return entry;
}

static size_t net_key(const struct ipaddr *ip, unsigned bits, char out[NET_KEY_SIZE])
{
	ipaddr_format(ip, out);
	return strlen(out) + (size_t)snprintf(out + strlen(out), sizeof("/128"), "/%u", bits);
}

/* The smallest network that holds the address. */
static const struct entry *find_network(const struct whitelist *list, const struct ipaddr *ip)
{
	const bool *used = ip->family == AF_INET ? list->bits_v4 : list->bits_v6;
	const struct entry *entry = NULL;
	char key[NET_KEY_SIZE];

	for (unsigned bits = BITS_MOST + 1; !entry && bits-- > 0;) {
		struct ipaddr net = *ip;

		if (!used[bits])
			continue;
		ipaddr_mask(&net, bits);
		entry = find(list, key, net_key(&net, bits, key), FORM_NETWORK);
	}
	return entry;
}

/* --- reading ------------------------------------------------------------------------------------
 */

static void complain(struct whitelist *list, unsigned line, const char *entry, const char *message)
{
	const char *text = text_clean(&list->arena, entry, strlen(entry));
	size_t len = strlen(text), shown = text_cut(text, len, SHOWN_MOST);
	const char *more = shown < len ? "..." : "";

	list->complain(list->context, list->file, line,
		       arena_printf(&list->arena, "%.*s%s: %s", (int)shown, text, more, message));
}

static void add_entry(struct whitelist *list, const struct entry *entry)
{
	if (list->count == list->room)
		list->entries = mem_grow(list->entries, &list->room, sizeof(*list->entries));
	list->entries[list->count] = *entry;
	list->entries[list->count].hash = hash_of(entry->key, entry->len);
	list->count++;
}

static bool is_domain_char(char c)
{
	unsigned char u = fold(c);

	return (u >= 'a' && u <= 'z') || (u >= '0' && u <= '9') || u == '-' || u == '_' ||
	       u >= 0x80;
}

/* Whether the text is a domain name; *len, its length, is then without a final dot. */
static bool is_domain(const char *text, size_t *len)
{
	size_t end = strlen(text);

	if (end > 1 && text[end - 1] == '.')
		end--;
	if (!end || end > NAME_MOST)
		return false;
	for (size_t i = 0; i < end; i++)
		if (text[i] == '.' ? i == 0 || i + 1 == end || text[i - 1] == '.'
				   : !is_domain_char(text[i]))
			return false;
	*len = end;
	return true;
}

/* `example.com` or `.example.com`. */
static bool read_domain(struct entry *entry)
{
	entry->form = *entry->text == '.' ? FORM_SUBDOMAINS : FORM_DOMAIN;
	entry->key = entry->text + (*entry->text == '.');
	return is_domain(entry->key, &entry->len);
}

/* A name whose last part is a number is an address that went wrong. */
static bool ends_in_number(const char *name, size_t len)
{
	size_t digits = 0;

	while (digits < len && name[len - digits - 1] >= '0' && name[len - digits - 1] <= '9')
		digits++;
	return digits == len || (digits && name[len - digits - 1] == '.');
}

static const char *read_network(struct whitelist *list, struct entry *entry,
				const struct ipnet *net, bool host_bits)
{
	bool *used = net->addr.family == AF_INET ? list->bits_v4 : list->bits_v6;
	char key[NET_KEY_SIZE];

	entry->form = FORM_NETWORK;
	entry->len = net_key(&net->addr, net->bits, key);
	entry->key = arena_strndup(&list->arena, key, entry->len);
	used[net->bits] = true;
	if (host_bits)
		complain(
		    list, entry->line, entry->text,
		    arena_printf(&list->arena, "bits behind the prefix are set; read as %s", key));
	return NULL;
}

/* Fills in form and key. NULL, or what is wrong. */
static const char *read_client(struct whitelist *list, struct entry *entry)
{
	struct ipnet net;
	bool host_bits;

	if (ipnet_parse(entry->text, &net, &host_bits))
		return read_network(list, entry, &net, host_bits);
	if (text_equal_nocase(entry->text, "unknown"))
		return "this is what clients without a verified name are called; no name matches "
		       "it";
	if (read_domain(entry) && !ends_in_number(entry->key, entry->len))
		return NULL;
	return "neither a host name, an address, a network (192.0.2.0/24, 2001:db8::/32) nor an "
	       "/expression/";
}

static const char *read_recipient(struct entry *entry)
{
	static const char *const forms = "neither user@example.com, user@, @example.com, "
					 "example.com, .example.com nor an /expression/";
	const char *at = strrchr(entry->text, '@');
	size_t local_len, domain_len;

	if (!at)
		return read_domain(entry) ? NULL : forms;
	local_len = (size_t)(at - entry->text);
	domain_len = strlen(at + 1);
	if (memchr(entry->text, '+', local_len))
		return "what follows a + is dropped from a recipient before it is looked up: "
		       "leave it out";
	if (domain_len ? at[1] != '[' && !is_domain(at + 1, &domain_len) : !local_len)
		return forms;
	entry->form = !domain_len ? FORM_LOCAL_PART : !local_len ? FORM_DOMAIN_ONLY : FORM_ADDRESS;
	entry->key = local_len ? entry->text : at + 1;
	entry->len = local_len + (local_len && domain_len) + domain_len;
	return NULL;
}

/* Whether what is read of a line is text at all. */
static bool check_text(struct whitelist *list, const char *text, size_t len, unsigned line)
{
	if (text_is_clean(text, len))
		return true;
	list->complain(list->context, list->file, line,
		       "left out: it holds control characters or bytes that are no UTF-8");
	return false;
}

/* len bytes, and a NUL behind them. */
static void read_plain(struct whitelist *list, char *text, size_t len, unsigned line)
{
	struct entry entry = {.line = line};
	size_t comment = strcspn(text, "#;");
	const char *fault;

	if (text[comment]) {
		text[comment] = '\0';
		len = comment;
	}
	while (text_is_space(text[len - 1])) /* never empty: it begins with no blank */
		text[--len] = '\0';
	entry.text = text;
	if (text[strcspn(text, " \t\v\f\r")])
		fault = "one entry a line; a comment begins with #";
	else if (!check_text(list, text, len, line))
		return;
	else if (list->kind == WHITELIST_CLIENTS)
		fault = read_client(list, &entry);
	else
		fault = read_recipient(&entry);
	if (fault)
		complain(list, line, text, fault);
	else
		add_entry(list, &entry);
}

/* The slash that ends an expression: the first, not behind a backslash, with only a comment behind
 * it. */
static char *closing_slash(char *text)
{
	for (char *s = text + 1; *s; s++) {
		if (*s == '\\' && s[1]) {
			s++;
		} else if (*s == '/') {
			char *rest = s + 1;

			while (text_is_space(*rest))
				rest++;
			if (!*rest || *rest == '#' || *rest == ';')
				return s;
		}
	}
	return NULL;
}

static void read_expression(struct whitelist *list, char *text, size_t len, unsigned line)
{
	char *end = closing_slash(text);
	struct expression *expression;

	if (!check_text(list, text, end ? (size_t)(end - text) : len, line))
		return;
	if (!end) {
		complain(list, line, text,
			 "an expression ends with a slash, with nothing but a comment behind it "
			 "(case is ignored anyway)");
		return;
	}
	if (end == text + 1) {
		complain(list, line, text, "an empty expression would match everything");
		return;
	}
	end[1] = '\0';
	if (list->expression_count == list->expression_room)
		list->expressions = mem_grow(list->expressions, &list->expression_room,
					     sizeof(*list->expressions));
	expression = &list->expressions[list->expression_count++];
	*expression = (struct expression){
	    .text = text, .pattern = text + 1, .len = (size_t)(end - text) - 1, .line = line};
}

/* One line without its end; len bytes, and a NUL behind them. */
static void read_line(struct whitelist *list, char *text, size_t len, unsigned line)
{
	while (len && text_is_space(text[len - 1]))
		text[--len] = '\0';
	while (len && text_is_space(*text)) {
		text++;
		len--;
	}
	if (!len || *text == '#' || *text == ';')
		return;
	if (*text == '/')
		read_expression(list, text, len, line);
	else
		read_plain(list, text, len, line);
}

static void read_lines(struct whitelist *list, char *text, size_t len)
{
	static const char bom[] = "\xef\xbb\xbf";
	char *end = text + len;
	unsigned line = 0;

	if (len >= strlen(bom) && !memcmp(text, bom, strlen(bom)))
		text += strlen(bom);
	while (text < end) {
		char *next = memchr(text, '\n', (size_t)(end - text));

		next = next ? next : end;
		*next = '\0'; /* there is room for one behind the last byte */
		read_line(list, text, (size_t)(next - text), ++line);
		text = next + 1;
	}
}

/* Reads to the end of file or FILE_MOST. False with errno where that fails. */
static bool read_whole(int fd, char **buffer, size_t *len)
{
	size_t room = 0;
	ssize_t n;

	do {
		if (room - *len < READ_STEP) {
			room = room ? 2 * room : 2 * READ_STEP;
			*buffer = mem_resize(*buffer, room + 1);
		}
		n = read(fd, *buffer + *len, READ_STEP);
		if (n > 0)
			*len += (size_t)n;
	} while (n > 0 && *len < FILE_MOST);
	return n >= 0;
}

/* Reads all of it into the buffer. fd: below zero where open(2) failed, with its errno. Returns
 * NULL, or what is wrong. */
static const char *read_trusted(struct whitelist *list, int fd, size_t *len)
{
	int failure = errno;
	const char *doubt;
	struct stat st;

	if (!fstat(fd, &st)) {
		doubt = trust_doubt(&list->arena, list->file, &st);
		if (doubt)
			return arena_printf(&list->arena, "is not used: %s", doubt);
		if (read_whole(fd, &list->buffer, len))
			return NULL;
		failure = errno;
	}
	return arena_printf(&list->arena, "cannot be read (%s)", strerror(failure));
}

static void read_file(struct whitelist *list)
{
	/* Not blocking: a fifo put there by mistake is an empty file. */
	int fd = open(list->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	size_t len = 0;
	const char *wrong = read_trusted(list, fd, &len);
	const char *without = list->kind == WHITELIST_RECIPIENTS ? "only postmaster@ is whitelisted"
								 : "no client is whitelisted";

	if (wrong) {
		list->complain(list->context, list->file, 0,
			       arena_printf(&list->arena, "%s; %s", wrong, without));
		if (list->kind == WHITELIST_RECIPIENTS)
			read_line(list, arena_strdup(&list->arena, "postmaster@"),
				  strlen("postmaster@"), 0);
	} else {
		if (len >= FILE_MOST) {
			list->complain(list->context, list->file, 0,
				       "larger than 16 MiB; the rest is left out");
			while (len && list->buffer[len - 1] != '\n')
				len--;
		}
		read_lines(list, list->buffer, len);
	}
	if (fd >= 0)
		close(fd);
}

struct whitelist *whitelist_load(enum whitelist_kind kind, const char *file,
				 whitelist_complain *complain_to, void *context)
{
	struct whitelist *list = mem_alloc(sizeof(*list));

	list->kind = kind;
	list->file = file;
	list->complain = complain_to;
	list->context = context;
	read_file(list);
	build_table(list);
	return list;
}

void whitelist_free(struct whitelist *list)
{
	if (!list)
		return;
	for (size_t i = 0; i < list->expression_count; i++)
		regex_free(list->expressions[i].regex);
	free(list->expressions);
	free(list->entries);
	free(list->buckets);
	free(list->buffer);
	arena_release(&list->arena);
	free(list);
}

size_t whitelist_count(const struct whitelist *list)
{
	return list->count + list->expression_count;
}

/* --- expressions --------------------------------------------------------------------------------
 */

/* False where the expression does not compile. */
static bool expression_ready(struct whitelist *list, struct expression *expression)
{
	char error[256];

	if (expression->tried)
		return expression->regex;
	expression->regex = regex_compile(expression->pattern, expression->len, error,
					  sizeof(error));
	expression->tried = regex_loaded();
	if (!expression->regex)
		complain(list, expression->line, expression->text, error);
	return expression->regex;
}

size_t whitelist_compile(struct whitelist *list)
{
	size_t broken = 0;

	for (size_t i = 0; i < list->expression_count; i++)
		broken += !expression_ready(list, &list->expressions[i]);
	return broken;
}

static const struct expression *find_expression(struct whitelist *list, const char *text)
{
	for (size_t i = 0; i < list->expression_count; i++) {
		struct expression *expression = &list->expressions[i];
		enum regex_result result;

		if (!expression_ready(list, expression))
			continue;
		result = regex_search(expression->regex, text);
		if (result == REGEX_MATCH)
			return expression;
		if (result == REGEX_LIMIT && !expression->complained) {
			expression->complained = true;
			complain(list, expression->line, expression->text,
				 "needs too many steps and counts as no match; simplify it");
		}
	}
	return NULL;
}

/* --- asking -------------------------------------------------------------------------------------
 */

/* The answer: the plain entry found, or else what the expressions say to the text. */
static bool answer(struct whitelist *list, const struct entry *entry, const char *text,
		   struct whitelist_match *match)
{
	const struct expression *expression = entry ? NULL : find_expression(list, text);

	if (!entry && !expression)
		return false;
	if (match)
		*match = (struct whitelist_match){
		    .entry = entry ? entry->text : expression->text,
		    .line = entry ? entry->line : expression->line,
		};
	return true;
}

bool whitelist_recipient(struct whitelist *list, const char *recipient,
			 struct whitelist_match *match)
{
	const char *at = strrchr(recipient, '@');
	size_t len = strlen(recipient);
	const struct entry *entry = find(list, recipient, len, FORM_ADDRESS);

	/* An address without a domain is a local part: `<postmaster>` (RFC 5321 section 4.5.1). */
	if (!entry)
		entry = find(list, recipient, at ? (size_t)(at - recipient) : len, FORM_LOCAL_PART);
	if (!entry && at)
		entry = find_domain(list, at + 1);
	return answer(list, entry, recipient, match);
}

bool whitelist_client(struct whitelist *list, const char *name, const struct ipaddr *ip,
		      struct whitelist_match *match)
{
	const struct entry *entry = strcmp(name, "unknown") ? find_domain(list, name) : NULL;

	if (!entry)
		entry = find_network(list, ip);
	return answer(list, entry, name, match);
}
