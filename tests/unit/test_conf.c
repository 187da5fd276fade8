/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/conf.h"

#define FILE_SIZE_MOST (1024 * 1024)

static char dir[] = "/tmp/bley-test-conf-XXXXXX";
static char path[64];

static void write_bytes(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0640), 0);
}

static void load_text(struct conf *conf, const char *text)
{
	write_bytes(text, strlen(text));
	conf_load(conf, path);
	assert_true(conf->usable);
}

/* The messages, without the file's name: `LINE: message`, one a line. */
static const char *problems(struct conf *conf)
{
	char *all = arena_strdup(&conf->arena, "");
	size_t len = strlen(path);

	for (const struct conf_problem *p = conf->problems; p; p = p->next) {
		assert_memory_equal(p->message, path, len);
		all = arena_printf(&conf->arena, "%s%s%s\n", all,
				   p->severity == CONF_ERROR ? "E" : "W", p->message + len + 1);
	}
	return all;
}

static void assert_problems(const char *text, const char *expected)
{
	struct conf conf;

	load_text(&conf, text);
	assert_string_equal(problems(&conf), expected);
	conf_release(&conf);
}

static void test_defaults(void **state)
{
	struct conf conf;

	(void)state;
	load_text(&conf, "");
	assert_string_equal(problems(&conf), "");
	assert_int_equal(conf.errors, 0);
	assert_string_equal(conf.dbtype, "sqlite3");
	assert_string_equal(conf.dbpath, "");
	assert_int_equal(conf.dnsbl_threshold, 1);
	assert_int_equal(conf.rfc_threshold, 2);
	assert_int_equal(conf.greylist_period, 29 * 60);
	assert_int_equal(conf.greylist_max, 720 * 60);
	assert_int_equal(conf.purge_days, 40 * 86400);
	assert_int_equal(conf.cache_valid, 60);
	assert_true(conf.use_spf);
	assert_false(conf.use_spf_guess);
	assert_int_equal(conf.dnsbls.count, 1);
	assert_string_equal(conf.dnswls.items[0].zone, "list.dnswl.org");
	assert_int_equal(conf.dns_servers.count, 0);
	assert_string_equal(conf.log_file, "syslog");
	assert_string_equal(conf.failure_action, "DUNNO");
	assert_string_equal(
	    conf.greylist_header,
	    "X-Greylist: delayed %(delta)s seconds by bley-%(version)s at %(hostname)s; %(date)s");
	conf_release(&conf);
}

/* A file as the Python daemon's users have it. */
static void test_python_file(void **state)
{
	static const char text[] =
	    "[bley]\n"
	    "# where to listen\n"
	    "listen_addr = 127.0.0.1\n"
	    "listen_port = 1337\n"
	    "log_file = syslog\n"
	    "pid_file = bley.pid\n"
	    "\n"
	    "dbtype = pgsql\n"
	    "dbhost = localhost\n"
	    "dbport = 5432\n"
	    "dbuser = bley\n"
	    "dbpass = 100%%secret\n"
	    "dbname = bley\n"
	    "dbpath = ./\n"
	    "\n"
	    "reject_msg = greylisted, try again later\n"
	    "greylist_header = X-Greylist: delayed %%(delta)s seconds by bley-%%(version)s on "
	    "%%(hostname)s; %%(date)s\n"
	    "dnswls = list.dnswl.org\n"
	    "dnsbls = ix.dnsbl.manitu.net, dnsbl.sorbs.net,\n"
	    "    ; no longer: dnsbl.njabl.org\n"
	    "    zen.spamhaus.org\n"
	    "\n"
	    "whitelist_recipients_file = ./whitelist_recipients\n"
	    "whitelist_clients_file = /srv/whitelist_clients\n"
	    "dnswl_threshold:1\n"
	    "dnsbl_threshold : 2\n"
	    "rfc_threshold=3\n"
	    "Greylist_Period   =   5\n"
	    "greylist_max = 720\n"
	    "greylist_penalty = 10\n"
	    "purge_days = 40\n"
	    "purge_bad_days = 10\n"
	    "use_spf = 0\n"
	    "use_spf_guess = Yes\n"
	    "exim_workaround = 1\n"
	    "cache_valid = 0\n"
	    "[bleygraph]\n"
	    "destdir = ./stats\n";
	char expected[128];
	struct conf conf;

	(void)state;
	load_text(&conf, text);
	assert_string_equal(problems(&conf), "");
	assert_string_equal(conf.dbtype, "pgsql");
	assert_int_equal(conf.dbport, 5432);
	assert_string_equal(conf.dbpass, "100%secret");
	assert_non_null(strstr(conf.greylist_header, "delayed %%(delta)s seconds"));
	assert_int_equal(conf.dnsbls.count, 3);
	assert_string_equal(conf.dnsbls.items[0].zone, "ix.dnsbl.manitu.net");
	assert_string_equal(conf.dnsbls.items[2].zone, "zen.spamhaus.org");
	assert_int_equal(conf.dnsbl_threshold, 2);
	assert_int_equal(conf.rfc_threshold, 3);
	assert_int_equal(conf.greylist_period, 300);
	assert_false(conf.use_spf);
	assert_true(conf.use_spf_guess);
	assert_true(conf.exim_workaround);
	assert_int_equal(conf.cache_valid, 0);
	snprintf(expected, sizeof(expected), "%s/whitelist_recipients", dir);
	assert_string_equal(conf.whitelist_recipients_file, expected);
	assert_string_equal(conf.whitelist_clients_file, "/srv/whitelist_clients");
	snprintf(expected, sizeof(expected), "%s/stats", dir);
	assert_string_equal(conf.destdir, expected);
	conf_release(&conf);
}

static void test_lines(void **state)
{
	struct conf conf;

	(void)state;
	load_text(&conf, "\xef\xbb\xbf; a byte order mark before\r\n"
			 "  [BLEY]\r\n"
			 "  reject_msg = one\ttwo # no comment\r\n"
			 "\r\n"
			 "      three\r\n"
			 "  # a comment in between\r\n"
			 "\t\t\tfour = 4 %% 100%%\r\n"
			 "  dbname: a:b=c\r\n"
			 "  dbuser =\r\n"
			 "    on the next line\r\n"
			 "  dbhost = last");
	assert_string_equal(problems(&conf), "");
	assert_string_equal(conf.reject_msg, "one two # no comment three four = 4 % 100%");
	assert_string_equal(conf.dbname, "a:b=c");
	assert_string_equal(conf.dbuser, "on the next line");
	assert_string_equal(conf.dbhost, "last");
	conf_release(&conf);
}

static void test_default_section(void **state)
{
	struct conf conf;

	(void)state;
	load_text(&conf, "[bley]\ndbname = own\n[DEFAULT]\ndbname = all\ndestdir = /all\n");
	assert_string_equal(problems(&conf), "");
	assert_string_equal(conf.dbname, "own");
	assert_string_equal(conf.destdir, "/all");
	conf_release(&conf);
}

/* A value and the setting it makes, as it is printed; NULL: it is refused. */
struct value_case {
	const char *text;
	const char *printed;
};

static const struct value_case values[] = {
    {"dbtype = PgSQL", "dbtype = pgsql"},
    {"dbtype = oracle", NULL},
    {"dbtype =", NULL},
    {"dbtls = verify", "dbtls = verify"},
    {"dbport = 0", "dbport = 0"},
    {"dbport = 65535", "dbport = 65535"},
    {"dbport = +25", "dbport = 25"},
    {"dbport = 65536", NULL},
    {"dbport = -1", NULL},
    {"dbport = 99999999999999999999", NULL},
    {"dbport = 0x10", NULL},
    {"dbport = 1 2", NULL},
    {"dbport =", NULL},
    {"dbport = -", NULL},
    {"use_spf = oN", "use_spf = 1"},
    {"use_spf = False", "use_spf = 0"},
    {"use_spf = 2", NULL},
    {"use_spf =", NULL},
    {"greylist_period = 90s", "greylist_period = 90s"},
    {"greylist_period = 2h", "greylist_period = 120m"},
    {"greylist_period = 0", "greylist_period = 0m"},
    {"rfc_threshold = 100000", "rfc_threshold = 100000"}, /* never */
    {"greylist_period = 5 m", "greylist_period = 5m"},
    {"greylist_period = 365d", "greylist_period = 525600m"},
    {"greylist_period = 36500d", "greylist_period = 52560000m"},
    {"greylist_period = 36501d", NULL},
    {"greylist_period = 5M", NULL},
    {"greylist_period = 5 min", NULL},
    {"greylist_period = 1.5", NULL},
    {"greylist_period = soon", NULL},
    {"purge_days = 23h", NULL},
    {"purge_days = 36h", "purge_days = 129600s"},
    {"db_timeout = 0", NULL},
    {"reject_msg = 4.2.0 sp\xc3\xa4ter", "reject_msg = 4.2.0 sp\xc3\xa4ter"},
    {"reject_msg = a\x01z", NULL},
    {"reject_msg = a\xffz", NULL},
    {"reject_msg = a\xc2\x85z", NULL},
    {"reject_msg = 50%% off", "reject_msg = 50%% off"},
    {"greylist_header =", "greylist_header ="},
    {"greylist_header = X-A: b", "greylist_header = X-A: b"},
    {"greylist_header = no header", NULL},
    {"greylist_header = : b", NULL},
    {"failure_action = defer_if_permit later", "failure_action = DEFER_IF_PERMIT later"},
    {"failure_action = 451 4.3.5 sorry", "failure_action = 451 4.3.5 sorry"},
    {"failure_action = ok", "failure_action = OK"},
    {"failure_action = 550 no", NULL},
    {"failure_action = 4711", NULL},
    {"failure_action = 491", NULL},
    {"failure_action = REJECT", NULL},
    {"failure_action = DISCARD", NULL},
    {"failure_action =", NULL},
    {"dns_servers = 192.0.2.1 [::1]:53,, 192.0.2.2:5353",
     "dns_servers = 192.0.2.1, [::1]:53, 192.0.2.2:5353"},
    {"dnsbls =", "dnsbls ="},
    {"dnsbls = A.example.=127.0.0.[2..4;9]*3 b.example*-1",
     "dnsbls = a.example=127.0.0.[2..4;9]*3, b.example*-1"},
    {"dnsbls = x=1", NULL},
    {"log_file = Journal", "log_file = journal"},
    {"log_file = -", "log_file = -"},
    {"log_file = /var/log/bley.log", "log_file = /var/log/bley.log"},
    {"dbpath = /data/100%%", "dbpath = /data/100%%"},
    {"static_names = ^(mx|mail)\\d+\\.", "static_names = ^(mx|mail)\\d+\\."},
    {"dbpass = geheim", "dbpass = (hidden)"},
};

/* The line of the printed settings that begins as `text` does, in *line. */
static void find_printed(const struct conf *conf, const char *text, char *line, size_t size)
{
	size_t name = strcspn(text, " =");
	FILE *f = tmpfile();

	assert_non_null(f);
	conf_print_settings(conf, f);
	rewind(f);
	while (fgets(line, (int)size, f))
		if (!strncmp(line, text, name) && line[name] == ' ')
			break;
	fclose(f);
	line[strcspn(line, "\n")] = '\0';
}

static void test_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const struct value_case *c = &values[i];
		char line[1024], plain[1024];
		struct conf conf, defaults;
		char text[256];

		load_text(&defaults, "");
		find_printed(&defaults, c->text, plain, sizeof(plain));
		conf_release(&defaults);
		snprintf(text, sizeof(text), "[bley]\n%s\n", c->text);
		load_text(&conf, text);
		find_printed(&conf, c->text, line, sizeof(line));
		if (conf.errors != (c->printed ? 0 : 1))
			fail_msg("`%s`: %zu errors\n%s", c->text, conf.errors, problems(&conf));
		assert_string_equal(line, c->printed ? c->printed : plain);
		conf_release(&conf);
	}
}

static void test_messages(void **state)
{
	(void)state;
	assert_problems(
	    "[bley]\n\ngreylist_max = 5x\n",
	    "E3: greylist_max = 5x: is not allowed; give a time from 0 to 52560000 minutes, or "
	    "with "
	    "another unit behind the number: s, m, h or d; until then it is 720 minutes\n");
	assert_problems("[bley]\ndbport = many\n",
			"E2: dbport = many: is not allowed; give a number from 0 to 65535; until "
			"then it is 0\n");
	assert_problems("[bley]\nuse_spf = maybe\nuse_spf = no\n",
			"E2: use_spf = maybe: is not allowed; give 1, yes, true or on; 0, no, "
			"false or off; until then it is 1\n"
			"W3: use_spf is set in line 2 already; this line counts\n");
	assert_problems("[bley]\ndbtype = oracle\n",
			"E2: dbtype = oracle: is not allowed; give one of sqlite3 pgsql mysql; "
			"until then it is sqlite3\n");
	assert_problems("[bley]\ndbpass = \x02\n",
			"E2: dbpass = (hidden): holds control characters or is not UTF-8; give a "
			"text; until then it is its default\n");
	assert_problems("[bley]\nreject_mgs = foo\nwhatever = 1\n",
			"W2: there is no setting reject_mgs; do you mean reject_msg?\n"
			"W3: there is no setting whatever\n");
	assert_problems(
	    "[bley]\ndbpass c2VjcmV0=\ndbpass =\ns3cret:x\ndbhost db:5432\ndbpass:\n[s3cret]\n",
	    "E2: the = behind dbpass is missing; ignored\n"
	    "W4: there is no such setting\n"
	    "E5: the = behind dbhost is missing; ignored\n"
	    "W6: dbpass is set in line 3 already; this line counts\n"
	    "W7: there is no section []; what follows is ignored\n");
	assert_problems("dbname = x\ndbuser = y\n",
			"W1: a section line [bley] is missing before this\n");
	assert_problems("[bley]\ndestdir = x\n[other]\nfoo = 1\ndbtype = x\n",
			"W2: destdir belongs into the section [bleygraph]; ignored here\n"
			"W3: there is no section [other]; what follows is ignored\n");
	assert_problems("[bley]\ngarbage\n= 5\n[\n",
			"E2: neither a [section] nor KEY = VALUE nor a comment; ignored\n"
			"E3: neither a [section] nor KEY = VALUE nor a comment; ignored\n"
			"E4: neither a [section] nor KEY = VALUE nor a comment; ignored\n");
	assert_problems("[bley]\nreject_msg = a\n  use_spf = no\n",
			"W3: taken as a part of reject_msg, because white space begins the line\n");
	assert_problems("[bley]\ndns_servers = ::1 192.0.2.1.5 [::1]:53\n",
			"E2: dns_servers: `192.0.2.1.5` is no name server's address; the other "
			"entries count\n");
	assert_problems("[bley]\ndns_servers = ::1 ::1 ::1 ::1 ::1 ::1 ::1 ::1 ::2 x\n",
			"E2: dns_servers: `::2` is more than the 8 that can be; the other entries "
			"count\n");
	assert_problems(
	    "[bley]\ndns_servers = localhost\n",
	    "E2: dns_servers = localhost: `localhost` is no name server's address; give a "
	    "list of ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; until then it is empty\n");
	assert_problems("[bley]\ndnsbls = ok.example, x=1\n",
			"E2: dnsbls: `x=1`: the filter `1` cannot be read: write four fields such "
			"as 127.0.0.[2..11], each a number or [number;from..to]; the other entries "
			"count\n");
	assert_problems("[bley]\ngreylist_header = X: %(delta)s %%(date)s %% 5% off\n",
			"W2: greylist_header: a % that begins no %(name)s stays as written; write "
			"it as %%\n");
	assert_problems("[bley]\ngreylist_header = X: %(foo)s\n",
			"W2: greylist_header: %(foo)s is not known and stays as written; there are "
			"%(delta)s, %(version)s, %(hostname)s and %(date)s\n");
	assert_problems("[bley]\nreject_msg = %(dbname)s\n",
			"W2: reject_msg: %(name)s is not replaced here and stays as written\n");
}

static void test_nul(void **state)
{
	static const char text[] = "[bley]\ndbname = a\0b\ndb\0user = x\ndbhost = h\n";
	struct conf conf;

	(void)state;
	write_bytes(text, sizeof(text) - 1);
	conf_load(&conf, path);
	assert_string_equal(conf.dbname, "bley.db");
	assert_string_equal(conf.dbhost, "h");
	assert_int_equal(conf.errors, 1);
	assert_int_equal(conf.problems->line, 2);
	conf_release(&conf);
}

static void test_unreadable(void **state)
{
	struct conf conf;
	char missing[96], expected[160];

	(void)state;
	snprintf(missing, sizeof(missing), "%s/no/such.conf", dir);
	conf_load(&conf, missing);
	assert_false(conf.usable);
	assert_int_equal(conf.errors, 1);
	snprintf(expected, sizeof(expected),
		 "%s: cannot read the configuration: No such file or directory", missing);
	assert_string_equal(conf.problems->message, expected);
	assert_null(conf.problems->next);
	assert_string_equal(conf.failure_action, "DUNNO");
	conf_release(&conf);

	conf_load(&conf, dir);
	assert_false(conf.usable);
	assert_non_null(strstr(conf.problems->message, "it is a directory"));
	conf_release(&conf);
}

static void test_large(void **state)
{
	char *text = malloc(FILE_SIZE_MOST + 1);
	size_t count = 0;
	struct conf conf;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', FILE_SIZE_MOST + 1);
	write_bytes(text, FILE_SIZE_MOST + 1);
	conf_load(&conf, path);
	assert_false(conf.usable);
	conf_release(&conf);

	/* one line, then a line a byte: neither may flood the log */
	write_bytes(text, FILE_SIZE_MOST);
	conf_load(&conf, path);
	assert_int_equal(conf.errors, 1);
	conf_release(&conf);
	for (size_t i = 1; i < FILE_SIZE_MOST; i += 2)
		text[i] = '\n';
	write_bytes(text, FILE_SIZE_MOST);
	conf_load(&conf, path);
	for (const struct conf_problem *p = conf.problems; p; p = p->next)
		count++;
	assert_in_range(count, 50, 200);
	conf_release(&conf);
	free(text);
}

static void test_rights(void **state)
{
	static const char text[] = "[bley]\ndbtype = mysql\ndbpass = x\n";
	struct conf conf;

	(void)state;
	load_text(&conf, text);
	assert_null(conf.problems);
	conf_release(&conf);
	assert_int_equal(chmod(path, 0644), 0);
	conf_load(&conf, path);
	assert_non_null(conf.problems);
	assert_int_equal(conf.problems->severity, CONF_WARNING);
	assert_int_equal(conf.problems->line, 3);
	conf_release(&conf);
}

static void print_to_file(void (*print)(const void *context, FILE *out), const void *context)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	print(context, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0640), 0);
}

static void print_example(const void *context, FILE *out)
{
	(void)context;
	conf_print_example(out);
}

static void print_settings(const void *context, FILE *out)
{
	conf_print_settings(context, out);
}

static void test_example_is_default(void **state)
{
	struct conf conf;

	(void)state;
	print_to_file(print_example, NULL);
	conf_load(&conf, path);
	assert_string_equal(problems(&conf), "");
	assert_string_equal(conf.dbpath, "/var/lib/bley");
	assert_int_equal(conf.greylist_period, 29 * 60);
	conf_release(&conf);
}

static void test_print_reads_back(void **state)
{
	struct conf first, second;
	char a[1024], b[1024];

	(void)state;
	load_text(&first, "[bley]\nreject_msg = 5 %% of\ngreylist_period = 61s\n"
			  "greylist_header = X: %%(date)s 5%%\ndnsbls = a=127.0.[3].[1;2]*2\n");
	print_to_file(print_settings, &first);
	conf_load(&second, path);
	assert_string_equal(problems(&second), "");
	for (size_t i = 0; i < conf_key_count; i++) {
		find_printed(&first, conf_keys[i].name, a, sizeof(a));
		find_printed(&second, conf_keys[i].name, b, sizeof(b));
		assert_string_equal(a, b);
	}
	conf_release(&first);
	conf_release(&second);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/bley.conf", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_python_file),
	    cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_default_section),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_messages),
	    cmocka_unit_test(test_nul),
	    cmocka_unit_test(test_unreadable),
	    cmocka_unit_test(test_large),
	    cmocka_unit_test(test_rights),
	    cmocka_unit_test(test_example_is_default),
	    cmocka_unit_test(test_print_reads_back),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
