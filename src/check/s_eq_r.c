/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "check/check.h"

struct check_score check_s_eq_r(struct check *check)
{
	const struct check_subject *subject = check->subject;

	if (!*subject->sender)
		return (struct check_score){0, "null sender"};
	if (strcmp(subject->sender, subject->recipient) != 0)
		return (struct check_score){0, "sender differs from recipient"};
	return (struct check_score){1, "sender equals recipient"};
}
