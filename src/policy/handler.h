/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_HANDLER_H
#define BLEY_POLICY_HANDLER_H

#include <stdbool.h>

struct conf;
struct handler;

/*
 * Serves connections, one at a time. What is dear to make (database connection, whitelists,
 * resolver) is made when first needed and lasts from one connection to the next. conf must outlive
 * it.
 */
struct handler *handler_new(const struct conf *conf);
void handler_free(struct handler *h); /* NULL is fine */

/* From now on nothing is written, neither to the database nor about decisions to the log. */
void handler_rehearse(struct handler *h);

/* Reads the whitelists and loads the database's driver; without it the first request does. */
void handler_load(struct handler *h);

/* Makes ahead of the first connection what may be shared by processes forked from this one: the
 * whitelists, expressions compiled, and the database's driver. */
void handler_prepare(struct handler *h);

/* Opens the database ahead of the first connection; a failure is told then and tried again later.
 */
void handler_connect(struct handler *h);

/*
 * Serves one connection to its end: requests from file descriptor in, answers to out (they may be
 * the same). Whatever goes wrong is logged and answered with the failure action, and the connection
 * goes on. Does not close them. Returns the program's exit status: 0, or 1 where reading or writing
 * failed.
 */
int handler_serve(struct handler *h, int in, int out);

/*
 * For SIGTERM: the connection being served ends after the answer in hand; a request that has
 * arrived whole is still answered. Async-signal-safe.
 */
void handler_terminate(int signal_number);

/* Whether handler_terminate() was called. */
bool handler_terminated(void);

#endif
