/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CTL_JSON_H
#define BLEY_CTL_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MOST 8

/* Writes JSON (RFC 8259) as it goes. Keys are plain ASCII of ours; NULL inside an array. */
struct json {
	FILE *out;
	char closing[JSON_DEPTH_MOST];
	unsigned depth;
	bool follows; /* something stands before on this level */
};

#define JSON_INIT(stream) ((struct json){.out = (stream)})

void json_open(struct json *j, const char *key, char bracket); /* `{` or `[` */
void json_close(struct json *j);
void json_int(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);

/* Any bytes: what is no UTF-8 becomes U+FFFD, control characters are escaped. NULL: null. */
void json_text(struct json *j, const char *key, const char *text);

/* Microseconds since 1970 as `2026-11-24T10:15:00Z`. */
void json_time(struct json *j, const char *key, int64_t us);

#endif
