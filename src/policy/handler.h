/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_HANDLER_H
#define BLEY_POLICY_HANDLER_H

#include <signal.h>

struct conf;

/* Set by SIGTERM's handler: end after the answer in hand. */
extern volatile sig_atomic_t handler_stop;

/*
 * Serves one connection to its end: requests from file descriptor in, answers to out. Everything
 * that goes wrong is logged and answered with the failure action; the connection goes on. Returns
 * the program's exit status: 0, or 1 where reading or writing failed.
 */
int handler_run(const struct conf *conf, int in, int out);

#endif
