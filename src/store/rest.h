/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_STORE_REST_H
#define BLEY_STORE_REST_H

#include <stdint.h>

/* For purges: gives the disk and the locks to others for as long as a batch has had them since
 * began_us (clock_us()), and for a moment at least. */
void store_rest_since(int64_t began_us);

#endif
