/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ask MODULE [-s SERVER]... [-t MILLISECONDS] [-n ROUNDS] TYPE NAME [TYPE NAME]...
 * Asks all at once through the module and prints, in the order of the answers, `NAME TYPE STATUS
 * RECORD...`, one line each, then `sent NUMBER`. With -n the same again, in the same process, when
 * a line comes on standard input. For the tests.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/module.h"
#include "dns/resolver.h"

#define ASK_MOST 1024

static const struct {
	const char *name;
	enum dns_type type;
} ask_types[] = {
    {"A", DNS_A}, {"AAAA", DNS_AAAA}, {"MX", DNS_MX}, {"PTR", DNS_PTR}, {"TXT", DNS_TXT}};

static const char *const ask_statuses[] = {"PENDING",  "OK",	  "NXDOMAIN", "NODATA",
					   "SERVFAIL", "REFUSED", "TIMEOUT"};

static _Noreturn void ask_die(const char *message)
{
	fprintf(stderr, "ask: %s\n", message);
	exit(2);
}

static enum dns_type ask_type(const char *name)
{
	for (size_t i = 0; i < sizeof(ask_types) / sizeof(*ask_types); i++)
		if (strcmp(ask_types[i].name, name) == 0)
			return ask_types[i].type;
	ask_die("no such type");
}

static const char *ask_type_name(enum dns_type type)
{
	for (size_t i = 0; i < sizeof(ask_types) / sizeof(*ask_types); i++)
		if (ask_types[i].type == type)
			return ask_types[i].name;
	return "?";
}

static void ask_print_record(enum dns_type type, const struct dns_record *record)
{
	char text[INET6_ADDRSTRLEN];

	if (type == DNS_A || type == DNS_AAAA) {
		printf(" %s", inet_ntop(type == DNS_A ? AF_INET : AF_INET6, record->data, text,
					sizeof(text)));
		return;
	}
	printf(" \"");
	if (type == DNS_MX)
		printf("%u ", record->preference);
	for (size_t i = 0; i < record->len; i++)
		printf(isprint(record->data[i]) ? "%c" : "\\%03u", record->data[i]);
	printf("\"");
}

static void ask_print(const struct dns_question *q)
{
	printf("%s %s %s", q->name, ask_type_name(q->type), ask_statuses[q->status]);
	for (size_t i = 0; i < q->count; i++)
		ask_print_record(q->type, &q->records[i]);
	printf("\n");
}

static const struct resolver_module *ask_load(const char *file)
{
	void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	const struct module *module;

	if (!handle)
		ask_die(dlerror());
	module = dlsym(handle, MODULE_SYMBOL);
	if (!module || module->abi != MODULE_ABI || strcmp(module->name, "resolver_ldns") != 0)
		ask_die("not the module");
	return module->ops;
}

static void ask_round(struct resolver *r, int64_t timeout_ms, char **words, int count)
{
	struct dns_question questions[ASK_MOST] = {{0}};
	struct dns_question *q;
	struct arena arena = ARENA_INIT;

	r->ops->begin(r, &arena, timeout_ms);
	for (int i = 0; i < count; i++) {
		questions[i].type = ask_type(words[2 * i]);
		questions[i].name = words[2 * i + 1];
		r->ops->ask(r, &questions[i]);
	}
	while ((q = r->ops->next(r, -1)))
		ask_print(q);
	printf("sent %lu\n", r->ops->sent(r));
	fflush(stdout);
	arena_release(&arena);
}

int main(int argc, char **argv)
{
	const char *servers[ASK_MOST];
	struct resolver_config config = {.servers = servers};
	int64_t timeout_ms = 5000;
	int rounds = 1, at = 2;
	struct resolver *r;
	char error[256];

	if (argc < 2 || argc > ASK_MOST)
		ask_die("usage");
	for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
		if (argv[at][1] == 's')
			servers[config.count++] = argv[at + 1];
		else if (argv[at][1] == 't')
			timeout_ms = strtoll(argv[at + 1], NULL, 10);
		else
			rounds = atoi(argv[at + 1]);
	}
	r = ask_load(argv[1])->create(&config, error, sizeof(error));
	if (!r)
		ask_die(error);
	for (int i = 0; i < rounds; i++) {
		if (i > 0 && getchar() == EOF)
			break;
		ask_round(r, timeout_ms, argv + at, (argc - at) / 2);
	}
	r->ops->destroy(r);
	return 0;
}
