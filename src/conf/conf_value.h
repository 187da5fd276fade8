/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BLEY_CONF_CONF_VALUE_H
#define BLEY_CONF_CONF_VALUE_H

#include "conf/conf.h"

/* One value between its text and its member of struct conf. */

/*
 * Reads the text of a value into conf's member for the key. `text` is trimmed and is changed on the
 * way. Returns NULL, or in conf's arena what is wrong, to follow `KEY: `; then the member is
 * untouched. For a list of which only a part is wrong, *partly is set and the rest is taken.
 */
const char *conf_value_read(struct conf *conf, const struct conf_key *key, char *text,
			    bool *partly);

/* What deserves a word in the text of a value that can be read, or NULL. */
const char *conf_value_doubt(struct conf *conf, const struct conf_key *key, const char *text);

/* What a key takes (`a number from 0 to 65535`), in the arena. */
const char *conf_value_allowed(struct arena *arena, const struct conf_key *key);

/* `%%` is `%`, in place. */
void conf_value_undouble(char *text);

/* Seconds in the unit of that letter; 0 for none that there is. */
int64_t conf_unit_seconds(char letter);

/* `minutes` for 'm' and so on. */
const char *conf_unit_name(char letter);

#endif
