/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/regex.h"

#include "base/module.h"

/* A known tuple is asked no expression, unless a whitelist has some: PCRE2 comes when it is needed.
 */
static const struct regex_module *module; /* not NULL where there is a struct regex */

struct regex *regex_compile(const char *pattern, size_t len, char *error, size_t size)
{
	if (!module)
		module = module_load("regex", error, size);
	return module ? module->compile(pattern, len, error, size) : NULL;
}

bool regex_loaded(void)
{
	return module != NULL;
}

void regex_free(struct regex *regex)
{
	if (regex)
		module->release(regex);
}

enum regex_result regex_search(const struct regex *regex, const char *text)
{
	return module->search(regex, text);
}
