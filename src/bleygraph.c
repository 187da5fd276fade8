/* SPDX-License-Identifier: BSD-3-Clause */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/text.h"
#include "conf/conf.h"
#include "graph/graph.h"
#include "policy/storage.h"
#include "store/store.h"

#include "config.h"

#define ERROR_SIZE 1024
#define UMASK 022

enum status { OK = 0, WRONG = 1, USAGE = 2 };

struct options {
	const char *conf_file, *destdir;
	bool quiet;
};

__attribute__((format(printf, 1, 2))) static enum status complain(const char *format, ...)
{
	struct arena arena = ARENA_INIT;
	const char *text;
	va_list ap;

	va_start(ap, format);
	text = arena_vprintf(&arena, format, ap);
	va_end(ap);
	fprintf(stderr, "bleygraph: %s\n", text_clean(&arena, text, strlen(text)));
	arena_release(&arena);
	return WRONG;
}

static enum status print_help(void)
{
	fputs("Usage: bleygraph [-c FILE] [-d DESTDIR] [-q]\n"
	      "Draws what bley decided, as pictures and a page for the web.\n"
	      "\n"
	      "  -c, --config FILE      configuration (default: " BLEY_SYSCONFDIR
	      "/bley/bley.conf)\n"
	      "  -d, --destdir DESTDIR  where to write; made where it is missing\n"
	      "  -q, --quiet            print nothing unless something is wrong\n"
	      "  -V, --version          print the version and exit\n"
	      "  -h, --help             print this and exit\n"
	      "\nSee bleygraph(1) and bley.conf(5).\n",
	      stdout);
	return fflush(stdout) ? WRONG : OK;
}

static enum status print_version(void)
{
	puts("bleygraph " BLEY_VERSION);
	return fflush(stdout) ? WRONG : OK;
}

static enum status misused(void)
{
	fputs("bleygraph: try 'bleygraph --help'\n", stderr);
	return USAGE;
}

static bool collect(const struct conf *conf, const struct store_config *config,
		    struct graph_data *data)
{
	const struct store_driver *driver;
	enum store_result result;
	struct store *store;
	char error[ERROR_SIZE];

	driver = store_driver(config->type, error, sizeof(error));
	if (!driver || !storage_be_owner(config, false, error, sizeof(error)) ||
	    driver->open(config, &store, error, sizeof(error)) != STORE_OK) {
		complain("%s", error);
		return false;
	}
	result = graph_collect(driver, store, conf, (int64_t)time(NULL), data);
	if (result != STORE_OK)
		complain("%s", driver->error(store));
	driver->close(store);
	return result == STORE_OK;
}

static const char *source_of(struct arena *arena, const struct store_config *config)
{
	if (!strcmp(config->type, "sqlite3"))
		return arena_printf(arena, "bley_log in %s", config->name);
	return arena_printf(arena, "bley_log in %s on %s", config->name, config->host);
}

/* Whoever stops it while it draws finds no half-made files. What is ignored (nohup) stays so. */
static void catch_signals(void (*handler)(int))
{
	static const int numbers[] = {SIGHUP, SIGINT, SIGTERM};
	struct sigaction action = {.sa_handler = handler}, before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!sigaction(numbers[i], NULL, &before) && before.sa_handler != SIG_IGN)
			sigaction(numbers[i], &action, NULL);
}

static enum status draw(struct conf *conf, const struct options *options)
{
	const char *destdir = options->destdir ? options->destdir : conf->destdir;
	struct strbuf script = STRBUF_INIT, page = STRBUF_INIT;
	enum status status = OK;
	struct store_config config;
	struct graph_data data;
	char error[ERROR_SIZE];

	store_config_from(conf, &config, &conf->arena);
	config.must_exist = true;
	if (!collect(conf, &config, &data))
		return WRONG;
	storage_be_root(); /* whose destdir may be */
	graph_script(&data, &script);
	graph_page(&data, source_of(&conf->arena, &config), &page);
	catch_signals(graph_stop);
	if (!graph_write(destdir, &script, &page, error, sizeof(error)))
		status = graph_stopped() ? WRONG : complain("%s", error);
	else if (!options->quiet)
		printf("%d pictures and index.html written to %s\n", GRAPH_PICTURES, destdir);
	catch_signals(SIG_DFL);
	if (graph_stopped())
		raise(graph_stopped());
	strbuf_release(&script);
	strbuf_release(&page);
	return status || !fflush(stdout) ? status : WRONG;
}

static enum status run(const struct options *options)
{
	enum status status = WRONG;
	struct conf conf;

	conf_load(&conf, options->conf_file);
	for (const struct conf_problem *p = conf.problems; p; p = p->next)
		complain("%s: %s", p->severity == CONF_ERROR ? "error" : "warning", p->message);
	if (conf.usable)
		status = draw(&conf, options);
	conf_release(&conf);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"config", required_argument, NULL, 'c'}, {"destdir", required_argument, NULL, 'd'},
	    {"quiet", no_argument, NULL, 'q'},	      {"version", no_argument, NULL, 'V'},
	    {"help", no_argument, NULL, 'h'},	      {NULL, 0, NULL, 0}};
	static char name[] = "bleygraph";
	struct options options = {.conf_file = NULL};
	int option;

	argv[0] = name; /* getopt(3) begins its complaints with it */
	signal(SIGPIPE, SIG_IGN);
	umask(UMASK);
	while ((option = getopt_long(argc, argv, "c:d:qVh", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			options.conf_file = optarg;
			break;
		case 'd':
			options.destdir = optarg;
			break;
		case 'q':
			options.quiet = true;
			break;
		case 'V':
			return (int)print_version();
		case 'h':
			return (int)print_help();
		default:
			return (int)misused();
		}
	}
	if (optind < argc) {
		complain("unexpected argument '%s'", argv[optind]);
		return (int)misused();
	}
	return (int)run(&options);
}
