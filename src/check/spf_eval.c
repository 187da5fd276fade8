/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/spf_eval.h"

#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

/* libspf2's headers need these before them */
#include <spf2/spf.h>
#include <spf2/spf_dns.h>

#include "base/ipaddr.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "dns/resolver.h"

#define NAME_FORMAT "n%u.bley"
#define SENDER "postmaster@n.bley" /* never used: no macro is left that would ask for it */
#define DOMAIN "n.bley"
#define EXPLANATION "-" /* libspf2 expands its default one for each result, sender and all */

/* Where a fatal error of libspf2 ends up; one evaluation at a time. */
static jmp_buf fatal_error;

static void on_message(const char *file, int line, const char *message)
{
	(void)file;
	(void)line;
	(void)message;
}

static void on_fatal(const char *file, int line, const char *message) __attribute__((noreturn));

static void on_fatal(const char *file, int line, const char *message)
{
	on_message(file, line, message);
	longjmp(fatal_error, 1);
}

/* Its own handlers print, and abort. */
static void replace_handlers(void)
{
	SPF_error_handler = on_fatal;
	SPF_warning_handler = on_message;
	SPF_info_handler = on_message;
	SPF_debug_handler = on_message;
}

void spf_eval_name(struct strbuf *record, const char *before, unsigned number)
{
	strbuf_addf(record, "%s" NAME_FORMAT, before, number);
}

/* Makes room for one more record of an answer and says where; it is freed with the answer. */
static SPF_dns_rr_data_t *add_record(SPF_dns_rr_t *rr, size_t size)
{
	if (SPF_dns_rr_buf_realloc(rr, rr->num_rr, size) != SPF_E_SUCCESS)
		mem_exhausted();
	return rr->rr[rr->num_rr++];
}

static void add_text(SPF_dns_rr_t *rr, const char *text)
{
	size_t size = strlen(text) + 1;
	SPF_dns_rr_data_t *data = add_record(rr, size);

	memcpy(data, text, size);
}

static bool add_addresses(struct spf_source *source, unsigned number, SPF_dns_rr_t *rr)
{
	const size_t size = rr->rr_type == ns_t_a ? sizeof(struct in_addr)
						  : sizeof(struct in6_addr);
	const struct dns_record *records;
	size_t count;

	if (!source->addresses(source, number, &records, &count))
		return false;
	for (size_t i = 0; i < count; i++)
		if (records[i].len == size)
			memcpy(add_record(rr, size), records[i].data, size);
	return true;
}

/* Whether the answer is complete; false: the evaluation is over. */
static bool answer(struct spf_source *source, const char *name, unsigned number, SPF_dns_rr_t *rr)
{
	const char *text;

	switch ((int)rr->rr_type) {
	case ns_t_a:
	case ns_t_aaaa:
		return add_addresses(source, number, rr);
	case ns_t_mx:
		/* the hosts of an mx are asked for under the same name: then it is one host to
		 * libspf2 */
		add_text(rr, name);
		return true;
	case ns_t_txt:
		if (!source->record(source, number, &text))
			return false;
		add_text(rr, text);
		return true;
	default: /* RFC 7208 section 3.1: no more records of a type of their own */
		return true;
	}
}

static SPF_dns_rr_t *on_lookup(SPF_dns_server_t *server, const char *name, ns_type type,
			       int should_cache)
{
	SPF_dns_rr_t *rr = SPF_dns_rr_new_init(server, name, type, 0, NETDB_SUCCESS);
	unsigned number;

	(void)should_cache;
	if (!rr)
		mem_exhausted();
	if (sscanf(name, NAME_FORMAT, &number) != 1 || !answer(server->hook, name, number, rr))
		rr->herrno = TRY_AGAIN;
	else if (!rr->num_rr)
		rr->herrno = NO_DATA;
	return rr;
}

/* What belongs to one evaluation. */
struct evaluation {
	SPF_dns_server_t dns;
	SPF_server_t *server;
	SPF_request_t *request;
	SPF_response_t *response;
	SPF_record_t *record;
};

static void set_client(SPF_request_t *request, const struct ipaddr *client)
{
	struct in6_addr six;
	struct in_addr four;

	if (client->family == AF_INET) {
		memcpy(&four, client->bytes, sizeof(four));
		SPF_request_set_ipv4(request, four);
	} else {
		memcpy(&six, client->bytes, sizeof(six));
		SPF_request_set_ipv6(request, six);
	}
}

/*
 * SPF_request_query_mailfrom() would do all this, but lets every client on the loopback pass and
 * looks for a record of the type SPF first.
 */
static void evaluate(struct evaluation *e, const char *record, const struct ipaddr *client)
{
	SPF_response_t *ignored = NULL;

	e->server = SPF_server_new_dns(&e->dns, 0);
	if (!e->server)
		return;
	SPF_server_set_explanation(e->server, EXPLANATION, &ignored);
	SPF_response_free(ignored);
	/* the limits are counted by us, across all records */
	SPF_server_set_max_dns_mech(e->server, INT_MAX);
	e->request = SPF_request_new(e->server);
	e->response = SPF_response_new(e->request);
	if (!e->request || !e->response)
		return;
	set_client(e->request, client);
	SPF_request_set_helo_dom(e->request, DOMAIN);
	SPF_request_set_env_from(e->request, SENDER);
	e->request->cur_dom = DOMAIN;
	if (SPF_record_compile(e->server, e->response, &e->record, record) != SPF_E_SUCCESS)
		return;
	e->response->spf_record_exp = e->record;
	SPF_record_interpret(e->record, e->request, e->response, 0);
}

static char qualifier_of(const struct evaluation *e)
{
	switch (e->response ? SPF_response_result(e->response) : SPF_RESULT_INVALID) {
	case SPF_RESULT_PASS:
		return '+';
	case SPF_RESULT_FAIL:
		return '-';
	case SPF_RESULT_SOFTFAIL:
		return '~';
	case SPF_RESULT_NEUTRAL:
		return '?';
	default:
		return 0;
	}
}

static void evaluation_release(struct evaluation *e)
{
	if (e->record)
		SPF_record_free(e->record);
	if (e->response)
		SPF_response_free(e->response);
	if (e->request)
		SPF_request_free(e->request);
	if (e->server)
		SPF_server_free(e->server);
}

char spf_eval(struct spf_source *source, const char *record, const struct ipaddr *client)
{
	struct evaluation e = {.dns = {.lookup = on_lookup, .name = "bley", .hook = source}};
	char qualifier;

	replace_handlers();
	if (setjmp(fatal_error))
		return 0; /* what was allocated is lost: nobody knows in which state it is */
	evaluate(&e, record, client);
	qualifier = qualifier_of(&e);
	evaluation_release(&e);
	return qualifier;
}
