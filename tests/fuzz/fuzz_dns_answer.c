/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a name server sends us. The first byte says how to take the rest (FUZZ_*), the second which
 * type is asked for: a packet with the query's id and question put in, so that mutations reach what
 * lies behind the checks; a packet as it is; or a name that somebody wants to ask.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "dns/packet.h"
#include "fuzz.h"

#define FUZZ_RAW 1
#define FUZZ_STREAM 2
#define FUZZ_ANY_CASE 4
#define FUZZ_NAME 8
#define FUZZ_OPTIONS 2 /* bytes in front */
#define FUZZ_HEADER 12
#define FUZZ_QUESTION_TAIL 4 /* type and class */

/* Reads every byte, so that a sanitizer sees one that is not there. */
static void fuzz_touch(const struct dns_record *record)
{
	size_t sum = 0;

	for (size_t i = 0; i < record->len; i++)
		sum += record->data[i];
	fuzz_require(sum <= record->len * UINT8_MAX);
}

static void fuzz_check_record(enum dns_type type, const struct dns_record *record)
{
	fuzz_require(record->data != NULL);
	fuzz_require(type != DNS_A || record->len == 4);
	fuzz_require(type != DNS_AAAA || record->len == 16);
	fuzz_require((type != DNS_MX && type != DNS_PTR) ||
		     record->len == strlen((const char *)record->data));
	fuzz_touch(record);
}

static void fuzz_check_answer(const struct packet_query *query, enum packet_verdict verdict,
			      const struct packet_answer *answer)
{
	if (verdict == PACKET_FAILED)
		fuzz_require(answer->status == DNS_SERVFAIL || answer->status == DNS_REFUSED);
	if (verdict != PACKET_ANSWER)
		return;
	fuzz_require(answer->status == DNS_OK || answer->status == DNS_NXDOMAIN ||
		     answer->status == DNS_NODATA);
	fuzz_require((answer->status == DNS_OK) == (answer->count > 0));
	fuzz_require(answer->count <= PACKET_RECORDS_MOST);
	for (size_t i = 0; i < answer->count; i++)
		fuzz_check_record(query->type, &answer->records[i]);
}

static void fuzz_packet(struct packet_query *query, unsigned options, const uint8_t *data,
			size_t size)
{
	size_t question = query->name_len + FUZZ_QUESTION_TAIL;
	struct arena arena = ARENA_INIT;
	struct packet_answer answer = {.count = 0};
	unsigned char *wire;
	bool fill = !(options & FUZZ_RAW) && size >= FUZZ_HEADER;
	size_t len = size + (fill ? question : 0);

	/* Of exactly this size, so that a sanitizer sees a read behind its end. */
	wire = malloc(len > 0 ? len : 1);
	fuzz_require(wire != NULL);
	if (!fill) {
		memcpy(wire, data, size);
	} else {
		memcpy(wire, data, FUZZ_HEADER);
		wire[0] = (unsigned char)(query->id >> 8);
		wire[1] = (unsigned char)query->id;
		memcpy(wire + FUZZ_HEADER, query->name, query->name_len);
		memcpy(wire + FUZZ_HEADER + query->name_len,
		       (unsigned char[]){0, (unsigned char)query->type, 0, 1}, FUZZ_QUESTION_TAIL);
		memcpy(wire + FUZZ_HEADER + question, data + FUZZ_HEADER, size - FUZZ_HEADER);
	}
	fuzz_check_answer(
	    query, packet_read(&arena, query, options & FUZZ_STREAM, wire, len, &answer), &answer);
	free(wire);
	arena_release(&arena);
}

static void fuzz_name(enum dns_type type, const uint8_t *data, size_t size)
{
	char *name = malloc(size + 1);
	unsigned char wire[PACKET_QUERY_MOST];
	struct packet_query query;

	fuzz_require(name != NULL);
	memcpy(name, data, size);
	name[size] = '\0';
	if (packet_query_init(&query, name, type)) {
		struct packet_query other = query;

		fuzz_require(query.name_len <= PACKET_NAME_MOST);
		packet_query_case(&other,
				  (const unsigned char[PACKET_NAME_MOST / 8 + 1]){0xa5, 0x5a});
		fuzz_require(packet_query_equal(&query, &other));
		fuzz_require(packet_write(&query, true, wire) > FUZZ_HEADER + query.name_len);
	}
	free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = {DNS_A, DNS_PTR, DNS_MX, DNS_TXT, DNS_AAAA};
	struct packet_query query;
	enum dns_type type;

	if (size < FUZZ_OPTIONS)
		return 0;
	type = types[data[1] % (sizeof(types) / sizeof(*types))];
	if (data[0] & FUZZ_NAME) {
		fuzz_name(type, data + FUZZ_OPTIONS, size - FUZZ_OPTIONS);
		return 0;
	}
	fuzz_require(packet_query_init(&query, "2.0.0.127.List.example", type));
	query.id = 0x4252;
	query.any_case = data[0] & FUZZ_ANY_CASE;
	fuzz_packet(&query, data[0], data + FUZZ_OPTIONS, size - FUZZ_OPTIONS);
	return 0;
}
