/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/sandbox.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/landlock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/module.h"
#include "base/seccomp.h"
#include "base/server.h"
#include "base/text.h"
#include "conf/conf.h"
#include "policy/session.h"
#include "policy/storage.h"
#include "store/store.h"

#include "config.h"

#define RESOLVER_FILE "/etc/resolv.conf"
#define HOSTS_FILE "/etc/hosts"
#define LOOK_EVERY_US US_PER_S
#define WATCHED_MOST 3 /* the log's folder; the database's folder or HOSTS_FILE; RESOLVER_FILE */
#define PORT_PGSQL 5432
#define PORT_MYSQL 3306

/* What libraries read, at whatever time: themselves first of all. Symbolic links lead on. */
static const char *const library_files[] = {
    "/usr",	  "/lib",	    "/lib64",		"/opt",		"/nix/store",
    "/gnu/store", "/etc/localtime", "/etc/ld.so.cache", "/dev/urandom",
};

/* What they read to reach a database server: its address, certificates, settings of their own. */
static const char *const client_files[] = {
    HOSTS_FILE,
    RESOLVER_FILE,
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/passwd",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gnutls",
    "/etc/krb5.conf",
    "/etc/krb5.conf.d",
    "/etc/gss",
    "/etc/my.cnf",
    "/etc/my.cnf.d",
    "/etc/mysql",
    "/etc/postgresql-common",
    "/var/lib/ca-certificates",
};

/* Of the home directory, and where the environment says so. */
static const char *const client_home_files[] = {".postgresql", ".pgpass", ".pg_service.conf",
						".my.cnf"};
static const char *const client_variables[] = {
    "PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGSSLROOTCERT", "PGSSLCERT",
    "PGSSLKEY",	  "SSL_CERT_FILE", "SSL_CERT_DIR", "MYSQL_HOME",    "KRB5_CONFIG"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Rules in the making. */
struct rules {
	const struct conf *conf;
	struct landlock landlock;
	struct arena arena;
	const char *failed; /* the path of a rule that the kernel did not take, or NULL */
	int failure;
};

/* What sandbox_outlived() looks at: the file that a name stood for when the rules were made. */
static struct watch {
	const char *name;
	dev_t dev;
	ino_t ino;
} watched[WATCHED_MOST];
static size_t watched_count;

/* Returns whether there is such a file. */
static bool allow(struct rules *r, const char *path, unsigned rights)
{
	if (landlock_allow_file(&r->landlock, path, rights))
		return true;
	if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
		r->failed = path;
		r->failure = errno;
	}
	return false;
}

/* From now on the name must stand for what it stands for now, or for nothing. */
static void watch(const char *name)
{
	struct watch *w = &watched[watched_count];
	struct stat st;

	*w = (struct watch){.name = name};
	if (!stat(name, &st)) {
		w->dev = st.st_dev;
		w->ino = st.st_ino;
	}
	watched_count++;
}

/* Where the file is a link: the folder of what it leads to. */
static void allow_target(struct rules *r, const char *file, unsigned rights)
{
	char target[PATH_MAX];

	if (realpath(file, target) && strcmp(target, file) != 0)
		allow(r, text_folder(&r->arena, target), rights);
}

/* The database's folder, where SQLite also makes its other files. */
static void allow_state(struct rules *r, const char *file)
{
	const unsigned rights = LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_MAKE | LANDLOCK_REMOVE;
	const char *folder = text_folder(&r->arena, file);

	/* One that is missing (or no folder, hence the dot) is made with the first mail, or comes
	 * later. */
	if (allow(r, arena_printf(&r->arena, "%s/.", folder), rights) ||
	    !allow(r, text_folder(&r->arena, folder), rights | LANDLOCK_FOLDERS))
		watch(mem_strdup(folder));
	allow_target(r, file, rights);
	/* for what does not fit into memory while an old database is taken over */
	setenv("SQLITE_TMPDIR", folder, 0);
}

/* The folder, so that the file can be moved away and made anew; but a device is just itself. */
static void allow_log(struct rules *r, const char *file)
{
	const unsigned rights = LANDLOCK_WRITE | LANDLOCK_MAKE;
	struct stat st;

	if (!strcmp(file, "syslog") || !strcmp(file, "journal") || !strcmp(file, "-"))
		return;
	if (!stat(file, &st) && !S_ISREG(st.st_mode)) {
		allow(r, file, LANDLOCK_WRITE);
		return;
	}
	allow(r, text_folder(&r->arena, file), rights);
	allow_target(r, file, rights);
	watch(mem_strdup(text_folder(&r->arena, file)));
}

static const char *home(void)
{
	const char *name = getenv("HOME");
	const struct passwd *user = name && *name ? NULL : getpwuid(geteuid());

	return user ? user->pw_dir : name;
}

static void allow_client_files(struct rules *r)
{
	const char *folder = home(), *value;

	for (size_t i = 0; i < COUNT(client_files); i++)
		allow(r, client_files[i], LANDLOCK_READ);
	for (size_t i = 0; folder && i < COUNT(client_home_files); i++)
		allow(r, arena_printf(&r->arena, "%s/%s", folder, client_home_files[i]),
		      LANDLOCK_READ);
	for (size_t i = 0; i < COUNT(client_variables); i++) {
		value = getenv(client_variables[i]);
		if (value)
			allow(r, value, LANDLOCK_READ);
	}
}

/* Sanitizers look at the process from inside, coverage is written beside the objects. */
static void allow_instruments(struct rules *r, char *modules)
{
	allow(r, "/proc", LANDLOCK_READ);
	allow(r, text_folder(&r->arena, modules),
	      LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_MAKE | LANDLOCK_REMOVE | LANDLOCK_FOLDERS);
}

static void allow_files(struct rules *r, const struct store_config *store, bool sqlite)
{
	char modules[PATH_MAX];

	module_folder(modules, sizeof(modules));
	allow(r, modules, LANDLOCK_READ);
	for (size_t i = 0; i < COUNT(library_files); i++)
		allow(r, library_files[i], LANDLOCK_READ);
	allow(r, "/dev/null", LANDLOCK_READ | LANDLOCK_WRITE);
	allow_log(r, r->conf->log_file);
	if (sqlite) {
		allow_state(r, store->name);
	} else {
		allow_client_files(r);
		watch(HOSTS_FILE);
	}
	/* the C library's way to dbhost, too */
	if (!sqlite || !r->conf->dns_servers.count) {
		allow(r, RESOLVER_FILE, LANDLOCK_READ);
		watch(RESOLVER_FILE);
	}
	if (BLEY_INSTRUMENTED)
		allow_instruments(r, modules);
}

static void allow_port(struct rules *r, unsigned port)
{
	if (landlock_allow_port(&r->landlock, port))
		return;
	r->failed = "a TCP port";
	r->failure = errno;
}

static void allow_ports(struct rules *r, bool sqlite)
{
	const struct conf *conf = r->conf;
	bool pgsql = !strcmp(conf->dbtype, "pgsql");
	const char *port = getenv(pgsql ? "PGPORT" : "MYSQL_TCP_PORT");
	struct server server;

	allow_port(r, SERVER_PORT);
	for (size_t i = 0; i < conf->dns_servers.count; i++)
		if (server_parse(conf->dns_servers.items[i], &server))
			allow_port(r, server_port(&server));
	if (sqlite)
		return;
	if (conf->dbport)
		allow_port(r, (unsigned)conf->dbport);
	else if (port)
		allow_port(r, (unsigned)strtoul(port, NULL, 10));
	else
		allow_port(r, pgsql ? PORT_PGSQL : PORT_MYSQL);
}

/* Whether the database's port is said where bley does not look: in a file of PostgreSQL's library.
 */
static bool is_elsewhere(const struct conf *conf)
{
	return !conf->dbport && !strcmp(conf->dbtype, "pgsql") && getenv("PGSERVICE");
}

/* Returns whether files are out of reach now. */
static bool enter_landlock(const struct conf *conf)
{
	struct rules r = {.conf = conf};
	bool sqlite = !strcmp(conf->dbtype, "sqlite3"), entered = false;
	struct store_config store;

	/* what is not there, or forbidden where this runs, is nothing that could be mended */
	if (!landlock_begin(&r.landlock, is_elsewhere(conf), conf->dbhost[0] == '@'))
		return false;
	store_config_from(conf, &store, &r.arena);
	allow_files(&r, &store, sqlite);
	if (!is_elsewhere(conf))
		allow_ports(&r, sqlite);
	if (r.failed) {
		log_message(LOG_LEVEL_WARNING, "no sandbox for files: %s: %s", r.failed,
			    strerror(r.failure));
		landlock_cancel(&r.landlock);
	} else {
		entered = landlock_enter(&r.landlock);
		if (!entered)
			log_message(LOG_LEVEL_WARNING, "no sandbox for files: %s", strerror(errno));
	}
	arena_release(&r.arena);
	return entered;
}

void sandbox_enter(const struct conf *conf)
{
	bool files, calls;

	if (!conf->sandbox || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return;
	files = enter_landlock(conf);
	calls = seccomp_enter();
	if (!files)
		watched_count = 0;
	log_message(LOG_LEVEL_DEBUG, "sandbox: files %s, system calls %s",
		    files ? "restricted" : "as they were", calls ? "restricted" : "as they were");
}

static bool is_replaced(const struct watch *w)
{
	struct stat st;

	return !stat(w->name, &st) && (st.st_dev != w->dev || st.st_ino != w->ino);
}

bool sandbox_outlived(void)
{
	static int64_t looked_us;
	int64_t now_us = watched_count ? clock_us() : 0;

	if (now_us - looked_us < LOOK_EVERY_US)
		return false;
	for (size_t i = 0; i < watched_count; i++)
		if (is_replaced(&watched[i]))
			return true;
	looked_us = now_us;
	return false;
}

const char *sandbox_describe(const struct conf *conf, struct arena *arena)
{
	int abi = landlock_abi();
	const char *files = "no landlock here", *calls = "no system call filter here";

	if (!conf->sandbox)
		return "off";
	if (abi > 0)
		files = arena_printf(arena, "files%s%s (landlock ABI %d)",
				     abi >= LANDLOCK_ABI_PORTS ? ", TCP ports" : "",
				     abi >= LANDLOCK_ABI_SIGNALS ? ", signals" : "", abi);
	if (seccomp_available())
		calls = "system calls (seccomp)";
	return arena_printf(arena, "%s, %s", files, calls);
}
