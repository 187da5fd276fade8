/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "policy/storage.h"
#include "store/store.h"

#define ERROR_SIZE 1024

static void print_place(const struct store_config *config)
{
	if (!strcmp(config->type, "sqlite3"))
		printf("%s: ", config->name);
	else
		printf("%s on %s: ", config->name, config->host);
}

static void print_report(const struct store_schema_report *report)
{
	if (report->created)
		printf("new database, schema version %d\n", report->to);
	else if (report->taken_over)
		printf("taken over from the Python daemon, schema version %d; %lld duplicate rows "
		       "folded, %lld times converted to UTC\n",
		       report->to, (long long)report->folded, (long long)report->converted);
	else if (report->from != report->to)
		printf("schema upgraded from version %d to %d\n", report->from, report->to);
	else
		printf("schema version %d, nothing to do\n", report->to);
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	struct conf *conf = ctl_conf(ctl);
	const struct store_driver *driver;
	struct store_schema_report report;
	struct store_config config;
	char error[ERROR_SIZE];

	(void)args;
	if (!conf)
		return CTL_WRONG;
	store_config_from(conf, &config, &conf->arena);
	driver = store_driver(config.type, error, sizeof(error));
	if (driver && !ctl_give_up_root(conf))
		return CTL_WRONG;
	if (!driver || driver->init(&config, &report, error, sizeof(error)) != STORE_OK) {
		ctl_complain("%s", error);
		return CTL_WRONG;
	}
	print_place(&config);
	print_report(&report);
	return fflush(stdout) ? CTL_WRONG : CTL_OK;
}

const struct ctl_command ctl_init = {
    .name = "init",
    .summary = "make or upgrade the database; safe to run again",
    .run = run,
};
