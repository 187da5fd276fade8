/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CONF_CONF_H
#define BLEY_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "conf/dnsl_entry.h"

/* The types a key can have, and what they are in C. */
enum conf_type {
	CONF_STRING, /* any text */
	CONF_SECRET, /* likewise, and never printed */
	CONF_REPLY,  /* text that may stand in an answer */
	CONF_ACTION, /* an action of access(5) that neither rejects for good nor loses mail */
	CONF_HEADER, /* a header template with %(name)s */
	CONF_INTEGER,
	CONF_BOOLEAN,  /* 0 1 yes no true false on off */
	CONF_DURATION, /* a number with a unit; kept in seconds */
	CONF_CHOICE,   /* one of the words in `choices` */
	CONF_FILE,     /* a file name; relative ones are relative to the configuration file */
	CONF_SERVERS,  /* name servers (server.h), separated by commas or white space */
	CONF_DNSL,     /* DNS lists (dnsl_entry.h) */
	CONF_REGEX     /* an expression, PCRE2; known to compile */
};

struct conf_list {
	const char *const *items;
	size_t count;
};

typedef const char *conf_c_STRING, *conf_c_SECRET, *conf_c_REPLY, *conf_c_ACTION, *conf_c_HEADER,
    *conf_c_CHOICE, *conf_c_FILE, *conf_c_REGEX;
typedef int conf_c_INTEGER;
typedef bool conf_c_BOOLEAN;
typedef int64_t conf_c_DURATION;
typedef struct conf_list conf_c_SERVERS;
typedef struct dnsl_entries conf_c_DNSL;

enum conf_severity { CONF_WARNING, CONF_ERROR };

struct conf_problem {
	enum conf_severity severity;
	unsigned line;	     /* 0: the file as a whole */
	const char *message; /* begins with `FILE:LINE: ` and says what to do */
	struct conf_problem *next;
};

/* All settings. Owned by the caller; strings live until conf_release(). */
struct conf {
#define KEY(section, type, name, fallback, min, max, unit, choices, sample, prose) \
	conf_c_##type name;
#include "conf/conf_keys.def"
#undef KEY
	bool usable; /* false: the file could not be read; bley then answers with its failure action
		      */
	const char *file;	       /* the file that was read */
	unsigned *lines;	       /* for each of conf_keys the line that set it; 0: none did */
	struct conf_problem *problems; /* in the order of the file */
	size_t errors;		       /* how many problems are errors */
	struct arena arena;
};

/*
 * Reads `file` (NULL: $(sysconfdir)/bley/bley.conf). Never fails: what is missing or wrong keeps
 * its default and is told in `problems`. *conf need not be initialised.
 */
void conf_load(struct conf *conf, const char *file);
void conf_release(struct conf *conf);

/* The default file's name. */
const char *conf_default_file(void);

/* One declared key. */
struct conf_key {
	const char *section;
	enum conf_type type;
	const char *name;
	size_t offset; /* of its member in struct conf */
	const char *fallback;
	int64_t min, max;    /* of a number, in its unit */
	char unit;	     /* s m h d of a bare number, or 0 */
	const char *choices; /* separated by blanks, or NULL */
	const char *sample;  /* value shown uncommented in the example file, or NULL */
	const char *prose;   /* one sentence or more, plain text */
};

extern const struct conf_key conf_keys[];
extern const size_t conf_key_count;

/* conf_print.c: the effective settings (passwords as `(hidden)`), the commented example file, the
 * manual's section in mdoc. */
void conf_print_settings(const struct conf *conf, FILE *out);
void conf_print_example(FILE *out);
void conf_print_mdoc(FILE *out);

#endif
