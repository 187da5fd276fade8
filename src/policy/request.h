/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_REQUEST_H
#define BLEY_POLICY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/ipaddr.h"

struct arena;

/* Bounds of one request; what is longer is answered with the failure-free default (DUNNO) and
 * skipped. */
#define REQUEST_MAX_BYTES 65536
#define REQUEST_MAX_ATTRIBUTES 256
#define REQUEST_MAX_ADDRESS 254 /* bytes of a sender or recipient, as the database's columns */

/* The bytes of one connection: what was read and not yet used. */
struct request_input {
	int fd;
	size_t start, end; /* of the unread bytes in buf */
	bool at_end;	   /* end of file seen */
	char buf[REQUEST_MAX_BYTES + 1];
};

/* A policy request (Postfix SMTPD_POLICY_README), its values normalised. Strings live in the arena
 * or the input's buffer until the next request_read(). */
struct request {
	const char *sender;    /* lower case, without +extension, at most REQUEST_MAX_ADDRESS bytes;
				  empty: null sender */
	const char *recipient; /* likewise */
	const char *raw_sender; /* as sent */
	struct ipaddr client;
	char client_address[IPADDR_TEXT_SIZE]; /* the database's form */
	const char *client_name;
	const char *helo_name;
	const char *instance; /* empty where not sent */
	const char *problem;  /* for REQUEST_INCOMPLETE and REQUEST_TOO_LARGE: what is wrong, naming
				 the attribute */
};

enum request_result {
	REQUEST_OK,
	REQUEST_INCOMPLETE, /* to be answered DUNNO: an attribute is missing or no use */
	REQUEST_TOO_LARGE,  /* likewise; the rest of the request was skipped */
	REQUEST_END,	    /* end of file; nothing to answer */
	REQUEST_FAILED	    /* reading failed; errno tells */
};

void request_input_init(struct request_input *in, int fd);

/* Whether a further request, or a part of one, has been read already. */
bool request_input_waiting(const struct request_input *in);

/* A request's values as they were sent: clean text (text.h), not NULL. */
struct request_values {
	const char *sender, *recipient, *client_address, *client_name, *helo_name, *instance;
};

/*
 * Makes a request of values: lower case; addresses as request_address() has them; names without a
 * final dot; an empty client name is `unknown`. False, with out->problem, where the recipient is
 * empty or client_address is none.
 */
bool request_normalise(struct arena *arena, const struct request_values *values,
		       struct request *out);

/* A sender's or recipient's address as requests have it, in the arena: lower case, without what
 * follows a `+` in the local part, cut to REQUEST_MAX_ADDRESS bytes. */
const char *request_address(struct arena *arena, const char *text);

/*
 * Reads the next request (bley(8), `Protocol'; Postfix SMTPD_POLICY_README). Blocks until it is
 * there whole; what interrupts is ignored, as whoever wants it to end shuts the reading side down
 * (handler.h).
 */
enum request_result request_read(struct request_input *in, struct arena *arena,
				 struct request *out);

#endif
