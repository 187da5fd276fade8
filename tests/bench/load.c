/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mail server's side of the policy protocol, as fast as it goes: so many clients at once, each
 * sending its next request when it has its answer. Every answer is checked. Prints one line of
 * JSON.
 *
 *   load [options] ADDRESS      ADDRESS: HOST:PORT or /path/of/a/socket
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MOST 1024
#define ANSWER_MOST 1024

enum mix { MIX_KNOWN, MIX_NEW, MIX_MIXED };

static struct {
	struct sockaddr_storage address;
	socklen_t address_size;
	enum mix mix;
	unsigned clients;
	unsigned long requests;
	unsigned long tuples; /* that are known */
	bool one_shot;
	bool prime; /* send each known tuple once, in order */
	uint64_t seed;
	unsigned long first_new;		 /* of the new tuples: 2^20 numbers for each seed */
	const char *known_answers, *new_answers; /* first words allowed, separated by blanks */
} options = {.clients = 8,
	     .requests = 20000,
	     .tuples = 1000,
	     .seed = 1,
	     .known_answers = "DUNNO PREPEND",
	     .new_answers = "DUNNO DEFER_IF_PERMIT"};

struct client {
	int fd;
	bool busy, is_new;
	int64_t sent_ns;
	char answer[ANSWER_MOST];
	size_t len;
};

static struct client clients[CLIENTS_MOST];
static uint32_t *latencies; /* microseconds */
static unsigned long sent, answered, wrong;
static int ep;

static void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* splitmix64: the same sequence for the same seed. */
static uint64_t next_random(void)
{
	uint64_t z = (options.seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void connect_client(struct client *c)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = c}};
	int on = 1;

	c->fd = socket(options.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	while (connect(c->fd, (struct sockaddr *)&options.address, options.address_size))
		if (errno != EINTR && errno != EAGAIN)
			die("connect");
	if (options.address.ss_family == AF_INET)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &event))
		die("epoll_ctl");
	c->len = 0;
}

/* Postfix's attributes, in its order. A tuple's number makes its addresses; that of a new one its
 * client, too, so that no verdict on a client hides it. */
static size_t make_request(char *out, size_t size, unsigned long number, bool is_new)
{
	unsigned long net = is_new ? 128 + (number >> 24 & 63) : 10;
	int len = snprintf(
	    out, size,
	    "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
	    "client_address=%lu.%lu.%lu.%lu\nclient_name=mx%lu.sender%lu.example\nclient_port="
	    "40000\n"
	    "reverse_client_name=mx%lu.sender%lu.example\nserver_address=192.0.2.25\nserver_port="
	    "25\n"
	    "helo_name=mx%lu.sender%lu.example\nsender=user%lu@sender%lu.example\n"
	    "recipient=someone%lu@recipient.example\nrecipient_count=0\nqueue_id=\n"
	    "instance=%lx.%lx.0\nsize=12345\netrn_domain=\nstress=\nsasl_method=\nsasl_username=\n"
	    "sasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n"
	    "ccert_pubkey_fingerprint=\nencryption_protocol=\nencryption_cipher=\n"
	    "encryption_keysize=0\npolicy_context=\n\n",
	    net, number >> 16 & 255, number >> 8 & 255, number & 255, number, number, number,
	    number, number, number, number, number, number, number, sent);

	return (size_t)len;
}

static void send_next(struct client *c)
{
	static unsigned long fresh;
	char request[4096];
	unsigned long number;
	size_t len;

	if (c->fd < 0)
		connect_client(c);
	c->is_new = options.mix == MIX_NEW || (options.mix == MIX_MIXED && next_random() % 5 == 0);
	if (c->is_new)
		number = options.first_new + fresh++;
	else
		number = options.prime ? sent % options.tuples : next_random() % options.tuples;
	len = make_request(request, sizeof(request), number, c->is_new);
	sent++;
	c->busy = true;
	c->sent_ns = now_ns();
	if (write(c->fd, request, len) != (ssize_t)len)
		die("write");
	if (options.one_shot)
		shutdown(c->fd, SHUT_WR);
}

static bool is_allowed(const char *answer, const char *allowed)
{
	size_t len;

	if (strncmp(answer, "action=", strlen("action=")) != 0)
		return false;
	answer += strlen("action=");
	len = strcspn(answer, " \n");
	for (; *allowed; allowed += strspn(allowed, " ")) {
		size_t word = strcspn(allowed, " ");

		if (word == len && !strncmp(answer, allowed, len))
			return true;
		allowed += word;
	}
	return false;
}

static void take_answer(struct client *c)
{
	if (!is_allowed(c->answer, c->is_new ? options.new_answers : options.known_answers)) {
		if (!wrong++)
			fprintf(stderr, "load: wrong answer: %s\n", c->answer);
	}
	latencies[answered++] = (uint32_t)((now_ns() - c->sent_ns) / 1000);
	c->len = 0;
	c->busy = false;
}

static void read_client(struct client *c)
{
	ssize_t n = read(c->fd, c->answer + c->len, sizeof(c->answer) - 1 - c->len);

	if (n < 0)
		die("read");
	c->len += (size_t)n;
	c->answer[c->len] = '\0';
	if (n > 0 && (options.one_shot || !strstr(c->answer, "\n\n")))
		return; /* a one-shot answer ends with the connection */
	if (n == 0) {
		close(c->fd);
		c->fd = -1;
	}
	if (c->busy)
		take_answer(c);
	if (sent < options.requests)
		send_next(c);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t percentile(double share)
{
	return latencies[(size_t)(share * (double)(answered - 1))];
}

static int report(int64_t took_ns)
{
	qsort(latencies, answered, sizeof(*latencies), by_size);
	printf("{\"requests\": %lu, \"wrong\": %lu, \"seconds\": %.3f, \"per_second\": %.0f, "
	       "\"p50_us\": %u, \"p90_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n",
	       answered, wrong, (double)took_ns / 1e9, (double)answered / ((double)took_ns / 1e9),
	       percentile(0.5), percentile(0.9), percentile(0.99), latencies[answered - 1]);
	return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void set_address(const char *text)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&options.address;
	struct sockaddr_in *in = (struct sockaddr_in *)&options.address;
	const char *colon = strrchr(text, ':');
	char host[64];

	if (text[0] == '/') {
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "%s", text);
		options.address_size = sizeof(*un);
		return;
	}
	snprintf(host, sizeof(host), "%.*s", colon ? (int)(colon - text) : 0, text);
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)(colon ? atoi(colon + 1) : 0));
	options.address_size = sizeof(*in);
	if (inet_pton(AF_INET, host, &in->sin_addr) != 1) {
		fprintf(stderr, "load: %s is no HOST:PORT or /path\n", text);
		exit(2);
	}
}

static void usage(void)
{
	fputs("Usage: load [-1] [-p] [-c CLIENTS] [-n REQUESTS] [-m known|new|mixed] [-t TUPLES] "
	      "[-s SEED]\n"
	      "            [-k KNOWN-ANSWERS] [-w NEW-ANSWERS] HOST:PORT|/PATH\n",
	      stderr);
	exit(2);
}

static void set_seed(unsigned long seed)
{
	options.seed = (uint64_t)seed << 40;
	options.first_new = seed << 20;
}

static void set_options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "1pc:n:m:t:s:k:w:")) != -1) {
		if (option == '1')
			options.one_shot = true;
		else if (option == 'p')
			options.prime = true;
		else if (option == 'c')
			options.clients = (unsigned)atoi(optarg);
		else if (option == 'n')
			options.requests = strtoul(optarg, NULL, 10);
		else if (option == 'm')
			options.mix = *optarg == 'k'   ? MIX_KNOWN
				      : *optarg == 'n' ? MIX_NEW
						       : MIX_MIXED;
		else if (option == 't')
			options.tuples = strtoul(optarg, NULL, 10);
		else if (option == 's')
			set_seed(strtoul(optarg, NULL, 10));
		else if (option == 'k')
			options.known_answers = optarg;
		else if (option == 'w')
			options.new_answers = optarg;
		else
			usage();
	}
	if (optind + 1 != argc || !options.clients || options.clients > CLIENTS_MOST ||
	    !options.requests || !options.tuples)
		usage();
	set_address(argv[optind]);
}

int main(int argc, char **argv)
{
	struct epoll_event events[64];
	int64_t begin;

	set_options(argc, argv);
	latencies = calloc(options.requests, sizeof(*latencies));
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!latencies || ep < 0)
		die("start");
	begin = now_ns();
	for (unsigned i = 0; i < options.clients; i++) {
		clients[i].fd = -1;
		if (sent < options.requests)
			send_next(&clients[i]);
	}
	while (answered < options.requests) {
		int n = epoll_wait(ep, events, 64, 10000);

		if (n == 0) {
			fprintf(stderr, "load: no answer for 10 s\n");
			return EXIT_FAILURE;
		}
		for (int i = 0; i < n; i++)
			read_client(events[i].data.ptr);
	}
	return report(now_ns() - begin);
}
