/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/outlet.h"

#define WAIT_MS 200
#define LONG_MS 30000 /* never reached, unless something is wrong */

static char folder[] = "/tmp/bley-outlet-XXXXXX", path[sizeof(folder) + 10];

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/log", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* A daemon's socket, in place of whatever has its name. */
static int daemon_socket(int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type, 0);

	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 0), 0);
	return fd;
}

static bool send_text(struct outlet *o, const char *text, int wait_ms)
{
	return outlet_send(o, text, strlen(text), wait_ms);
}

static void assert_reads(int fd, const char *data, size_t len)
{
	char got[100];

	assert_int_equal(read(fd, got, sizeof(got)), len);
	assert_memory_equal(got, data, len);
}

/* A process that reads once, after a while. */
static pid_t read_later(int fd, char *data, size_t len)
{
	pid_t pid = fork();

	if (pid == 0) {
		poll(NULL, 0, WAIT_MS / 2);
		_exit(read(fd, data, len) < 0);
	}
	return pid;
}

static void test_datagrams(void **state)
{
	struct outlet o = OUTLET_INIT(path);
	int fd = daemon_socket(SOCK_DGRAM);

	(void)state;
	assert_true(send_text(&o, "one", 0));
	assert_true(send_text(&o, "two", WAIT_MS));
	assert_reads(fd, "one", 3);
	assert_reads(fd, "two", 3);
	outlet_close(&o);
	assert_true(send_text(&o, "three", 0));
	assert_reads(fd, "three", 5);
	outlet_close(&o);
	close(fd);
}

static void test_nobody_reads(void **state)
{
	struct outlet o = OUTLET_INIT(path);
	int fd = daemon_socket(SOCK_DGRAM), taken = 0;
	int64_t began;
	char text[100];
	pid_t pid;

	(void)state;
	while (send_text(&o, "line", 0))
		taken++;
	assert_int_equal(errno, EAGAIN);
	began = now_ms();
	assert_false(send_text(&o, "late", WAIT_MS));
	assert_int_equal(errno, EAGAIN);
	assert_in_range(now_ms() - began, WAIT_MS - 1, LONG_MS);

	pid = read_later(fd, text, sizeof(text));
	assert_true(send_text(&o, "in time", LONG_MS));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (int i = 1; i < taken; i++)
		assert_reads(fd, "line", 4);
	assert_reads(fd, "in time", 7);
	outlet_close(&o);
	close(fd);
}

static void test_started_again(void **state)
{
	struct outlet o = OUTLET_INIT(path);
	int fd = daemon_socket(SOCK_DGRAM), frozen;

	(void)state;
	assert_true(send_text(&o, "one", 0));
	close(fd);
	assert_false(send_text(&o, "two", WAIT_MS));
	assert_int_equal(errno, ECONNREFUSED);
	unlink(path);
	assert_false(send_text(&o, "three", WAIT_MS));
	assert_int_equal(errno, ENOENT);
	fd = daemon_socket(SOCK_DGRAM);
	assert_true(send_text(&o, "four", 0));
	close(fd);
	fd = daemon_socket(SOCK_DGRAM);
	assert_true(send_text(&o, "five", 0));
	assert_reads(fd, "five", 4);

	/* one that hangs, beside one that has taken over its name */
	while (send_text(&o, "line", 0))
		continue;
	frozen = fd;
	fd = daemon_socket(SOCK_DGRAM);
	assert_true(send_text(&o, "six", 0));
	assert_reads(fd, "six", 3);
	close(frozen);
	outlet_close(&o);
	close(fd);
}

static void test_a_stream(void **state)
{
	struct outlet o = OUTLET_INIT(path);
	int listener = daemon_socket(SOCK_STREAM), fd;

	(void)state;
	assert_true(send_text(&o, "one", WAIT_MS));
	fd = accept(listener, NULL, NULL);
	assert_reads(fd, "one", 4);
	assert_true(send_text(&o, "two", WAIT_MS));
	assert_reads(fd, "two", 4);
	close(fd);
	close(listener);

	fd = daemon_socket(SOCK_DGRAM);
	assert_true(send_text(&o, "three", WAIT_MS));
	assert_reads(fd, "three", 5);
	outlet_close(&o);
	close(fd);
}

static void test_a_stream_that_nobody_accepts(void **state)
{
	struct outlet first = OUTLET_INIT(path), second = OUTLET_INIT(path);
	int listener = daemon_socket(SOCK_STREAM);
	int64_t began;

	(void)state;
	while (send_text(&first, "line", 0))
		continue;
	assert_int_equal(errno, EAGAIN);
	assert_true(first.fd < 0); /* what comes next is not the rest of a line */
	began = now_ms();
	assert_false(send_text(&second, "line", WAIT_MS));
	assert_int_equal(errno, EAGAIN);
	assert_in_range(now_ms() - began, WAIT_MS / 2, LONG_MS);
	outlet_close(&second);
	close(listener);
}

/* Blocking, as standard error is, and left so. */
static void assert_bounded(int in, int out)
{
	char line[PIPE_BUF], text[PIPE_BUF];
	int flags = fcntl(in, F_GETFL);
	int64_t began;
	pid_t pid;

	memset(line, 'x', sizeof(line));
	while (outlet_write(in, line, sizeof(line), 0))
		continue;
	assert_int_equal(errno, EAGAIN);
	began = now_ms();
	assert_false(outlet_write(in, line, sizeof(line), WAIT_MS));
	assert_int_equal(errno, EAGAIN);
	assert_in_range(now_ms() - began, WAIT_MS - 1, LONG_MS);
	pid = read_later(out, text, sizeof(text));
	assert_true(outlet_write(in, "in time", 7, LONG_MS));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(fcntl(in, F_GETFL), flags);
	close(in);
	close(out);
}

static void test_a_pipe(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_bounded(fds[1], fds[0]);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_false(outlet_write(fds[1], "line", 4, WAIT_MS));
	assert_int_equal(errno, EPIPE);
	close(fds[1]);
}

static void test_a_socket(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	/* all of it is read, as room is told of only when most is free */
	assert_true(outlet_write(fds[0], "line", 4, 0));
	assert_reads(fds[1], "line", 4);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int)), 0);
	assert_bounded(fds[0], fds[1]);
}

static void test_files(void **state)
{
	int fd;

	(void)state;
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
	assert_true(outlet_write(fd, "line", 4, 0));
	lseek(fd, 0, SEEK_SET);
	assert_reads(fd, "line", 4);
	close(fd);
	fd = open("/dev/full", O_WRONLY);
	assert_false(outlet_write(fd, "line", 4, WAIT_MS));
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_datagrams),
	    cmocka_unit_test(test_nobody_reads),
	    cmocka_unit_test(test_started_again),
	    cmocka_unit_test(test_a_stream),
	    cmocka_unit_test(test_a_stream_that_nobody_accepts),
	    cmocka_unit_test(test_a_pipe),
	    cmocka_unit_test(test_a_socket),
	    cmocka_unit_test(test_files),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
