/* SPDX-License-Identifier: BSD-3-Clause */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

#include "config.h"

/* In the order of the alphabet, as the help prints them. */
static const struct ctl_command *const commands[] = {
    &ctl_allow, &ctl_check, &ctl_config, &ctl_forget, &ctl_import, &ctl_init,  &ctl_list,
    &ctl_purge, &ctl_show,  &ctl_spf,	 &ctl_stats,  &ctl_test,   &ctl_watch, &ctl_why,
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static enum ctl_status print_help(void)
{
	fputs("Usage: bleyctl [-c FILE] COMMAND [options] [arguments]\n"
	      "The administrator's tool of bley, the greylisting policy service.\n"
	      "\n"
	      "  -c, --config FILE  configuration (default: " BLEY_SYSCONFDIR "/bley/bley.conf)\n"
	      "  -V, --version      print the version and exit\n"
	      "  -h, --help         print this and exit\n"
	      "\n"
	      "Commands ('bleyctl COMMAND --help' tells more):\n",
	      stdout);
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\nSee bleyctl(8), bley.conf(5) and bley(8).\n", stdout);
	return fflush(stdout) ? CTL_WRONG : CTL_OK;
}

static enum ctl_status print_version(void)
{
	puts("bleyctl " BLEY_VERSION);
	return fflush(stdout) ? CTL_WRONG : CTL_OK;
}

static enum ctl_status run_command(struct ctl *ctl, int argc, char **argv)
{
	if (argc == 0)
		return ctl_misused("", "the command is missing", "");
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[0], commands[i]->name))
			return ctl_run(ctl, commands[i], argc, argv);
	return ctl_misused("", "there is no command ", argv[0]);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
					      {"version", no_argument, NULL, 'V'},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	struct ctl ctl = {.conf_file = NULL};
	enum ctl_status status;
	int option;

	/* up to the command only: what follows is the command's */
	while ((option = getopt_long(argc, argv, "+:c:Vh", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			ctl.conf_file = optarg;
			break;
		case 'V':
			return (int)print_version();
		case 'h':
			return (int)print_help();
		default:
			return (int)ctl_wrong_option("", option, argv);
		}
	}
	status = run_command(&ctl, argc - optind, argv + optind);
	ctl_release(&ctl);
	return (int)status;
}
