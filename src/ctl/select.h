/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CTL_SELECT_H
#define BLEY_CTL_SELECT_H

#include "base/arena.h"
#include "base/ipaddr.h"
#include "ctl/ctl.h"
#include "store/store.h"

/* From what a person writes to what the database is asked. Each returns false where the text is no
 * such thing, after one line about it that begins with the command's name. */

/* The options that select rows: NULL where not given. */
struct selection {
	const char *status, *ip, *sender, *recipient, *since, *limit;
};

/* The store's filter; the network lies in *net. */
bool select_filter(struct arena *arena, const char *command, const struct selection *selection,
		   struct ipnet *net, struct store_filter *out);

/* One word: a client's address or network, or a mail address (sender or recipient). */
bool select_word(struct arena *arena, const char *command, const char *word, struct ipnet *net,
		 struct store_filter *out);

/* `24h`, `7d`, `2026-11-24`, `2026-11-24 10:15`: how long ago that is. */
bool select_since(const char *command, const char *text, int64_t *age_us);

/* A whole number from min on. */
bool select_number(const char *command, const char *what, const char *text, int64_t min,
		   int64_t *out);

/* A tuple as the database has it, from a client's address and two mail addresses, `<>` being the
 * null sender. ip: IPADDR_TEXT_SIZE bytes. */
bool select_tuple(struct arena *arena, const char *command, char **words, char *ip,
		  struct store_tuple *out);

/* An address without the brackets that mail commands have around it. */
const char *select_bare(struct arena *arena, const char *address);

const char *select_status_name(int status);

#endif
