/* SPDX-License-Identifier: BSD-3-Clause */
#include "dns/packet.h"

#include <stdlib.h>
#include <string.h>

#include <ldns/ldns.h>

#include "base/arena.h"
#include "base/text.h"

#define PACKET_CNAMES_MOST 16
#define PACKET_HEADER 12
#define PACKET_RR_FIXED 10 /* type, class, TTL and length of a record */
#define PACKET_RR_LENGTH 8 /* where in these the length stands */

bool packet_query_init(struct packet_query *query, const char *name, enum dns_type type)
{
	ldns_rdf *dname = NULL;
	bool ok = false;

	if (ldns_str2rdf_dname(&dname, name) != LDNS_STATUS_OK)
		return false;
	/* The root (one octet) is nothing anybody here asks for: it comes from an empty name. */
	if (ldns_rdf_size(dname) > 1 && ldns_rdf_size(dname) <= PACKET_NAME_MOST) {
		*query = (struct packet_query){.type = type, .name_len = ldns_rdf_size(dname)};
		memcpy(query->name, ldns_rdf_data(dname), query->name_len);
		ok = true;
	}
	ldns_rdf_deep_free(dname);
	return ok;
}

static bool packet_is_letter(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

void packet_query_case(struct packet_query *query, const unsigned char *bits)
{
	/* Length octets, at most 63, are never letters. */
	for (size_t i = 0; i < query->name_len; i++) {
		unsigned char *c = &query->name[i];

		if (!packet_is_letter(*c))
			continue;
		*c |= 0x20;
		if (bits && bits[i / 8] >> i % 8 & 1)
			*c &= (unsigned char)~0x20;
	}
}

static bool packet_same_name(const unsigned char *a, const unsigned char *b, size_t len)
{
	/* Length octets are below any letter, so folding them along with the text changes nothing.
	 */
	for (size_t i = 0; i < len; i++) {
		unsigned char x = a[i], y = b[i];

		if (packet_is_letter(x))
			x |= 0x20;
		if (packet_is_letter(y))
			y |= 0x20;
		if (x != y)
			return false;
	}
	return true;
}

bool packet_query_equal(const struct packet_query *a, const struct packet_query *b)
{
	return a->type == b->type && a->name_len == b->name_len &&
	       packet_same_name(a->name, b->name, a->name_len);
}

size_t packet_write(const struct packet_query *query, bool edns,
		    unsigned char out[PACKET_QUERY_MOST])
{
	ldns_rdf *name = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, query->name_len, query->name);
	ldns_pkt *pkt = NULL;
	uint8_t *wire = NULL;
	size_t len = 0;

	if (!name)
		return 0;
	pkt = ldns_pkt_query_new(name, (ldns_rr_type)query->type, LDNS_RR_CLASS_IN, LDNS_RD);
	if (!pkt) {
		ldns_rdf_deep_free(name);
		return 0;
	}
	ldns_pkt_set_id(pkt, query->id);
	if (edns)
		ldns_pkt_set_edns_udp_size(pkt, PACKET_UDP_SIZE);
	if (ldns_pkt2wire(&wire, pkt, &len) != LDNS_STATUS_OK || len > PACKET_QUERY_MOST)
		len = 0;
	else
		memcpy(out, wire, len);
	free(wire);
	ldns_pkt_free(pkt);
	return len;
}

/* How the question section compares with the query; *pos ends behind it. */
static enum packet_verdict packet_check_question(const struct packet_query *query,
						 const unsigned char *wire, size_t len, size_t *pos)
{
	enum packet_verdict verdict = PACKET_FOREIGN;
	ldns_rr *rr = NULL;
	const ldns_rdf *name;

	*pos = PACKET_HEADER;
	if (LDNS_QDCOUNT(wire) != 1 ||
	    ldns_wire2rr(&rr, wire, len, pos, LDNS_SECTION_QUESTION) != LDNS_STATUS_OK)
		return PACKET_FOREIGN;
	name = ldns_rr_owner(rr);
	if (ldns_rr_get_type(rr) == (ldns_rr_type)query->type &&
	    ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN && ldns_rdf_size(name) == query->name_len &&
	    packet_same_name(ldns_rdf_data(name), query->name, query->name_len))
		verdict = memcmp(ldns_rdf_data(name), query->name, query->name_len) == 0
			      ? PACKET_ANSWER
			      : PACKET_OTHER_CASE;
	ldns_rr_free(rr);
	return verdict;
}

/* The records of an answer that can matter: those of the asked type, and CNAMEs. */
struct packet_section {
	ldns_rr *rr[PACKET_RECORDS_MOST];
	size_t count;
	size_t seen; /* records of any type */
};

/* Steps over one record and tells its type and class. */
static bool packet_skip(const unsigned char *wire, size_t len, size_t *pos, ldns_rr_type *type,
			ldns_rr_class *class)
{
	ldns_rdf *owner = NULL;
	size_t data;

	if (ldns_wire2dname(&owner, wire, len, pos) != LDNS_STATUS_OK)
		return false;
	ldns_rdf_deep_free(owner);
	if (*pos > len || len - *pos < PACKET_RR_FIXED)
		return false;
	*type = ldns_read_uint16(wire + *pos);
	*class = ldns_read_uint16(wire + *pos + 2);
	data = ldns_read_uint16(wire + *pos + PACKET_RR_LENGTH);
	*pos += PACKET_RR_FIXED;
	if (len - *pos < data)
		return false;
	*pos += data;
	return true;
}

/* False where the section cannot be read to its end: then nothing in it is to be trusted. */
static bool packet_read_section(const struct packet_query *query, const unsigned char *wire,
				size_t len, size_t pos, struct packet_section *out)
{
	size_t count = LDNS_ANCOUNT(wire);

	for (; out->seen < count; out->seen++) {
		size_t start = pos;
		ldns_rr_type type;
		ldns_rr_class class;

		if (!packet_skip(wire, len, &pos, &type, &class))
			return false;
		if (class != LDNS_RR_CLASS_IN || out->count == PACKET_RECORDS_MOST ||
		    (type != (ldns_rr_type)query->type && type != LDNS_RR_TYPE_CNAME))
			continue;
		/* Only these few types ever reach ldns' own record readers. */
		if (ldns_wire2rr(&out->rr[out->count], wire, len, &start, LDNS_SECTION_ANSWER) !=
		    LDNS_STATUS_OK)
			return false;
		out->count++;
		/* ldns takes a record without data, as updates have them; no answer does. */
		if (start != pos || ldns_rr_rd_count(out->rr[out->count - 1]) == 0)
			return false;
	}
	return true;
}

static const ldns_rdf *packet_cname(const struct packet_section *section, const ldns_rdf *name)
{
	for (size_t i = 0; i < section->count; i++)
		if (ldns_rr_get_type(section->rr[i]) == LDNS_RR_TYPE_CNAME &&
		    ldns_dname_compare(ldns_rr_owner(section->rr[i]), name) == 0)
			return ldns_rr_rdf(section->rr[i], 0);
	return NULL;
}

/* Where the CNAMEs that start at `name` end; NULL for a chain that is too long or runs in circles.
 */
static const ldns_rdf *packet_follow(const struct packet_section *section, const ldns_rdf *name)
{
	for (int i = 0; i < PACKET_CNAMES_MOST; i++) {
		const ldns_rdf *target = packet_cname(section, name);

		if (!target)
			return name;
		name = target;
	}
	return NULL;
}

static bool packet_copy_name(struct arena *arena, const ldns_rdf *name, struct dns_record *out)
{
	char *text = ldns_rdf2str(name), *copy;

	if (!text)
		return false;
	out->len = strlen(text);
	if (out->len > 0)
		out->len--; /* the final dot */
	copy = arena_strndup(arena, text, out->len);
	text_lower(copy); /* compression may have brought in our own question's random case */
	out->data = (unsigned char *)copy;
	free(text);
	return true;
}

static void packet_copy_text(struct arena *arena, const ldns_rr *rr, struct dns_record *out)
{
	unsigned char *data;
	size_t len = 0;

	for (size_t i = 0; i < ldns_rr_rd_count(rr); i++)
		len += ldns_rdf_size(ldns_rr_rdf(rr, i));
	data = arena_alloc(arena, len + 1);
	out->data = data;
	for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
		const ldns_rdf *string = ldns_rr_rdf(rr, i);

		/* The first octet of each is its length. */
		if (ldns_rdf_size(string) < 1)
			continue;
		memcpy(data + out->len, ldns_rdf_data(string) + 1, ldns_rdf_size(string) - 1);
		out->len += ldns_rdf_size(string) - 1;
	}
}

static bool packet_copy_address(struct arena *arena, const ldns_rr *rr, size_t size,
				struct dns_record *out)
{
	const ldns_rdf *address = ldns_rr_rdf(rr, 0);

	if (!address || ldns_rdf_size(address) != size)
		return false;
	out->data = (unsigned char *)arena_strndup(arena, (char *)ldns_rdf_data(address), size);
	out->len = size;
	return true;
}

static bool packet_copy(struct arena *arena, const ldns_rr *rr, enum dns_type type,
			struct dns_record *out)
{
	*out = (struct dns_record){.len = 0};
	switch (type) {
	case DNS_A:
		return packet_copy_address(arena, rr, 4, out);
	case DNS_AAAA:
		return packet_copy_address(arena, rr, 16, out);
	case DNS_TXT:
		packet_copy_text(arena, rr, out);
		return true;
	case DNS_PTR:
		return ldns_rr_rd_count(rr) == 1 &&
		       packet_copy_name(arena, ldns_rr_rdf(rr, 0), out);
	case DNS_MX:
		if (ldns_rr_rd_count(rr) != 2)
			return false;
		out->preference = ldns_rdf2native_int16(ldns_rr_rdf(rr, 0));
		return packet_copy_name(arena, ldns_rr_rdf(rr, 1), out);
	}
	return false;
}

/* False where the answer is not to be used. */
static bool packet_collect(struct arena *arena, const struct packet_query *query,
			   const struct packet_section *section, struct packet_answer *out)
{
	ldns_rdf *asked = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, query->name_len, query->name);
	const ldns_rdf *name = asked ? packet_follow(section, asked) : NULL;
	struct dns_record *records = arena_alloc(arena, section->count * sizeof(*records));
	bool ok = name != NULL;

	for (size_t i = 0; ok && i < section->count; i++) {
		if (ldns_rr_get_type(section->rr[i]) != (ldns_rr_type)query->type ||
		    ldns_dname_compare(ldns_rr_owner(section->rr[i]), name) != 0)
			continue;
		ok = packet_copy(arena, section->rr[i], query->type, &records[out->count]);
		if (ok)
			out->count++;
	}
	ldns_rdf_deep_free(asked);
	out->records = records;
	return ok;
}

static void packet_read_records(struct arena *arena, const struct packet_query *query,
				const unsigned char *wire, size_t len, size_t pos,
				struct packet_answer *out)
{
	struct packet_section section = {.count = 0};
	struct packet_answer answer = {.count = 0};
	bool authoritative = LDNS_AA_WIRE(wire) || LDNS_RA_WIRE(wire);

	if (packet_read_section(query, wire, len, pos, &section) &&
	    packet_collect(arena, query, &section, &answer)) {
		answer.status = answer.count > 0 ? DNS_OK : DNS_NODATA;
		/* Neither authority nor recursion, and nothing to say: a referral, of no use to a
		 * stub. */
		if (section.seen == 0 && !authoritative)
			answer.status = DNS_SERVFAIL;
		*out = answer;
	}
	for (size_t i = 0; i < section.count; i++)
		ldns_rr_free(section.rr[i]);
}

static enum packet_verdict packet_read_code(struct arena *arena, const struct packet_query *query,
					    const unsigned char *wire, size_t len, size_t pos,
					    struct packet_answer *out)
{
	*out = (struct packet_answer){.status = DNS_SERVFAIL};
	switch (LDNS_RCODE_WIRE(wire)) {
	case LDNS_RCODE_NOERROR:
		packet_read_records(arena, query, wire, len, pos, out);
		return out->status == DNS_SERVFAIL ? PACKET_FAILED : PACKET_ANSWER;
	case LDNS_RCODE_NXDOMAIN:
		out->status = DNS_NXDOMAIN;
		return PACKET_ANSWER;
	case LDNS_RCODE_FORMERR:
	case LDNS_RCODE_NOTIMPL:
		return PACKET_NO_EDNS;
	case LDNS_RCODE_REFUSED:
		out->status = DNS_REFUSED;
		return PACKET_FAILED;
	default:
		return PACKET_FAILED;
	}
}

enum packet_verdict packet_read(struct arena *arena, const struct packet_query *query, bool stream,
				const unsigned char *wire, size_t len, struct packet_answer *out)
{
	enum packet_verdict verdict;
	size_t pos;

	if (len < PACKET_HEADER || LDNS_ID_WIRE(wire) != query->id || !LDNS_QR_WIRE(wire) ||
	    LDNS_OPCODE_WIRE(wire) != LDNS_PACKET_QUERY)
		return PACKET_FOREIGN;
	/* A server too old to read the query may not give the question back; it only gets to lose
	 * EDNS. */
	if (LDNS_QDCOUNT(wire) == 0 && (LDNS_RCODE_WIRE(wire) == LDNS_RCODE_FORMERR ||
					LDNS_RCODE_WIRE(wire) == LDNS_RCODE_NOTIMPL))
		return PACKET_NO_EDNS;
	verdict = packet_check_question(query, wire, len, &pos);
	if (verdict == PACKET_FOREIGN ||
	    (verdict == PACKET_OTHER_CASE && !stream && !query->any_case))
		return verdict;
	if (LDNS_TC_WIRE(wire) && !stream)
		return PACKET_TRUNCATED;
	return packet_read_code(arena, query, wire, len, pos, out);
}
