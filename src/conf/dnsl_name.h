/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CONF_DNSL_NAME_H
#define BLEY_CONF_DNSL_NAME_H

struct arena;

/*
 * The name of a DNS list as it may be shown (logs, answers of bleyctl): the zones of paid lists
 * begin with their customer's private key, and so a first label of 16 or more letters and digits in
 * front of two or more others becomes `KEY`: KEY.zen.dq.spamhaus.net. The zone itself where nothing
 * is hidden, else text in the arena.
 */
const char *dnsl_public_name(struct arena *arena, const char *zone);

#endif
