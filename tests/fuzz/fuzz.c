/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY "/dev/shm"
#define PATH_SIZE 128

void fuzz_require(bool condition)
{
	if (!condition)
		abort();
}

char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	fuzz_require(text != NULL);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

struct fuzz_input fuzz_line(struct fuzz_input *in)
{
	const uint8_t *newline = in->size ? memchr(in->data, '\n', in->size) : NULL;
	struct fuzz_input line = *in;

	if (!newline) {
		in->size = 0;
		return line;
	}
	line.size = (size_t)(newline - in->data);
	in->data = newline + 1;
	in->size -= line.size + 1;
	return line;
}

uint8_t fuzz_byte(struct fuzz_input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

uint16_t fuzz_short(struct fuzz_input *in)
{
	unsigned high = fuzz_byte(in);

	return (uint16_t)(high << 8 | fuzz_byte(in));
}

int64_t fuzz_long(struct fuzz_input *in)
{
	uint64_t number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | fuzz_byte(in);
	return (int64_t)number;
}

static const char *memory_folder(void)
{
	struct stat st;

	return !stat(MEMORY, &st) && S_ISDIR(st.st_mode) && !access(MEMORY, W_OK) ? MEMORY : "/tmp";
}

static char folder[PATH_SIZE];

static void remove_folder(void)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[PATH_SIZE + sizeof(entry->d_name) + 1];

	while (dir && (entry = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		unlink(path);
	}
	if (dir)
		closedir(dir);
	rmdir(folder);
}

const char *fuzz_folder(void)
{
	if (!*folder) {
		snprintf(folder, sizeof(folder), "%s/bley-fuzz-XXXXXX", memory_folder());
		fuzz_require(mkdtemp(folder) != NULL && !atexit(remove_folder));
	}
	return folder;
}

int fuzz_open(const char *name)
{
	char path[2 * PATH_SIZE];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", fuzz_folder(), name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	fuzz_require(fd >= 0);
	return fd;
}

const char *fuzz_file(unsigned number, const void *data, size_t size)
{
	static char paths[FUZZ_FILES][PATH_SIZE + sizeof("/0")];
	char name[] = {(char)('0' + number), '\0'};
	int fd = fuzz_open(name);

	fuzz_require(number < FUZZ_FILES && write(fd, data, size) == (ssize_t)size);
	close(fd);
	snprintf(paths[number], sizeof(paths[number]), "%s/%s", fuzz_folder(), name);
	return paths[number];
}
