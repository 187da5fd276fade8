/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/clock.h"

#include <time.h>

#define US_PER_S INT64_C(1000000)
#define REST_LEAST_US 2000

int64_t store_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

void store_rest_since(int64_t began_us)
{
	int64_t us = store_clock_us() - began_us;
	struct timespec rest;

	if (us < REST_LEAST_US)
		us = REST_LEAST_US;
	rest.tv_sec = (time_t)(us / US_PER_S);
	rest.tv_nsec = (long)(us % US_PER_S * 1000);
	nanosleep(&rest, NULL);
}
