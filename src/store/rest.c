/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/rest.h"

#include <time.h>

#include "base/clock.h"

#define REST_LEAST_US 2000

void store_rest_since(int64_t began_us)
{
	int64_t us = clock_us() - began_us;
	struct timespec rest;

	if (us < REST_LEAST_US)
		us = REST_LEAST_US;
	rest.tv_sec = (time_t)(us / US_PER_S);
	rest.tv_nsec = (long)(us % US_PER_S * 1000);
	nanosleep(&rest, NULL);
}
