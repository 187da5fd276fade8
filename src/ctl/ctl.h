/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CTL_CTL_H
#define BLEY_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"
#include "store/store.h"

/*
 * bleyctl's commands: one file a command, each one row of the table in bleyctl.c. The frame reads
 * the command line by the command's own table, so that parsing, `--help` and the manual speak of
 * the same options. Results go to standard output, complaints to standard error.
 */

/* What a command returns: bleyctl's exit status. */
enum ctl_status {
	CTL_OK = 0,
	CTL_WRONG = 1, /* something is wrong, or could not be done; said on standard error */
	CTL_USAGE = 2  /* used wrongly */
};

/* What the commands share. */
struct ctl {
	const char *conf_file; /* NULL: the default file */
	bool loaded;
	struct conf conf; /* through ctl_load() or ctl_conf() */
};

#define CTL_OPTIONS_MAX 16 /* of one command */

struct ctl_option {
	const char *name;     /* without the dashes */
	const char *argument; /* what it takes, as the help shows it (`N`), or NULL */
	const char *help;     /* a few words */
};

/* A command line, read. Every command also takes --config and --help, which the frame does. */
struct ctl_args {
	/* In the order of the command's table: NULL where not given; "" for one without an
	 * argument. */
	const char *option[CTL_OPTIONS_MAX];
	int count; /* of the arguments that are no options; within the command's bounds */
	char **item;
};

struct ctl_command {
	const char *name;
	const char *arguments; /* as the help shows them (`IP SENDER RECIPIENT`), or NULL */
	int arguments_min, arguments_max;
	const char *summary;		  /* one line, begins in lower case */
	const struct ctl_option *options; /* ends with a row of NULLs; or NULL */
	enum ctl_status (*run)(struct ctl *ctl, const struct ctl_args *args);
};

extern const struct ctl_command ctl_allow, ctl_check, ctl_config, ctl_forget, ctl_import, ctl_init,
    ctl_list, ctl_purge, ctl_show, ctl_spf, ctl_stats, ctl_test, ctl_watch, ctl_why;

/* Reads a command's line, argv[0] its name, and runs it. */
enum ctl_status ctl_run(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv);

/* The settings, read once; nothing is printed. */
struct conf *ctl_load(struct ctl *ctl);

/* The settings, their problems told on standard error. NULL where the file could not be read. */
struct conf *ctl_conf(struct ctl *ctl);

/* From here on this is no longer root, where a SQLite database's folder is another user's. False,
 * with the reason told, where that fails. */
bool ctl_give_up_root(const struct conf *conf);

/*
 * Opens the database, after giving up root. NULL, with the reason told, where that fails; else
 * *store is the caller's, to be closed by the driver. The second one makes and upgrades nothing,
 * and *result tells where it fails why. The third one leaves root what it is, as what is imported,
 * and the whitelist that clients are written to, may be other users'; a dry run makes nothing.
 */
const struct store_driver *ctl_store(struct ctl *ctl, struct store **store);
const struct store_driver *ctl_store_as_it_is(struct ctl *ctl, struct store **store,
					      enum store_result *result);
const struct store_driver *ctl_store_for_import(struct ctl *ctl, bool dry_run,
						struct store **store);

/* Tells what went wrong with the database; CTL_OK where nothing did and all output was written. */
enum ctl_status ctl_finish(const struct store_driver *driver, struct store *store,
			   enum store_result result);

/* One line on standard error, `bleyctl: ` before it. Control characters are replaced. */
void ctl_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Likewise, of a wrong command line: one line that leads to the command's help ("": bleyctl's). The
 * second one is for what getopt_long(3), asked to be silent, returned as `:` or `?`. */
enum ctl_status ctl_misused(const char *command, const char *what, const char *word);
enum ctl_status ctl_wrong_option(const char *command, int option, char **argv);

void ctl_release(struct ctl *ctl);

#endif
