/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_CLOCK_H
#define BLEY_STORE_CLOCK_H

#include <stdint.h>

/* What the drivers share to keep time. */

/* Microseconds that only ever grow. */
int64_t store_clock_us(void);

/* Gives the disk and the locks to others for as long as a purge's batch has had them, and for a
 * moment at least. */
void store_rest_since(int64_t began_us);

#endif
