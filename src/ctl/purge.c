/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "store/store.h"

enum { DRY_RUN, QUIET };

static const struct ctl_option options[] = {
    [DRY_RUN] = {"dry-run", NULL, "count only, delete nothing"},
    [QUIET] = {"quiet", NULL, "print nothing unless something is wrong"},
    {NULL, NULL, NULL},
};

static void print_sums(FILE *out, const struct store_purge *purge)
{
	fprintf(out, "%lld triplets, %lld log rows, %lld cached clients",
		(long long)purge->status_rows, (long long)purge->log_rows,
		(long long)purge->cache_rows);
}

/* One line that is written over; only for a terminal. */
static void show_progress(const struct store_purge *purge)
{
	fputc('\r', stderr);
	print_sums(stderr, purge);
	fflush(stderr);
}

static enum ctl_status purge_store(const struct store_driver *driver, struct store *store,
				   struct store_purge *purge, bool quiet)
{
	enum store_result result = driver->purge(store, purge);

	if (purge->progress && purge->status_rows + purge->log_rows + purge->cache_rows > 0)
		fputs("\r\033[K", stderr);
	if (result != STORE_OK) {
		ctl_complain("%s", driver->error(store));
		return CTL_WRONG;
	}
	if (quiet)
		return CTL_OK;
	if (purge->stepped_aside) {
		puts("another purge is at work; nothing done");
	} else {
		print_sums(stdout, purge);
		puts(purge->dry_run ? " would be deleted" : " deleted");
	}
	return fflush(stdout) ? CTL_WRONG : CTL_OK;
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	bool quiet = args->option[QUIET] != NULL, dry_run = args->option[DRY_RUN] != NULL;
	const struct store_driver *driver;
	struct store_purge purge;
	enum store_result result;
	enum ctl_status status;
	struct store *store;

	driver = dry_run ? ctl_store_as_it_is(ctl, &store, &result) : ctl_store(ctl, &store);
	if (!driver)
		return CTL_WRONG;
	purge = (struct store_purge){
	    .status_s = ctl->conf.purge_days,
	    .status_bad_s = ctl->conf.purge_bad_days,
	    .log_s = ctl->conf.purge_log_days,
	    .cache_s = ctl->conf.cache_valid,
	    .dry_run = dry_run,
	    .progress = !quiet && isatty(STDERR_FILENO) ? show_progress : NULL,
	};
	status = purge_store(driver, store, &purge, quiet);
	driver->close(store);
	return status;
}

const struct ctl_command ctl_purge = {
    .name = "purge",
    .summary = "delete what is older than the configuration says",
    .options = options,
    .run = run,
};
