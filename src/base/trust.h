/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_TRUST_H
#define BLEY_BASE_TRUST_H

struct arena;
struct stat;

/*
 * Whether everybody may write a file, or put another one in its place: a folder on the way to it is
 * open to all, and not sticky. NULL where not; else what is wrong and how to mend it, in the arena.
 */
const char *trust_doubt(struct arena *arena, const char *path, const struct stat *st);

#endif
