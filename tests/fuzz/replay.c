/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay FILE...: runs a fuzz target over files, without a fuzzer, and prints how many there were.
 * So `make check` goes over the corpora with any compiler, and with the sanitizers where they are
 * configured.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REPLAY_MOST 1048576

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *name)
{
	static uint8_t buffer[REPLAY_MOST];
	FILE *in = fopen(name, "rb");
	uint8_t *data;
	size_t size;

	if (!in) {
		perror(name);
		exit(1);
	}
	size = fread(buffer, 1, sizeof(buffer), in);
	fclose(in);
	/* Of exactly this size, so that a sanitizer sees a read behind its end. */
	data = malloc(size > 0 ? size : 1);
	if (!data)
		abort();
	for (size_t i = 0; i < size; i++)
		data[i] = buffer[i];
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	printf("%d\n", argc - 1);
	return 0;
}
