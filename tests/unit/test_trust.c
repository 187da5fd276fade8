/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"

/* A folder in a folder, and a file in that. */
static char outer[] = "/tmp/bley-trust-XXXXXX", inner[64], file[80];

static int set_up(void **state)
{
	FILE *stream;

	(void)state;
	if (!mkdtemp(outer))
		return -1;
	snprintf(inner, sizeof(inner), "%s/inner", outer);
	snprintf(file, sizeof(file), "%s/file", inner);
	if (mkdir(inner, 0755) || !(stream = fopen(file, "w")) || fclose(stream))
		return -1;
	return chmod(file, 0664);
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(file) || rmdir(inner) || rmdir(outer);
}

static void assert_doubt(const char *path, const char *expected)
{
	struct arena arena = ARENA_INIT;
	const char *doubt;
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	doubt = trust_doubt(&arena, path, &st);
	if (expected)
		assert_string_equal(doubt, expected);
	else
		assert_null(doubt);
	arena_release(&arena);
}

static void assert_doubt_in(const char *path, const char *what, const char *culprit)
{
	char expected[200];

	snprintf(expected, sizeof(expected), "everybody may %s it: chmod o-w %s", what, culprit);
	assert_doubt(path, expected);
}

static void files(void **state)
{
	(void)state;
	assert_doubt(file, NULL);
	assert_int_equal(chmod(file, 0606), 0);
	assert_doubt_in(file, "write", file);
	assert_int_equal(chmod(file, 0664), 0);
	/* a device is what it is */
	assert_doubt("/dev/null", NULL);
}

static void folders(void **state)
{
	const char *const both[] = {inner, outer};

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(chmod(both[i], 0777), 0);
		assert_doubt_in(file, "replace", both[i]);
		assert_int_equal(chmod(both[i], 01777), 0);
		assert_doubt(file, NULL);
		assert_int_equal(chmod(both[i], 0775), 0);
		assert_doubt(file, NULL);
	}
	assert_doubt("/", NULL);
}

static void relative(void **state)
{
	(void)state;
	assert_int_equal(chdir(inner), 0);
	assert_doubt("file", NULL);
	assert_int_equal(chmod(inner, 0777), 0);
	assert_doubt_in("file", "replace", ".");
	assert_doubt_in("./file", "replace", ".");
	assert_int_equal(chmod(inner, 0755), 0);
	assert_int_equal(chdir("/"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files),
	    cmocka_unit_test(folders),
	    cmocka_unit_test(relative),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
