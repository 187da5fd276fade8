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
#include "base/mem.h"
#include "base/module.h"
#include "base/systemd.h"
#include "conf/conf.h"
#include "policy/acceptor.h"
#include "policy/handler.h"
#include "policy/sandbox.h"
#include "policy/settings.h"

#include "config.h"

#define EXIT_USAGE 2
#define EXIT_ROOT 77	   /* EX_NOPERM, sysexits(3) */
#define SYSTEMD_FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define SOCKETS_MOST 16
#define OPTION_ALLOW_ROOT 256 /* behind all letters */

static const char usage[] =
    "Usage: bley [-c FILE] [-d] [-v]\n"
    "Greylisting policy service for Postfix and Exim. Reads policy requests on standard\n"
    "input and answers on standard output; started per connection by systemd, xinetd,\n"
    "inetd or Postfix's spawn(8).\n"
    "\n"
    "  -c, --config FILE  configuration (default: " BLEY_SYSCONFDIR "/bley/bley.conf)\n"
    "  --allow-root       run as root all the same\n"
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
static int parse_options(int argc, char **argv, struct settings_options *out, bool *allow_root)
{
	static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
					      {"allow-root", no_argument, NULL, OPTION_ALLOW_ROOT},
					      {"debug", no_argument, NULL, 'd'},
					      {"verbose", no_argument, NULL, 'v'},
					      {"version", no_argument, NULL, 'V'},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "c:dvVh", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			out->conf_file = optarg;
			break;
		case OPTION_ALLOW_ROOT:
			*allow_root = true;
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

/*
 * A fault in a library that reads what strangers send would be root's. The log that the settings
 * name is not opened: a file made by root would be out of reach for the right user.
 */
static int refuse_root(void)
{
	static const char reason[] =
	    "not as root: start it as a user of its own, such as bley (systemd: User=, xinetd: "
	    "user =, "
	    "inetd: the fifth field, master.cf: spawn user=), or add --allow-root";

	log_message(LOG_LEVEL_ERROR, "%s", reason);
	fprintf(stderr, "bley: %s\n", reason);
	return EXIT_ROOT;
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
 * How many sockets systemd passes, as file descriptors from 3 on: where its service does not say
 * StandardInput=socket, or accepts by itself. 0: none; -1: they cannot be taken, with the cause
 * logged.
 */
static int systemd_sockets(void)
{
	const struct systemd_module *systemd;
	char error[512];

	if (!getenv("LISTEN_FDS"))
		return 0;
	systemd = module_load("systemd", error, sizeof(error));
	if (systemd)
		return systemd->listen_fds(1);
	log_message(LOG_LEVEL_ERROR, "systemd passes a socket, but %s", error);
	return -1;
}

static int serve_connection(struct conf *conf, int in, int out)
{
	struct handler *handler = handler_new(conf);
	int status;

	handler_load(handler);
	sandbox_enter(conf);
	status = handler_serve(handler, in, out);
	handler_free(handler);
	conf_release(conf);
	free(conf);
	return status;
}

/* Serves what the super-server hands over: a connection, or sockets to accept connections from. */
static int run(const struct settings_options *options, struct conf *conf)
{
	int fds[SOCKETS_MOST], count = systemd_sockets();

	if (count < 0)
		return EXIT_FAILURE;
	if (count == 0 && acceptor_is_listening(STDIN_FILENO))
		return acceptor_run(options, conf, (const int[]){STDIN_FILENO}, 1);
	if (count == 0)
		return serve_connection(conf, STDIN_FILENO, STDOUT_FILENO);
	for (int i = 0; i < count && i < SOCKETS_MOST; i++)
		fds[i] = SYSTEMD_FIRST_FD + i;
	if (acceptor_is_listening(fds[0]))
		return acceptor_run(options, conf, fds,
				    (size_t)(count < SOCKETS_MOST ? count : SOCKETS_MOST));
	return serve_connection(conf, fds[0], fds[0]);
}

int main(int argc, char **argv)
{
	struct settings_options options = {.conf_file = NULL};
	bool allow_root = false;
	struct conf *conf;
	int status;

	guard_stderr();
	status = parse_options(argc, argv, &options, &allow_root);
	if (status >= 0)
		return status;
	if (geteuid() == 0 && !allow_root)
		return refuse_root();
	set_signals();
	conf = mem_alloc(sizeof(*conf));
	settings_load(&options, conf);
	status = run(&options, conf);
	log_close();
	return status;
}
