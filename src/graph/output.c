/* SPDX-License-Identifier: BSD-3-Clause */
#include "graph/graph.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLOTTER "gnuplot"
#define PAGE "index.html"
#define COMPLAINTS "complaints" /* gnuplot's standard error, in the folder of new files */
#define COMPLAINT_SIZE 200
#define END_SIZE 8 /* of a file: `</svg>`, or PNG's last chunk without its length */
#define FOLDER_MODE 0755
#define FILE_MODE 0644

extern char **environ;

static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t plotter; /* its process id while there is one to be told */

static bool fail(char *error, size_t size, const char *what, int code)
{
	snprintf(error, size, "%s: %s", what, strerror(code));
	return false;
}

static bool make_folders(const char *path, char *error, size_t size)
{
	struct strbuf part = STRBUF_INIT;
	bool good = true;

	for (const char *p = path; good && *p; p++) {
		strbuf_addch(&part, *p);
		if ((p[1] == '/' || !p[1]) && mkdir(part.buf, FOLDER_MODE) && errno != EEXIST)
			good = fail(error, size, part.buf, errno);
	}
	strbuf_release(&part);
	return good;
}

static bool write_all(int fd, const struct strbuf *text)
{
	for (size_t done = 0; done < text->len;) {
		ssize_t got = write(fd, text->buf + done, text->len - done);

		if (got < 0 && (errno != EINTR || stop_signal))
			return false;
		if (got > 0)
			done += (size_t)got;
	}
	return true;
}

/* The first line of what gnuplot complained about that has words in it. */
static void read_complaint(int folder, char *out, size_t size)
{
	int fd = openat(folder, COMPLAINTS, O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char line[COMPLAINT_SIZE];

	snprintf(out, size, "it gave no reason");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strpbrk(line, "abcdefghijklmnopqrstuvwxyz")) {
			snprintf(out, size, "%s", line);
			break;
		}
	}
	if (file)
		fclose(file);
}

static int spawn_plotter(int input, int complaints, pid_t *pid)
{
	static char name[] = PLOTTER, no_settings[] = "-d", from_stdin[] = "-";
	char *const argv[] = {name, no_settings, from_stdin, NULL};
	posix_spawn_file_actions_t actions;
	sigset_t pipe_signal;
	posix_spawnattr_t attributes;
	int code;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE); /* ignored here, not there */
	posix_spawnattr_setsigdefault(&attributes, &pipe_signal);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, complaints, STDERR_FILENO);
	code = posix_spawnp(pid, PLOTTER, &actions, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return code;
}

void graph_stop(int number)
{
	stop_signal = number;
	if (plotter)
		kill(plotter, number);
}

int graph_stopped(void)
{
	return stop_signal;
}

/* From here on a signal reaches the plotter whenever it comes: also while we wait for it to read.
 */
static void plotter_runs(pid_t pid)
{
	plotter = pid;
	if (stop_signal)
		kill(pid, stop_signal);
}

static bool wait_for(pid_t pid)
{
	siginfo_t ended;
	int status = -1;

	while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) && errno == EINTR)
		continue;
	plotter = 0; /* before the number can be another's */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* gnuplot's working folder is this process': the folder of new files. */
static bool draw(int folder, const struct strbuf *script, char *error, size_t size)
{
	int complaints = openat(folder, COMPLAINTS, O_WRONLY | O_CREAT | O_CLOEXEC, FILE_MODE);
	char complaint[COMPLAINT_SIZE];
	int ends[2];
	pid_t pid;
	int code;
	bool sent, good;

	if (complaints < 0)
		return fail(error, size, COMPLAINTS, errno);
	if (pipe(ends)) {
		code = errno;
		close(complaints);
		return fail(error, size, "pipe", code);
	}
	fcntl(ends[1], F_SETFD, FD_CLOEXEC);
	code = spawn_plotter(ends[0], complaints, &pid);
	close(ends[0]);
	close(complaints);
	if (code) {
		close(ends[1]);
		if (code != ENOENT)
			return fail(error, size, PLOTTER, code);
		snprintf(error, size,
			 "gnuplot is missing: install the package gnuplot-nox (on some "
			 "systems: gnuplot)");
		return false;
	}
	plotter_runs(pid);
	sent = write_all(ends[1], script);
	close(ends[1]);
	good = wait_for(pid) && sent && !stop_signal;
	if (good)
		return true;
	read_complaint(folder, complaint, sizeof(complaint));
	snprintf(error, size, "gnuplot failed: %s", complaint);
	return false;
}

static bool write_page(int folder, const struct strbuf *page, char *error, size_t size)
{
	int fd = openat(folder, PAGE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
	bool good = fd >= 0 && write_all(fd, page);

	if (!good)
		fail(error, size, PAGE, errno);
	if (fd >= 0 && close(fd) && good)
		good = fail(error, size, PAGE, errno);
	return good;
}

/* Calls do_file for each file that there is to be, the page last, as it shows the others. On
 * failure `file` is the one, and errno is do_file's. */
static bool for_files(int from, int to, bool (*do_file)(int from, int to, const char *name),
		      char file[GRAPH_NAME_SIZE])
{
	for (int i = 0; i < GRAPH_PICTURES * GRAPH_VARIANTS; i++) {
		graph_file_name(i / GRAPH_VARIANTS, (enum graph_variant)(i % GRAPH_VARIANTS), file);
		if (!do_file(from, to, file))
			return false;
	}
	snprintf(file, GRAPH_NAME_SIZE, "%s", PAGE);
	return do_file(from, to, file);
}

/* gnuplot says nothing of a disk that was full: what it wrote must have its end. */
static bool check_file(int from, int to, const char *name)
{
	char end[END_SIZE + 1] = "";
	int fd = openat(from, name, O_RDONLY | O_CLOEXEC);
	ssize_t got = 0;

	(void)to;
	if (fd < 0)
		return false;
	if (lseek(fd, -END_SIZE, SEEK_END) > 0)
		got = read(fd, end, END_SIZE);
	close(fd);
	if (strstr(name, ".svg"))
		return strstr(end, "</svg>") != NULL;
	if (strstr(name, ".png"))
		return got == END_SIZE && !memcmp(end, "IEND", 4);
	return true;
}

static bool replace_file(int from, int to, const char *name)
{
	return !renameat(from, name, to, name);
}

static bool remove_file(int from, int to, const char *name)
{
	(void)to;
	unlinkat(from, name, 0);
	return true;
}

/* In a folder of its own inside destdir, so that a rename replaces each file. */
static bool write_into(int from, int to, const struct strbuf *script, const struct strbuf *page,
		       char *error, size_t size)
{
	char file[GRAPH_NAME_SIZE];

	if (!draw(from, script, error, size) || !write_page(from, page, error, size))
		return false;
	if (!for_files(from, to, check_file, file)) {
		snprintf(error, size, "gnuplot did not finish %s", file);
		return false;
	}
	return for_files(from, to, replace_file, file) || fail(error, size, file, errno);
}

bool graph_write(const char *destdir, const struct strbuf *script, const struct strbuf *page,
		 char *error, size_t size)
{
	struct strbuf folder = STRBUF_INIT;
	char file[GRAPH_NAME_SIZE];
	int from = -1, to = -1;
	bool good = make_folders(destdir, error, size);

	if (!good)
		goto out;
	strbuf_addf(&folder, "%s/.bleygraph-XXXXXX", destdir);
	good = mkdtemp(folder.buf) != NULL;
	if (!good) {
		fail(error, size, destdir, errno);
		goto out;
	}
	from = open(folder.buf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	to = open(destdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0 || to < 0 || fchdir(from))
		good = fail(error, size, destdir, errno);
	if (good)
		good = write_into(from, to, script, page, error, size);
	if (from >= 0) {
		for_files(from, to, remove_file, file);
		unlinkat(from, COMPLAINTS, 0);
	}
	if (to >= 0)
		unlinkat(to, strrchr(folder.buf, '/') + 1, AT_REMOVEDIR);
out:
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	strbuf_release(&folder);
	return good;
}
