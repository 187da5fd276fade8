/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "base/text.h"
#include "base/trust.h"
#include "conf/conf_value.h"

#include "config.h"

#define FILE_MOST ((off_t)1024 * 1024) /* bytes; a settings file has a few thousand */
#define PROBLEMS_MOST 100	       /* a file that is no settings file must not flood the log */
#define SHOWN_MOST 60		       /* bytes of a value in a message */

/* How many keys there are, for the state of each while reading. */
enum {
#define KEY(section, type, name, fallback, min, max, unit, choices, sample, prose) KEY_##name,
#include "conf/conf_keys.def"
#undef KEY
	KEYS
};

/* What the current line belongs to. */
enum section_kind {
	SECTION_NONE,	 /* none yet: taken as [bley] */
	SECTION_KNOWN,	 /* one that keys are declared for */
	SECTION_DEFAULT, /* Python's [DEFAULT]: for every section that does not say otherwise */
	SECTION_UNKNOWN
};

/* One reading of a file. The configparser of Python 3 is the reference. */
struct reader {
	struct conf *conf;
	enum section_kind kind;
	char section[32];
	size_t problems;

	/* The setting whose value is being gathered; it is taken when the next one begins. */
	const struct conf_key *key;
	bool open;     /* a key has begun, known or not, that lines further in continue */
	size_t indent; /* of its line */
	unsigned line;
	struct strbuf value;
	bool after_secret; /* the value before was a secret's, and is empty: here it may stand */

	bool set_default[KEYS]; /* for each key that is set: whether in [DEFAULT] */
};

const char *conf_default_file(void)
{
	return BLEY_SYSCONFDIR "/bley/bley.conf";
}

/* Adds a problem behind those of the same and earlier lines. */
static void problem_insert(struct conf *conf, enum conf_severity severity, unsigned line,
			   const char *message)
{
	struct conf_problem *problem = arena_alloc(&conf->arena, sizeof(*problem));
	struct conf_problem **at = &conf->problems;

	problem->severity = severity;
	problem->line = line;
	if (line)
		message = arena_printf(&conf->arena, "%s:%u: %s", conf->file, line, message);
	else
		message = arena_printf(&conf->arena, "%s: %s", conf->file, message);
	problem->message = text_clean(&conf->arena, message, strlen(message));
	while (*at && (*at)->line <= line)
		at = &(*at)->next;
	problem->next = *at;
	*at = problem;
}

static void problem_add(struct reader *r, enum conf_severity severity, unsigned line,
			const char *format, ...) __attribute__((format(printf, 4, 5)));

static void problem_add(struct reader *r, enum conf_severity severity, unsigned line,
			const char *format, ...)
{
	va_list ap;

	if (severity == CONF_ERROR)
		r->conf->errors++;
	if (r->problems++ > PROBLEMS_MOST)
		return;
	if (r->problems > PROBLEMS_MOST) {
		problem_insert(r->conf, CONF_ERROR, line,
			       "and more like these: is this bley's configuration?");
		return;
	}
	va_start(ap, format);
	problem_insert(r->conf, severity, line, arena_vprintf(&r->conf->arena, format, ap));
	va_end(ap);
}

/* A default is part of the program, so that it can be read; a test sees to it. */
static void set_fallback(struct conf *conf, const struct conf_key *key)
{
	char *text = arena_strdup(&conf->arena, key->fallback);
	bool partly = false;

	conf_value_read(conf, key, text, &partly);
}

/* The number of changes, bounded, that make one name of the other (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
	enum { MOST = 40 };
	size_t row[MOST + 1], la = strlen(a), lb = strlen(b);

	if (la > MOST || lb > MOST)
		return MOST;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t change = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			if (row[j - 1] + 1 < change)
				change = row[j - 1] + 1;
			row[j] = corner + 1 < change ? corner + 1 : change;
		}
	}
	return row[lb];
}

/* The declared name that was probably meant, or NULL. */
static const char *nearest_name(const char *name)
{
	size_t best = strlen(name) / 4 + 1;
	const char *found = NULL;

	for (size_t i = 0; i < conf_key_count; i++) {
		size_t d = distance(name, conf_keys[i].name);

		if (d > best || (d == best && found))
			continue;
		best = d;
		found = conf_keys[i].name;
	}
	return found;
}

static const struct conf_key *find_key(const char *name)
{
	for (size_t i = 0; i < conf_key_count; i++)
		if (text_equal_nocase(conf_keys[i].name, name))
			return &conf_keys[i];
	return NULL;
}

static bool section_known(const char *name)
{
	for (size_t i = 0; i < conf_key_count; i++)
		if (text_equal_nocase(conf_keys[i].section, name))
			return true;
	return false;
}

/* A value as a message may show it. */
static const char *shown(struct conf *conf, const struct conf_key *key, const char *text)
{
	size_t len = strlen(text);
	size_t cut = text_cut(text, len, SHOWN_MOST);

	if (key->type == CONF_SECRET)
		return "(hidden)";
	return arena_printf(&conf->arena, "%.*s%s", (int)cut, text, cut < len ? "..." : "");
}

static void refuse_value(struct reader *r, const char *text, const char *wrong)
{
	const struct conf_key *key = r->key;
	const char *unit = key->type == CONF_DURATION ? conf_unit_name(key->unit) : "";

	set_fallback(r->conf, key);
	problem_add(r, CONF_ERROR, r->line, "%s = %s: %s; give %s; until then it is %s%s%s",
		    key->name, shown(r->conf, key, text), wrong,
		    conf_value_allowed(&r->conf->arena, key),
		    key->type == CONF_SECRET ? "its default"
		    : *key->fallback	     ? key->fallback
					     : "empty",
		    *unit ? " " : "", unit);
}

/* Tells of a key that is set twice. False where the earlier one stands: a section's own value beats
 * that of [DEFAULT]. */
static bool may_set(struct reader *r, size_t index)
{
	bool in_default = r->kind == SECTION_DEFAULT;
	unsigned before = r->conf->lines[index];

	if (before && in_default && !r->set_default[index])
		return false;
	if (before && in_default == r->set_default[index])
		problem_add(r, CONF_WARNING, r->line,
			    "%s is set in line %u already; this line counts", r->key->name, before);
	r->conf->lines[index] = r->line;
	r->set_default[index] = in_default;
	return true;
}

/* Takes the value that has been gathered. */
static void finish_value(struct reader *r)
{
	const struct conf_key *key = r->key;
	bool partly = false;
	const char *wrong, *doubt;
	char *text;

	r->open = false;
	r->key = NULL;
	r->after_secret = key && key->type == CONF_SECRET && !r->value.len;
	if (!key)
		return;
	r->key = key;
	if (!may_set(r, (size_t)(key - conf_keys)))
		goto out;
	if (!text_is_clean(r->value.buf, r->value.len)) {
		refuse_value(r, r->value.buf, "holds control characters or is not UTF-8");
		goto out;
	}
	doubt = conf_value_doubt(r->conf, key, r->value.buf);
	text = arena_strndup(&r->conf->arena, r->value.buf, r->value.len);
	wrong = conf_value_read(r->conf, key, text, &partly);
	if (partly)
		problem_add(r, CONF_ERROR, r->line, "%s: %s; the other entries count", key->name,
			    wrong);
	else if (wrong)
		refuse_value(r, r->value.buf, wrong);
	else if (doubt)
		problem_add(r, CONF_WARNING, r->line, "%s: %s", key->name, doubt);
out:
	r->key = NULL;
}

/* Adds a line's text to the value. Tabs between words are as good as blanks, but a password stays
 * as it is. */
static void add_value(struct reader *r, const char *text, size_t len)
{
	size_t from = r->value.len;

	if (!r->key || !len)
		return;
	if (from) {
		strbuf_addch(&r->value, ' ');
		from++;
	}
	strbuf_add(&r->value, text, len);
	if (r->key->type == CONF_SECRET)
		return;
	for (; from < r->value.len; from++)
		if (r->value.buf[from] == '\t')
			r->value.buf[from] = ' ';
}

static void begin_section(struct reader *r, const char *name, size_t len, unsigned line)
{
	char text[sizeof(r->section)] = "";

	if (len < sizeof(text))
		memcpy(text, name, len);
	if (len < sizeof(text) && section_known(text))
		r->kind = SECTION_KNOWN;
	else if (!strcmp(text, "DEFAULT"))
		r->kind = SECTION_DEFAULT;
	else
		r->kind = SECTION_UNKNOWN;
	memcpy(r->section, text, sizeof(text));
	if (r->kind == SECTION_UNKNOWN)
		problem_add(r, CONF_WARNING, line,
			    "there is no section [%.*s]; what follows is ignored",
			    r->after_secret    ? 0
			    : len < SHOWN_MOST ? (int)len
					       : SHOWN_MOST,
			    name);
}

/* Tells of a name that is no setting's. What may be a password is not shown: behind a name whose
 * `=` is missing, or where one was to come. */
static void unknown_name(struct reader *r, const char *name, unsigned line)
{
	size_t word = strcspn(name, " \t");
	const char *first = arena_strndup(&r->conf->arena, name, word),
		   *meant = nearest_name(first);

	if (find_key(first))
		problem_add(r, CONF_ERROR, line, "the = behind %s is missing; ignored", first);
	else if (r->after_secret)
		problem_add(r, CONF_WARNING, line, "there is no such setting");
	else
		problem_add(r, CONF_WARNING, line, "there is no setting %.*s%s%s%s", SHOWN_MOST,
			    first, meant ? "; do you mean " : "", meant ? meant : "",
			    meant ? "?" : "");
}

/* The declared key that a name in the current section sets, or NULL with the reason told. */
static const struct conf_key *key_for(struct reader *r, const char *name, unsigned line)
{
	const struct conf_key *key = find_key(name);

	if (r->kind == SECTION_UNKNOWN)
		return NULL;
	if (!key) {
		unknown_name(r, name, line);
		return NULL;
	}
	if (r->kind != SECTION_DEFAULT && !text_equal_nocase(key->section, r->section)) {
		problem_add(r, CONF_WARNING, line, "%s belongs into the section [%s]; ignored here",
			    key->name, key->section);
		return NULL;
	}
	return key;
}

/* Whether a line is `KEY = ...` with a key that there is. */
static bool looks_like_setting(struct conf *conf, const char *text, size_t len)
{
	size_t name = 0;

	while (name < len && text[name] != '=' && text[name] != ':')
		name++;
	if (name == len)
		return false;
	return find_key(text_trim(arena_strndup(&conf->arena, text, name))) != NULL;
}

static void begin_setting(struct reader *r, const char *text, size_t len, unsigned line)
{
	size_t name = 0, value;

	while (name < len && text[name] != '=' && text[name] != ':')
		name++;
	value = name + 1;
	while (value < len && text_is_space(text[value]))
		value++;
	r->open = true;
	if (name == len || name == 0) {
		problem_add(r, CONF_ERROR, line,
			    "neither a [section] nor KEY = VALUE nor a comment; ignored");
		return;
	}
	if (r->kind == SECTION_NONE) {
		problem_add(r, CONF_WARNING, line, "a section line [bley] is missing before this");
		r->kind = SECTION_KNOWN;
		memcpy(r->section, "bley", sizeof("bley"));
	}
	r->line = line;
	r->key = key_for(r, text_trim(arena_strndup(&r->conf->arena, text, name)), line);
	strbuf_clear(&r->value);
	if (value < len)
		add_value(r, text + value, len - value);
}

static void continue_value(struct reader *r, const char *text, size_t len, unsigned line)
{
	if (r->key && looks_like_setting(r->conf, text, len))
		problem_add(r, CONF_WARNING, line,
			    "taken as a part of %s, because white space begins the line",
			    r->key->name);
	add_value(r, text, len);
}

/* One line, without its end. */
static void read_line(struct reader *r, const char *text, size_t len, unsigned line)
{
	size_t indent = 0;
	const char *close;

	while (indent < len && text_is_space(text[indent]))
		indent++;
	text += indent;
	len -= indent;
	while (len && text_is_space(text[len - 1]))
		len--;
	if (!len || *text == '#' || *text == ';')
		return; /* also in the midst of a value, which goes on behind it */
	if (r->open && indent > r->indent) {
		continue_value(r, text, len, line);
		return;
	}
	finish_value(r);
	r->indent = indent;
	close = *text == '[' ? memchr(text, ']', len) : NULL;
	if (close && close > text + 1)
		begin_section(r, text + 1, (size_t)(close - text) - 1, line);
	else
		begin_setting(r, text, len, line);
}

static void read_lines(struct reader *r, const char *text, size_t len)
{
	const char *end = text + len;
	unsigned line = 0;

	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) /* a byte order mark */
		text += 3;
	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *stop = newline ? newline : end;

		read_line(r, text, (size_t)(stop - text), ++line);
		text = stop + 1;
	}
	finish_value(r);
}

/* A password that every user of the machine can read is none. For SQLite it means nothing. */
static void check_rights(struct reader *r, const struct stat *st)
{
	size_t index = (size_t)(find_key("dbpass") - conf_keys);

	if (!r->conf->lines[index] || !(st->st_mode & S_IROTH) ||
	    !strcmp(r->conf->dbtype, "sqlite3"))
		return;
	problem_add(r, CONF_WARNING, r->conf->lines[index],
		    "everybody can read this file with dbpass in it: chmod o= %s", r->conf->file);
}

/* Reads up to size bytes. The number read, or -1. */
static ssize_t read_bytes(int fd, char *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, buf + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Who can change it decides where bley writes and whose mail waits. The administrator may look at
 * anybody's. */
static const char *check_trust(struct conf *conf, const struct stat *st)
{
	if (S_ISREG(st->st_mode) && geteuid() != 0 && st->st_uid != 0 && st->st_uid != geteuid())
		return arena_printf(&conf->arena,
				    "it belongs to user id %u, neither root nor who bley runs as: "
				    "chown root %s",
				    (unsigned)st->st_uid, conf->file);
	return trust_doubt(&conf->arena, conf->file, st);
}

/* What is wrong with a file that is to hold settings, or NULL. */
static const char *check_file(struct conf *conf, const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		return "it is a directory";
	if (!S_ISREG(st->st_mode) && !S_ISCHR(st->st_mode))
		return "it is no file";
	if (st->st_size > FILE_MOST)
		return "it is larger than 1 MiB, so it cannot be bley's configuration";
	return check_trust(conf, st);
}

/* Reads the whole file into the arena. Returns NULL, or what is wrong. */
static const char *read_whole(struct conf *conf, struct stat *st, char **text, ssize_t *len)
{
	/* opening a named pipe must not wait for whoever might write it */
	int fd = open(conf->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *wrong;

	if (fd < 0)
		return strerror(errno);
	wrong = fstat(fd, st) ? strerror(errno) : check_file(conf, st);
	if (!wrong) {
		*text = arena_alloc(&conf->arena, (size_t)st->st_size + 1);
		*len = read_bytes(fd, *text, (size_t)st->st_size);
		wrong = *len < 0 ? strerror(errno) : NULL;
	}
	close(fd);
	return wrong;
}

void conf_load(struct conf *conf, const char *file)
{
	struct reader r = {.conf = conf, .kind = SECTION_NONE, .value = STRBUF_INIT};
	const char *wrong;
	struct stat st = {.st_size = 0};
	ssize_t len = 0;
	char *text = NULL;

	memset(conf, 0, sizeof(*conf));
	conf->lines = arena_alloc(&conf->arena, KEYS * sizeof(*conf->lines));
	conf->file = arena_strdup(&conf->arena, file ? file : conf_default_file());
	for (size_t i = 0; i < conf_key_count; i++)
		set_fallback(conf, &conf_keys[i]);
	wrong = read_whole(conf, &st, &text, &len);
	if (wrong) {
		problem_add(&r, CONF_ERROR, 0, "cannot read the configuration: %s", wrong);
		return;
	}
	conf->usable = true;
	read_lines(&r, text, (size_t)len);
	check_rights(&r, &st);
	strbuf_release(&r.value);
}

void conf_release(struct conf *conf)
{
	arena_release(&conf->arena);
	memset(conf, 0, sizeof(*conf));
}
