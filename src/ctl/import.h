/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CTL_IMPORT_H
#define BLEY_CTL_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ipaddr.h"
#include "ctl/ctl.h"
#include "store/store.h"

/* What is taken over from another greylisting service, and how far it is. */
struct import {
	const char *source;
	const struct store_driver *driver;
	struct store *store;
	bool dry_run;
	int64_t delay_s;       /* postgrey's --delay */
	const char *whitelist; /* file for clients whose recipients are not known, or NULL */
	struct ipaddr *client; /* postgrey's that have waited */
	size_t clients, room;
	int64_t imported, known;			   /* bley's triplets */
	int64_t listed;					   /* clients without recipients */
	int64_t waiting, unknown_client, abbreviated, bad; /* the source's that are left out */
};

/* Makes a triplet clean, or counts that it would. An empty sender is the null sender. */
enum store_result import_triplet(struct import *import, const struct ipaddr *client, char *sender,
				 char *recipient);

/* Takes over postgrey's files. What goes wrong is told. */
enum ctl_status import_postgrey(struct import *import, const char *directory);

/* The SQL that reads what a source has learned, or NULL where it is none with a database. */
const char *import_query(const char *source);

/* Takes over the rows that this SQL gives; the file NULL or `-` is standard input. */
enum ctl_status import_rows(struct import *import, const char *file);

#endif
