/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "store/sqlite.h"

/*
 * One file, used by many short and long lived processes at once. In write-ahead mode readers never
 * wait, and a writer waits only for another writer. Every write transaction takes the write lock at
 * its start (a single statement does so by itself), so that no two can both read and then both
 * fail.
 *
 * Where the file is deleted or replaced under a lasting process, SQLite itself goes on with the old
 * one in write-ahead mode. So the file's place is looked at (one stat(2)) once a second, and a file
 * that has moved is opened anew.
 *
 * A connection must not be carried over fork(2) (sqlite.org/howtocorrupt.html).
 */

#define SLEEP_LEAST_NS 50000 /* between tries for a lock: 0.05 to 0.3 ms */
#define SLEEP_SPREAD_NS 250000
#define LOOK_EVERY_US US_PER_S
/* A file of others' making: a decision takes far fewer steps of SQLite's machine between two looks
 * at the clock, and nothing in a row is longer than this. */
#define STEPS_UNWATCHED 100000
#define LENGTH_MOST 1000000
/* A checkpoint each so many frames, by the one process whose commit passes the mark: when all that
 * are beyond it tried, each would flush a handful of frames to the disk. A commit adds 2-6 frames.
 */
#define CHECKPOINT_FRAMES 1000
#define CHECKPOINT_MARGIN 8
#define LINGER_US 20000
#define LINGER_MOST_US US_PER_S
/* What each connection holds a lock on ("The Lock-Byte Page", sqlite.org/fileformat2.html). */
#define LOCKED_FIRST 0x40000002
#define LOCKED_BYTES 510
/* Pages kept in memory (KiB). Whatever another process commits empties it anyway; the kernel's
 * cache serves. */
#define PRAGMAS "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -256;"

void lite_deadline(struct store *store)
{
	store->deadline_us = clock_us() + (int64_t)store->timeout_ms * 1000;
}

/* SQLite's own sleeps grow to 100 ms, far longer than a lock of ours is ever held; equal ones would
 * let the same processes meet again. (Eight writers, measured: against 0.2 to 1 ms a fifth more
 * requests, and the 99th percentile halved.) */
bool lite_wait(struct store *store)
{
	struct timespec pause = {.tv_sec = 0};

	if (clock_us() >= store->deadline_us)
		return false;
	store->jitter = store->jitter * 1664525 + 1013904223;
	pause.tv_nsec = SLEEP_LEAST_NS + (long)(store->jitter >> 8) % SLEEP_SPREAD_NS;
	nanosleep(&pause, NULL);
	return true;
}

static int wait_for_lock(void *arg, int count)
{
	(void)count;
	return lite_wait(arg);
}

/* Whether the operation in hand is to be given up. */
static int is_over(void *arg)
{
	const struct store *store = arg;

	return store->bounded && clock_us() >= store->deadline_us;
}

static int note_wal(void *arg, sqlite3 *db, const char *schema, int frames)
{
	struct store *store = arg;

	(void)db;
	(void)schema;
	store->wal_frames = frames;
	if (frames >= CHECKPOINT_FRAMES && frames % CHECKPOINT_FRAMES < CHECKPOINT_MARGIN)
		store->checkpoint_due = true;
	return SQLITE_OK;
}

void lite_checkpoint(struct store *store)
{
	/* Where a reader or another checkpoint is in the way it does less: the next one does the
	 * rest. */
	sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	store->checkpoint_due = false;
}

/* What a person has to do about it. */
static void describe(struct store *store, int rc)
{
	const char *file = store->config.name;
	const char *reason = store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(rc);
	int os_error = store->db ? sqlite3_system_errno(store->db) : 0;
	char *out = store->error;
	size_t size = sizeof(store->error);
	unsigned uid = (unsigned)geteuid();

	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		snprintf(out, size, "%s: locked by another process for longer than %d ms", file,
			 store->timeout_ms);
		break;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		snprintf(
		    out, size,
		    "%s: user id %u may not write it: give the file, its -wal and -shm files and "
		    "the folder to the user that bley runs as (chown), and see that the file "
		    "system is writable",
		    file, uid);
		break;
	case SQLITE_CANTOPEN:
		snprintf(
		    out, size,
		    "%s: cannot be opened (%s) by user id %u: the file, its -wal and -shm files "
		    "and the folder must belong to the user that bley runs as",
		    file, os_error ? strerror(os_error) : reason, uid);
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		snprintf(
		    out, size,
		    "%s: no SQLite database or a damaged one (%s): put a good copy in its place, "
		    "or move it away and bley begins a new one",
		    file, reason);
		break;
	case SQLITE_FULL:
		snprintf(out, size, "%s: no room left on the disk", file);
		break;
	case SQLITE_INTERRUPT:
		snprintf(
		    out, size,
		    "%s: not done within %d ms; are there triggers in it, or does a table lack "
		    "its key?",
		    file, store->timeout_ms);
		break;
	default:
		snprintf(out, size, "%s: %s%s%s", file, reason, os_error ? ": " : "",
			 os_error ? strerror(os_error) : "");
	}
}

enum store_result lite_result(struct store *store, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return STORE_OK;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
	case SQLITE_INTERRUPT:
	case SQLITE_NOMEM:
		describe(store, rc);
		return STORE_RETRY;
	default:
		describe(store, rc);
		store->suspect = true;
		return STORE_BROKEN;
	}
}

int lite_exec(struct store *store, const char *sql)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL);
}

void lite_give_to_folder_owner(int fd, const char *path)
{
	struct arena arena = ARENA_INIT;
	struct stat st;

	/* The folder's owner may have put something of root's there, by a link. */
	if (geteuid() != 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
	    st.st_size != 0)
		return;
	/* Where it fails the database is root's, and the handlers will say so. */
	if (!stat(text_folder(&arena, path), &st) && fchown(fd, st.st_uid, st.st_gid))
		errno = 0;
	arena_release(&arena);
}

/* Makes the last folder of the path where it is missing; what lies above is not bley's to make. */
static bool make_folder(struct store *store)
{
	const char *file = store->config.name;
	const char *slash = strrchr(file, '/');
	char *folder;
	bool made = true;

	if (!slash || slash == file)
		return true;
	folder = mem_strdup(file);
	folder[slash - file] = '\0';
	if (mkdir(folder, 0750) && errno != EEXIST) {
		snprintf(
		    store->error, sizeof(store->error),
		    "%s: cannot make the database's folder (%s): make it, and give it to the user "
		    "that bley runs as",
		    folder, strerror(errno));
		made = false;
	}
	free(folder);
	return made;
}

void lite_disconnect(struct store *store)
{
	for (int i = 0; i < LITE_STATEMENTS; i++) {
		sqlite3_finalize(store->statements[i]);
		store->statements[i] = NULL;
	}
	if (store->db && store->checkpoint_due)
		lite_checkpoint(store);
	sqlite3_close(store->db);
	store->db = NULL;
}

static bool others_have_it_open(int fd)
{
	struct flock lock = {.l_type = F_WRLCK,
			     .l_whence = SEEK_SET,
			     .l_start = LOCKED_FIRST,
			     .l_len = LOCKED_BYTES};

	return !fcntl(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK;
}

/* When the write-ahead log was last written. */
static struct timespec written(const char *log)
{
	struct stat st = {.st_size = 0};

	if (stat(log, &st))
		errno = 0;
	return st.st_mtim;
}

/* Stays while others come, write and go. A signal ends it: all the better. */
static void linger(const char *file)
{
	const struct timespec pause = {.tv_nsec = LINGER_US * 1000L};
	int64_t until_us = clock_us() + LINGER_MOST_US;
	struct strbuf log = STRBUF_INIT;
	struct timespec before, after;

	strbuf_addf(&log, "%s-wal", file);
	after = written(log.buf);
	do {
		before = after;
		if (nanosleep(&pause, NULL))
			break;
		after = written(log.buf);
	} while ((before.tv_sec != after.tv_sec || before.tv_nsec != after.tv_nsec) &&
		 clock_us() < until_us);
	strbuf_release(&log);
}

/*
 * The last connection to close copies the write-ahead log back, flushes it and the database and
 * deletes it, and the next one makes it anew: together as much work as all the rest of a process
 * that serves one request. So while many of those come, one that is alone with the file stays: the
 * next ones find it open, and the last of a burst tidies up. (To leave the log where it is would be
 * faster still, but whoever then puts a copy in the database's place has it mixed up with the
 * old one's log.)
 */
void lite_close(struct store *store)
{
	bool was_short = clock_us() < store->opened_us + LINGER_US;
	const char *file; /* where the name is a link: what it leads to */
	int fd = -1;

	if (store->db && store->logged && !store->suspect && was_short) {
		file = sqlite3_db_filename(store->db, "main");
		fd = open(file, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && !others_have_it_open(fd))
			linger(file);
	}
	lite_disconnect(store);
	/* Not before: to close any descriptor of a file gives up all of a process's locks on it. */
	if (fd >= 0)
		close(fd);
}

static enum store_result open_file(struct store *store, const char *path)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int rc;

	sqlite3_close(store->db);
	rc = sqlite3_open_v2(path, &store->db, flags, NULL);
	if (rc)
		return lite_result(store, rc);
	if (sqlite3_db_readonly(store->db, "main") == 1)
		return lite_result(store, SQLITE_READONLY);
	sqlite3_busy_handler(store->db, wait_for_lock, store);
	/* Triggers and computed columns may be in it that are not ours: they cannot call what acts
	 * outside of the database, make much out of little, or go on for ever. */
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, LENGTH_MOST);
	sqlite3_progress_handler(store->db, STEPS_UNWATCHED, is_over, store);
	rc = lite_exec(store, PRAGMAS);
	sqlite3_wal_hook(store->db, note_wal, store);
	return lite_result(store, rc);
}

static enum store_result cannot_make(struct store *store, int failure)
{
	snprintf(store->error, sizeof(store->error),
		 "%s: cannot make the database (%s): its folder must be writable for the user "
		 "that bley runs as (this is user id %u)",
		 store->config.name, strerror(failure), (unsigned)geteuid());
	return STORE_BROKEN;
}

/* SQLite itself would make the file readable by all. */
static bool make_empty(const char *path)
{
	int fd;

	if (unlink(path) && errno != ENOENT) /* of a process that was killed over it */
		return false;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return false;
	lite_give_to_folder_owner(fd, path);
	close(fd);
	return true;
}

/* Gives the finished file its name. EEXIST: another process was first; that is as good. */
static int put_in_place(const char *path, const char *name)
{
	int failure;

	if (!link(path, name))
		return 0;
	failure = errno;
	/* a file system without hard links */
	if ((failure == EPERM || failure == EOPNOTSUPP) && access(name, F_OK) &&
	    !rename(path, name))
		return 0;
	return failure;
}

/*
 * A new database is made whole under a name of this process's own and then given its real one: many
 * handlers may start at once with none there, and each finds either nothing or all of it.
 */
static enum store_result make_file(struct store *store, struct store_schema_report *report)
{
	struct store_schema_report done;
	struct strbuf path = STRBUF_INIT;
	enum store_result result;
	int rc = 0;

	if (!make_folder(store))
		return STORE_BROKEN;
	strbuf_addf(&path, "%s.new-%ld", store->config.name, (long)getpid());
	if (!make_empty(path.buf)) {
		result = cannot_make(store, errno);
		goto out;
	}
	result = open_file(store, path.buf);
	if (result == STORE_OK)
		result = lite_schema_check(store, &done);
	lite_disconnect(store);
	if (result == STORE_OK)
		rc = put_in_place(path.buf, store->config.name);
	if (rc && rc != EEXIST)
		result = cannot_make(store, rc);
	unlink(path.buf);
	if (result == STORE_OK && !rc)
		*report = done;
out:
	strbuf_release(&path);
	return result;
}

/* Whether the folder that is to hold it, or to be made for it, may be written. */
static bool could_make(const char *name)
{
	char *folder = mem_strdup(name), *slash;
	bool could = false;
	int tries = 2;

	do {
		slash = strrchr(folder, '/');
		if (slash)
			slash[slash == folder] = '\0';
		could = !access(slash ? folder : ".", W_OK | X_OK);
	} while (!could && errno == ENOENT && slash && slash != folder && --tries);
	free(folder);
	return could;
}

static enum store_result must_exist(struct store *store)
{
	int failure;

	if (could_make(store->config.name)) {
		snprintf(store->error, sizeof(store->error),
			 "%s: there is no database yet; 'bleyctl init' or the first mail makes it",
			 store->config.name);
		return STORE_NOT_FOUND;
	}
	failure = errno;
	return cannot_make(store, failure);
}

enum store_result lite_connect(struct store *store, struct store_schema_report *report)
{
	struct store_schema_report made = {.from = 0}, found;
	enum store_result result = STORE_OK;

	lite_disconnect(store);
	store->checkpoint_due = false;
	store->wal_frames = 0;
	/* Before SQLite looks: it would try a missing file again without the right to write. */
	if (access(store->config.name, F_OK) && errno == ENOENT)
		result = store->config.must_exist ? must_exist(store) : make_file(store, &made);
	if (result == STORE_OK)
		result = open_file(store, store->config.name);
	if (result == STORE_OK)
		result = lite_schema_check(store, &found);
	if (result != STORE_OK) {
		lite_disconnect(store);
		return result;
	}
	if (report)
		*report = made.created ? made : found;
	store->suspect = false;
	store->opened_us = store->looked_us = clock_us();
	return STORE_OK;
}

static bool file_moved(struct store *store)
{
	int64_t now_us = clock_us();
	int moved = 0;

	if (now_us - store->looked_us < LOOK_EVERY_US)
		return false;
	store->looked_us = now_us;
	return !sqlite3_file_control(store->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) && moved;
}

enum store_result lite_ready(struct store *store)
{
	lite_deadline(store);
	store->bounded = false;
	if (store->db && !store->suspect && !file_moved(store))
		return STORE_OK;
	return lite_connect(store, NULL);
}

enum store_result lite_ready_bounded(struct store *store)
{
	enum store_result result = lite_ready(store);

	/* Not while it is opened: to take a large database over may take its time. */
	store->bounded = true;
	return result;
}
