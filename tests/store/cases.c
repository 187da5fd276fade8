/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every store driver must do. `cases NAME` runs one case against the empty database that the
 * environment names (probe.h); what is beyond struct store_driver (moving times, looking at rows)
 * is asked from the Python test over the descriptor BLEY_STORE_FIXTURE: a line there, lines back,
 * an empty line. A case that fails says where and exits with 1.
 */
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/ipaddr.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "probe.h"

#define HOUR_US (3600 * US_PER_S)
#define SLACK_US (120 * US_PER_S) /* for a machine that is busy */
#define REPLY_SIZE 65536

static const struct store_driver *driver;
static struct store_config config;

/* --- saying what is wrong */

__attribute__((format(printf, 2, 3), noreturn)) static void fail(int line, const char *format, ...)
{
	va_list ap;

	printf("tests/store/cases.c:%d: ", line);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	_exit(1);
}

static void check_int(int line, const char *what, int64_t is, int64_t should)
{
	if (is != should)
		fail(line, "%s is %lld, not %lld", what, (long long)is, (long long)should);
}

static void check_text(int line, const char *what, const char *is, const char *should)
{
	if (strcmp(is, should) != 0)
		fail(line, "%s is\n%s\nnot\n%s", what, is, should);
}

static void check_between(int line, const char *what, int64_t is, int64_t least, int64_t most)
{
	if (is < least || is > most)
		fail(line, "%s is %lld, not from %lld to %lld", what, (long long)is,
		     (long long)least, (long long)most);
}

static void check_ok(int line, struct store *store, enum store_result result)
{
	if (result != STORE_OK)
		fail(line, "result %d: %s", (int)result, driver->error(store));
}

#define INT(is, should) check_int(__LINE__, #is, is, should)
#define AGE(is, should) check_between(__LINE__, #is, is, should, (should) + SLACK_US)
#define OK(store, result) check_ok(__LINE__, store, result)

/* --- the fixture */

static int fixture;

/* Sends a command; the reply's lines, in a buffer that the next call reuses. */
__attribute__((format(printf, 1, 2))) static const char *ask(const char *format, ...)
{
	static char buf[REPLY_SIZE];
	size_t len = 0;
	ssize_t got;
	va_list ap;
	int size;

	va_start(ap, format);
	size = vsnprintf(buf, sizeof(buf) - 1, format, ap);
	va_end(ap);
	buf[size] = '\n';
	if (send(fixture, buf, (size_t)size + 1, MSG_NOSIGNAL) != size + 1)
		fail(__LINE__, "the fixture does not listen");
	for (; len + 1 < sizeof(buf); len += (size_t)got) {
		got = read(fixture, buf + len, sizeof(buf) - 1 - len);
		if (got <= 0)
			break;
		buf[len + (size_t)got] = '\0';
		if (!strcmp(buf, "\n") || strstr(buf, "\n\n")) {
			buf[len + (size_t)got - 1] = '\0';
			return buf;
		}
	}
	fail(__LINE__, "no whole answer from the fixture");
}

/* Rows as lines, columns parted by `|`. */
#define ROWS(query, should) check_text(__LINE__, query, ask("rows %s", query), should)
#define ASK(question, should) check_text(__LINE__, question, ask("%s", question), should)

static void sql(const char *statement)
{
	ask("sql %s", statement);
}

/* Everything in the table happened that much earlier (later where negative). */
static void move(const char *table, int64_t us)
{
	ask("move %s %lld", table, (long long)us);
}

/* --- short ways */

static const struct store_tuple tuple_a = {"192.0.2.1", "sender@example.com", "rcpt@example.org"};
static const struct store_tuple tuple_b = {"2001:0db8:0000:0000:0000:0000:0000:0001", "",
					   "rcpt@example.org"};

static struct store *open_store(void)
{
	struct store *store = NULL;
	char error[1024] = "";

	if (driver->open(&config, &store, error, sizeof(error)) != STORE_OK)
		fail(__LINE__, "open: %s", error);
	return store;
}

static struct store_memory recall(struct store *store, const struct store_tuple *tuple,
				  int64_t age_us)
{
	struct store_memory memory;

	OK(store, driver->recall(store, tuple, age_us, &memory));
	return memory;
}

static int remember(struct store *store, const struct store_tuple *tuple, enum store_change change,
		    int status, enum store_client client, bool *lost_race)
{
	struct store_decision decision = {*tuple, change, status, client};
	int after = -2;

	OK(store, driver->remember(store, &decision, &after, lost_race));
	return after;
}

static int change(struct store *store, const struct store_tuple *tuple, enum store_change what)
{
	bool lost_race = true;
	int after = remember(store, tuple, what, 0, STORE_CLIENT_NONE, &lost_race);

	INT(lost_race, false);
	return after;
}

static void insert(struct store *store, const struct store_tuple *tuple, int status)
{
	bool lost_race = true;

	INT(remember(store, tuple, STORE_INSERT, status, STORE_CLIENT_NONE, &lost_race), status);
	INT(lost_race, false);
}

static void remember_client(struct store *store, const struct store_tuple *tuple,
			    enum store_client client)
{
	bool lost_race = true;

	remember(store, tuple, STORE_KEEP, 0, client, &lost_race);
	INT(lost_race, false);
}

/* Runs `work` in so many processes, which begin together; the sum of what they returned (0 or 1
 * each). A failure in one fails the case. */
static int in_processes(int count, int (*work)(int number))
{
	int gate[2], status, sum = 0;
	char byte;

	if (pipe(gate))
		fail(__LINE__, "pipe");
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			fail(__LINE__, "fork");
		if (pid)
			continue;
		close(gate[1]);
		while (read(gate[0], &byte, 1) > 0)
			;
		_exit(100 + work(i));
	}
	close(gate[0]);
	close(gate[1]);
	for (int i = 0; i < count; i++) {
		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) < 100)
			fail(__LINE__, "a process failed (status %#x)", (unsigned)status);
		sum += WEXITSTATUS(status) - 100;
	}
	return sum;
}

/* --- recall and remember */

static void case_unknown(void)
{
	struct store *store = open_store();
	struct store_memory memory = recall(store, &tuple_a, HOUR_US);

	INT(memory.status, STORE_UNKNOWN);
	INT(memory.client, STORE_CLIENT_NONE);
	INT(recall(store, &tuple_a, 0).status, STORE_UNKNOWN);
	driver->close(store);
	driver->close(NULL);
}

static void case_insert(void)
{
	struct store *store = open_store();
	struct store_memory memory;

	insert(store, &tuple_a, STORE_GREY);
	insert(store, &tuple_b, STORE_LISTED);
	memory = recall(store, &tuple_a, HOUR_US);
	INT(memory.status, STORE_GREY);
	INT(memory.fail_count, 0);
	INT(memory.client, STORE_CLIENT_NONE);
	AGE(memory.waited_us, 0);
	INT(recall(store, &tuple_b, 0).status, STORE_LISTED);
	ROWS("SELECT ip, status, sender, recipient, fail_count FROM bley_status ORDER BY ip",
	     "192.0.2.1|2|sender@example.com|rcpt@example.org|0\n"
	     "2001:0db8:0000:0000:0000:0000:0000:0001|1||rcpt@example.org|0\n");
	driver->close(store);
	store = open_store(); /* it was written */
	INT(recall(store, &tuple_a, 0).status, STORE_GREY);
	driver->close(store);
}

static void case_keep(void)
{
	struct store *store = open_store();

	insert(store, &tuple_a, STORE_GREY);
	move("bley_status", HOUR_US);
	INT(change(store, &tuple_a, STORE_KEEP), STORE_UNKNOWN);
	AGE(recall(store, &tuple_a, 0).waited_us, HOUR_US);
	INT(change(store, &tuple_b, STORE_KEEP), STORE_UNKNOWN);
	ROWS("SELECT count(*) FROM bley_status", "1\n");
	driver->close(store);
}

static void case_touch(void)
{
	struct store *store = open_store();

	insert(store, &tuple_a, STORE_LISTED);
	move("bley_status", HOUR_US);
	AGE(recall(store, &tuple_a, 0).waited_us, HOUR_US);
	INT(change(store, &tuple_a, STORE_TOUCH), STORE_LISTED);
	AGE(recall(store, &tuple_a, 0).waited_us, 0);
	INT(recall(store, &tuple_a, 0).status, STORE_LISTED);
	driver->close(store);
}

static void case_pass(void)
{
	struct store *store = open_store();

	insert(store, &tuple_a, STORE_GREY);
	INT(change(store, &tuple_a, STORE_AGAIN), STORE_GREY);
	move("bley_status", HOUR_US);
	INT(change(store, &tuple_a, STORE_PASS), STORE_CLEAN);
	INT(recall(store, &tuple_a, 0).status, STORE_CLEAN);
	AGE(recall(store, &tuple_a, 0).waited_us, 0);
	ROWS("SELECT count(*) FROM bley_status", "1\n");
	driver->close(store);
}

static void case_again(void)
{
	struct store *store = open_store();

	insert(store, &tuple_a, STORE_GREY);
	insert(store, &tuple_b, 7); /* larger values count the same */
	move("bley_status", HOUR_US);
	for (int i = 1; i <= 3; i++) {
		INT(change(store, &tuple_a, STORE_AGAIN), STORE_GREY);
		INT(recall(store, &tuple_a, 0).fail_count, i);
	}
	AGE(recall(store, &tuple_a, 0).waited_us, HOUR_US);
	INT(change(store, &tuple_b, STORE_AGAIN), 7);
	INT(recall(store, &tuple_b, 0).fail_count, 1);
	driver->close(store);
}

/* Someone else let it pass between recall and remember. */
static void case_again_when_clean(void)
{
	struct store *store = open_store();

	insert(store, &tuple_a, STORE_CLEAN);
	INT(change(store, &tuple_a, STORE_AGAIN), STORE_CLEAN);
	INT(recall(store, &tuple_a, 0).fail_count, 0);
	driver->close(store);
}

/* The row was purged between recall and remember. */
static void case_vanished(void)
{
	struct store *store = open_store();
	struct store_memory memory;

	INT(change(store, &tuple_a, STORE_TOUCH), STORE_CLEAN);
	INT(recall(store, &tuple_a, 0).status, STORE_CLEAN);
	sql("DELETE FROM bley_status");
	INT(change(store, &tuple_a, STORE_PASS), STORE_CLEAN);
	INT(recall(store, &tuple_a, 0).status, STORE_CLEAN);
	sql("DELETE FROM bley_status");
	INT(change(store, &tuple_a, STORE_AGAIN), STORE_GREY);
	memory = recall(store, &tuple_a, 0);
	INT(memory.status, STORE_GREY);
	INT(memory.fail_count, 1);
	AGE(memory.waited_us, 0);
	driver->close(store);
}

/* A clock was set back: nobody waits for it to come there again. */
static void case_future(void)
{
	struct store *store = open_store();

	insert(store, &tuple_a, STORE_GREY);
	remember_client(store, &tuple_a, STORE_CLIENT_BAD);
	move("bley_status", -24 * HOUR_US);
	move("bley_cache", -24 * HOUR_US);
	INT(recall(store, &tuple_a, HOUR_US).waited_us, 0);
	INT(recall(store, &tuple_a, HOUR_US).client, STORE_CLIENT_NONE);
	INT(recall(store, &tuple_a, 25 * HOUR_US).client, STORE_CLIENT_BAD);
	INT(change(store, &tuple_a, STORE_AGAIN), STORE_GREY);
	move("bley_status", HOUR_US);
	AGE(recall(store, &tuple_a, 0).waited_us, HOUR_US);
	INT(recall(store, &tuple_a, 0).fail_count, 1);
	driver->close(store);
}

static void case_client(void)
{
	struct store_tuple other = {tuple_a.ip, "other@example.com", "other@example.org"};
	struct store *store = open_store();
	bool lost_race = true;

	INT(remember(store, &tuple_a, STORE_INSERT, STORE_GREY, STORE_CLIENT_BAD, &lost_race),
	    STORE_GREY);
	INT(lost_race, false);
	INT(recall(store, &tuple_a, HOUR_US).client, STORE_CLIENT_BAD);
	INT(recall(store, &other, HOUR_US).client, STORE_CLIENT_BAD);
	INT(recall(store, &other, HOUR_US).status, STORE_UNKNOWN);
	INT(recall(store, &tuple_b, HOUR_US).client, STORE_CLIENT_NONE);
	INT(recall(store, &tuple_a, 0).client, STORE_CLIENT_NONE);
	move("bley_cache", 2 * HOUR_US);
	INT(recall(store, &tuple_a, HOUR_US).client, STORE_CLIENT_NONE);
	INT(recall(store, &tuple_a, 3 * HOUR_US).client, STORE_CLIENT_BAD);
	remember_client(store, &tuple_a, STORE_CLIENT_GOOD);
	INT(recall(store, &tuple_a, HOUR_US).client, STORE_CLIENT_GOOD);
	INT(remember(store, &tuple_a, STORE_AGAIN, 0, STORE_CLIENT_BAD, &lost_race), STORE_GREY);
	INT(recall(store, &tuple_a, HOUR_US).client, STORE_CLIENT_BAD);
	ROWS("SELECT ip, status FROM bley_cache", "192.0.2.1|2\n");
	ROWS("SELECT count(*) FROM bley_status", "1\n");
	driver->close(store);
}

static void case_lost_race(void)
{
	struct store *one = open_store(), *two = open_store();
	bool lost_race = false;

	INT(recall(one, &tuple_a, 0).status, STORE_UNKNOWN);
	INT(recall(two, &tuple_a, 0).status, STORE_UNKNOWN);
	INT(remember(one, &tuple_a, STORE_INSERT, STORE_GREY, STORE_CLIENT_BAD, &lost_race),
	    STORE_GREY);
	INT(lost_race, false);
	move("bley_status", HOUR_US);
	INT(remember(two, &tuple_a, STORE_INSERT, STORE_CLEAN, STORE_CLIENT_GOOD, &lost_race),
	    STORE_GREY);
	INT(lost_race, true);
	INT(recall(two, &tuple_a, HOUR_US).client, STORE_CLIENT_BAD);
	INT(recall(two, &tuple_a, 0).fail_count, 0);
	AGE(recall(two, &tuple_a, 0).waited_us, HOUR_US);
	driver->close(one);
	driver->close(two);
}

static int insert_same(int number)
{
	struct store *store = open_store();
	bool lost_race = false;

	(void)number;
	INT(remember(store, &tuple_a, STORE_INSERT, STORE_GREY, STORE_CLIENT_BAD, &lost_race),
	    STORE_GREY);
	driver->close(store);
	return !lost_race;
}

static void case_race_insert(void)
{
	driver->close(open_store());
	INT(in_processes(50, insert_same), 1);
	ROWS("SELECT status, fail_count FROM bley_status", "2|0\n");
}

static int again_often(int number)
{
	struct store *store = open_store();

	(void)number;
	for (int i = 0; i < 25; i++)
		INT(change(store, &tuple_a, STORE_AGAIN), STORE_GREY);
	driver->close(store);
	return 0;
}

static void case_race_again(void)
{
	struct store *store = open_store();

	insert(store, &tuple_a, STORE_GREY);
	driver->close(store);
	in_processes(8, again_often);
	ROWS("SELECT fail_count FROM bley_status", "200\n");
}

static int write_much(int number)
{
	struct store *store = open_store();
	struct store_log_row row = {.action = "DUNNO"};
	char sender[64];
	bool lost_race;

	for (int i = 0; i < 50; i++) {
		snprintf(sender, sizeof(sender), "%d.%d@example.com", number, i);
		row.tuple = (struct store_tuple){tuple_a.ip, sender, "rcpt@example.org"};
		INT(recall(store, &row.tuple, HOUR_US).status, STORE_UNKNOWN);
		remember(store, &row.tuple, STORE_INSERT, STORE_CLEAN, STORE_CLIENT_GOOD,
			 &lost_race);
		INT(lost_race, false);
		OK(store, driver->log(store, &row, 1));
	}
	driver->close(store);
	return 0;
}

static void case_writers(void)
{
	driver->close(open_store());
	in_processes(10, write_much);
	ROWS("SELECT count(*) FROM bley_status", "500\n");
	ROWS("SELECT count(*) FROM bley_log", "500\n");
}

/* --- values */

#define UTF8_SENDER "jos\xc3\xa9@\xc3\xbc.example"
#define UTF8_RECIPIENT "\xe4\xbd\xa0\xe5\xa5\xbd@\xf0\x9f\x90\xa6.example"

static void check_values(struct store *store, const char *sender, const char *recipient)
{
	struct store_tuple tuple = {"192.0.2.9", sender, recipient};
	struct store_log_row row = {.tuple = tuple, .action = "DUNNO"};

	insert(store, &tuple, STORE_GREY);
	INT(recall(store, &tuple, 0).status, STORE_GREY);
	INT(change(store, &tuple, STORE_PASS), STORE_CLEAN);
	INT(recall(store, &tuple, HOUR_US).status, STORE_CLEAN);
	OK(store, driver->log(store, &row, 1));
}

static void case_values(void)
{
	struct store *store = open_store();
	char longest[255];

	memset(longest, 'a', sizeof(longest));
	longest[254] = '\0';
	check_values(store, "", "a@b");
	check_values(store, "o'neill\"\\%_@example.com", "a`b;--@example.org");
	check_values(store, "'); DROP TABLE bley_status; --", "$1 ?1 :x %s {}");
	check_values(store, UTF8_SENDER, UTF8_RECIPIENT);
	check_values(store, longest, longest);
	ROWS("SELECT count(*) FROM bley_status WHERE status = 0", "5\n");
	ROWS("SELECT count(*) FROM bley_log", "5\n");
	ROWS("SELECT sender, recipient FROM bley_log WHERE sender LIKE 'jos%'",
	     UTF8_SENDER "|" UTF8_RECIPIENT "\n");
	driver->close(store);
}

/* Addresses that a collation might take for equal are different ones. */
static void case_alike(void)
{
	static const char *const senders[] = {"jos\xc3\xa9@a",	 "jose@a", "strasse@a",
					      "stra\303\237e@a", "a@b",	   "a@b "};
	struct store *store = open_store();
	struct store_tuple tuple = tuple_a;
	int count = sizeof(senders) / sizeof(senders[0]);

	for (int i = 0; i < count; i++) {
		tuple.sender = senders[i];
		INT(recall(store, &tuple, 0).status, STORE_UNKNOWN);
		insert(store, &tuple, i);
	}
	for (int i = 0; i < count; i++) {
		tuple.sender = senders[i];
		INT(recall(store, &tuple, 0).status, i);
	}
	driver->close(store);
}

/* --- the log */

static void case_log(void)
{
	struct store_log_row rows[] = {
	    {tuple_a, "DUNNO", {0, 1, 2, 3, -1, 5, 6, 7, 8}, 0},
	    {tuple_b, "DEFER_IF_PERMIT", {1, 0, 0, 0, 2, 0, 0, 0, 0}, HOUR_US},
	};
	struct store *store = open_store();

	OK(store, driver->log(store, rows, 0));
	OK(store, driver->log(store, rows, 2));
	ROWS("SELECT ip, sender, recipient, action, check_dnswl, check_dnsbl, check_helo,"
	     " check_dyn, check_db, check_spf, check_s_eq_r, check_postmaster, check_cache"
	     " FROM bley_log ORDER BY ip",
	     "192.0.2.1|sender@example.com|rcpt@example.org|DUNNO|0|1|2|3|-1|5|6|7|8\n"
	     "2001:0db8:0000:0000:0000:0000:0000:0001||rcpt@example.org|DEFER_IF_PERMIT"
	     "|1|0|0|0|2|0|0|0|0\n");
	AGE(atoll(ask("age bley_log logtime ip = '192.0.2.1'")), 0);
	AGE(atoll(ask("age bley_log logtime ip <> '192.0.2.1'")), HOUR_US);
	driver->close(store);
}

static void case_log_many(void)
{
	struct store_log_row rows[500];
	struct store *store = open_store();

	for (int i = 0; i < 500; i++)
		rows[i] = (struct store_log_row){tuple_a, "DUNNO", {i}, i * US_PER_S};
	OK(store, driver->log(store, rows, 500));
	ROWS("SELECT count(*), min(check_dnswl), max(check_dnswl) FROM bley_log", "500|0|499\n");
	driver->close(store);
}

static void take_graph(void *context, int slot, enum store_graph_class what, int64_t count)
{
	char(*sums)[32] = context;

	(*sums)[slot * STORE_GRAPH_CLASSES + (int)what] = (char)('0' + count);
}

/* Slots, classes and what came back, also in rows of the Python daemon, which may lack scores. */
static void case_graph(void)
{
	struct store_log_row rows[] = {
	    {tuple_a, "DEFER_IF_PERMIT", {0, 0, 2, 0, -1, 0, 0, 0, 0}, 5400 * US_PER_S},
	    {tuple_a, "PREPEND", {0, 0, 0, 0, 2, 0, 0, 0, 0}, 1800 * US_PER_S},
	    {tuple_b, "DEFER_IF_PERMIT", {0, 1, 0, 0, -1, 0, 0, 0, 0}, 5400 * US_PER_S},
	    {tuple_b, "DEFER_IF_PERMIT", {0, 0, 0, 0, -1, 0, 0, 0, 1}, 1800 * US_PER_S},
	};
	struct store_graph_query query = {.kind = STORE_GRAPH_DECISIONS,
					  .start_s = (int64_t)time(NULL) - 7200,
					  .slot_s = 3600,
					  .slots = 2,
					  .dnsbl_threshold = 1,
					  .rfc_threshold = 2};
	char sums[32];
	struct store *store = open_store();

	OK(store, driver->log(store, rows, 4));
	sql("INSERT INTO bley_log (logtime) SELECT max(logtime) FROM bley_log");
	memset(sums, '.', sizeof(sums));
	sums[2 * STORE_GRAPH_CLASSES] = '\0';
	OK(store, driver->graph(store, &query, take_graph, &sums));
	check_text(__LINE__, "decisions", sums, "........11.......1.11.......");
	query.kind = STORE_GRAPH_TUPLES;
	memset(sums, '.', 2 * STORE_GRAPH_CLASSES);
	OK(store, driver->graph(store, &query, take_graph, &sums));
	check_text(__LINE__, "tuples", sums, "........1..............1....");
	driver->close(store);
}

/* --- what bleyctl lists, forgets and counts */

/* Rows as lines, columns parted by `|`; `left` is how many are wanted. */
struct lines {
	struct strbuf text;
	int left;
};

#define LINES_INIT(wanted)                          \
	{                                           \
		.text = STRBUF_INIT, .left = wanted \
	}

static bool take_row(void *context, const struct store_row *row)
{
	struct lines *lines = context;

	strbuf_addf(&lines->text, "%s|%d|%s|%s|%d|%lldh\n", row->tuple.ip, row->status,
		    row->tuple.sender, row->tuple.recipient, row->fail_count,
		    (long long)(row->age_us / HOUR_US));
	return --lines->left > 0;
}

static void check_lines(int line, const char *what, struct lines *lines, const char *should)
{
	check_text(line, what, lines->text.len ? lines->text.buf : "", should);
	strbuf_release(&lines->text);
}

static void check_list(int line, struct store *store, struct store_filter filter, int wanted,
		       const char *should)
{
	struct lines lines = LINES_INIT(wanted);

	check_ok(line, store, driver->list(store, &filter, take_row, &lines));
	check_lines(line, "list", &lines, should);
}

/* A filter's members; ANY where it says nothing of the status. */
#define ANY .status = STORE_UNKNOWN
#define LISTS(store, should, ...) \
	check_list(__LINE__, store, (struct store_filter){__VA_ARGS__}, 99, should)

static const struct ipnet *net(const char *text)
{
	static struct ipnet out;
	bool host_bits;

	INT(ipnet_parse(text, &out, &host_bits), true);
	return &out;
}

#define ROW_A "192.0.2.1|2|sender@example.com|rcpt@example.org|1|3h\n"
#define ROW_C "192.0.2.200|0|100%_!@example.com|x_y@example.org|0|2h\n"
#define ROW_D "198.51.100.7|1|sender@example.com|xzy@example.org|0|1h\n"
#define ROW_B "2001:0db8:0000:0000:0000:0000:0000:0001|3||rcpt@example.org|0|0h\n"

/* One an hour, the youngest one just now. */
static struct store *open_filled(void)
{
	static const struct store_tuple c = {"192.0.2.200", "100%_!@example.com",
					     "x_y@example.org"};
	static const struct store_tuple d = {"198.51.100.7", "sender@example.com",
					     "xzy@example.org"};
	struct store *store = open_store();

	insert(store, &tuple_a, STORE_GREY);
	INT(change(store, &tuple_a, STORE_AGAIN), STORE_GREY);
	move("bley_status", HOUR_US);
	insert(store, &c, STORE_CLEAN);
	move("bley_status", HOUR_US);
	insert(store, &d, STORE_LISTED);
	move("bley_status", HOUR_US);
	insert(store, &tuple_b, 3);
	return store;
}

static void case_list(void)
{
	struct store *store = open_filled();

	LISTS(store, ROW_A ROW_C ROW_D ROW_B, ANY);
	LISTS(store, ROW_A ROW_B, .status = STORE_GREY); /* and larger values */
	LISTS(store, ROW_C, .status = STORE_CLEAN);
	LISTS(store, ROW_D, .status = STORE_LISTED);
	LISTS(store, ROW_D ROW_B, ANY, .since_us = 3 * HOUR_US / 2);
	LISTS(store, ROW_B ROW_D, ANY, .limit = 2); /* newest first */
	LISTS(store, ROW_A ROW_D, ANY, .address = "sender@example.com");
	LISTS(store, ROW_D, ANY, .address = "xzy@example.org");
	LISTS(store, ROW_B, ANY, .address = "");
	LISTS(store, "", ANY, .address = "sender@example.co_");
	LISTS(store, ROW_A, .status = STORE_GREY, .net = net("192.0.2.0/24"), .sender = "sender@%",
	      .recipient = "rcpt@%", .since_us = 9 * HOUR_US, .limit = 9);
	LISTS(store, "", .status = STORE_CLEAN, .net = net("198.51.100.0/24"));
	check_list(__LINE__, store, (struct store_filter){ANY}, 1, ROW_A);
	INT(recall(store, &tuple_b, 0).status, 3); /* also after one that was stopped */
	driver->close(store);
}

static void case_list_nets(void)
{
	struct store *store = open_filled();

	LISTS(store, ROW_C, ANY, .net = net("192.0.2.128/25"));
	LISTS(store, ROW_A ROW_C, ANY, .net = net("192.0.0.0/14"));
	LISTS(store, ROW_A, ANY, .net = net("192.0.2.1"));
	LISTS(store, ROW_A ROW_C ROW_D, ANY, .net = net("0.0.0.0/0"));
	LISTS(store, ROW_B, ANY, .net = net("2001:db8::/32"));
	LISTS(store, ROW_B, ANY, .net = net("2001:db8::1"));
	LISTS(store, ROW_B, ANY, .net = net("::/0"));
	LISTS(store, "", ANY, .net = net("2001:db9::/32"));
	sql("INSERT INTO bley_status VALUES ('no address', 0, '2026-01-01 00:00:00', 's', 'r', 0)");
	LISTS(store, ROW_A ROW_C ROW_D, ANY, .net = net("0.0.0.0/0"));
	driver->close(store);
}

/* SQL's own characters, escaped or not, and no pattern in what the database has. */
static void case_list_patterns(void)
{
	struct store *store = open_filled();

	LISTS(store, ROW_C, ANY, .sender = "100!%!_!!@example.com");
	LISTS(store, ROW_C, ANY, .sender = "1__%!%%");
	LISTS(store, ROW_C ROW_D, ANY, .recipient = "x_y@%");
	LISTS(store, ROW_C, ANY, .recipient = "x!_y@%");
	LISTS(store, ROW_B, ANY, .sender = "");
	LISTS(store, "", ANY, .sender = "' OR 1=1 --");
	LISTS(store, "", ANY, .sender = "\\%");
	driver->close(store);
}

static bool take_log(void *context, const struct store_log_row *row, int64_t time_us)
{
	struct lines *lines = context;
	int64_t now_us = (int64_t)time(NULL) * US_PER_S;

	check_between(__LINE__, "time", now_us - time_us, row->age_us - SLACK_US,
		      row->age_us + SLACK_US);
	strbuf_addf(&lines->text, "%s|%s|%s|%s|", row->tuple.ip, row->tuple.sender,
		    row->tuple.recipient, row->action);
	for (int i = 0; i < STORE_LOG_CHECKS; i++)
		strbuf_addf(&lines->text, "%d ", row->checks[i]);
	strbuf_addf(&lines->text, "%lldh\n", (long long)(row->age_us / HOUR_US));
	return --lines->left > 0;
}

static void check_log(int line, struct store *store, struct store_filter filter, int64_t age_us,
		      int64_t lag_us, int wanted, const char *should)
{
	int64_t after_us = age_us ? (int64_t)time(NULL) * US_PER_S - age_us : 0;
	struct lines lines = LINES_INIT(wanted);

	check_ok(line, store, driver->read_log(store, &filter, after_us, lag_us, take_log, &lines));
	check_lines(line, "log", &lines, should);
}

#define LOG(store, should, age_us, lag_us, ...) \
	check_log(__LINE__, store, (struct store_filter){__VA_ARGS__}, age_us, lag_us, 99, should)

#define LOG_A "192.0.2.1|sender@example.com|rcpt@example.org|DUNNO|0 1 2 3 -1 5 6 7 8 3h\n"
#define LOG_B                                                                        \
	"2001:0db8:0000:0000:0000:0000:0000:0001||rcpt@example.org|DEFER_IF_PERMIT|" \
	"1 0 0 0 2 0 0 0 0 1h\n"
#define LOG_C "192.0.2.1|sender@example.com|rcpt@example.org|PREPEND|0 0 0 0 2 0 0 0 0 0h\n"

static void case_read_log(void)
{
	struct store_log_row rows[] = {
	    {tuple_a, "PREPEND", {0, 0, 0, 0, 2, 0, 0, 0, 0}, US_PER_S},
	    {tuple_a, "DUNNO", {0, 1, 2, 3, -1, 5, 6, 7, 8}, 3 * HOUR_US},
	    {tuple_b, "DEFER_IF_PERMIT", {1, 0, 0, 0, 2, 0, 0, 0, 0}, HOUR_US},
	};
	struct store *store = open_store();

	LOG(store, "", 0, 0, ANY);
	OK(store, driver->log(store, rows, 3));
	LOG(store, LOG_A LOG_B LOG_C, 0, 0, ANY);
	LOG(store, LOG_B LOG_C, 2 * HOUR_US, 0, ANY);
	LOG(store, LOG_A LOG_B, 0, HOUR_US / 2, ANY); /* at least that old */
	LOG(store, LOG_B, 2 * HOUR_US, HOUR_US / 2, ANY);
	LOG(store, LOG_C LOG_B, 0, 0, ANY, .limit = 2); /* newest first */
	LOG(store, LOG_B LOG_C, 0, 0, ANY, .since_us = 2 * HOUR_US);
	LOG(store, LOG_A LOG_C, 0, 0, .net = net("192.0.2.0/24"), .status = STORE_GREY);
	LOG(store, LOG_B, 0, 0, ANY, .sender = "");
	LOG(store, LOG_A LOG_C, 0, 0, ANY, .address = "sender@example.com", .recipient = "r_pt@%");
	check_log(__LINE__, store, (struct store_filter){ANY}, 0, 0, 1, LOG_A);
	/* the Python daemon's rows may lack anything but the time */
	sql("DELETE FROM bley_log WHERE action <> 'DEFER_IF_PERMIT'");
	sql("INSERT INTO bley_log (logtime) SELECT min(logtime) FROM bley_log");
	LOG(store, "||||0 0 0 0 0 0 0 0 0 1h\n", 0, 0, ANY, .limit = 1);
	driver->close(store);
}

static void check_forget(int line, struct store *store, struct store_filter filter, int tuples,
			 int clients)
{
	for (int dry_run = 1; dry_run >= 0; dry_run--) {
		struct store_forgotten out = {.tuples = -1, .clients = -1};

		check_ok(line, store, driver->forget(store, &filter, dry_run, &out));
		check_int(line, "tuples", out.tuples, tuples);
		check_int(line, "clients", out.clients, clients);
	}
}

#define FORGETS(store, tuples, clients, ...) \
	check_forget(__LINE__, store, (struct store_filter){__VA_ARGS__}, tuples, clients)

/* Counted first, then done; what is not meant stays. */
static void case_forget(void)
{
	static const struct store_tuple other = {"192.0.2.77", "", ""};
	struct store *store = open_filled();

	remember_client(store, &tuple_a, STORE_CLIENT_BAD);
	remember_client(store, &tuple_b, STORE_CLIENT_GOOD);
	remember_client(store, &other, STORE_CLIENT_BAD); /* without tuples */
	FORGETS(store, 0, 0, ANY, .address = "nobody@example.com");
	FORGETS(store, 1, 0, ANY, .recipient = "x!_y@%");
	FORGETS(store, 0, 0, ANY, .net = net("192.0.2.0/24"), .sender = "other@%");
	FORGETS(store, 2, 1, ANY, .address = "sender@example.com");
	LISTS(store, ROW_B, ANY);
	INT(recall(store, &tuple_a, HOUR_US).client, STORE_CLIENT_NONE);
	INT(recall(store, &tuple_b, HOUR_US).client, STORE_CLIENT_GOOD);
	FORGETS(store, 0, 1, ANY, .net = net("192.0.2.64/26"));
	FORGETS(store, 1, 1, ANY, .net = net("2001:db8::/32"));
	ROWS("SELECT count(*) FROM bley_status", "0\n");
	ROWS("SELECT count(*) FROM bley_cache", "0\n");
	driver->close(store);
}

static void case_forget_all(void)
{
	struct store *store = open_filled();

	FORGETS(store, 2, 0, ANY, .since_us = 3 * HOUR_US / 2);
	FORGETS(store, 1, 0, .status = STORE_GREY);
	FORGETS(store, 1, 0, ANY);
	driver->close(store);
}

static void take_stat(void *context, const struct store_stat *stat)
{
	struct lines *lines = context;

	switch (stat->kind) {
	case STORE_STAT_DECISIONS:
		/* in no order */
		lines->left += (int)stat->count *
			       (10 * (int)stat->reason + (int)strlen(stat->name));
		break;
	case STORE_STAT_TUPLES:
		strbuf_addf(&lines->text, "%lld after %lld\n", (long long)stat->count,
			    (long long)stat->seconds);
		break;
	case STORE_STAT_CLIENT:
		strbuf_addf(&lines->text, "%s %lld %lld\n", stat->name, (long long)stat->count,
			    (long long)stat->deferred);
		break;
	}
}

static void check_stats(int line, struct store *store, struct store_stat_query query, int decisions,
			const char *should)
{
	struct lines lines = LINES_INIT(0);

	check_ok(line, store, driver->stats(store, &query, take_stat, &lines));
	check_int(line, "decisions", lines.left, decisions);
	check_lines(line, "stats", &lines, should);
}

#define STATS(store, decisions, should, ...) \
	check_stats(__LINE__, store, (struct store_stat_query){__VA_ARGS__}, decisions, should)
#define DEFER "DEFER_IF_PERMIT"

static void case_stats(void)
{
	const int64_t minute_us = 60 * US_PER_S;
	struct store_tuple c = {"192.0.2.3", "c@example.com", "rcpt@example.org"};
	struct store_log_row rows[] = {
	    /* a came back after 50 minutes and, too early, before; b after more than an hour */
	    {tuple_a, DEFER, {0, 0, 2, 0, -1, 0, 0, 0, 0}, 100 * minute_us},
	    {tuple_a, DEFER, {0, 0, 0, 0, 2, 0, 0, 0, 0}, 90 * minute_us},
	    {tuple_a, "PREPEND", {0, 0, 0, 0, 2, 0, 0, 0, 0}, 50 * minute_us},
	    {tuple_a, "DUNNO", {0, 0, 0, 0, 0, 0, 0, 0, 0}, 40 * minute_us},
	    {tuple_b, DEFER, {0, 2, 0, 0, -1, 0, 0, 0, 0}, 100 * minute_us},
	    {tuple_b, "PREPEND", {0, 0, 0, 0, 3, 0, 0, 0, 0}, 20 * minute_us + 30 * US_PER_S},
	    /* c has not; what the cache said is no coming back */
	    {c, DEFER, {0, 2, 0, 0, -1, 0, 0, 0, 0}, 100 * minute_us},
	    {c, DEFER, {0, 0, 0, 0, -1, 0, 0, 0, 1}, 99 * minute_us},
	    {c, "DUNNO", {1, 0, 0, 0, -1, 0, 0, 0, 0}, 30 * minute_us},
	    {c, "DUNNO", {0, 1, 1, 0, -1, 0, 0, 0, 0}, 29 * minute_us},
	    {c, "DUNNO", {0, 0, 0, 0, -1, 0, 0, 1, 0}, 28 * minute_us},
	    /* longer ago than is asked for */
	    {c, DEFER, {0, 0, 2, 0, -1, 0, 0, 0, 0}, 300 * minute_us},
	};
	struct store *store = open_store();

	STATS(store, 0, "", .clients = 9);
	OK(store, driver->log(store, rows, sizeof(rows) / sizeof(rows[0])));
	STATS(store,
	      (10 * STORE_REASON_CHECKS + 15) + (10 * STORE_REASON_TOO_EARLY + 15) +
		  2 * (10 * STORE_REASON_WAITED + 7) + (10 * STORE_REASON_KNOWN + 5) +
		  2 * (10 * STORE_REASON_DNSBL + 15) + (10 * STORE_REASON_CACHE + 15) +
		  (10 * STORE_REASON_DNSWL + 5) + (10 * STORE_REASON_UNSUSPECTED + 5) +
		  (10 * STORE_REASON_WHITELIST + 5),
	      "1 after -1\n1 after 3000\n1 after 4740\n192.0.2.3 5 2\n192.0.2.1 4 2\n",
	      .since_us = 4 * HOUR_US, .dnswl_threshold = 1, .dnsbl_threshold = 2, .clients = 2);
	/* thresholds of 0 are never reached; all time; no clients */
	STATS(store,
	      4 * (10 * STORE_REASON_CHECKS + 15) + (10 * STORE_REASON_TOO_EARLY + 15) +
		  2 * (10 * STORE_REASON_WAITED + 7) + (10 * STORE_REASON_KNOWN + 5) +
		  (10 * STORE_REASON_CACHE + 15) + 2 * (10 * STORE_REASON_UNSUSPECTED + 5) +
		  (10 * STORE_REASON_WHITELIST + 5),
	      "1 after -1\n1 after 3000\n1 after 4740\n", .since_us = 0);
	driver->close(store);
}

/* --- purging */

static int batches;

static void count_batch(const struct store_purge *purge)
{
	(void)purge;
	batches++;
}

static struct store_purge purge(struct store *store, struct store_purge wanted)
{
	wanted.progress = count_batch;
	OK(store, driver->purge(store, &wanted));
	return wanted;
}

static const struct store_purge keep_all = {
    .status_s = -1, .status_bad_s = -1, .log_s = -1, .cache_s = -1};

/* bley_status: a clean and a grey row each of 100 and 50 hours and of now; bley_log the same, one
 * each; bley_cache 50 hours and now. */
static void fill(struct store *store)
{
	struct store_tuple tuple = tuple_a;
	struct store_log_row rows[3] = {{tuple_a, "DUNNO", {0}, 100 * HOUR_US},
					{tuple_a, "DUNNO", {0}, 50 * HOUR_US},
					{tuple_a, "DUNNO", {0}, 0}};

	insert(store, &tuple_a, STORE_CLEAN);
	insert(store, &tuple_b, STORE_GREY);
	move("bley_status", 50 * HOUR_US);
	tuple.sender = "later@example.com";
	insert(store, &tuple, STORE_CLEAN);
	tuple.sender = "later-grey@example.com";
	insert(store, &tuple, STORE_GREY);
	move("bley_status", 50 * HOUR_US);
	tuple.sender = "now@example.com";
	insert(store, &tuple, STORE_CLEAN);
	tuple.sender = "now-grey@example.com";
	insert(store, &tuple, STORE_GREY);
	remember_client(store, &tuple_b, STORE_CLIENT_GOOD);
	move("bley_cache", 50 * HOUR_US);
	remember_client(store, &tuple_a, STORE_CLIENT_GOOD);
	OK(store, driver->log(store, rows, 3));
}

static void check_sums(int line, struct store *store, struct store_purge wanted, int status,
		       int log, int cache)
{
	struct store_purge purged = purge(store, wanted);

	check_int(line, "status_rows", purged.status_rows, status);
	check_int(line, "log_rows", purged.log_rows, log);
	check_int(line, "cache_rows", purged.cache_rows, cache);
	check_int(line, "stepped_aside", purged.stepped_aside, false);
}

#define PURGES(store, wanted, status, log, cache) \
	check_sums(__LINE__, store, wanted, status, log, cache)

static void case_purge(void)
{
	struct store *store = open_store();
	struct store_purge wanted = keep_all;

	fill(store);
	PURGES(store, keep_all, 0, 0, 0);
	wanted.status_s = 75 * 3600;
	PURGES(store, wanted, 2, 0, 0); /* whatever their status */
	wanted.status_bad_s = 25 * 3600;
	PURGES(store, wanted, 1, 0, 0);
	wanted = keep_all;
	wanted.status_s = 25 * 3600;
	PURGES(store, wanted, 1, 0, 0);
	wanted = keep_all;
	wanted.log_s = 75 * 3600;
	PURGES(store, wanted, 0, 1, 0);
	wanted.log_s = 25 * 3600;
	PURGES(store, wanted, 0, 1, 0);
	wanted = keep_all;
	wanted.cache_s = 25 * 3600;
	PURGES(store, wanted, 0, 0, 1);
	ROWS("SELECT sender FROM bley_status ORDER BY status",
	     "now@example.com\nnow-grey@example.com\n");
	ROWS("SELECT count(*) FROM bley_log", "1\n");
	ROWS("SELECT ip FROM bley_cache", "192.0.2.1\n");
	driver->close(store);
}

static void case_purge_bad_only(void)
{
	struct store *store = open_store();
	struct store_purge wanted = keep_all;

	fill(store);
	wanted.status_bad_s = 25 * 3600;
	PURGES(store, wanted, 2, 0, 0);
	ROWS("SELECT count(*) FROM bley_status", "4\n");
	driver->close(store);
}

static void case_purge_dry_run(void)
{
	struct store *store = open_store();
	struct store_purge wanted = {.status_s = 75 * 3600,
				     .status_bad_s = 25 * 3600,
				     .log_s = 25 * 3600,
				     .cache_s = 25 * 3600,
				     .dry_run = true};

	fill(store);
	PURGES(store, wanted, 3, 2, 1);
	ROWS("SELECT count(*) FROM bley_status", "6\n");
	ROWS("SELECT count(*) FROM bley_log", "3\n");
	ROWS("SELECT count(*) FROM bley_cache", "2\n");
	wanted.dry_run = false;
	PURGES(store, wanted, 3, 2, 1);
	PURGES(store, wanted, 0, 0, 0);
	driver->close(store);
}

/* Old rows, the same number of them clean and grey. */
#define MANY 10000
#define DIGITS                                                                                  \
	"(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL"     \
	" SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8" \
	" UNION ALL SELECT 9)"
#define MANY_ROWS                                                                                 \
	"INSERT INTO bley_status (ip, status, last_action, sender, recipient, fail_count)"        \
	" SELECT '192.0.2.1', CASE WHEN a.d < 5 THEN 0 ELSE 2 END, '2020-02-02 02:02:02.020202'," \
	" CAST(a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS char(8)), 'rcpt@example.org', 0"        \
	" FROM " DIGITS " a, " DIGITS " b, " DIGITS " c, " DIGITS " e"

static void case_purge_batches(void)
{
	struct store *store = open_store();
	struct store_purge wanted = keep_all;
	struct store_log_row *rows = calloc(MANY, sizeof(*rows));

	if (!rows)
		fail(__LINE__, "memory");
	for (int i = 0; i < MANY; i++)
		rows[i] = (struct store_log_row){tuple_a, "DUNNO", {0}, HOUR_US};
	OK(store, driver->log(store, rows, MANY));
	free(rows);
	sql(MANY_ROWS);
	insert(store, &tuple_a, STORE_GREY);
	wanted.status_bad_s = 3600;
	PURGES(store, wanted, MANY / 2, 0, 0);
	check_between(__LINE__, "batches", batches, 2, MANY);
	wanted.status_s = 3600;
	PURGES(store, wanted, MANY / 2, 0, 0);
	batches = 0;
	wanted.log_s = 1800;
	PURGES(store, wanted, 0, MANY, 0);
	check_between(__LINE__, "batches", batches, 2, MANY);
	ROWS("SELECT sender FROM bley_status", "sender@example.com\n");
	driver->close(store);
}

static int in_purge[2], go_on[2];

/* Stops in the middle of a purge until it is told to go on. */
static void hold(const struct store_purge *purge_now)
{
	char byte = 'x';

	(void)purge_now;
	if (write(in_purge[1], &byte, 1) != 1)
		_exit(1);
	while (read(go_on[0], &byte, 1) > 0)
		;
}

static pid_t purge_that_holds(void)
{
	struct store_purge wanted = {.status_s = 3600, .progress = hold};
	struct store *store;
	char byte;
	pid_t pid;

	if (pipe(in_purge) || pipe(go_on))
		fail(__LINE__, "pipe");
	pid = fork();
	if (pid < 0)
		fail(__LINE__, "fork");
	if (!pid) {
		close(go_on[1]);
		store = open_store();
		OK(store, driver->purge(store, &wanted));
		driver->close(store);
		_exit(0);
	}
	close(go_on[0]);
	if (read(in_purge[0], &byte, 1) != 1)
		fail(__LINE__, "the purge in another process did not begin");
	return pid;
}

static void case_purge_steps_aside(void)
{
	struct store *store = open_store();
	struct store_purge wanted = keep_all;
	int status;
	pid_t pid;

	sql(MANY_ROWS);
	driver->close(store);
	pid = purge_that_holds();
	store = open_store();
	wanted.status_s = 3600;
	wanted = purge(store, wanted);
	INT(wanted.stepped_aside, true);
	INT(wanted.status_rows, 0);
	insert(store, &tuple_a, STORE_GREY); /* handlers go on meanwhile */
	wanted.dry_run = true;		     /* and counting hinders nobody */
	INT(purge(store, wanted).stepped_aside, false);
	close(go_on[1]);
	if (waitpid(pid, &status, 0) != pid || status)
		fail(__LINE__, "the purge that was waited for failed");
	wanted.dry_run = false;
	PURGES(store, wanted, 0, 0, 0);
	driver->close(store);
}

/* One that was killed is no reason to step aside. */
static void case_purge_killed(void)
{
	struct timespec moment = {.tv_nsec = 50000000};
	struct store *store = open_store();
	struct store_purge wanted = keep_all;
	pid_t pid;

	sql(MANY_ROWS);
	driver->close(store);
	pid = purge_that_holds();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	store = open_store();
	wanted.status_s = 3600;
	/* A server may need a moment to see it. */
	for (int i = 0; i < 200 && purge(store, wanted).stepped_aside; i++)
		nanosleep(&moment, NULL);
	ROWS("SELECT count(*) FROM bley_status", "0\n");
	driver->close(store);
}

/* --- the schema */

static struct store_schema_report init_schema(void)
{
	struct store_schema_report report;
	char error[1024] = "";

	if (driver->init(&config, &report, error, sizeof(error)) != STORE_OK)
		fail(__LINE__, "init: %s", error);
	return report;
}

static void case_init(void)
{
	struct store_schema_report report = init_schema();

	INT(report.created, true);
	INT(report.taken_over, false);
	INT(report.from, 0);
	INT(report.to, STORE_SCHEMA_VERSION);
	report = init_schema();
	INT(report.created, false);
	INT(report.taken_over, false);
	INT(report.from, STORE_SCHEMA_VERSION);
	INT(report.to, STORE_SCHEMA_VERSION);
	ROWS("SELECT version FROM bley_schema", "1\n");
}

/* The handler does it by itself. */
static void case_open_makes_schema(void)
{
	driver->close(open_store());
	INT(init_schema().created, false);
	ROWS("SELECT version FROM bley_schema", "1\n");
}

static int init_one(int number)
{
	if (number % 2 == 0)
		return init_schema().created;
	driver->close(open_store());
	return 0;
}

static void case_race_init(void)
{
	check_between(__LINE__, "reports of making it", in_processes(8, init_one), 0, 1);
	ROWS("SELECT version FROM bley_schema", "1\n");
}

static void case_newer_schema(void)
{
	struct store_schema_report report;
	struct store *store = NULL;
	char error[1024] = "";

	init_schema();
	sql("UPDATE bley_schema SET version = 99");
	INT(driver->open(&config, &store, error, sizeof(error)), STORE_BROKEN);
	INT(store == NULL, true);
	if (!strstr(error, "99"))
		fail(__LINE__, "the error does not name the version: %s", error);
	error[0] = '\0';
	INT(driver->init(&config, &report, error, sizeof(error)), STORE_BROKEN);
	if (!strstr(error, "99"))
		fail(__LINE__, "the error does not name the version: %s", error);
	ROWS("SELECT version FROM bley_schema", "99\n");
}

/* What stands in tests/store/python*.sql, taken over. Times there are those of Europe/Berlin. */
static void check_taken_over(void)
{
	ROWS("SELECT ip, status, sender, recipient, fail_count FROM bley_status"
	     " ORDER BY ip, sender",
	     "192.0.2.1|0|folded@example.com|rcpt@example.org|5\n"
	     "192.0.2.1|2|single@example.com|rcpt@example.org|1\n"
	     "192.0.2.2|1||rcpt@example.org|0\n"
	     "2001:0db8:0000:0000:0000:0000:0000:0001|2|six@example.com|rcpt@example.org|3\n"
	     "fe80:0000:0000:0000:000a:0000:0000:0001|2|zone@example.com|rcpt@example.org|0\n"
	     "no:address::|2|none@example.com|rcpt@example.org|0\n");
	ASK("times bley_status last_action ip, sender",
	    "2026-07-03 10:00:00.250000\n" /* summer: two hours ahead of UTC */
	    "2026-01-15 11:30:00.000000\n"
	    "2026-07-01 21:59:59.999999\n"
	    "2025-12-31 23:00:00.500000\n"
	    "2025-12-31 23:00:00.000000\n"
	    "2025-12-31 23:00:00.000000\n");
	ROWS("SELECT ip, sender, recipient, action, check_dnswl, check_db, check_cache"
	     " FROM bley_log ORDER BY logtime",
	     "192.0.2.1|single@example.com|rcpt@example.org|DEFER_IF_PERMIT|0|-1|0\n"
	     "192.0.2.2||rcpt@example.org|DUNNO|1|-1|1\n"
	     "2001:0db8:0000:0000:0000:0000:0000:0001|six@example.com|rcpt@example.org|"
	     "DEFER_IF_PERMIT|0|-1|0\n"
	     "no:address::|none@example.com|rcpt@example.org|DEFER_IF_PERMIT|0|-1|0\n");
	ASK("times bley_log logtime logtime",
	    "2026-01-15 11:30:00.000000\n2026-07-01 21:59:59.999999\n"
	    "2026-07-02 10:00:00.000000\n2026-07-02 11:00:00.000000\n");
}

static void case_take_over(void)
{
	struct store_schema_report report;
	struct store *store;

	ask("python");
	report = init_schema();
	INT(report.created, false);
	INT(report.taken_over, true);
	INT(report.folded, 4);
	INT(report.from, 0);
	INT(report.to, STORE_SCHEMA_VERSION);
	check_between(__LINE__, "converted", report.converted, 12, 14);
	check_taken_over();
	report = init_schema(); /* once only */
	INT(report.taken_over, false);
	INT(report.converted, 0);
	check_taken_over();
	store = open_store();
	insert(store, &tuple_a, STORE_GREY);
	remember_client(store, &tuple_a, STORE_CLIENT_GOOD); /* what is new is there too */
	driver->close(store);
}

/* Before the Python daemon counted failures, and logged whitelists and its cache. */
static void case_take_over_older(void)
{
	ask("python");
	sql("ALTER TABLE bley_status DROP COLUMN fail_count");
	sql("ALTER TABLE bley_log DROP COLUMN check_postmaster");
	sql("ALTER TABLE bley_log DROP COLUMN check_cache");
	INT(init_schema().taken_over, true);
	ROWS("SELECT sender, status, fail_count FROM bley_status WHERE sender LIKE '%e%'"
	     " ORDER BY sender",
	     "folded@example.com|0|0\nnone@example.com|2|0\nsingle@example.com|2|0\n"
	     "six@example.com|2|0\nzone@example.com|2|0\n");
	ROWS("SELECT ip, check_dnswl, check_db, check_postmaster, check_cache FROM bley_log"
	     " ORDER BY logtime",
	     "192.0.2.1|0|-1|0|0\n192.0.2.2|1|-1|0|0\n"
	     "2001:0db8:0000:0000:0000:0000:0000:0001|0|-1|0|0\nno:address::|0|-1|0|0\n");
}

static void case_race_take_over(void)
{
	ask("python");
	in_processes(8, init_one);
	check_taken_over();
}

/* The Python daemon's users go on with their SQL. */
static void case_python_sql(void)
{
	struct store *store = open_store();

	sql("INSERT INTO bley_status VALUES ('192.0.2.1', 2, '2026-01-01 00:00:00',"
	    " 'sender@example.com', 'rcpt@example.org', 0)");
	sql("UPDATE bley_status SET status = 0, fail_count = 3 WHERE ip = '192.0.2.1'");
	INT(recall(store, &tuple_a, 0).status, STORE_CLEAN);
	INT(recall(store, &tuple_a, 0).fail_count, 3);
	sql("INSERT INTO bley_log VALUES ('2026-01-01 00:00:00', '192.0.2.1', 's', 'r', 'DUNNO',"
	    " 0, 0, 0, 0, 0, 0, 0, 0, 0)");
	ROWS("SELECT count(*) FROM bley_log", "1\n");
	driver->close(store);
}

/* --- failing */

/* After a failure nothing is given out, there is a reason, and it works once it can again. */
static void case_mended(void)
{
	struct store *store = open_store();
	struct store_decision decision = {tuple_b, STORE_INSERT, STORE_GREY, STORE_CLIENT_BAD};
	struct store_memory memory = {.status = 77};
	bool lost_race = true;
	int after = 77;

	insert(store, &tuple_a, STORE_GREY);
	sql("ALTER TABLE bley_status RENAME TO elsewhere");
	INT(driver->recall(store, &tuple_a, HOUR_US, &memory), STORE_BROKEN);
	INT(memory.status, 77);
	INT(driver->error(store)[0] != '\0', true);
	INT(driver->remember(store, &decision, &after, &lost_race), STORE_BROKEN);
	INT(after, 77);
	INT(driver->error(store)[0] != '\0', true);
	sql("ALTER TABLE elsewhere RENAME TO bley_status");
	INT(recall(store, &tuple_a, HOUR_US).status, STORE_GREY);
	INT(recall(store, &tuple_b, HOUR_US).client, STORE_CLIENT_NONE); /* nothing by halves */
	OK(store, driver->remember(store, &decision, &after, &lost_race));
	INT(after, STORE_GREY);
	driver->close(store);
}

/* --- main; storetest.py reads the names from here */

#define CASE(name)                 \
	{                          \
#name, case_##name \
	}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
    CASE(unknown),
    CASE(insert),
    CASE(keep),
    CASE(touch),
    CASE(pass),
    CASE(again),
    CASE(again_when_clean),
    CASE(vanished),
    CASE(future),
    CASE(client),
    CASE(lost_race),
    CASE(race_insert),
    CASE(race_again),
    CASE(writers),
    CASE(values),
    CASE(alike),
    CASE(log),
    CASE(log_many),
    CASE(list),
    CASE(list_nets),
    CASE(list_patterns),
    CASE(read_log),
    CASE(forget),
    CASE(forget_all),
    CASE(stats),
    CASE(graph),
    CASE(purge),
    CASE(purge_bad_only),
    CASE(purge_dry_run),
    CASE(purge_batches),
    CASE(purge_steps_aside),
    CASE(purge_killed),
    CASE(init),
    CASE(open_makes_schema),
    CASE(race_init),
    CASE(newer_schema),
    CASE(take_over),
    CASE(take_over_older),
    CASE(race_take_over),
    CASE(python_sql),
    CASE(mended),
};

int main(int argc, char **argv)
{
	config = probe_config();
	driver = probe_driver(&config);
	fixture = atoi(probe_setting("BLEY_STORE_FIXTURE"));
	for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(cases[i].name, argv[1]) != 0)
			continue;
		cases[i].run();
		return 0;
	}
	fail(__LINE__, "usage: cases NAME");
}
