/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/check.h"

#include <limits.h>
#include <string.h>

#include "base/arena.h"
#include "base/ipaddr.h"
#include "check/spf.h"
#include "conf/conf.h"
#include "conf/dnsl_name.h"
#include "dns/resolver.h"

#define DNSL_GRACE_MS 50	  /* for answers that only the log's scores want */
#define DNSL_GRACE_REPORT_MS 1500 /* for answers that only a report wants */
#define DNSL_NOTE_ALL "dns"	  /* the key of notes that are about no list in particular */

/* The lists of one kind, and how they stand against their threshold. */
struct dnsl_kind {
	const char *what;
	const struct dnsl_entries *entries;
	int64_t threshold;
	bool white;
	int64_t score;
	size_t open;	   /* entries that have not answered */
	int64_t up, down;  /* what those that have not answered may still add and take away */
	const char *hits;  /* for people; NULL: none */
	size_t unanswered; /* at the end: asked and failed */
};

/* One entry and its question. Entries with the same zone have the same question, which the resolver
 * asks once. */
struct dnsl_item {
	struct dns_question question;
	struct dnsl_kind *kind;
	const struct dnsl_entry *entry;
	bool hit;
	bool counted;
};

/* What an answer's address says. */
enum dnsl_meaning { DNSL_LISTED, DNSL_OTHER, DNSL_OUTSIDE, DNSL_ERROR };

const char *check_dnsl_error(const unsigned char a[4], bool white, bool filtered)
{
	static const unsigned char refused[] = {127, 0, 0, 1}, quota[] = {127, 0, 0, 255},
				   error[] = {127, 255, 255};
	const char *over = "over its query limit; register with it or take it out";

	if (!filtered && memcmp(a, refused, sizeof(refused)) == 0)
		return "it refuses to answer";
	if (white && memcmp(a, quota, sizeof(quota)) == 0)
		return over;
	if (memcmp(a, error, sizeof(error)) != 0)
		return NULL;
	switch (a[3]) {
	case 252:
		return "the list's name is misspelt";
	case 254:
		return "asked through a public name server; use one of your own (dns_servers)";
	case 255:
		return over;
	default:
		return "an error code";
	}
}

/* Only 127.0.0.0/8 can be a listing: anything else is a parked domain or a name server that makes
 * up answers. Error codes do not count even where a wide filter takes them in. */
static enum dnsl_meaning dnsl_meaning(const struct dnsl_item *item, const unsigned char a[4])
{
	if (a[0] != 127)
		return DNSL_OUTSIDE;
	if (check_dnsl_error(a, item->kind->white, item->entry->filtered))
		return DNSL_ERROR;
	return dnsl_entry_matches(item->entry, a) ? DNSL_LISTED : DNSL_OTHER;
}

/* One note a list, however many entries and records it has. */
static void dnsl_note(struct check *check, const struct dnsl_item *item, const char *text)
{
	const char *name = dnsl_public_name(check->arena, item->entry->zone);

	for (const struct check_note *note = check->notes; note; note = note->next)
		if (strcmp(note->key, name) == 0)
			return;
	check_note(check, name, "DNS %s %s %s", item->kind->what, name, text);
}

static const char *dnsl_address(struct check *check, const unsigned char a[4])
{
	return arena_printf(check->arena, "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
}

static void dnsl_hit(struct check *check, struct dnsl_item *item, const unsigned char a[4])
{
	struct dnsl_kind *kind = item->kind;
	const char *name = dnsl_public_name(check->arena, item->entry->zone);

	kind->score += item->entry->weight;
	kind->hits = arena_printf(check->arena, "%s%s%s (%s)",
				  kind->hits ? kind->hits : "listed by ", kind->hits ? ", " : "",
				  name, dnsl_address(check, a));
}

/* An entry's weight counts once, however many records pass its filter; and none that comes when the
 * threshold is reached already, so that the score does not tell who was quick. */
static void dnsl_read(struct check *check, struct dnsl_item *item, bool counts)
{
	const unsigned char *hit = NULL;

	for (size_t i = 0; i < item->question.count; i++) {
		const unsigned char *a = item->question.records[i].data;

		switch (dnsl_meaning(item, a)) {
		case DNSL_LISTED:
			hit = hit ? hit : a;
			break;
		case DNSL_OTHER:
			break;
		case DNSL_OUTSIDE:
			dnsl_note(check, item,
				  arena_printf(
				      check->arena,
				      "is broken: it answers %s, which is no listing; take it out",
				      dnsl_address(check, a)));
			break;
		case DNSL_ERROR:
			dnsl_note(check, item,
				  arena_printf(check->arena, "does not serve us: %s (%s)",
					       dnsl_address(check, a),
					       check_dnsl_error(a, item->kind->white,
								item->entry->filtered)));
			break;
		}
	}
	item->hit = hit != NULL;
	item->counted = hit && counts;
	if (item->counted)
		dnsl_hit(check, item, hit);
}

static bool dnsl_failed(const struct dnsl_item *item)
{
	return item->question.status == DNS_SERVFAIL || item->question.status == DNS_REFUSED ||
	       item->question.status == DNS_TIMEOUT;
}

/* Silence on all sides is no list's fault, and one note for all. */
static void dnsl_note_failures(struct check *check, const struct dnsl_item *first,
			       const struct dnsl_item *end)
{
	static const char *const texts[] = {
	    [DNS_SERVFAIL] = "cannot be asked: the name server fails (SERVFAIL)",
	    [DNS_REFUSED] = "cannot be asked: the name server refuses (REFUSED)",
	    [DNS_TIMEOUT] = "did not answer in time",
	};
	size_t silent = 0, answers = 0;

	for (const struct dnsl_item *item = first; item < end; item++) {
		silent += item->question.status == DNS_TIMEOUT;
		answers += item->question.status != DNS_TIMEOUT &&
			   item->question.status != DNS_PENDING;
	}
	if (silent > 0 && answers == 0) {
		check_note(check, DNSL_NOTE_ALL,
			   "no DNS list answered in time: check the name servers (dns_servers, "
			   "/etc/resolv.conf)");
		return;
	}
	for (const struct dnsl_item *item = first; item < end; item++)
		if (dnsl_failed(item))
			dnsl_note(check, item, texts[item->question.status]);
}

/* Takes an entry's weight out of what is open. */
static void dnsl_settle(const struct dnsl_item *item)
{
	item->kind->open--;
	if (item->entry->weight > 0)
		item->kind->up -= item->entry->weight;
	else
		item->kind->down += item->entry->weight;
}

static bool dnsl_reached(const struct dnsl_kind *kind)
{
	return kind->threshold > 0 && kind->score - kind->down >= kind->threshold;
}

static bool dnsl_missed(const struct dnsl_kind *kind)
{
	return kind->threshold <= 0 || kind->score + kind->up < kind->threshold;
}

static void dnsl_answered(struct check *check, struct dnsl_item *item)
{
	bool counts = !dnsl_reached(item->kind);

	dnsl_settle(item);
	if (item->question.status == DNS_OK)
		dnsl_read(check, item, counts);
	else if (dnsl_failed(item))
		item->kind->unanswered++;
}

/* Whether no answer that is still to come can change what the lists decide: a whitelisted client
 * passes whatever blacklists say. */
static bool dnsl_decided(const struct dnsl_kind *white, const struct dnsl_kind *black)
{
	return dnsl_reached(white) ||
	       (dnsl_missed(white) && (dnsl_reached(black) || dnsl_missed(black)));
}

/*
 * Whether a further answer is of use. Where no threshold can be reached any more the outcome is
 * certain, but the scores still go into the log: answers that are nearly there are taken in, and
 * nobody waits for a list that is slow or dead.
 */
static bool dnsl_wants_more(const struct check *check, const struct dnsl_kind *white,
			    const struct dnsl_kind *black, bool *decided)
{
	*decided = dnsl_decided(white, black);
	if (!*decided)
		return true;
	if (check->report)
		return white->open + black->open > 0;
	return !dnsl_reached(white) && white->open + (dnsl_reached(black) ? 0 : black->open) > 0;
}

static struct dnsl_item *dnsl_ask(struct check *check, struct dnsl_item *item,
				  struct dnsl_kind *kind)
{
	char reverse[IPADDR_REVERSE_SIZE];

	if (kind->threshold <= 0)
		return item;
	ipaddr_reverse(&check->subject->client, reverse);
	for (size_t i = 0; i < kind->entries->count; i++, item++) {
		const struct dnsl_entry *entry = &kind->entries->items[i];

		*item = (struct dnsl_item){.kind = kind, .entry = entry};
		item->question.type = DNS_A;
		item->question.name = arena_printf(check->arena, "%s.%s", reverse, entry->zone);
		kind->open++;
		if (entry->weight > 0)
			kind->up += entry->weight;
		else
			kind->down -= entry->weight;
		check->resolver->ops->ask(check->resolver, &item->question);
	}
	return item;
}

/* Starts SPF's first question (RFC 7208 section 4.4), so that it finds the answer already there. */
static void dnsl_prefetch_spf(struct check *check)
{
	const char *domain = spf_domain(check->subject->raw_sender, check->subject->helo_name);
	struct dns_question *q;

	/* Nothing is published for a single label or an address in brackets. */
	if (!strchr(domain, '.') || domain[0] == '[')
		return;
	q = arena_alloc(check->arena, sizeof(*q));
	q->type = DNS_TXT;
	q->name = arena_strdup(check->arena, domain);
	check->resolver->ops->ask(check->resolver, q);
}

/* Which entry a question belongs to; NULL: it is somebody else's. */
static struct dnsl_item *dnsl_find(struct dnsl_item *first, struct dnsl_item *end,
				   const struct dns_question *q)
{
	for (; first < end; first++)
		if (&first->question == q)
			return first;
	return NULL;
}

/* The addresses that an answer has, or why there are none. */
static const char *dnsl_answer(struct check *check, const struct dns_question *q)
{
	static const char *const texts[] = {
	    [DNS_PENDING] = "not waited for", [DNS_NXDOMAIN] = "not listed",
	    [DNS_NODATA] = "not listed",      [DNS_SERVFAIL] = "SERVFAIL",
	    [DNS_REFUSED] = "REFUSED",	      [DNS_TIMEOUT] = "no answer in time",
	};
	const char *text = "";

	if (q->status != DNS_OK)
		return texts[q->status];
	for (size_t i = 0; i < q->count; i++)
		text = arena_printf(check->arena, "%s%s%s", text, i ? ", " : "",
				    dnsl_address(check, q->records[i].data));
	return text;
}

static void dnsl_report(struct check *check, const struct dnsl_item *first,
			const struct dnsl_item *end)
{
	struct check_list **next = &check->report->lists, *list;

	for (const struct dnsl_item *item = first; item < end; item++) {
		list = arena_alloc(check->arena, sizeof(*list));
		list->name = dnsl_public_name(check->arena, item->entry->zone);
		list->white = item->kind->white;
		list->weight = item->entry->weight;
		list->hit = item->hit;
		list->counted = item->counted;
		list->answer = dnsl_answer(check, &item->question);
		list->elapsed_us = item->question.status == DNS_PENDING ? -1
									: item->question.elapsed_us;
		*next = list;
		next = &list->next;
	}
}

static void dnsl_run(struct check *check, bool prefetch_spf, struct dnsl_kind *white,
		     struct dnsl_kind *black)
{
	size_t most = white->entries->count + black->entries->count;
	struct dnsl_item *items = arena_alloc(check->arena, most * sizeof(*items)), *end;
	struct dns_question *q;
	int64_t grace_ms = check->report ? DNSL_GRACE_REPORT_MS : DNSL_GRACE_MS;
	bool decided;

	end = dnsl_ask(check, items, white);
	end = dnsl_ask(check, end, black);
	if (prefetch_spf)
		dnsl_prefetch_spf(check);
	while (dnsl_wants_more(check, white, black, &decided) &&
	       (q = check->resolver->ops->next(check->resolver, decided ? grace_ms : -1))) {
		struct dnsl_item *item = dnsl_find(items, end, q);

		if (item)
			dnsl_answered(check, item);
	}
	dnsl_note_failures(check, items, end);
	if (check->report)
		dnsl_report(check, items, end);
}

static struct check_score dnsl_score(const struct dnsl_kind *kind, bool usable)
{
	struct check_score out = {.why = kind->hits};
	int64_t score = kind->score;

	if (!kind->hits)
		out.why = kind->unanswered > 0 ? "not listed, as far as lists answered"
					       : "not listed";
	if (kind->threshold <= 0 || kind->entries->count == 0)
		out.why = "not asked";
	else if (!usable)
		return (struct check_score){.score = CHECK_UNKNOWN, .why = "no DNS"};
	out.score = (int)(score > INT_MAX ? INT_MAX : score < INT_MIN ? INT_MIN : score);
	return out;
}

void check_dnsl(struct check *check, bool prefetch_spf, struct check_score *dnswl,
		struct check_score *dnsbl)
{
	struct dnsl_kind white = {.what = "whitelist",
				  .entries = &check->conf->dnswls,
				  .threshold = check->conf->dnswl_threshold,
				  .white = true},
			 black = {.what = "blacklist",
				  .entries = &check->conf->dnsbls,
				  .threshold = check->conf->dnsbl_threshold};
	bool usable = check->resolver != NULL;

	if (usable)
		dnsl_run(check, prefetch_spf, &white, &black);
	*dnswl = dnsl_score(&white, usable);
	*dnsbl = dnsl_score(&black, usable);
	if (dnswl->score == CHECK_UNKNOWN || dnsbl->score == CHECK_UNKNOWN)
		check_note(check, DNSL_NOTE_ALL, "DNS cannot be used: the DNS lists are not asked");
}
