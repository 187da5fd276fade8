/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "ctl/ctl.h"

enum { OPTION_DEFAULTS, OPTION_MDOC };

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	const struct conf *conf;
	bool right = true;

	if (args->option[OPTION_DEFAULTS] && args->option[OPTION_MDOC]) {
		ctl_complain("config: --defaults or --mdoc, not both");
		return CTL_USAGE;
	}
	if (args->option[OPTION_DEFAULTS]) {
		conf_print_example(stdout);
	} else if (args->option[OPTION_MDOC]) {
		conf_print_mdoc(stdout);
	} else {
		conf = ctl_conf(ctl);
		if (!conf)
			return CTL_WRONG;
		conf_print_settings(conf, stdout);
		right = !conf->errors;
	}
	return fflush(stdout) || !right ? CTL_WRONG : CTL_OK;
}

static const struct ctl_option options[] = {
    {"defaults", NULL, "print the example file with every setting's default"},
    {"mdoc", NULL, "print the settings as the manual has them"},
    {NULL, NULL, NULL}};

const struct ctl_command ctl_config = {
    .name = "config",
    .summary = "print the settings as they are in effect",
    .options = options,
    .run = run,
};
