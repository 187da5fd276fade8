/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/ctl.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/text.h"
#include "policy/storage.h"
#include "store/store.h"

#define ERROR_SIZE 1024
#define PATIENCE_MS 60000
#define HELP_COLUMN 22 /* where an option's explanation begins */

/* The options that every command has, by their letters for getopt_long(3). Others are numbered
 * behind all letters. */
#define OPTION_CONFIG 'c'
#define OPTION_HELP 'h'
#define OPTION_FIRST 256

void ctl_complain(const char *format, ...)
{
	struct arena arena = ARENA_INIT;
	const char *text;
	va_list ap;

	va_start(ap, format);
	text = arena_vprintf(&arena, format, ap);
	va_end(ap);
	fprintf(stderr, "bleyctl: %s\n", text_clean(&arena, text, strlen(text)));
	arena_release(&arena);
}

static size_t option_count(const struct ctl_command *command)
{
	size_t count = 0;

	while (command->options && command->options[count].name)
		count++;
	return count;
}

static void print_option(const char *name, const char *argument, const char *help)
{
	int width = printf("  %s%s%s", name, argument ? " " : "", argument ? argument : "");

	printf("%*s%s\n", width < HELP_COLUMN ? HELP_COLUMN - width : 1, "", help);
}

static enum ctl_status print_help(const struct ctl_command *command)
{
	struct arena arena = ARENA_INIT;
	size_t count = option_count(command);

	printf("Usage: bleyctl [-c FILE] %s%s%s%s\n", command->name, count ? " [options]" : "",
	       command->arguments ? " " : "", command->arguments ? command->arguments : "");
	printf("%s: %s\n\n", command->name, command->summary);
	for (size_t i = 0; i < count; i++)
		print_option(arena_printf(&arena, "--%s", command->options[i].name),
			     command->options[i].argument, command->options[i].help);
	print_option("-c, --config", "FILE", "the configuration to use");
	print_option("-h, --help", NULL, "print this and exit");
	arena_release(&arena);
	return fflush(stdout) ? CTL_WRONG : CTL_OK;
}

enum ctl_status ctl_misused(const char *command, const char *what, const char *word)
{
	ctl_complain("%s%s%s%s; see 'bleyctl %s%s--help'", command, *command ? ": " : "", what,
		     word, command, *command ? " " : "");
	return CTL_USAGE;
}

enum ctl_status ctl_wrong_option(const char *command, int option, char **argv)
{
	const char letter[] = {'-', (char)optopt, '\0'};

	if (option == ':')
		return ctl_misused(command, "a value is missing after ", argv[optind - 1]);
	/* a letter may stand in the middle of a word */
	return ctl_misused(command, "there is no option ",
			   optopt > 0 && optopt < OPTION_FIRST ? letter : argv[optind - 1]);
}

/* The command's table as getopt_long(3) wants it. */
static void fill_options(const struct ctl_command *command, struct option longs[])
{
	size_t count = option_count(command);

	for (size_t i = 0; i < count; i++)
		longs[i] = (struct option){
		    .name = command->options[i].name,
		    .has_arg = command->options[i].argument ? required_argument : no_argument,
		    .val = OPTION_FIRST + (int)i,
		};
	longs[count] = (struct option){"config", required_argument, NULL, OPTION_CONFIG};
	longs[count + 1] = (struct option){"help", no_argument, NULL, OPTION_HELP};
	longs[count + 2] = (struct option){NULL, 0, NULL, 0};
}

enum ctl_status ctl_run(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv)
{
	struct option longs[CTL_OPTIONS_MAX + 3];
	struct ctl_args args = {.count = 0};
	int option;

	fill_options(command, longs);
	optind = 0; /* a new scan, also in glibc */
	while ((option = getopt_long(argc, argv, ":c:h", longs, NULL)) != -1) {
		if (option == OPTION_HELP)
			return print_help(command);
		if (option == OPTION_CONFIG)
			ctl->conf_file = optarg;
		else if (option >= OPTION_FIRST)
			args.option[option - OPTION_FIRST] = optarg ? optarg : "";
		else
			return ctl_wrong_option(command->name, option, argv);
	}
	args.count = argc - optind;
	args.item = argv + optind;
	if (args.count < command->arguments_min)
		return ctl_misused(command->name, "too few arguments", "");
	if (args.count > command->arguments_max)
		return ctl_misused(command->name, "too many arguments", "");
	return command->run(ctl, &args);
}

struct conf *ctl_load(struct ctl *ctl)
{
	if (!ctl->loaded)
		conf_load(&ctl->conf, ctl->conf_file);
	ctl->loaded = true;
	return &ctl->conf;
}

struct conf *ctl_conf(struct ctl *ctl)
{
	bool loaded = ctl->loaded;
	struct conf *conf = ctl_load(ctl);

	for (const struct conf_problem *p = loaded ? NULL : conf->problems; p; p = p->next)
		ctl_complain("%s: %s", p->severity == CONF_ERROR ? "error" : "warning", p->message);
	return conf->usable ? conf : NULL;
}

bool ctl_give_up_root(const struct conf *conf)
{
	struct arena arena = ARENA_INIT;
	struct store_config config;
	char error[ERROR_SIZE];
	bool done;

	store_config_from(conf, &config, &arena);
	done = storage_be_owner(&config, true, error, sizeof(error));
	if (!done)
		ctl_complain("%s", error);
	arena_release(&arena);
	return done;
}

static const struct store_driver *open_store(struct ctl *ctl, bool must_exist, bool as_root,
					     struct store **store, enum store_result *result)
{
	const struct store_driver *driver;
	struct conf *conf = ctl_conf(ctl);
	struct store_config config;
	char error[ERROR_SIZE];

	*result = STORE_BROKEN;
	if (!conf)
		return NULL;
	store_config_from(conf, &config, &conf->arena);
	config.must_exist = must_exist;
	/* who looks through whole tables has more time than a mail */
	if (must_exist && config.timeout_ms < PATIENCE_MS)
		config.timeout_ms = PATIENCE_MS;
	driver = store_driver(config.type, error, sizeof(error));
	if (driver && !as_root && !ctl_give_up_root(conf))
		return NULL;
	if (driver)
		*result = driver->open(&config, store, error, sizeof(error));
	if (*result == STORE_OK)
		return driver;
	ctl_complain("%s", error);
	return NULL;
}

const struct store_driver *ctl_store(struct ctl *ctl, struct store **store)
{
	enum store_result result;

	return open_store(ctl, false, false, store, &result);
}

const struct store_driver *ctl_store_for_import(struct ctl *ctl, bool dry_run, struct store **store)
{
	enum store_result result;

	return open_store(ctl, dry_run, true, store, &result);
}

const struct store_driver *ctl_store_as_it_is(struct ctl *ctl, struct store **store,
					      enum store_result *result)
{
	return open_store(ctl, true, false, store, result);
}

enum ctl_status ctl_finish(const struct store_driver *driver, struct store *store,
			   enum store_result result)
{
	bool written = !fflush(stdout) && !ferror(stdout);

	if (result != STORE_OK)
		ctl_complain("%s", driver->error(store));
	driver->close(store);
	return result == STORE_OK && written ? CTL_OK : CTL_WRONG;
}

void ctl_release(struct ctl *ctl)
{
	if (ctl->loaded)
		conf_release(&ctl->conf);
	ctl->loaded = false;
}
