/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CHECK_SPF_CHECK_H
#define BLEY_CHECK_SPF_CHECK_H

#include "check/spf.h"

/* What the module `spf` offers: struct spf_module's check(). */
enum spf_result spf_check(struct resolver *resolver, struct arena *arena,
			  const struct spf_query *query, const char **why);

#endif
