/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/whitelist.h"
#include "ctl/ctl.h"
#include "store/store.h"

/* One part of the check, and whether anything in it is wrong. */
static bool report(const char *part, bool right, const char *detail)
{
	printf("%s: %s%s%s\n", part, right ? "ok" : "WRONG", *detail ? ", " : "", detail);
	return right;
}

static bool check_settings(struct ctl *ctl)
{
	const struct conf *conf = ctl_conf(ctl);

	return report("configuration", conf && !conf->errors, ctl->conf.file);
}

static void complain(void *context, const char *file, unsigned line, const char *message)
{
	size_t *complaints = context;

	(*complaints)++;
	if (line)
		ctl_complain("%s:%u: %s", file, line, message);
	else
		ctl_complain("%s: %s", file, message);
}

static bool check_whitelist(const char *part, enum whitelist_kind kind, const char *file)
{
	size_t complaints = 0;
	struct whitelist *list = whitelist_load(kind, file, complain, &complaints);
	char detail[64];

	whitelist_compile(list);
	snprintf(detail, sizeof(detail), "%zu entries", whitelist_count(list));
	whitelist_free(list);
	/* without a file nothing is wrong; it has been told that there is none */
	return report(part, !complaints || access(file, F_OK), detail);
}

static bool check_database(struct ctl *ctl)
{
	struct store *store;
	const struct store_driver *driver = ctl_store(ctl, &store);

	if (driver)
		driver->close(store);
	return report("database", driver != NULL, ctl->conf.dbtype);
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	bool right = check_settings(ctl);
	const struct conf *conf = &ctl->conf;

	(void)args;
	if (conf->usable) {
		right &= check_whitelist("clients", WHITELIST_CLIENTS,
					 conf->whitelist_clients_file);
		right &= check_whitelist("recipients", WHITELIST_RECIPIENTS,
					 conf->whitelist_recipients_file);
		right &= check_database(ctl);
	}
	return fflush(stdout) || !right ? CTL_WRONG : CTL_OK;
}

const struct ctl_command ctl_check = {
    .name = "check",
    .summary = "look for mistakes in configuration, whitelists and database",
    .run = run,
};
