/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

/*
 * For the leak checker of an instrumented build, which asks for it by this name. In the program, as
 * a file would have to be within reach of its user and its sandbox. Kerberos' library holds
 * something once a thread, by thread-local storage, which tests/run has the checker leave alone.
 */
const char *__lsan_default_suppressions(void);

#if BLEY_INSTRUMENTED
const char *__lsan_default_suppressions(void)
{
	return "leak:krb5int_setspecific\nleak:libgssapi_krb5\n";
}
#endif
