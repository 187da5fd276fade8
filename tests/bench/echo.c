/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor: answers DUNNO to everything that ends in an empty line and knows nothing else. As a
 * handler on standard input and output, or with a listening socket there (inetd `wait`, or `-l` for
 * file descriptor 3) a process forked for each connection.
 */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER "action=DUNNO\n\n"

static void serve(int in, int out)
{
	char buf[65536];
	ssize_t n;

	/* the load generator sends a request in one piece */
	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (n >= 2 && !memcmp(buf + n - 2, "\n\n", 2) &&
		    write(out, ANSWER, strlen(ANSWER)) < 0)
			return;
}

int main(int argc, char **argv)
{
	int fd = argc > 1 && !strcmp(argv[1], "-l") ? 3 : -1, client;

	if (fd < 0) {
		serve(0, 1);
		return 0;
	}
	signal(SIGCHLD, SIG_IGN);
	while ((client = accept(fd, NULL, NULL)) >= 0) {
		if (fork() == 0) {
			serve(client, client);
			return 0;
		}
		close(client);
	}
	return 1;
}
