/* SPDX-License-Identifier: BSD-3-Clause */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/select.h"

enum { DRY_RUN, YES };

static const struct ctl_option options[] = {
    [DRY_RUN] = {"dry-run", NULL, "count only, forget nothing"},
    [YES] = {"yes", NULL, "do not ask"},
    {NULL, NULL, NULL},
};

static void print_count(const struct store_forgotten *sum, const char *what)
{
	printf("%lld triplets and %lld cached clients %s\n", (long long)sum->tuples,
	       (long long)sum->clients, what);
}

/* All words, one after the other. */
static enum store_result forget_all(const struct store_driver *driver, struct store *store,
				    const struct store_filter *filters, int count, bool dry_run,
				    struct store_forgotten *sum)
{
	struct store_forgotten one = {.tuples = 0};
	enum store_result result = STORE_OK;

	*sum = one;
	for (int i = 0; i < count && result == STORE_OK; i++) {
		result = driver->forget(store, &filters[i], dry_run, &one);
		if (result == STORE_OK) {
			sum->tuples += one.tuples;
			sum->clients += one.clients;
		}
	}
	return result;
}

static bool confirmed(void)
{
	char line[16];

	fputs("Forget them? [y/N] ", stdout);
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static enum ctl_status forget(struct ctl *ctl, const struct ctl_args *args,
			      const struct store_filter *filters)
{
	bool dry_run = args->option[DRY_RUN] != NULL, yes = args->option[YES] != NULL;
	struct store_forgotten sum;
	enum store_result result;
	struct store *store;
	const struct store_driver *driver = ctl_store_as_it_is(ctl, &store, &result);

	if (!driver)
		return CTL_WRONG;
	result = forget_all(driver, store, filters, args->count, true, &sum);
	if (result != STORE_OK)
		return ctl_finish(driver, store, result);
	if (dry_run || !yes)
		print_count(&sum, dry_run ? "would be forgotten" : "are known");
	if (dry_run || sum.tuples + sum.clients == 0 || (!yes && !confirmed())) {
		if (yes)
			print_count(&sum, "forgotten");
		return ctl_finish(driver, store, result);
	}
	result = forget_all(driver, store, filters, args->count, false, &sum);
	if (result == STORE_OK)
		print_count(&sum, "forgotten");
	return ctl_finish(driver, store, result);
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	struct arena arena = ARENA_INIT;
	size_t count = (size_t)args->count;
	struct store_filter *filters = arena_alloc(&arena, count * sizeof(*filters));
	struct ipnet *nets = arena_alloc(&arena, count * sizeof(*nets));
	enum ctl_status status = CTL_USAGE;
	int i = 0;

	if (!args->option[DRY_RUN] && !args->option[YES] && !isatty(STDIN_FILENO))
		ctl_complain("forget: nobody can be asked here: --yes or --dry-run");
	else
		while (i < args->count &&
		       select_word(&arena, "forget", args->item[i], &nets[i], &filters[i]))
			i++;
	if (i == args->count)
		status = forget(ctl, args, filters);
	arena_release(&arena);
	return status;
}

const struct ctl_command ctl_forget = {
    .name = "forget",
    .arguments = "IP|NET|ADDRESS...",
    .arguments_min = 1,
    .arguments_max = INT_MAX,
    .summary = "forget clients, senders or recipients",
    .options = options,
    .run = run,
};
