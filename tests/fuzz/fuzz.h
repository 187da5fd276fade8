/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_FUZZ_FUZZ_H
#define BLEY_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the targets share. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that does not hold is a finding, as a crash is. */
void fuzz_require(bool condition);

/* The bytes and a NUL behind them, in memory of exactly this size: a sanitizer sees what is read
 * beyond it. To be freed. */
char *fuzz_text(const uint8_t *data, size_t size);

/* Cuts the bytes up to the first newline off. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};
struct fuzz_input fuzz_line(struct fuzz_input *in);

/* The next byte, or of two or eight the number; what is missing is 0. */
uint8_t fuzz_byte(struct fuzz_input *in);
uint16_t fuzz_short(struct fuzz_input *in);
int64_t fuzz_long(struct fuzz_input *in);

/* A folder of this process's own, in memory where the machine can; gone with it. */
const char *fuzz_folder(void);

/* A file in it, empty, opened to be read and written. */
int fuzz_open(const char *name);

/* The path of one with these bytes, for as long as no other with this number is asked for. */
#define FUZZ_FILES 4
const char *fuzz_file(unsigned number, const void *data, size_t size);

#endif
