/* SPDX-License-Identifier: BSD-3-Clause */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "base/clock.h"
#include "ctl/table.h"

#define LAG_US (2 * US_PER_S) /* rows are written up to a second after the decision */
#define LOOK_EVERY_MS 1000
#define SHOWN 64 /* decisions on a screen at most */
#define ACTIONS 8
#define ROWS_AROUND 3 /* lines of a screen that are no decisions */

/* What every terminal knows (ECMA-48, DEC). Lines that are too long are cut by the terminal, which
 * knows how wide characters are. */
#define HOME "\033[H"
#define LINE_END "\033[K\n"
#define SCREEN_END "\033[J"
#define NO_WRAP "\033[?7l\033[2J"
#define WRAP "\033[?7h"

/* What is seen so far. */
struct watch {
	int64_t began_us, last_us;
	bool screen;
	struct {
		char name[24];
		int64_t count;
	} actions[ACTIONS];
	char *lines[SHOWN]; /* a ring */
	size_t next;
	struct arena arenas[SHOWN];
};

static void count_action(struct watch *w, const char *action)
{
	int i = 0;

	while (i < ACTIONS - 1 && *w->actions[i].name && strcmp(w->actions[i].name, action) != 0)
		i++;
	if (!*w->actions[i].name)
		snprintf(w->actions[i].name, sizeof(w->actions[i].name), "%s",
			 i < ACTIONS - 1 ? action : "others");
	w->actions[i].count++;
}

static bool take(void *context, const struct store_log_row *row, int64_t time_us)
{
	struct watch *w = context;
	struct arena *arena = &w->arenas[w->next];

	arena_reset(arena);
	w->last_us = time_us;
	count_action(w, table_text(arena, row->action));
	w->lines[w->next] = arena_printf(
	    arena, "%s  %-15s  %s  %s -> %s", table_time(arena, time_us),
	    table_text(arena, row->action), table_text(arena, row->tuple.ip),
	    table_address(arena, row->tuple.sender), table_address(arena, row->tuple.recipient));
	if (!w->screen)
		puts(w->lines[w->next]);
	w->next = (w->next + 1) % SHOWN;
	return !ferror(stdout);
}

static void draw(const struct watch *w)
{
	double minutes = (double)(table_now() - w->began_us) / (60.0 * (double)US_PER_S);
	struct winsize size;
	int rows, first;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row)
		size.ws_row = 24;
	rows = size.ws_row > ROWS_AROUND ? size.ws_row - ROWS_AROUND : 1;
	first = rows < SHOWN ? SHOWN - rows : 0;
	fputs(HOME "decisions a minute (q ends):", stdout);
	for (int i = 0; i < ACTIONS && *w->actions[i].name; i++)
		printf("  %s %.1f", w->actions[i].name,
		       minutes > 0 ? (double)w->actions[i].count / minutes : 0.0);
	fputs(LINE_END LINE_END, stdout);
	for (int i = first; i < SHOWN; i++) {
		const char *line = w->lines[(w->next + (size_t)i) % SHOWN];

		if (line)
			printf("%s" LINE_END, line);
	}
	fputs(SCREEN_END, stdout);
}

static struct termios saved; /* how the terminal was; signals may come at any time */

static void screen_end(void)
{
	fputs(WRAP, stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* Only what a signal handler may call. What is awaited may take long: the signal ends it. In the
 * background the terminal is the shell's, and would stop whoever sets it. */
static void end_by_signal(int number)
{
	if (tcgetpgrp(STDIN_FILENO) == getpgrp()) {
		ssize_t written = write(STDOUT_FILENO, WRAP "\n", sizeof(WRAP "\n") - 1);

		(void)written; /* a terminal that is gone needs none of this */
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	}
	raise(number);
}

/* Ends waiting for a key. */
static void note_resize(int number)
{
	(void)number;
}

/* Keys one by one and unseen; whatever ends bleyctl, the terminal is as before. */
static bool screen_begin(void)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction end = {.sa_handler = end_by_signal,
				.sa_flags = (int)SA_RESETHAND | SA_NODEFER};
	struct sigaction resize = {.sa_handler = note_resize, .sa_flags = SA_RESTART};
	struct termios keys;

	if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &saved))
		return false;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sigaction(ends[i], &end, NULL);
	sigaction(SIGWINCH, &resize, NULL);
	keys = saved;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &keys);
	fputs(NO_WRAP, stdout);
	return true;
}

/* Waits until it is time to look again. False: `q` was typed. */
static bool wait_key(bool screen)
{
	struct pollfd pfd = {.fd = screen ? STDIN_FILENO : -1, .events = POLLIN};
	char key = 0;

	if (poll(&pfd, 1, LOOK_EVERY_MS) <= 0 || !screen)
		return true;
	return read(STDIN_FILENO, &key, 1) == 1 && key != 'q';
}

static enum store_result look(const struct store_driver *driver, struct store *store,
			      struct watch *w)
{
	const struct store_filter all = {.status = STORE_UNKNOWN};
	enum store_result result;

	do {
		result = driver->read_log(store, &all, w->last_us, LAG_US, take, w);
		if (result == STORE_OK && w->screen)
			draw(w);
		if (fflush(stdout))
			break;
	} while (result == STORE_OK && wait_key(w->screen));
	return result;
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	int64_t now_us = table_now();
	struct watch w = {.began_us = now_us, .last_us = now_us - LAG_US};
	enum store_result result;
	struct store *store;
	const struct store_driver *driver = ctl_store_as_it_is(ctl, &store, &result);

	(void)args;
	if (!driver)
		return CTL_WRONG;
	w.screen = screen_begin();
	result = look(driver, store, &w);
	if (w.screen)
		screen_end();
	for (int i = 0; i < SHOWN; i++)
		arena_release(&w.arenas[i]);
	return ctl_finish(driver, store, result);
}

const struct ctl_command ctl_watch = {
    .name = "watch",
    .summary = "show decisions as they are made",
    .run = run,
};
