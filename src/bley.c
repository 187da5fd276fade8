/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/module.h"
#include "base/systemd.h"
#include "conf/conf.h"
#include "policy/handler.h"
#include "policy/settings.h"

#include "config.h"

#define EXIT_USAGE 2

static const char usage[] =
    "Usage: bley [-c FILE] [-d] [-v]\n"
    "Greylisting policy service for Postfix and Exim. Reads policy requests on standard\n"
    "input and answers on standard output; started per connection by systemd, xinetd,\n"
    "inetd or Postfix's spawn(8).\n"
    "\n"
    "  -c, --config FILE  configuration (default: " BLEY_SYSCONFDIR "/bley/bley.conf)\n"
    "  -d, --debug        log to standard error, for trying things at a terminal\n"
    "  -v, --verbose      log more\n"
    "  -V, --version      print the version and exit\n"
    "  -h, --help         print this and exit\n"
    "\n"
    "See bley(8), bley.conf(5) and bleyctl(8).\n";

static int print(const char *text)
{
	return fputs(text, stdout) < 0 || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int misused(void)
{
	fputs("bley: try 'bley --help'\n", stderr);
	return EXIT_USAGE;
}

/* Returns -1 to go on, or an exit status. */
static int parse_options(int argc, char **argv, struct settings_options *out)
{
	static const struct option longs[] = {
	    {"config", required_argument, NULL, 'c'}, {"debug", no_argument, NULL, 'd'},
	    {"verbose", no_argument, NULL, 'v'},      {"version", no_argument, NULL, 'V'},
	    {"help", no_argument, NULL, 'h'},	      {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "c:dvVh", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			out->conf_file = optarg;
			break;
		case 'd':
			out->debug = true;
			break;
		case 'v':
			out->verbose = true;
			break;
		case 'V':
			return print("bley " BLEY_VERSION "\n");
		case 'h':
			return print(usage);
		default:
			return misused();
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "bley: too many arguments: %s\n", argv[optind]);
	return misused();
}

/*
 * Where standard error is the connection (inetd hands it over as 0, 1 and 2), nothing that a
 * library or the C library itself might print may reach the mail server.
 */
static void guard_stderr(void)
{
	struct stat in, err;
	int null;

	if (fstat(STDIN_FILENO, &in) || fstat(STDERR_FILENO, &err) || !S_ISSOCK(err.st_mode) ||
	    in.st_ino != err.st_ino || in.st_dev != err.st_dev)
		return;
	null = open("/dev/null", O_WRONLY);
	if (null < 0) {
		close(STDERR_FILENO);
		return;
	}
	dup2(null, STDERR_FILENO);
	close(null);
}

static void set_signals(void)
{
	struct sigaction terminate = {.sa_handler = handler_terminate};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGTERM, &terminate, NULL);
	sigaction(SIGINT, &terminate, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

/*
 * A systemd socket unit whose service does not say StandardInput=socket hands the connection over
 * as file descriptor 3. It becomes standard input and output, so that all else is the same. Returns
 * false with the cause logged.
 */
static bool take_systemd_socket(void)
{
	const struct systemd_module *systemd;
	const int first = 3; /* SD_LISTEN_FDS_START */
	char error[512];
	int count;

	if (!getenv("LISTEN_FDS"))
		return true;
	systemd = module_load("systemd", error, sizeof(error));
	if (!systemd) {
		log_message(LOG_LEVEL_ERROR, "systemd passes a socket, but %s", error);
		return false;
	}
	count = systemd->listen_fds(1);
	if (count <= 0)
		return true;
	if (dup2(first, STDIN_FILENO) < 0 || dup2(first, STDOUT_FILENO) < 0) {
		log_message(LOG_LEVEL_ERROR, "cannot use the socket that systemd passes: %s",
			    strerror(errno));
		return false;
	}
	close(first);
	return true;
}

int main(int argc, char **argv)
{
	struct settings_options options = {.conf_file = NULL};
	struct handler *handler;
	struct conf conf;
	int status;

	guard_stderr();
	status = parse_options(argc, argv, &options);
	if (status >= 0)
		return status;
	set_signals();
	settings_load(&options, &conf);
	status = EXIT_FAILURE;
	if (take_systemd_socket()) {
		handler = handler_new(&conf);
		status = handler_serve(handler, STDIN_FILENO, STDOUT_FILENO);
		handler_free(handler);
	}
	log_close();
	conf_release(&conf);
	return status;
}
