/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_POLICY_SETTINGS_H
#define BLEY_POLICY_SETTINGS_H

#include <stdbool.h>

struct conf;

/* What the command line says. */
struct settings_options {
	const char *conf_file; /* NULL: the default */
	bool verbose;
	bool debug;
};

/* Reads the configuration, opens the log that it names, and logs what is wrong with it. As
 * conf_load(), never fails. */
void settings_load(const struct settings_options *options, struct conf *conf);

#endif
