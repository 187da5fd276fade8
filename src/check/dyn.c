/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/regex.h"
#include "check/check.h"
#include "conf/conf.h"

/* The two expressions, compiled when first needed and kept for as long as the configuration says
 * the same. That they are well formed has been seen to when it was read. */
struct names {
	const char *key;     /* of the configuration */
	char *pattern;	     /* what `regex` was made from */
	struct regex *regex; /* NULL: matches nothing */
};

static struct names static_names = {.key = "static_names"};
static struct names dynamic_names = {.key = "dynamic_names"};

static void names_release(struct names *names)
{
	regex_free(names->regex);
	free(names->pattern);
	*names = (struct names){.key = names->key};
}

static void names_compile(struct check *check, struct names *names, const char *pattern)
{
	char error[256];

	if (names->pattern && !strcmp(names->pattern, pattern))
		return;
	names_release(names);
	names->pattern = mem_strdup(pattern);
	/* As an expression an empty one would match every name; people mean none. */
	if (!*pattern)
		return;
	names->regex = regex_compile(pattern, strlen(pattern), error, sizeof(error));
	if (names->regex)
		return;
	check_note(check, names->key, "%s: no name matches: %s", names->key, error);
	names_release(names); /* what was amiss may be there for the next request */
}

static bool names_match(struct check *check, struct names *names, const char *pattern)
{
	enum regex_result result;

	names_compile(check, names, pattern);
	if (!names->regex)
		return false;
	result = regex_search(names->regex, check->subject->client_name);
	if (result == REGEX_LIMIT)
		check_note(
		    check, names->key,
		    "%s: the expression needs too many steps; simplify it (it was given up on %s)",
		    names->key, check->subject->client_name);
	return result == REGEX_MATCH;
}

struct check_score check_dyn(struct check *check)
{
	if (names_match(check, &static_names, check->conf->static_names))
		return (struct check_score){0, "the client's name looks static"};
	if (names_match(check, &dynamic_names, check->conf->dynamic_names))
		return (struct check_score){1, "the client's name looks dynamic"};
	return (struct check_score){0, "the client's name does not look dynamic"};
}

void check_release(void)
{
	names_release(&static_names);
	names_release(&dynamic_names);
}
