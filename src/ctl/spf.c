/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/spf.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/ipaddr.h"
#include "base/module.h"
#include "ctl/ctl.h"
#include "ctl/select.h"
#include "dns/resolver.h"
#include "policy/resolving.h"
#include "policy/sandbox.h"

#define ERROR_SIZE 512
#define MS_IN_SECOND 1000

enum { IP, SENDER, HELO, ARGUMENTS };
enum { VERBOSE };

static const struct ctl_option options[] = {
    [VERBOSE] = {"verbose", NULL, "print what decided on a second line"},
    {NULL, NULL, NULL},
};

static enum ctl_status print_result(const struct spf_module *module, struct resolver *resolver,
				    const struct spf_query *query, bool verbose)
{
	struct arena arena = ARENA_INIT;
	enum spf_result result;
	const char *why;

	result = module->check(resolver, &arena, query, &why);
	puts(spf_result_name(result));
	if (verbose)
		puts(why);
	arena_release(&arena);
	return fflush(stdout) ? CTL_WRONG : CTL_OK;
}

static enum ctl_status check(const struct conf *conf, const struct spf_query *query, bool verbose)
{
	const struct spf_module *module;
	struct arena arena = ARENA_INIT;
	struct resolver *resolver = NULL;
	enum ctl_status status;
	char error[ERROR_SIZE];

	module = module_load("spf", error, sizeof(error));
	if (module)
		resolver = resolver_from_conf(conf, error, sizeof(error));
	if (!resolver) {
		ctl_complain("%s", error);
		return CTL_WRONG;
	}
	sandbox_enter(conf);
	resolver->ops->begin(resolver, &arena, conf->dns_timeout * MS_IN_SECOND);
	status = print_result(module, resolver, query, verbose);
	resolver->ops->destroy(resolver);
	arena_release(&arena);
	return status;
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	const struct conf *conf = ctl_conf(ctl);
	struct arena arena = ARENA_INIT;
	enum ctl_status status;
	struct ipaddr client;
	struct spf_query query = {
	    .client = &client,
	    .sender = select_bare(&arena, args->item[SENDER]),
	    .helo = args->item[HELO],
	};

	if (!conf) {
		status = CTL_WRONG;
	} else if (!ipaddr_parse(args->item[IP], &client)) {
		ctl_complain("spf: '%s' is no IP address", args->item[IP]);
		status = CTL_USAGE;
	} else {
		query.guess = conf->use_spf_guess ? SPF_GUESS : NULL;
		status = check(conf, &query, args->option[VERBOSE] != NULL);
	}
	arena_release(&arena);
	return status;
}

const struct ctl_command ctl_spf = {
    .name = "spf",
    .arguments = "IP SENDER HELO",
    .arguments_min = ARGUMENTS,
    .arguments_max = ARGUMENTS,
    .summary = "check SPF as bley does, and print the result",
    .options = options,
    .run = run,
};
