/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

int64_t clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

int clock_left_ms(int64_t until_us)
{
	int64_t left_ms = (until_us - clock_us() + 999) / 1000;

	return left_ms < 0 ? 0 : left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}
