/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CTL_DUMP_H
#define BLEY_CTL_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* A Berkeley DB file, read through db_dump(1): bley is not linked with libdb. */
struct dump {
	FILE *stream;
	pid_t pid;
	/* the last record, as text */
	char *key, *value;
	size_t key_size, value_size;
};

/* False with the reason told. */
bool dump_open(struct dump *dump, const char *file);

/* False at the end. */
bool dump_next(struct dump *dump);

/* Whether db_dump had nothing to complain about. */
bool dump_close(struct dump *dump);

#endif
