/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Put into bley by LD_PRELOAD, this is code that has got hold of the handler: with the answer to
 * the first request it tries what a sandbox is to prevent, and what it must not, and writes `NAME
 * ERRNO` lines to the file descriptor PROBE_FD. PROBE_FOLDER has what it may not touch, PROBE_STATE
 * is the database's folder, PROBE_PORT and PROBE_DNS are TCP ports that somebody listens on,
 * PROBE_SOCKET is a unix socket.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

static int report_fd;

/* result: -1 with errno set, or anything else. */
static void report(const char *name, long result)
{
	dprintf(report_fd, "%s %d\n", name, result == -1 ? errno : 0);
}

static const char *in(const char *variable, const char *name)
{
	static char paths[4][4096];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", getenv(variable), name);
	return path;
}

static void report_open(const char *name, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	report(name, fd);
	if (fd >= 0)
		close(fd);
}

static void try_files(void)
{
	const char *there = in("PROBE_FOLDER", "there"), *new = in("PROBE_FOLDER", "new");

	report_open("read", there, O_RDONLY);
	report_open("write", there, O_WRONLY);
	report_open("append", there, O_WRONLY | O_APPEND);
	report_open("empty", there, O_RDONLY | O_TRUNC);
	report_open("make", new, O_WRONLY | O_CREAT);
	report_open("list", getenv("PROBE_FOLDER"), O_RDONLY | O_DIRECTORY);
	report("truncate", truncate(there, 0));
	report("chmod", chmod(there, 0777));
	report("chown", chown(there, getuid(), getgid()));
	report("utime", utime(there, NULL));
	report("setxattr", setxattr(there, "user.x", "", 0, 0));
	report("rename", rename(there, new));
	report("link", link(there, new));
	report("symlink", symlink(there, new));
	report("mkdir", mkdir(new, 0700));
	report("mkfifo", mkfifo(new, 0600));
	report("unlink", unlink(there));
	report_open("users", "/etc/passwd", O_RDONLY);
}

static void try_programs(void)
{
	char *const none[] = {NULL};
	char path[40];
	pid_t pid;
	int memory, status;

	report("execve", execve("/nonexistent", none, none));
	memory = (int)syscall(SYS_memfd_create, "program", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	report("execve-memory", execve(path, none, none));
	report("execveat", syscall(SYS_execveat, memory, "", none, none, AT_EMPTY_PATH));
	close(memory);
	pid = fork();
	if (pid == 0)
		_exit(0);
	report("fork", pid);
	if (pid > 0)
		waitpid(pid, &status, 0);
	report("system", system("exit 0") == 0 ? 0 : -1);
}

static void try_others(void)
{
	pid_t parent = getppid();
	char byte;
	struct iovec here = {.iov_base = &byte, .iov_len = 1};
	struct iovec there = {.iov_base = &byte, .iov_len = 1};

	report("ptrace", ptrace(PTRACE_SEIZE, parent, NULL, NULL));
	report("peek", process_vm_readv(parent, &here, 1, &there, 1, 0));
	report("kill", kill(parent, 0));
	report("kill-others", kill(-1, 0));
}

static void try_more_rights(void)
{
	uint32_t parameters[30] = {0};

	report("setuid", setuid(getuid()));
	report("unshare", unshare(CLONE_NEWUSER));
	report("mount", mount("none", in("PROBE_FOLDER", "."), "tmpfs", 0, NULL));
	report("io_uring", syscall(SYS_io_uring_setup, 1, parameters));
	report("packet", socket(AF_PACKET, SOCK_RAW, 0));
}

static void try_port(const char *name, const char *variable)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_port = htons((uint16_t)atoi(getenv(variable)));
	report(name, connect(fd, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
}

/* The ways to a port that landlock does not see. */
static void try_port_otherwise(const char *variable)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct iovec text = {.iov_base = "x", .iov_len = 1};
	struct mmsghdr message = {
	    .msg_hdr = {
		.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &text, .msg_iovlen = 1}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_port = htons((uint16_t)atoi(getenv(variable)));
	report("fastopen", sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof(to)));
	report("fastopen-msg", sendmsg(fd, &message.msg_hdr, MSG_FASTOPEN));
	report("fastopen-msgs", sendmmsg(fd, &message, 1, MSG_FASTOPEN));
	close(fd);
	report("mptcp", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP));
}

/* What must go on. */
static void try_own(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", getenv("PROBE_SOCKET"));
	report("own-unix", connect(fd, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
	report_open("own-make", in("PROBE_STATE", "probe"), O_WRONLY | O_CREAT);
	report("own-rename", rename(in("PROBE_STATE", "probe"), in("PROBE_STATE", "probe2")));
	report("own-unlink", unlink(in("PROBE_STATE", "probe2")));
	report_open("own-library", "/usr/lib", O_RDONLY);
	report("own-promise", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : -1);
	report_open("own-zone", "/etc/localtime", O_RDONLY);
	report("own-limit", sysconf(_SC_OPEN_MAX));
	report("own-signal", raise(SIGURG));
}

/* Instead of the C library's. */
ssize_t write(int fd, const void *data, size_t len)
{
	static bool done;

	if (!done && len > 7 && !memcmp(data, "action=", 7)) {
		done = true;
		report_fd = atoi(getenv("PROBE_FD"));
		try_own();
		try_port("port", "PROBE_PORT");
		try_port_otherwise("PROBE_PORT");
		try_port("own-port", "PROBE_DNS");
		try_files();
		try_programs();
		try_others();
		try_more_rights();
		report("end", 0);
	}
	return syscall(SYS_write, fd, data, len);
}
