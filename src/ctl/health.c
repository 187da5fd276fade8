/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/health.h"

#include <string.h>

#include "base/clock.h"
#include "base/ipaddr.h"
#include "check/check.h"
#include "conf/conf.h"
#include "conf/dnsl_name.h"
#include "dns/resolver.h"
#include "policy/resolving.h"

#define MS_IN_SECOND 1000

/* RFC 5782 section 5: these must be listed, and these must not. Lists of IPv6 addresses are few, so
 * that what they lack is no fault. */
enum probe { LISTED, UNLISTED, LISTED6, UNLISTED6, PROBES };

static const char *const addresses[PROBES] = {
    [LISTED] = "127.0.0.2",
    [UNLISTED] = "127.0.0.1",
    /* not ipaddr_parse()'d: that would make IPv4 of them */
    [LISTED6] = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0",
    [UNLISTED6] = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0",
};

/* One list and its questions. */
struct patient {
	struct dns_question questions[PROBES];
	struct health *health;
	bool filtered; /* an entry of it takes 127.0.0.1 where it says so */
};

static const char *reversed(enum probe probe, char out[IPADDR_REVERSE_SIZE])
{
	struct ipaddr ip;

	if (!ipaddr_parse(addresses[probe], &ip))
		return addresses[probe];
	ipaddr_reverse(&ip, out);
	return out;
}

static void ask(struct resolver *resolver, struct arena *arena, const char *zone,
		struct patient *patient)
{
	char reverse[IPADDR_REVERSE_SIZE];

	for (int i = 0; i < PROBES; i++) {
		struct dns_question *q = &patient->questions[i];

		q->type = DNS_A;
		q->name = arena_printf(arena, "%s.%s", reversed((enum probe)i, reverse), zone);
		resolver->ops->ask(resolver, q);
	}
}

static const char *address_text(struct arena *arena, const unsigned char *a)
{
	return arena_printf(arena, "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
}

/* A code that means something else than a listing, or NULL. */
static const char *refusal(struct arena *arena, const struct health *health, bool filtered,
			   const struct dns_question *q)
{
	for (size_t i = 0; i < q->count; i++) {
		const unsigned char *a = q->records[i].data;
		const char *text = address_text(arena, a);
		const char *error = check_dnsl_error(a, health->white, filtered);

		if (a[0] != 127)
			return arena_printf(arena,
					    "answers %s, which is no listing: its domain is parked "
					    "or a name server makes up answers; take it out",
					    text);
		if (error)
			return arena_printf(arena, "refuses (%s): %s", text, error);
	}
	return NULL;
}

static const char *failure(const struct dns_question *q)
{
	switch (q->status) {
	case DNS_SERVFAIL:
		return "cannot be asked (SERVFAIL): its name servers fail; take it out if that "
		       "lasts";
	case DNS_REFUSED:
		return "cannot be asked (REFUSED): the name server does not serve us";
	case DNS_TIMEOUT:
	case DNS_PENDING:
		return "does not answer in time: it delays mail; take it out if that lasts";
	case DNS_OK:
	case DNS_NXDOMAIN:
	case DNS_NODATA:
		break;
	}
	return NULL;
}

/* The first thing that is wrong, or NULL. */
static const char *diagnose(struct arena *arena, const struct patient *patient)
{
	const struct dns_question *q = patient->questions;
	bool some6 = q[LISTED6].status == DNS_OK;
	const char *text = NULL;

	for (int i = LISTED; !text && i <= UNLISTED; i++)
		text = failure(&q[i]);
	for (int i = LISTED; !text && i < PROBES; i++)
		text = q[i].status == DNS_OK
			   ? refusal(arena, patient->health, patient->filtered, &q[i])
			   : NULL;
	if (text)
		return text;
	if (q[UNLISTED].status == DNS_OK || q[UNLISTED6].status == DNS_OK)
		return "lists everything (127.0.0.1, which must not be listed): take it out";
	if (q[LISTED].status != DNS_OK && !some6)
		return "is empty (127.0.0.2, which must be listed, is not): it is dead or its name "
		       "is misspelt; take it out";
	return NULL;
}

static const char *describe(const struct dns_question *q)
{
	if (q[LISTED6].status != DNS_OK)
		return "IPv4 only";
	return q[LISTED].status == DNS_OK ? "IPv4 and IPv6" : "IPv6 only";
}

/* slow_us: what takes longer is in danger of missing dns_timeout. */
static void conclude(struct arena *arena, struct patient *patient, int64_t slow_us)
{
	const struct dns_question *q = patient->questions;
	const char *wrong = diagnose(arena, patient);
	struct health *h = patient->health;

	for (int i = 0; i < PROBES; i++)
		if (q[i].status != DNS_PENDING && q[i].elapsed_us > h->slowest_us)
			h->slowest_us = q[i].elapsed_us;
	if (!wrong && h->slowest_us > slow_us)
		wrong = "takes more than half of dns_timeout to answer: it delays mail; take it "
			"out if that lasts";
	h->well = !wrong;
	h->text = wrong ? wrong : describe(q);
}

static size_t add_lists(struct arena *arena, const struct dnsl_entries *entries, bool white,
			struct patient *patients, size_t count, struct resolver *resolver)
{
	for (size_t i = 0; i < entries->count; i++) {
		const char *zone = entries->items[i].zone;
		size_t earlier = 0;

		/* entries of one list differ in their filters only */
		while (earlier < i && strcmp(entries->items[earlier].zone, zone) != 0)
			earlier++;
		if (earlier < i)
			continue;
		for (size_t j = i; j < entries->count; j++)
			if (!strcmp(entries->items[j].zone, zone))
				patients[count].filtered |= entries->items[j].filtered;
		patients[count].health = arena_alloc(arena, sizeof(struct health));
		patients[count].health->name = dnsl_public_name(arena, zone);
		patients[count].health->white = white;
		ask(resolver, arena, zone, &patients[count++]);
	}
	return count;
}

bool health_check(const struct conf *conf, struct arena *arena, struct health **out, char *error,
		  size_t size)
{
	size_t most = conf->dnswls.count + conf->dnsbls.count, count = 0;
	struct patient *patients = arena_alloc(arena, (most + 1) * sizeof(*patients));
	struct resolver *resolver;

	*out = NULL;
	if (!most)
		return true;
	resolver = resolver_from_conf(conf, error, size);
	if (!resolver)
		return false;
	resolver->ops->begin(resolver, arena, conf->dns_timeout * MS_IN_SECOND);
	if (conf->dnswl_threshold > 0)
		count = add_lists(arena, &conf->dnswls, true, patients, count, resolver);
	if (conf->dnsbl_threshold > 0)
		count = add_lists(arena, &conf->dnsbls, false, patients, count, resolver);
	while (resolver->ops->next(resolver, -1))
		;
	for (size_t i = count; i-- > 0;) {
		conclude(arena, &patients[i], conf->dns_timeout * US_PER_S / 2);
		patients[i].health->next = *out;
		*out = patients[i].health;
	}
	resolver->ops->destroy(resolver);
	return true;
}
