/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/dump.h"

#define DUMPER "db_dump"
#define HEXADECIMAL 16

extern char **environ;

static int spawn_dumper(const char *file, const int ends[2], pid_t *pid)
{
	char name[] = DUMPER, printable[] = "-p", end[] = "--", *path = strdup(file);
	char *argv[] = {name, printable, end, path, NULL};
	posix_spawn_file_actions_t actions;
	int code = ENOMEM;

	if (!path)
		return code;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, ends[0]);
	posix_spawn_file_actions_addclose(&actions, ends[1]);
	code = posix_spawnp(pid, DUMPER, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	free(path);
	return code;
}

bool dump_open(struct dump *dump, const char *file)
{
	struct dump new = {.stream = NULL};
	int ends[2], code;

	if (pipe(ends)) {
		ctl_complain("pipe: %s", strerror(errno));
		return false;
	}
	code = spawn_dumper(file, ends, &new.pid);
	close(ends[1]);
	if (code == ENOENT)
		ctl_complain("%s is missing, which reads %s: install the package db-util", DUMPER,
			     file);
	else if (code)
		ctl_complain("%s: %s", DUMPER, strerror(code));
	else
		new.stream = fdopen(ends[0], "r");
	if (new.stream) {
		*dump = new;
		return true;
	}
	close(ends[0]);
	if (code == 0)
		waitpid(new.pid, NULL, 0);
	return false;
}

/* Undoes what -p does to bytes that cannot be printed (`\0a`) and to the backslash. */
static void decode(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (*from == '\\' && from[1] == '\\') {
			from++;
			*to++ = '\\';
		} else if (*from == '\\' && from[1] && from[2]) {
			const char digits[] = {from[1], from[2], '\0'};

			*to++ = (char)strtol(digits, NULL, HEXADECIMAL);
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* A line of data begins with a space, one of the header or the footer does not. */
static bool read_line(FILE *stream, char **line, size_t *size)
{
	ssize_t length;

	do {
		length = getline(line, size, stream);
		if (length < 0)
			return false;
	} while (**line != ' ');
	if ((*line)[length - 1] == '\n')
		(*line)[--length] = '\0';
	memmove(*line, *line + 1, (size_t)length);
	decode(*line);
	return true;
}

bool dump_next(struct dump *dump)
{
	return read_line(dump->stream, &dump->key, &dump->key_size) &&
	       read_line(dump->stream, &dump->value, &dump->value_size);
}

bool dump_close(struct dump *dump)
{
	int status;

	fclose(dump->stream);
	free(dump->key);
	free(dump->value);
	while (waitpid(dump->pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
