/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_SANDBOX_H
#define BLEY_POLICY_SANDBOX_H

#include <stdbool.h>

struct arena;
struct conf;

/*
 * Gives up for good what deciding about mail does not need (`sandbox = yes`): files but the
 * database's, the log's and what libraries read; TCP ports but those of DNS and the database; and
 * the system calls that seccomp.h tells of. Whitelists are to be loaded already. What this kernel
 * cannot do is left out, so that mail flows; what was done and what was not is logged for
 * debugging, and anything out of the ordinary as a warning. At most once in a process; *conf need
 * not stay.
 */
void sandbox_enter(const struct conf *conf);

/*
 * Whether the sandbox no longer fits: a file or folder that it lets this process use has been
 * replaced, and the new one is out of reach. Then a fresh process should take over. Cheap: it looks
 * once a second at most.
 */
bool sandbox_outlived(void);

/* What sandbox_enter() would do here, in words, in the arena. */
const char *sandbox_describe(const struct conf *conf, struct arena *arena);

#endif
