/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mysql.h"

#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/module.h"
#include "base/strbuf.h"
#include "store/sql.h"

/*
 * Each thing that is asked or changed is a transaction of its own and one round trip. The values of
 * two statements cannot be bound into one request: a decision that changes a tuple and the client's
 * cached verdict calls a procedure. Where that is missing (a database made before there was one, a
 * user without the right to make or to call it), and in a Galera cluster, it is two statements, the
 * tuple first: it is what must not be forgotten, while a verdict that is missing from the cache
 * only means that the next mail is looked at whole.
 */

#define LOG_MOST 1000 /* rows a statement */
#define LOG_COLUMNS (5 + STORE_LOG_CHECKS)

struct store *my_make(const struct store_config *config, int timeout_ms)
{
	struct store *store = mem_alloc(sizeof(*store));

	store->config = *config;
	store->config.timeout_ms = timeout_ms;
	my_begin(store);
	return store;
}

void my_close(struct store *store)
{
	if (!store)
		return;
	my_disconnect(store);
	free(store);
}

const char *my_error(struct store *store)
{
	return store->error;
}

static enum store_result store_recall(struct store *store, const struct store_tuple *tuple,
				      int64_t client_age_us, struct store_memory *out)
{
	const struct my_value values[] = {{.text = tuple->ip},
					  {.text = tuple->sender},
					  {.text = tuple->recipient},
					  {.text = tuple->ip},
					  {.number = client_age_us}};
	struct store_memory found = {.status = STORE_UNKNOWN, .client = STORE_CLIENT_NONE};
	struct my_answer answer;
	enum store_result rc;

	my_begin(store);
	rc = my_run(store, MY_RECALL, values, &answer);
	if (rc != STORE_OK)
		return rc;
	if (!answer.null[0]) {
		found.status = sql_status(answer.column[0]);
		found.fail_count = sql_fail_count(answer.column[1]);
		found.waited_us = sql_age(answer.column[2]);
	}
	if (!answer.null[3])
		found.client = answer.column[3] == STORE_CLEAN ? STORE_CLIENT_GOOD
							       : STORE_CLIENT_BAD;
	*out = found;
	return STORE_OK;
}

static int client_status(enum store_client client)
{
	return client == STORE_CLIENT_GOOD ? STORE_CLEAN : STORE_GREY;
}

static enum store_result change_client(struct store *store, const struct store_decision *decision)
{
	const struct my_value values[] = {{.text = decision->tuple.ip},
					  {.number = client_status(decision->client)}};
	struct my_answer answer;

	return my_run(store, MY_CLIENT, values, &answer);
}

static enum store_result change_tuple(struct store *store, const struct store_decision *decision,
				      uint64_t *before)
{
	static const enum my_statement of_change[] = {[STORE_INSERT] = MY_INSERT,
						      [STORE_TOUCH] = MY_TOUCH,
						      [STORE_PASS] = MY_PASS,
						      [STORE_AGAIN] = MY_AGAIN};
	const struct my_value values[] = {{.text = decision->tuple.ip},
					  {.text = decision->tuple.sender},
					  {.text = decision->tuple.recipient},
					  {.number = decision->status}};
	struct my_answer answer;
	enum store_result rc = my_run(store, of_change[decision->change], values, &answer);

	if (rc == STORE_OK)
		*before = answer.insert_id;
	return rc;
}

/* There is none, this user may not call it, or it is not ours. */
static bool lacks_procedure(unsigned code)
{
	return code == ER_SP_DOES_NOT_EXIST || code == ER_PROCACCESS_DENIED_ERROR ||
	       code == ER_SP_WRONG_NO_OF_ARGS;
}

static enum store_result change_both(struct store *store, const struct store_decision *decision,
				     uint64_t *before)
{
	const struct my_value values[] = {
	    {.number = decision->change},     {.text = decision->tuple.ip},
	    {.text = decision->tuple.sender}, {.text = decision->tuple.recipient},
	    {.number = decision->status},     {.number = client_status(decision->client)}};
	struct my_answer answer;
	enum store_result rc = my_run(store, MY_BOTH, values, &answer);

	store->no_procedure = rc != STORE_OK && lacks_procedure(store->code);
	if (rc == STORE_OK)
		*before = (uint64_t)answer.column[0];
	return rc;
}

static bool is_lost_race(const struct store_decision *decision, uint64_t before)
{
	return decision->change == STORE_INSERT && before;
}

static enum store_result change(struct store *store, const struct store_decision *decision,
				uint64_t *before)
{
	bool tuple = decision->change != STORE_KEEP, client = decision->client != STORE_CLIENT_NONE;
	enum store_result rc = STORE_OK;

	if (tuple && client && !store->no_procedure) {
		rc = change_both(store, decision, before);
		if (!store->no_procedure)
			return rc;
	}
	if (tuple)
		rc = change_tuple(store, decision, before);
	if (rc != STORE_OK || !client || is_lost_race(decision, *before))
		return rc;
	rc = change_client(store, decision);
	/* the tuple, which is in the database, counts also without a bad client's verdict */
	return rc == STORE_RETRY && tuple && decision->client == STORE_CLIENT_BAD ? STORE_OK : rc;
}

/* What the row's status is where the statement made it. */
static int made_status(const struct store_decision *decision)
{
	if (decision->change == STORE_KEEP)
		return STORE_UNKNOWN;
	if (decision->change == STORE_INSERT)
		return decision->status;
	return decision->change == STORE_AGAIN ? STORE_GREY : STORE_CLEAN;
}

static enum store_result store_remember(struct store *store, const struct store_decision *decision,
					int *status, bool *lost_race)
{
	uint64_t before = 0; /* the row's status, and 1; 0: there was none */
	enum store_result rc;

	my_begin(store);
	rc = change(store, decision, &before);
	if (rc != STORE_OK)
		return rc;
	*status = before ? sql_status((int64_t)(before - 1)) : made_status(decision);
	*lost_race = is_lost_race(decision, before);
	return STORE_OK;
}

static void log_values(const struct store_log_row *row, struct my_value *v)
{
	v[0] = (struct my_value){.number = row->age_us};
	v[1] = (struct my_value){.text = row->tuple.ip};
	v[2] = (struct my_value){.text = row->tuple.sender};
	v[3] = (struct my_value){.text = row->tuple.recipient};
	v[4] = (struct my_value){.text = row->action};
	for (int i = 0; i < STORE_LOG_CHECKS; i++)
		v[5 + i] = (struct my_value){.number = row->checks[i]};
}

static enum store_result insert_rows(struct store *store, const struct store_log_row *rows,
				     size_t count)
{
	struct my_value *values = mem_alloc(count * LOG_COLUMNS * sizeof(*values));
	struct strbuf sql = STRBUF_INIT;
	struct my_answer answer;
	enum store_result rc;

	strbuf_addstr(&sql,
		      "INSERT INTO bley_log (logtime, ip, sender, recipient, action, check_dnswl,"
		      " check_dnsbl, check_helo, check_dyn, check_db, check_spf, check_s_eq_r,"
		      " check_postmaster, check_cache) VALUES ");
	for (size_t i = 0; i < count; i++) {
		strbuf_addf(&sql, "%s(UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND", i ? ", " : "");
		for (int column = 1; column < LOG_COLUMNS; column++)
			strbuf_addstr(&sql, ", ?");
		strbuf_addch(&sql, ')');
		log_values(&rows[i], values + i * LOG_COLUMNS);
	}
	rc = my_run_once(store, sql.buf, values, count * LOG_COLUMNS, 0, &answer);
	strbuf_release(&sql);
	free(values);
	return rc;
}

/* All or none: a transaction, which ends with its connection where it is not committed. */
static enum store_result insert_many(struct store *store, const struct store_log_row *rows,
				     size_t count)
{
	enum store_result rc = my_ready(store);

	if (rc == STORE_OK)
		rc = my_query(store, "START TRANSACTION");
	for (size_t i = 0; rc == STORE_OK && i < count; i += LOG_MOST)
		rc = insert_rows(store, rows + i, count - i < LOG_MOST ? count - i : LOG_MOST);
	if (rc == STORE_OK)
		rc = my_query(store, "COMMIT");
	if (rc != STORE_OK)
		my_disconnect(store);
	return rc;
}

static enum store_result store_log(struct store *store, const struct store_log_row *rows,
				   size_t count)
{
	struct my_value values[LOG_COLUMNS];
	struct my_answer answer;
	enum store_result rc;

	if (!count)
		return STORE_OK;
	my_begin(store);
	if (count == 1) {
		log_values(rows, values);
		return my_run(store, MY_LOG, values, &answer);
	}
	rc = insert_many(store, rows, count);
	if (rc == STORE_RETRY && !my_wants_retry(store))
		rc = insert_many(store, rows, count); /* the connection may have died long ago */
	while (rc == STORE_RETRY && my_wants_retry(store))
		rc = insert_many(store, rows, count);
	return rc;
}

static const struct store_driver driver = {
    .remote = true,
    .open = sql_open,
    .close = my_close,
    .error = my_error,
    .recall = store_recall,
    .remember = store_remember,
    .log = store_log,
    .purge = my_purge,
    .init = sql_init,
    .list = sql_list,
    .read_log = sql_read_log,
    .forget = sql_forget,
    .stats = my_stats,
    .graph = my_graph,
    .check = my_check,
};

MODULE_EXPORT extern const struct module bley_module;
const struct module bley_module = {.abi = MODULE_ABI, .name = "store_mysql", .ops = &driver};
