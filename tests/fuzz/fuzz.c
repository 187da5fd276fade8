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

/* Opened by its name below /proc, as the code under test wants a name. */
const char *fuzz_file(unsigned number, const void *data, size_t size)
{
	static struct {
		int fd;
		char name[PATH_SIZE];
	} files[FUZZ_FILES];

	fuzz_require(number < FUZZ_FILES);
	if (!files[number].fd) {
		snprintf(files[number].name, PATH_SIZE, "%s/bley-fuzz-XXXXXX", memory_folder());
		files[number].fd = mkstemp(files[number].name);
		fuzz_require(files[number].fd > 0 && !unlink(files[number].name));
		snprintf(files[number].name, PATH_SIZE, "/proc/self/fd/%d", files[number].fd);
	}
	fuzz_require(!ftruncate(files[number].fd, 0));
	fuzz_require(pwrite(files[number].fd, data, size, 0) == (ssize_t)size);
	return files[number].name;
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
