/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Put before bley by LD_PRELOAD, this makes of a kernel one without landlock(7) and system call
 * filters, or a container that forbids them: OLD_KERNEL is the errno that they end with.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define LANDLOCK_FIRST 444
#define LANDLOCK_LAST 446

static long refuse(void)
{
	errno = atoi(getenv("OLD_KERNEL"));
	return -1;
}

/* Instead of the C library's; six arguments are passed on whether they are there or not, as it
 * does. */
long syscall(long number, ...)
{
	long (*next)(long, ...);
	long a[6];
	va_list ap;

	if (number == SYS_seccomp || (number >= LANDLOCK_FIRST && number <= LANDLOCK_LAST))
		return refuse();
	*(void **)&next = dlsym(RTLD_NEXT, "syscall");
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int prctl(int option, ...)
{
	int (*next)(int, ...);
	unsigned long a[4];
	va_list ap;

	if (option == PR_SET_SECCOMP)
		return (int)refuse();
	*(void **)&next = dlsym(RTLD_NEXT, "prctl");
	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	return next(option, a[0], a[1], a[2], a[3]);
}
