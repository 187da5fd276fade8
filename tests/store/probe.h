/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_STORE_PROBE_H
#define TESTS_STORE_PROBE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"

/* What cases.c and drive.c share: the store that the Python test has made ready (storetest.py). */

static inline const char *probe_setting(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static inline struct store_config probe_config(void)
{
	return (struct store_config){
	    .type = probe_setting("BLEY_STORE_TYPE"),
	    .host = probe_setting("BLEY_STORE_HOST"),
	    .port = atoi(probe_setting("BLEY_STORE_PORT")),
	    .user = probe_setting("BLEY_STORE_USER"),
	    .password = probe_setting("BLEY_STORE_PASSWORD"),
	    .name = probe_setting("BLEY_STORE_NAME"),
	    .tls = probe_setting("BLEY_STORE_TLS"),
	    .timeout_ms = atoi(probe_setting("BLEY_STORE_TIMEOUT_MS")),
	};
}

static inline const struct store_driver *probe_driver(const struct store_config *config)
{
	char error[1024];
	const struct store_driver *found = store_driver(config->type, error, sizeof(error));

	if (!found) {
		printf("no driver: %s\n", error);
		exit(1);
	}
	return found;
}

#endif
