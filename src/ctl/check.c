/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/whitelist.h"
#include "ctl/ctl.h"
#include "ctl/health.h"
#include "ctl/json.h"
#include "ctl/table.h"
#include "policy/sandbox.h"
#include "store/store.h"

#define ERROR_SIZE 512
#define US_PER_MS 1000.0

enum { NAGIOS, JSON };

static const struct ctl_option options[] = {
    [NAGIOS] = {"nagios", NULL, "one line, as Nagios' plugins print it"},
    [JSON] = {"json", NULL, "print JSON"},
    {NULL, NULL, NULL},
};

/* A check that is under way. */
struct checking {
	struct ctl *ctl;
	bool nagios, use_json;
	struct json json;
	bool right;
	size_t parts;
	const char *first_wrong; /* in the arena */
	struct arena arena;
};

/* One part, and whether anything in it is wrong. */
static void report(struct checking *c, const char *part, bool right, const char *detail)
{
	detail = table_text(&c->arena, detail);
	c->parts++;
	c->right &= right;
	if (!right && !c->first_wrong)
		c->first_wrong = arena_printf(&c->arena, "%s%s%s", part, *detail ? ": " : "",
					      detail);
	if (c->use_json) {
		json_open(&c->json, NULL, '{');
		json_text(&c->json, "part", part);
		json_bool(&c->json, "ok", right);
		json_text(&c->json, "detail", detail);
		json_close(&c->json);
	} else if (!c->nagios)
		printf("%s: %s%s%s\n", part, right ? "ok" : "WRONG", *detail ? ", " : "", detail);
}

static void check_settings(struct checking *c)
{
	const struct conf *conf = ctl_conf(c->ctl);

	report(c, "configuration", conf && !conf->errors, c->ctl->conf.file);
}

static void complain(void *context, const char *file, unsigned line, const char *message)
{
	size_t *complaints = context;

	(*complaints)++;
	if (line)
		ctl_complain("%s:%u: %s", file, line, message);
	else
		ctl_complain("%s: %s", file, message);
}

static void check_whitelist(struct checking *c, const char *part, enum whitelist_kind kind,
			    const char *file)
{
	size_t complaints = 0;
	struct whitelist *list = whitelist_load(kind, file, complain, &complaints);
	char detail[64];

	whitelist_compile(list);
	snprintf(detail, sizeof(detail), "%zu entries", whitelist_count(list));
	whitelist_free(list);
	/* without a file nothing is wrong; it has been told that there is none */
	report(c, part, !complaints || access(file, F_OK), detail);
}

struct lacks {
	struct arena *arena;
	const char *words; /* of all of them, "; " before each */
	bool right;
};

static void take_lack(void *context, bool needed, const char *what)
{
	struct lacks *lacks = context;

	lacks->right &= !needed;
	lacks->words = arena_printf(lacks->arena, "%s; %s", lacks->words, what);
}

/* Opening it looks at the schema's version; a lookup and the driver's own check, at the rights that
 * bley needs. */
static void check_database(struct checking *c)
{
	const char *type = c->ctl->conf.dbtype;
	const struct store_tuple nobody = {.ip = "", .sender = "", .recipient = ""};
	struct lacks lacks = {.arena = &c->arena, .words = "", .right = true};
	struct store_memory memory;
	enum store_result result;
	struct store *store;
	const struct store_driver *driver = ctl_store_as_it_is(c->ctl, &store, &result);

	if (!driver) {
		report(c, "database", result == STORE_NOT_FOUND,
		       result == STORE_NOT_FOUND ? "not made yet" : type);
		return;
	}
	result = driver->recall(store, &nobody, 1, &memory);
	if (result == STORE_OK)
		result = driver->check(store, take_lack, &lacks);
	if (result != STORE_OK)
		ctl_complain("%s", driver->error(store));
	driver->close(store);
	report(c, "database", result == STORE_OK && lacks.right,
	       arena_printf(&c->arena, "%s, schema version %d%s", type, STORE_SCHEMA_VERSION,
			    lacks.words));
}

static void check_lists(struct checking *c)
{
	struct arena *arena = &c->arena;
	char error[ERROR_SIZE];
	struct health *lists;

	if (!health_check(&c->ctl->conf, arena, &lists, error, sizeof(error))) {
		report(c, "DNS", false, error);
		return;
	}
	for (const struct health *h = lists; h; h = h->next)
		report(
		    c,
		    arena_printf(arena, "DNS %s %s", h->white ? "whitelist" : "blacklist", h->name),
		    h->well,
		    arena_printf(arena, "%s (%.0f ms)", h->text,
				 (double)h->slowest_us / US_PER_MS));
}

static enum ctl_status conclude(struct checking *c)
{
	enum ctl_status status = c->right ? CTL_OK : CTL_WRONG;

	if (c->use_json)
		json_close(&c->json);
	if (c->nagios && c->right)
		printf("BLEY OK - %zu parts checked\n", c->parts);
	else if (c->nagios)
		printf("BLEY %s - %s\n", c->ctl->conf.usable ? "WARNING" : "CRITICAL",
		       c->first_wrong);
	/* a plugin's 2 is critical: bley answers every request with its failure action */
	if (c->nagios && !c->ctl->conf.usable)
		status = CTL_USAGE;
	return fflush(stdout) ? CTL_WRONG : status;
}

static enum ctl_status run(struct ctl *ctl, const struct ctl_args *args)
{
	struct checking c = {.ctl = ctl,
			     .nagios = args->option[NAGIOS] != NULL,
			     .use_json = args->option[JSON] != NULL,
			     .json = JSON_INIT(stdout),
			     .right = true};
	const struct conf *conf = &ctl->conf;
	enum ctl_status status;

	if (c.nagios && c.use_json) {
		ctl_complain("check: --nagios or --json, not both");
		return CTL_USAGE;
	}
	if (c.use_json)
		json_open(&c.json, NULL, '[');
	check_settings(&c);
	if (conf->usable) {
		check_whitelist(&c, "clients", WHITELIST_CLIENTS, conf->whitelist_clients_file);
		check_whitelist(&c, "recipients", WHITELIST_RECIPIENTS,
				conf->whitelist_recipients_file);
		check_database(&c);
		report(&c, "sandbox", true, sandbox_describe(conf, &c.arena));
		/* what lists answer is a stranger's word, and this may be root */
		sandbox_enter(conf);
		check_lists(&c);
	}
	status = conclude(&c);
	arena_release(&c.arena);
	return status;
}

const struct ctl_command ctl_check = {
    .name = "check",
    .summary = "look for mistakes in settings, whitelists, database and DNS lists",
    .options = options,
    .run = run,
};
