/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A store, driven line by line from a Python test: an operation on standard input, its result on
 * standard output (`ok`, `not found`, `retry` or `broken`, and a value or the error's words).
 *
 *     user UID          goes on as this user (the module is loaded before)
 *     open, close, init
 *     recall SENDER     -> status and fail_count
 *     insert SENDER     -> status afterwards
 *     again SENDER      -> status afterwards
 *     log SENDER
 *     purge             everything
 *     hammer            inserts and logs without end
 */
#include <grp.h>
#include <unistd.h>

#include "probe.h"

static const struct store_driver *driver;
static struct store_config config;
static struct store *store;

static void tell(enum store_result result, const char *words)
{
	static const char *const names[] = {"ok", "not found", "retry", "broken"};

	printf("%s %s\n", names[result], words);
	fflush(stdout);
}

static struct store_tuple tuple_of(const char *sender)
{
	return (struct store_tuple){"192.0.2.1", sender, "rcpt@example.org"};
}

static void do_user(const char *argument)
{
	uid_t uid = (uid_t)atoi(argument);

	if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
		tell(STORE_BROKEN, "cannot change the user");
	else
		tell(STORE_OK, "");
}

static void do_open(const char *argument)
{
	char error[1024] = "";

	(void)argument;
	tell(driver->open(&config, &store, error, sizeof(error)), error);
}

static void do_init(const char *argument)
{
	struct store_schema_report report;
	char error[1024] = "";

	(void)argument;
	tell(driver->init(&config, &report, error, sizeof(error)), error);
}

static void do_close(const char *argument)
{
	(void)argument;
	driver->close(store);
	store = NULL;
	tell(STORE_OK, "");
}

static void do_recall(const char *sender)
{
	struct store_tuple tuple = tuple_of(sender);
	struct store_memory memory;
	enum store_result result = driver->recall(store, &tuple, 60000000, &memory);
	char words[64];

	if (result == STORE_OK)
		snprintf(words, sizeof(words), "%d %d", memory.status, memory.fail_count);
	tell(result, result == STORE_OK ? words : driver->error(store));
}

static enum store_result remember(const char *sender, enum store_change change, int *status)
{
	struct store_decision decision = {tuple_of(sender), change, STORE_GREY, STORE_CLIENT_BAD};
	bool lost_race;

	return driver->remember(store, &decision, status, &lost_race);
}

static void tell_status(enum store_result result, int status)
{
	char words[64];

	snprintf(words, sizeof(words), "%d", status);
	tell(result, result == STORE_OK ? words : driver->error(store));
}

static void do_insert(const char *sender)
{
	int status = STORE_UNKNOWN;
	enum store_result result = remember(sender, STORE_INSERT, &status);

	tell_status(result, status);
}

static void do_again(const char *sender)
{
	int status = STORE_UNKNOWN;
	enum store_result result = remember(sender, STORE_AGAIN, &status);

	tell_status(result, status);
}

static enum store_result log_one(const char *sender)
{
	struct store_log_row row = {.tuple = tuple_of(sender), .action = "DUNNO"};

	return driver->log(store, &row, 1);
}

static void do_log(const char *sender)
{
	enum store_result result = log_one(sender);

	tell(result, result == STORE_OK ? "" : driver->error(store));
}

static void do_purge(const char *argument)
{
	struct store_purge wanted = {.status_s = 0};
	enum store_result result = driver->purge(store, &wanted);

	(void)argument;
	tell(result, result == STORE_OK ? "" : driver->error(store));
}

static void do_hammer(const char *argument)
{
	enum store_result result = STORE_OK;
	char sender[64];
	int status;

	(void)argument;
	for (int i = 0; result == STORE_OK; i++) {
		snprintf(sender, sizeof(sender), "%ld.%d@example.com", (long)getpid(), i);
		result = remember(sender, STORE_INSERT, &status);
		if (result == STORE_OK)
			result = log_one(sender);
		if (i == 0)
			tell(result, "begun");
	}
	tell(result, driver->error(store));
}

static const struct {
	const char *name;
	void (*run)(const char *argument);
} operations[] = {
    {"user", do_user},	   {"open", do_open},	  {"close", do_close}, {"init", do_init},
    {"recall", do_recall}, {"insert", do_insert}, {"again", do_again}, {"log", do_log},
    {"purge", do_purge},   {"hammer", do_hammer},
};

static void run_line(char *line)
{
	char *argument = line + strcspn(line, " ");

	if (*argument)
		*argument++ = '\0';
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		if (!strcmp(operations[i].name, line)) {
			operations[i].run(argument);
			return;
		}
	}
	tell(STORE_BROKEN, "no such operation");
}

int main(void)
{
	char line[1024];

	config = probe_config();
	driver = probe_driver(&config);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		run_line(line);
	}
	driver->close(store);
	return 0;
}
