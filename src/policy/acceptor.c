/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* accept4(2), MAP_ANONYMOUS */
#include "policy/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/module.h"
#include "base/systemd.h"
#include "conf/conf.h"
#include "policy/handler.h"
#include "policy/sandbox.h"
#include "policy/session.h"
#include "policy/settings.h"

#define TICK_MS 2000 /* how often the parent looks at the files and tells systemd how it is */
#define CONNECTIONS_MOST 1000 /* a process serves so many and makes room for a fresh one */
#define SPARE_IDLE_MS \
	30000 /* without a connection for so long it ends, unless it is the only one waiting */
#define CRASH_PAUSE_US US_PER_S	 /* after a process that ended badly, or could not be made */
#define START_US INT64_C(200000) /* one that takes longer waits for its database: make another */
#define FAILING_PAUSE_MS 100	 /* no memory or file descriptors to accept a connection with */
#define STOP_WAIT_MS 10000	 /* how long processes may finish the answer in hand */
#define FILES 3			 /* whose change is looked for */
#define SOCKETS_MOST 16

enum slot_state { SLOT_FREE, SLOT_STARTING, SLOT_WAITING, SLOT_SERVING };

/* Shared by all processes; each child writes its own slot, so that one that crashes leaves no count
 * wrong. */
struct board {
	atomic_uint
	    generation; /* of the settings; children of an older one end after their connection */
	atomic_uint connections; /* accepted so far */
	atomic_int state[];	 /* of each slot */
};

struct acceptor {
	const struct settings_options *options;
	struct conf *conf;
	struct handler *handler; /* the parent's, with the whitelists loaded; children inherit it */
	struct stat files[FILES];
	int fds[SOCKETS_MOST];
	size_t fd_count;
	int bell[2]; /* a byte through it: no process is waiting any more */
	struct board *board;
	size_t slots;
	pid_t *pids;			      /* of each slot, 0 where it is free */
	sigset_t quiet, open, serving;	      /* signal masks: working, waiting, a connection */
	int64_t not_before_us;		      /* no process is started earlier */
	int64_t started_us;		      /* when one was started last */
	bool retired;			      /* the processes were told that they are not needed */
	int64_t active_us;		      /* when there was a connection last */
	unsigned connections;		      /* board->connections then */
	const struct systemd_module *systemd; /* NULL: nobody to tell */
};

static volatile sig_atomic_t told_to_stop, told_to_reload;

static void on_signal(int number)
{
	if (number == SIGTERM || number == SIGINT)
		told_to_stop = 1;
	if (number == SIGHUP)
		told_to_reload = 1;
}

bool acceptor_is_listening(int fd)
{
	socklen_t size = sizeof(int);
	int listening = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) && listening;
}

static size_t count_slots(const struct acceptor *a, enum slot_state state)
{
	size_t count = 0;

	for (size_t i = 0; i < a->slots; i++)
		count += atomic_load(&a->board->state[i]) == (int)state;
	return count;
}

/* --- a child
 * ------------------------------------------------------------------------------------------ */

/* Says that nobody is waiting. The pipe being full says it, too. */
static void ring(const struct acceptor *a)
{
	if (write(a->bell[1], "", 1) < 0)
		return;
}

/* Each child is woken alone (EPOLLEXCLUSIVE), so that a connection does not rouse all that wait. */
static int child_watch(const struct acceptor *a)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);

	for (size_t i = 0; ep >= 0 && i < a->fd_count; i++) {
		struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE,
					    .data = {.fd = a->fds[i]}};

		if (epoll_ctl(ep, EPOLL_CTL_ADD, a->fds[i], &event)) {
			close(ep);
			return -1;
		}
	}
	return ep;
}

static bool child_is_dismissed(const struct acceptor *a, unsigned generation)
{
	return handler_terminated() || atomic_load(&a->board->generation) != generation;
}

/* What the kernel has too little of, or has ended, is not had sooner by asking for it all the time.
 */
static void pause_if_failing(const struct acceptor *a, int error)
{
	const struct timespec pause = {.tv_nsec = FAILING_PAUSE_MS * 1000000L};

	if (error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ECONNABORTED)
		return;
	log_message(LOG_LEVEL_ERROR, "cannot accept a connection: %s", strerror(error));
	/* epoll_pwait() lets no signal in while there is a connection */
	ppoll(NULL, 0, &pause, &a->open);
}

/* Waits for a connection. -1: none will come, and this process is not needed any more. */
static int child_accept(const struct acceptor *a, int ep, unsigned generation)
{
	struct epoll_event event;
	int n, fd;

	while (!child_is_dismissed(a, generation) && !sandbox_outlived()) {
		n = epoll_pwait(ep, &event, 1, SPARE_IDLE_MS, &a->open);
		if (n < 0 && errno != EINTR)
			return -1;
		if (n == 0 && count_slots(a, SLOT_WAITING) > 1)
			return -1;
		/* where a connection comes together with the signal, it is for those that follow */
		if (n <= 0 || child_is_dismissed(a, generation))
			continue;
		fd = accept4(event.data.fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			return fd;
		pause_if_failing(a, errno);
	}
	return -1;
}

static int child_run(struct acceptor *a, size_t slot, unsigned generation)
{
	int ep = child_watch(a), fd;

	if (ep < 0) {
		log_message(LOG_LEVEL_ERROR, "cannot wait for connections: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	sandbox_enter(a->conf);
	handler_connect(a->handler);
	for (int i = 0; i < CONNECTIONS_MOST; i++) {
		atomic_store(&a->board->state[slot], SLOT_WAITING);
		fd = child_accept(a, ep, generation);
		if (fd < 0)
			break;
		atomic_store(&a->board->state[slot], SLOT_SERVING);
		atomic_fetch_add(&a->board->connections, 1);
		if (!count_slots(a, SLOT_WAITING))
			ring(a);
		sigprocmask(SIG_SETMASK, &a->serving, NULL);
		handler_serve(a->handler, fd, fd);
		sigprocmask(SIG_SETMASK, &a->quiet, NULL);
		close(fd);
	}
	close(ep);
	return EXIT_SUCCESS;
}

/*
 * What a child inherits and must not keep: the parent's signals and its end of the bell. SIGHUP
 * stays: it wakes a child that waits, which then sees that it is outdated, and never disturbs a
 * connection.
 */
static void child_become(struct acceptor *a, pid_t parent)
{
	struct sigaction terminate = {.sa_handler = handler_terminate};

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(EXIT_SUCCESS);
	signal(SIGCHLD, SIG_DFL);
	sigaction(SIGTERM, &terminate, NULL);
	sigaction(SIGINT, &terminate, NULL);
	close(a->bell[0]);
}

/* --- the parent
 * --------------------------------------------------------------------------------------- */

static void start_child(struct acceptor *a)
{
	/* as it is before the fork: the child has these settings, whatever is read meanwhile */
	unsigned generation = atomic_load(&a->board->generation);
	pid_t parent = getpid(), pid;
	size_t slot = 0;
	int status;

	while (slot < a->slots && a->pids[slot])
		slot++;
	if (slot == a->slots)
		return;
	atomic_store(&a->board->state[slot], SLOT_STARTING);
	pid = fork();
	if (pid == 0) {
		child_become(a, parent);
		status = child_run(a, slot, generation);
		handler_free(a->handler);
		conf_release(a->conf);
		free(a->conf);
		_exit(status);
	}
	if (pid > 0) {
		a->pids[slot] = pid;
		a->started_us = clock_us();
		return;
	}
	atomic_store(&a->board->state[slot], SLOT_FREE);
	a->not_before_us = clock_us() + CRASH_PAUSE_US;
	log_message(LOG_LEVEL_ERROR, "cannot start a handler: %s", strerror(errno));
}

/* Returns what the process was doing. */
static enum slot_state free_slot(struct acceptor *a, pid_t pid)
{
	for (size_t i = 0; i < a->slots; i++) {
		if (a->pids[i] != pid)
			continue;
		a->pids[i] = 0;
		return (enum slot_state)atomic_exchange(&a->board->state[i], SLOT_FREE);
	}
	return SLOT_FREE;
}

static void reap_children(struct acceptor *a)
{
	enum slot_state state;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		state = free_slot(a, pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS)
			continue;
		/* What a connection brought about must not keep the others waiting. */
		if (state != SLOT_SERVING)
			a->not_before_us = clock_us() + CRASH_PAUSE_US;
		if (WIFSIGNALED(status))
			log_message(LOG_LEVEL_ERROR, "handler %ld was killed by signal %d",
				    (long)pid, WTERMSIG(status));
		else
			log_message(LOG_LEVEL_ERROR, "handler %ld ended with status %d", (long)pid,
				    WEXITSTATUS(status));
	}
}

/* Keeps one process waiting, as long as there is room. Returns when to look again, in milliseconds.
 */
static int keep_spare(struct acceptor *a)
{
	int64_t now = clock_us();

	a->retired = false;
	if (count_slots(a, SLOT_WAITING))
		return TICK_MS / 2;
	if (now >= a->not_before_us &&
	    (!count_slots(a, SLOT_STARTING) || now - a->started_us >= START_US))
		start_child(a);
	return (int)(START_US / 1000);
}

/* Those that wait end at once, those that serve when their connection does. Returns as
 * keep_spare(). */
static int retire_children(struct acceptor *a)
{
	if (a->retired)
		return TICK_MS / 2;
	a->retired = true;
	atomic_fetch_add(&a->board->generation, 1);
	for (size_t i = 0; i < a->slots; i++)
		if (a->pids[i])
			kill(a->pids[i], SIGHUP);
	return TICK_MS / 2;
}

static void look_at_files(const struct conf *conf, struct stat *out)
{
	const char *const names[FILES] = {conf->file, conf->whitelist_recipients_file,
					  conf->whitelist_clients_file};

	memset(out, 0, FILES * sizeof(*out));
	for (int i = 0; i < FILES; i++)
		if (stat(names[i], &out[i]))
			memset(&out[i], 0, sizeof(out[i]));
}

static bool files_changed(const struct acceptor *a)
{
	struct stat now[FILES];

	look_at_files(a->conf, now);
	for (int i = 0; i < FILES; i++)
		if (now[i].st_ino != a->files[i].st_ino || now[i].st_size != a->files[i].st_size ||
		    now[i].st_mtim.tv_sec != a->files[i].st_mtim.tv_sec ||
		    now[i].st_mtim.tv_nsec != a->files[i].st_mtim.tv_nsec)
			return true;
	return false;
}

static void set_up(struct acceptor *a, struct conf *conf)
{
	a->conf = conf;
	look_at_files(conf, a->files);
	a->handler = handler_new(conf);
	handler_prepare(a->handler);
}

static void tear_down(struct acceptor *a)
{
	handler_free(a->handler);
	conf_release(a->conf);
	free(a->conf);
}

/* New settings are taken only where they are whole: with a mistake in them, the old ones go on. */
static void reload(struct acceptor *a)
{
	struct conf *conf = mem_alloc(sizeof(*conf));
	struct stat before[FILES];

	told_to_reload = 0;
	look_at_files(a->conf, before);
	/* who has changed something wants to know what comes of it */
	log_afresh();
	settings_load(a->options, conf);
	if ((!conf->usable || conf->errors) && a->conf->usable) {
		log_open("bley", a->options->debug ? "-" : a->conf->log_file);
		log_message(LOG_LEVEL_ERROR,
			    "the configuration is not taken over until it is mended");
		memcpy(a->files, before, sizeof(before));
		conf_release(conf);
		free(conf);
		return;
	}
	tear_down(a);
	set_up(a, conf);
	a->files[0] = before[0]; /* what was written while it was read is read the next time */
	a->retired = false;
	retire_children(a);
	log_message(LOG_LEVEL_INFO, "configuration and whitelists read anew");
}

static void tell_systemd(const struct acceptor *a, const char *what)
{
	char text[200];

	if (!a->systemd)
		return;
	snprintf(text, sizeof(text),
		 "%s\nWATCHDOG=1\nSTATUS=%zu handlers serving, %zu waiting, %u connections so far",
		 what, count_slots(a, SLOT_SERVING), count_slots(a, SLOT_WAITING),
		 atomic_load(&a->board->connections));
	a->systemd->notify(0, text);
}

/* Whether there was no connection for idle_exit; 0 is never. */
static bool is_idle(struct acceptor *a)
{
	unsigned connections = atomic_load(&a->board->connections);
	int64_t now = clock_us();

	if (connections != a->connections || count_slots(a, SLOT_SERVING)) {
		a->connections = connections;
		a->active_us = now;
	}
	return a->conf->idle_exit > 0 && now - a->active_us > a->conf->idle_exit * US_PER_S;
}

/* Waits for the bell, a signal or the next tick. */
static void wait_for_news(struct acceptor *a, int timeout_ms)
{
	struct pollfd pfd = {.fd = a->bell[0], .events = POLLIN};
	struct timespec timeout = {.tv_sec = timeout_ms / 1000,
				   .tv_nsec = timeout_ms % 1000 * 1000000L};
	char bytes[64];

	if (ppoll(&pfd, 1, &timeout, &a->open) > 0)
		while (read(a->bell[0], bytes, sizeof(bytes)) > 0)
			continue;
}

static void stop_children(struct acceptor *a)
{
	int64_t until = clock_us() + STOP_WAIT_MS * INT64_C(1000);

	tell_systemd(a, "STOPPING=1");
	for (size_t i = 0; i < a->slots; i++)
		if (a->pids[i])
			kill(a->pids[i], SIGTERM);
	while (count_slots(a, SLOT_FREE) < a->slots && clock_us() < until) {
		wait_for_news(a, 100);
		reap_children(a);
	}
}

/*
 * Ends when told to, or when idle: then the processes go first, so that a connection which comes at
 * this moment is served, and all goes on, or waits for the next start.
 */
static void accept_forever(struct acceptor *a)
{
	int64_t next_tick = 0;
	int pause_ms;

	while (!told_to_stop) {
		reap_children(a);
		if (clock_us() >= next_tick) {
			told_to_reload |= files_changed(a);
			tell_systemd(a, "");
			next_tick = clock_us() + TICK_MS * INT64_C(1000);
		}
		if (told_to_reload)
			reload(a);
		if (!is_idle(a))
			pause_ms = keep_spare(a);
		else if (count_slots(a, SLOT_FREE) == a->slots)
			break;
		else
			pause_ms = retire_children(a);
		wait_for_news(a, pause_ms);
	}
}

static void set_signals(struct acceptor *a)
{
	const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	struct sigaction action = {.sa_handler = on_signal};

	sigprocmask(SIG_SETMASK, NULL, &a->open);
	a->quiet = a->open;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		sigaddset(&a->quiet, numbers[i]);
		sigdelset(&a->open, numbers[i]);
		sigaction(numbers[i], &action, NULL);
	}
	a->serving = a->open;
	sigaddset(&a->serving, SIGHUP);
	sigprocmask(SIG_SETMASK, &a->quiet, NULL);
}

static bool make_board(struct acceptor *a)
{
	size_t size;

	a->slots = (size_t)a->conf->max_handlers;
	a->pids = mem_alloc(a->slots * sizeof(*a->pids));
	size = sizeof(*a->board) + a->slots * sizeof(a->board->state[0]);
	a->board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return a->board != MAP_FAILED && !pipe2(a->bell, O_NONBLOCK | O_CLOEXEC);
}

static void open_sockets(struct acceptor *a, const int *fds, size_t count)
{
	for (size_t i = 0; i < count && i < SOCKETS_MOST; i++) {
		int flags = fcntl(fds[i], F_GETFL);

		/* several processes may be woken for one connection: the others must not wait in
		 * accept(2) */
		fcntl(fds[i], F_SETFL, flags | O_NONBLOCK);
		a->fds[a->fd_count++] = fds[i];
	}
}

int acceptor_run(const struct settings_options *options, struct conf *conf, const int *fds,
		 size_t count)
{
	struct acceptor a = {.options = options, .conf = conf, .active_us = clock_us()};
	char error[512];

	open_sockets(&a, fds, count);
	set_signals(&a);
	log_share();
	if (!make_board(&a)) {
		log_message(LOG_LEVEL_ERROR, "cannot start accepting: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (getenv("NOTIFY_SOCKET"))
		a.systemd = module_load("systemd", error, sizeof(error));
	set_up(&a, conf);
	tell_systemd(&a, "READY=1");
	accept_forever(&a);
	if (!told_to_stop)
		log_message(LOG_LEVEL_INFO,
			    "no connection for %lld s: ends until the next one comes",
			    (long long)a.conf->idle_exit);
	stop_children(&a);
	tear_down(&a);
	free(a.pids);
	return EXIT_SUCCESS;
}
