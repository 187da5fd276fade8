/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_BASE_CLOCK_H
#define BLEY_BASE_CLOCK_H

#include <stdint.h>

#define US_PER_S INT64_C(1000000)

/* Microseconds of a clock that nobody sets. */
int64_t clock_us(void);

/* Milliseconds until then by that clock, rounded up, as poll(2) takes them; 0 where it is over. */
int clock_left_ms(int64_t until_us);

#endif
