/* SPDX-License-Identifier: BSD-3-Clause */
#include "zone.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/mem.h"

#define ZONE_QUESTIONS_MOST 512
#define ZONE_CNAMES_MOST 8
#define ZONE_LABEL_MOST 63
#define ZONE_NAME_MOST 253

struct zone_question {
	struct dns_question *q;
	int64_t due_ms; /* virtual */
	bool first;	/* not the repetition of another */
	bool answered;	/* it has a status */
	bool told;	/* it has come out of next() */
};

struct zone {
	struct resolver resolver; /* first: the resolver is the zone */
	const struct zone_record *records;
	size_t count;
	struct arena *arena;
	int64_t now_ms, deadline_ms;
	unsigned long sent;
	struct zone_question asked[ZONE_QUESTIONS_MOST];
	size_t asked_count;
};

static struct zone *zone_of(struct resolver *r)
{
	return (struct zone *)r;
}

static size_t zone_name_length(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && name[len - 1] == '.' ? len - 1 : len;
}

static bool zone_same_name(const char *a, const char *b)
{
	size_t len = zone_name_length(a);

	return len == zone_name_length(b) && strncasecmp(a, b, len) == 0;
}

static size_t zone_escape_length(const char *s)
{
	if (s[0] != '\\' || s[1] == '\0')
		return 1;
	return s[1] >= '0' && s[1] <= '9' && s[2] && s[3] ? 4 : 2;
}

static bool zone_can_be_asked(const char *name)
{
	size_t end = zone_name_length(name), label = 0, octets = 0;

	for (size_t i = 0; i < end;) {
		if (name[i] == '.') {
			if (label == 0)
				return false;
			label = 0;
			i++;
		} else {
			i += zone_escape_length(name + i);
			if (++label > ZONE_LABEL_MOST)
				return false;
		}
		octets++;
	}
	return label > 0 && octets <= ZONE_NAME_MOST;
}

static bool zone_is_below(const char *name, const char *parent)
{
	size_t len = zone_name_length(name), tail = zone_name_length(parent);

	return len > tail + 1 && name[len - tail - 1] == '.' &&
	       strncasecmp(name + len - tail, parent, tail) == 0;
}

static bool zone_exists(const struct zone *zone, const char *name)
{
	for (size_t i = 0; i < zone->count; i++)
		if (zone_same_name(zone->records[i].name, name) ||
		    zone_is_below(zone->records[i].name, name))
			return true;
	return false;
}

static bool zone_covers(const struct zone *zone, const struct zone_record *record, const char *name)
{
	if (strncmp(record->name, "*.", 2) == 0)
		return !zone_exists(zone, name) && zone_is_below(name, record->name + 2);
	return zone_same_name(record->name, name);
}

/* The next record of a name and type after `from`, or count. */
static size_t zone_find(const struct zone *zone, size_t from, const char *name, enum dns_type type)
{
	for (; from < zone->count; from++)
		if (zone->records[from].type == type &&
		    zone_covers(zone, &zone->records[from], name))
			break;
	return from;
}

static bool zone_known(const struct zone *zone, const char *name)
{
	for (size_t i = 0; i < zone->count; i++)
		if (zone_covers(zone, &zone->records[i], name))
			return true;
	return zone_exists(zone, name);
}

static struct dns_record zone_data(struct zone *zone, const struct zone_record *record)
{
	struct dns_record out = {.len = 0};
	unsigned char address[16] = {0};
	const char *data = record->data;
	int skip = 0;

	switch (record->type) {
	case DNS_A:
	case DNS_AAAA:
		inet_pton(record->type == DNS_A ? AF_INET : AF_INET6, data, address);
		out.len = record->type == DNS_A ? 4 : 16;
		out.data = (unsigned char *)arena_strndup(zone->arena, (char *)address, out.len);
		return out;
	case DNS_MX:
		sscanf(data, "%u %n", &out.preference, &skip);
		data += skip;
		break;
	case DNS_TXT:
	case DNS_PTR:
		break;
	}
	out.len = record->len ? record->len : strlen(data);
	out.data = (unsigned char *)arena_strndup(zone->arena, data, out.len);
	return out;
}

static void zone_fill(struct zone *zone, struct dns_question *q, const char *name)
{
	struct dns_record *records = arena_alloc(zone->arena, zone->count * sizeof(*records));
	size_t i;

	q->status = zone_known(zone, name) ? DNS_NODATA : DNS_NXDOMAIN;
	for (i = zone_find(zone, 0, name, q->type); i < zone->count;
	     i = zone_find(zone, i + 1, name, q->type)) {
		if (zone->records[i].status > DNS_OK) {
			q->status = zone->records[i].status;
			q->count = 0;
			return;
		}
		records[q->count++] = zone_data(zone, &zone->records[i]);
	}
	if (q->count > 0)
		q->status = DNS_OK;
	q->records = records;
}

static const char *zone_follow(const struct zone *zone, const char *name)
{
	for (int i = 0; i < ZONE_CNAMES_MOST; i++) {
		size_t at = zone_find(zone, 0, name, ZONE_CNAME);

		if (at == zone->count)
			return name;
		name = zone->records[at].data;
	}
	return name;
}

static void zone_answer(struct zone *zone, struct zone_question *a)
{
	if (a->answered)
		return;
	a->answered = true;
	if (a->due_ms >= zone->deadline_ms) {
		a->q->status = DNS_TIMEOUT;
		a->q->elapsed_us = zone->deadline_ms * 1000;
		return;
	}
	if (!zone_can_be_asked(a->q->name))
		a->q->status = DNS_NXDOMAIN;
	else
		zone_fill(zone, a->q, zone_follow(zone, a->q->name));
	a->q->elapsed_us = a->due_ms * 1000;
}

static void zone_begin(struct resolver *r, struct arena *arena, int64_t timeout_ms)
{
	struct zone *zone = zone_of(r);

	zone->arena = arena;
	zone->now_ms = 0;
	zone->deadline_ms = timeout_ms;
	zone->asked_count = 0;
}

static struct zone_question *zone_earlier(struct zone *zone, const struct dns_question *q)
{
	for (size_t i = 0; i < zone->asked_count; i++)
		if (zone->asked[i].q->type == q->type &&
		    zone_same_name(zone->asked[i].q->name, q->name))
			return &zone->asked[i];
	return NULL;
}

static int64_t zone_delay(const struct zone *zone, const struct dns_question *q)
{
	size_t at = zone_find(zone, 0, zone_follow(zone, q->name), q->type);

	if (at == zone->count)
		return 0;
	return zone->records[at].status == DNS_TIMEOUT ? zone->deadline_ms
						       : zone->records[at].delay_ms;
}

static void zone_ask(struct resolver *r, struct dns_question *q)
{
	struct zone *zone = zone_of(r);
	struct zone_question *earlier = zone_earlier(zone, q);
	struct zone_question *a;

	if (zone->asked_count == ZONE_QUESTIONS_MOST)
		abort();
	a = &zone->asked[zone->asked_count++];
	*a = (struct zone_question){.q = q, .first = !earlier};
	q->status = DNS_PENDING;
	q->records = NULL;
	q->count = 0;
	if (!earlier) {
		zone->sent++;
		a->due_ms = zone->now_ms + zone_delay(zone, q);
	} else {
		a->due_ms = earlier->due_ms > zone->now_ms ? earlier->due_ms : zone->now_ms;
	}
}

static struct dns_question *zone_next(struct resolver *r, int64_t patience_ms)
{
	struct zone *zone = zone_of(r);
	struct zone_question *soonest = NULL;

	for (size_t i = 0; i < zone->asked_count; i++) {
		struct zone_question *a = &zone->asked[i];

		if (!a->told && (!soonest || a->due_ms < soonest->due_ms))
			soonest = a;
	}
	if (!soonest)
		return NULL;
	if (patience_ms >= 0 && soonest->due_ms > zone->now_ms + patience_ms) {
		zone->now_ms += patience_ms;
		return NULL;
	}
	if (soonest->due_ms > zone->now_ms)
		zone->now_ms = soonest->due_ms < zone->deadline_ms ? soonest->due_ms
								   : zone->deadline_ms;
	zone_answer(zone, soonest);
	soonest->told = true;
	return soonest->q;
}

static void zone_wait(struct resolver *r, struct dns_question *q)
{
	struct zone *zone = zone_of(r);

	for (size_t i = 0; i < zone->asked_count; i++) {
		struct zone_question *a = &zone->asked[i];

		if (a->q != q)
			continue;
		if (a->due_ms > zone->now_ms)
			zone->now_ms = a->due_ms < zone->deadline_ms ? a->due_ms
								     : zone->deadline_ms;
		zone_answer(zone, a);
		a->told = true;
		return;
	}
}

static unsigned long zone_sent(const struct resolver *r)
{
	return ((const struct zone *)r)->sent;
}

static void zone_destroy(struct resolver *r)
{
	free(r);
}

static const struct resolver_ops zone_ops = {.begin = zone_begin,
					     .ask = zone_ask,
					     .next = zone_next,
					     .wait = zone_wait,
					     .sent = zone_sent,
					     .destroy = zone_destroy};

struct zone *zone_new(const struct zone_record *records, size_t count)
{
	struct zone *zone = mem_alloc(sizeof(*zone));

	zone->resolver.ops = &zone_ops;
	zone->records = records;
	zone->count = count;
	return zone;
}

struct resolver *zone_resolver(struct zone *zone)
{
	return &zone->resolver;
}

size_t zone_asked(const struct zone *zone)
{
	size_t n = 0;

	for (size_t i = 0; i < zone->asked_count; i++)
		n += zone->asked[i].first;
	return n;
}

size_t zone_answered(const struct zone *zone)
{
	size_t n = 0;

	for (size_t i = 0; i < zone->asked_count; i++)
		n += zone->asked[i].first && zone->asked[i].answered;
	return n;
}

int64_t zone_elapsed_ms(const struct zone *zone)
{
	return zone->now_ms;
}

bool zone_was_asked(const struct zone *zone, const char *name, enum dns_type type)
{
	for (size_t i = 0; i < zone->asked_count; i++)
		if (zone->asked[i].q->type == type && zone_same_name(zone->asked[i].q->name, name))
			return true;
	return false;
}
