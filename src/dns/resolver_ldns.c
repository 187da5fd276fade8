/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The module `resolver_ldns`: a stub resolver that has all of a request's questions on the way at
 * once. ldns builds and reads the packets (packet.c); the sockets are ours, because ldns' own
 * resolver asks one question after the other, blocks, and calls a server dead for good after one
 * time-out.
 */
#include "dns/resolver.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/module.h"
#include "dns/packet.h"
#include "dns/servers.h"
#include "dns/socket.h"

#define RESOLVER_FILE "/etc/resolv.conf"
#define RESOLVER_RETRY_MOST_MS 1000 /* resolv.conf's 5 s would be a request's whole time */
#define RESOLVER_RETRY_PART 4	    /* and a short deadline still leaves room for retransmissions */
#define RESOLVER_BACKOFF_MOST 4	    /* doublings of the time between retransmissions */
#define RESOLVER_PREFER_US 60000000 /* how long a server that answered goes before a silent one */
#define RESOLVER_STREAMS_MOST 32    /* TCP connections at a time */
#define RESOLVER_DATAGRAMS_MOST                                           \
	64 /* read in one go, so that a flood cannot hold up the deadline \
	    */
#define RESOLVER_NEVER INT64_MAX

/* One place where a question wants its answer. In the arena. */
struct asker {
	struct dns_question *question;
	int64_t asked_us;
	struct asker *next;
};

/* One question on the wire, however often it was asked. */
struct lookup {
	struct lookup *next;
	struct asker *askers, **askers_end;
	struct packet_query query;
	bool done;
	struct packet_answer answer;
	int64_t resend_us;
	unsigned sends;		 /* over UDP */
	size_t server;		 /* asked last */
	unsigned asked;		 /* a bit for each server */
	unsigned failed;	 /* a bit for each server that is of no use */
	enum dns_status failure; /* what the failures come to; DNS_PENDING: none yet */
	bool slow;		 /* a server was silent or not there */
	bool no_edns;
	struct stream stream;
	size_t stream_server;
	bool stream_for_case; /* and not because an answer was truncated */
};

struct ldns_resolver {
	struct resolver base; /* first: the one is the other */
	struct servers servers;
	bool from_file;
	struct stat file; /* as it was when read */
	size_t first;	  /* the server asked first, until first_us */
	int64_t first_us;

	struct arena *arena;
	int64_t deadline_us, retry_us;
	int udp[SERVERS_MOST];
	struct lookup *lookups, **lookups_end;
	size_t pending, streams;
	struct asker *ready, **ready_end; /* answered, not yet told */
	unsigned long sent;
	unsigned char datagram[UINT16_MAX];
};

static struct ldns_resolver *resolver_of(struct resolver *r)
{
	return (struct ldns_resolver *)r;
}

/* -- questions and answers -- */

static void asker_answer(struct ldns_resolver *r, struct asker *asker,
			 const struct packet_answer *answer)
{
	struct dns_question *q = asker->question;

	q->status = answer->status;
	q->records = answer->records;
	q->count = answer->count;
	q->elapsed_us = clock_us() - asker->asked_us;
	asker->next = NULL;
	*r->ready_end = asker;
	r->ready_end = &asker->next;
}

static void lookup_close_stream(struct ldns_resolver *r, struct lookup *l)
{
	if (l->stream.fd != SOCKET_NONE)
		r->streams--;
	stream_close(&l->stream);
}

static void lookup_finish(struct ldns_resolver *r, struct lookup *l,
			  const struct packet_answer *answer)
{
	struct asker *asker, *next;

	l->done = true;
	l->answer = *answer;
	lookup_close_stream(r, l);
	r->pending--;
	for (asker = l->askers; asker; asker = next) {
		next = asker->next;
		asker_answer(r, asker, answer);
	}
	l->askers = NULL;
}

static void lookup_give_up(struct ldns_resolver *r, struct lookup *l)
{
	struct packet_answer answer = {.status = DNS_TIMEOUT};

	if (l->failure != DNS_PENDING)
		answer.status = l->failure;
	lookup_finish(r, l, &answer);
}

/* -- sending -- */

static void lookup_note_failure(struct lookup *l, size_t server, enum dns_status status)
{
	l->failed |= 1U << server;
	if (l->failure == DNS_PENDING || l->failure == DNS_TIMEOUT)
		l->failure = status;
	else if (status != DNS_TIMEOUT && status != l->failure)
		l->failure = DNS_SERVFAIL;
}

/* When to lose patience with the query just sent: later in each round. */
static int64_t lookup_patience(const struct ldns_resolver *r, const struct lookup *l)
{
	size_t round = (l->sends - 1) / r->servers.count;

	return r->retry_us << (round < RESOLVER_BACKOFF_MOST ? round : RESOLVER_BACKOFF_MOST);
}

static bool lookup_send_to(struct ldns_resolver *r, struct lookup *l, size_t server)
{
	unsigned char wire[PACKET_QUERY_MOST];
	/* A path that loses packets with EDNS loses only the first round. */
	bool edns = !l->no_edns && l->sends < r->servers.count;
	size_t len = packet_write(&l->query, edns, wire);
	ssize_t sent;

	if (r->udp[server] == SOCKET_NONE)
		r->udp[server] = socket_udp(&r->servers.items[server]);
	if (r->udp[server] == SOCKET_NONE || len == 0)
		return false;
	sent = send(r->udp[server], wire, len, MSG_NOSIGNAL);
	/* said of an earlier packet; this one has not gone out */
	if (sent < 0 && errno == ECONNREFUSED)
		sent = send(r->udp[server], wire, len, MSG_NOSIGNAL);
	/* A full buffer is a lost packet like any other; the retransmission makes up for it. */
	if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS &&
	    errno != EINTR)
		return false;
	r->sent++;
	l->sends++;
	l->server = server;
	l->asked |= 1U << server;
	l->resend_us = clock_us() + lookup_patience(r, l);
	return true;
}

/* Asks the first server from `start` on that may be of use. None left: that is the answer. */
static void lookup_send(struct ldns_resolver *r, struct lookup *l, size_t start)
{
	for (size_t i = 0; i < r->servers.count; i++) {
		size_t server = (start + i) % r->servers.count;

		if (l->failed & 1U << server)
			continue;
		if (lookup_send_to(r, l, server))
			return;
		l->slow = true;
		lookup_note_failure(l, server, DNS_TIMEOUT);
	}
	lookup_give_up(r, l);
}

/* A server is of no use for this question: on to the next. */
static void lookup_fail(struct ldns_resolver *r, struct lookup *l, size_t server,
			enum dns_status status)
{
	if (l->stream_server == server)
		lookup_close_stream(r, l);
	lookup_note_failure(l, server, status);
	lookup_send(r, l, server + 1);
}

static void lookup_stream_failed(struct ldns_resolver *r, struct lookup *l, size_t server)
{
	lookup_close_stream(r, l);
	if (!l->stream_for_case || l->query.any_case) {
		lookup_fail(r, l, server, DNS_SERVFAIL);
		return;
	}
	/* It neither keeps the case of letters nor speaks TCP: all that is left is to do without.
	 */
	l->query.any_case = true;
	packet_query_case(&l->query, NULL);
	if (!lookup_send_to(r, l, server))
		lookup_fail(r, l, server, DNS_TIMEOUT);
}

/*
 * TCP, for what did not fit and for names that came back in another case: that is a server which
 * does not keep it, or a forger who guessed all but the case, and TCP serves the one without
 * helping the other.
 */
static void lookup_open_stream(struct ldns_resolver *r, struct lookup *l, size_t server,
			       bool for_case)
{
	unsigned char wire[PACKET_QUERY_MOST];
	size_t len;

	if (l->stream.fd != SOCKET_NONE)
		return;
	l->stream_server = server;
	l->stream_for_case = for_case;
	len = packet_write(&l->query, !l->no_edns, wire);
	if (len == 0 || r->streams == RESOLVER_STREAMS_MOST ||
	    !stream_open(&l->stream, &r->servers.items[server], wire, len)) {
		lookup_stream_failed(r, l, server);
		return;
	}
	r->streams++;
	r->sent++;
	l->resend_us = clock_us() + 2 * lookup_patience(r, l);
}

/* -- receiving -- */

static void lookup_answered(struct ldns_resolver *r, struct lookup *l, size_t server,
			    const struct packet_answer *answer)
{
	/* Others of this process's questions need not wait for a silent server again, for a while.
	 */
	if (l->slow && server != r->first) {
		r->first = server;
		r->first_us = clock_us() + RESOLVER_PREFER_US;
	}
	lookup_finish(r, l, answer);
}

static void lookup_without_edns(struct ldns_resolver *r, struct lookup *l, size_t server)
{
	bool again = !l->no_edns;

	lookup_close_stream(r, l);
	l->no_edns = true;
	if (!again || !lookup_send_to(r, l, server))
		lookup_fail(r, l, server, DNS_SERVFAIL);
}

static void lookup_packet(struct ldns_resolver *r, struct lookup *l, size_t server,
			  const unsigned char *wire, size_t len, bool stream)
{
	struct packet_answer answer;

	switch (packet_read(r->arena, &l->query, stream, wire, len, &answer)) {
	case PACKET_FOREIGN:
		if (stream)
			lookup_stream_failed(r, l, server);
		break;
	case PACKET_OTHER_CASE:
		lookup_open_stream(r, l, server, true);
		break;
	case PACKET_TRUNCATED:
		lookup_open_stream(r, l, server, false);
		break;
	case PACKET_NO_EDNS:
		lookup_without_edns(r, l, server);
		break;
	case PACKET_FAILED:
		/* of one that had failed before it is no news, but ends a stream */
		if (stream || !(l->failed & 1U << server))
			lookup_fail(r, l, server, answer.status);
		break;
	case PACKET_ANSWER:
		lookup_answered(r, l, server, &answer);
		break;
	}
}

static struct lookup *resolver_by_id(struct ldns_resolver *r, unsigned id)
{
	for (struct lookup *l = r->lookups; l; l = l->next)
		if (!l->done && l->query.id == id)
			return l;
	return NULL;
}

/* Nobody listens there (ICMP said so). */
static void resolver_server_gone(struct ldns_resolver *r, size_t server)
{
	for (struct lookup *l = r->lookups; l; l = l->next) {
		if (l->done || l->server != server)
			continue;
		l->slow = true;
		lookup_fail(r, l, server, DNS_TIMEOUT);
	}
}

static void resolver_receive(struct ldns_resolver *r, size_t server)
{
	for (int i = 0; i < RESOLVER_DATAGRAMS_MOST; i++) {
		ssize_t n = recv(r->udp[server], r->datagram, sizeof(r->datagram), 0);
		struct lookup *l;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				resolver_server_gone(r, server);
			return;
		}
		l = n < 2 ? NULL
			  : resolver_by_id(r, (unsigned)(r->datagram[0] << 8 | r->datagram[1]));
		if (l && l->asked & 1U << server)
			lookup_packet(r, l, server, r->datagram, (size_t)n, false);
	}
}

static void lookup_advance_stream(struct ldns_resolver *r, struct lookup *l)
{
	const unsigned char *wire;
	size_t len;

	switch (stream_advance(&l->stream)) {
	case STREAM_BUSY:
		break;
	case STREAM_DONE:
		wire = stream_answer(&l->stream, &len);
		lookup_packet(r, l, l->stream_server, wire, len, true);
		break;
	case STREAM_FAILED:
		lookup_stream_failed(r, l, l->stream_server);
		break;
	}
}

/* -- waiting -- */

static void lookup_time_out(struct ldns_resolver *r, struct lookup *l)
{
	l->slow = true;
	if (l->stream.fd != SOCKET_NONE && r->servers.count > 1)
		lookup_fail(r, l, l->stream_server, DNS_TIMEOUT);
	else if (l->stream.fd == SOCKET_NONE && l->sends < r->servers.attempts * r->servers.count)
		lookup_send(r, l, l->server + 1);
	else if (l->failure != DNS_PENDING)
		lookup_give_up(r, l);
	else
		l->resend_us =
		    RESOLVER_NEVER; /* all have been asked: now only the deadline counts */
}

static void resolver_time_out(struct ldns_resolver *r)
{
	int64_t now = clock_us();

	for (struct lookup *l = r->lookups; l; l = l->next) {
		if (!l->done && now >= r->deadline_us)
			lookup_give_up(r, l);
		else if (!l->done && now >= l->resend_us)
			lookup_time_out(r, l);
	}
}

static void resolver_close(struct ldns_resolver *r)
{
	for (size_t i = 0; i < SERVERS_MOST; i++) {
		if (r->udp[i] != SOCKET_NONE)
			close(r->udp[i]);
		r->udp[i] = SOCKET_NONE;
	}
}

/* Milliseconds until something is due, rounded up. */
static int resolver_wait_ms(const struct ldns_resolver *r, int64_t until_us)
{
	int64_t due = until_us < r->deadline_us ? until_us : r->deadline_us;

	for (const struct lookup *l = r->lookups; l; l = l->next)
		if (!l->done && l->resend_us < due)
			due = l->resend_us;
	return clock_left_ms(due);
}

/* What is polled: the UDP sockets, then the streams with their lookups. */
struct watch {
	struct pollfd fds[SERVERS_MOST + RESOLVER_STREAMS_MOST];
	size_t servers[SERVERS_MOST];
	struct lookup *lookups[RESOLVER_STREAMS_MOST];
	size_t sockets, streams;
};

static void resolver_watch(const struct ldns_resolver *r, struct watch *w)
{
	w->sockets = w->streams = 0;
	for (size_t i = 0; i < r->servers.count; i++) {
		if (r->udp[i] == SOCKET_NONE)
			continue;
		w->fds[w->sockets] = (struct pollfd){.fd = r->udp[i], .events = POLLIN};
		w->servers[w->sockets++] = i;
	}
	for (struct lookup *l = r->lookups; l; l = l->next) {
		if (l->stream.fd == SOCKET_NONE)
			continue;
		w->fds[w->sockets + w->streams] = (struct pollfd){
		    .fd = l->stream.fd, .events = stream_events(&l->stream)};
		w->lookups[w->streams++] = l;
	}
}

/* One round: waits until something comes or is due, no longer than until_us, and deals with it. */
static void resolver_pump(struct ldns_resolver *r, int64_t until_us)
{
	struct watch w;
	int ready;

	resolver_watch(r, &w);
	ready = poll(w.fds, (nfds_t)(w.sockets + w.streams), resolver_wait_ms(r, until_us));
	for (size_t i = 0; ready > 0 && i < w.sockets; i++)
		if (w.fds[i].revents)
			resolver_receive(r, w.servers[i]);
	for (size_t i = 0; ready > 0 && i < w.streams; i++) {
		struct lookup *l = w.lookups[i];

		/* An answer over UDP may have closed it just now. */
		if (w.fds[w.sockets + i].revents && l->stream.fd == w.fds[w.sockets + i].fd)
			lookup_advance_stream(r, l);
	}
	resolver_time_out(r);
	if (r->pending == 0)
		resolver_close(r);
}

/* -- the seam -- */

static void resolver_forget(struct ldns_resolver *r)
{
	struct lookup *l, *next;

	for (l = r->lookups; l; l = next) {
		next = l->next;
		lookup_close_stream(r, l);
		free(l);
	}
	r->lookups = NULL;
	r->lookups_end = &r->lookups;
	r->ready = NULL;
	r->ready_end = &r->ready;
	r->pending = 0;
	resolver_close(r);
}

static bool resolver_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A process may outlive a change of networks: the file is read again when it is another. */
static void resolver_refresh(struct ldns_resolver *r)
{
	struct stat file;

	if (stat(RESOLVER_FILE, &file) != 0)
		memset(&file, 0, sizeof(file));
	if (r->servers.count > 0 && resolver_same_file(&file, &r->file))
		return;
	r->file = file;
	r->first = 0;
	if (!servers_from_file(&r->servers, RESOLVER_FILE))
		r->file.st_ino = 0;
}

static void ldns_begin(struct resolver *base, struct arena *arena, int64_t timeout_ms)
{
	struct ldns_resolver *r = resolver_of(base);
	int64_t now = clock_us(), retry_ms = RESOLVER_RETRY_MOST_MS;

	resolver_forget(r);
	if (r->from_file)
		resolver_refresh(r);
	if (now >= r->first_us)
		r->first = 0;
	if (retry_ms > r->servers.timeout_ms)
		retry_ms = r->servers.timeout_ms;
	if (retry_ms > timeout_ms / RESOLVER_RETRY_PART)
		retry_ms = timeout_ms / RESOLVER_RETRY_PART;
	r->arena = arena;
	r->deadline_us = now + timeout_ms * 1000;
	r->retry_us = retry_ms * 1000;
}

/* An id that no other pending question has, and letters in random case. */
static bool lookup_randomise(struct ldns_resolver *r, struct packet_query *query)
{
	unsigned char bits[PACKET_NAME_MOST / 8 + 1];

	do {
		if (getentropy(&query->id, sizeof(query->id)) != 0)
			return false;
	} while (resolver_by_id(r, query->id));
	if (getentropy(bits, sizeof(bits)) != 0)
		return false;
	packet_query_case(query, bits);
	return true;
}

static struct lookup *resolver_find(struct ldns_resolver *r, const struct packet_query *query)
{
	for (struct lookup *l = r->lookups; l; l = l->next)
		if (packet_query_equal(&l->query, query))
			return l;
	return NULL;
}

static struct lookup *resolver_add(struct ldns_resolver *r, const struct packet_query *query)
{
	struct lookup *l = mem_alloc(sizeof(*l));

	l->askers_end = &l->askers;
	l->query = *query;
	l->stream = STREAM_INIT;
	*r->lookups_end = l;
	r->lookups_end = &l->next;
	r->pending++;
	return l;
}

static void ldns_ask(struct resolver *base, struct dns_question *q)
{
	static const struct packet_answer unaskable = {.status = DNS_NXDOMAIN},
					  no_random = {.status = DNS_SERVFAIL};
	struct ldns_resolver *r = resolver_of(base);
	struct asker *asker = arena_alloc(r->arena, sizeof(*asker));
	struct packet_query query;
	struct lookup *l;
	bool fresh;

	*asker = (struct asker){.question = q, .asked_us = clock_us()};
	q->status = DNS_PENDING;
	q->records = NULL;
	q->count = 0;
	if (!packet_query_init(&query, q->name, q->type)) {
		asker_answer(r, asker, &unaskable);
		return;
	}
	l = resolver_find(r, &query);
	fresh = !l;
	if (fresh && !lookup_randomise(r, &query)) {
		asker_answer(r, asker, &no_random);
		return;
	}
	if (fresh)
		l = resolver_add(r, &query);
	if (l->done) {
		asker_answer(r, asker, &l->answer);
		return;
	}
	*l->askers_end = asker;
	l->askers_end = &asker->next;
	if (fresh && asker->asked_us >= r->deadline_us)
		lookup_give_up(r, l);
	else if (fresh)
		lookup_send(r, l, r->first);
}

static struct dns_question *ldns_next(struct resolver *base, int64_t patience_ms)
{
	struct ldns_resolver *r = resolver_of(base);
	int64_t until_us = patience_ms < 0 ? r->deadline_us : clock_us() + patience_ms * 1000;
	struct asker *asker;

	while (!r->ready && r->pending > 0) {
		resolver_pump(r, until_us);
		if (patience_ms >= 0 && clock_us() >= until_us)
			break;
	}
	asker = r->ready;
	if (!asker)
		return NULL;
	r->ready = asker->next;
	if (!r->ready)
		r->ready_end = &r->ready;
	return asker->question;
}

static void ldns_wait(struct resolver *base, struct dns_question *q)
{
	struct ldns_resolver *r = resolver_of(base);

	while (q->status == DNS_PENDING && r->pending > 0)
		resolver_pump(r, r->deadline_us);
	for (struct asker **at = &r->ready; *at; at = &(*at)->next) {
		if ((*at)->question != q)
			continue;
		*at = (*at)->next;
		if (!*at)
			r->ready_end = at;
		return;
	}
}

static unsigned long ldns_sent(const struct resolver *base)
{
	return ((const struct ldns_resolver *)base)->sent;
}

static void ldns_destroy(struct resolver *base)
{
	if (!base)
		return;
	resolver_forget(resolver_of(base));
	free(base);
}

static const struct resolver_ops resolver_ldns_ops = {
    .begin = ldns_begin,
    .ask = ldns_ask,
    .next = ldns_next,
    .wait = ldns_wait,
    .sent = ldns_sent,
    .destroy = ldns_destroy,
};

static struct resolver *resolver_create(const struct resolver_config *config, char *error,
					size_t size)
{
	struct ldns_resolver *r = mem_alloc(sizeof(*r));

	r->base.ops = &resolver_ldns_ops;
	r->from_file = config->count == 0;
	for (size_t i = 0; i < SERVERS_MOST; i++)
		r->udp[i] = SOCKET_NONE;
	resolver_forget(r);
	if (!r->from_file && !servers_from_config(&r->servers, config, error, size)) {
		free(r);
		return NULL;
	}
	return &r->base;
}

static const struct resolver_module resolver_table = {.create = resolver_create};

MODULE_EXPORT extern const struct module bley_module;
const struct module bley_module = {
    .abi = MODULE_ABI, .name = "resolver_ldns", .ops = &resolver_table};
