/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/select.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "ctl/table.h"
#include "policy/request.h"

static const struct {
	const char *name;
	int status;
} statuses[] = {{"clean", STORE_CLEAN}, {"listed", STORE_LISTED}, {"grey", STORE_GREY}};

#define STATUSES (sizeof(statuses) / sizeof(statuses[0]))

const char *select_status_name(int status)
{
	for (size_t i = 0; i < STATUSES; i++)
		if (statuses[i].status == status)
			return statuses[i].name;
	return status == STORE_UNKNOWN ? "unknown" : "grey";
}

static bool select_status(const char *command, const char *text, int *out)
{
	for (size_t i = 0; i < STATUSES; i++) {
		if (strcmp(statuses[i].name, text) != 0)
			continue;
		*out = statuses[i].status;
		return true;
	}
	ctl_complain("%s: the status '%s' is none of grey, clean and listed", command, text);
	return false;
}

bool select_number(const char *command, const char *what, const char *text, int64_t min,
		   int64_t *out)
{
	long long value;
	char *end;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || *end || errno || value < min) {
		ctl_complain("%s: '%s' is no %s", command, text, what);
		return false;
	}
	*out = value;
	return true;
}

static bool read_duration(const char *text, int64_t *seconds)
{
	static const struct {
		char unit;
		int seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	const int64_t most = INT64_C(100000) * 86400;
	long long value;
	char *end;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || errno || value <= 0 || value > most || !*end || end[1])
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (units[i].unit != *end || value > most / units[i].seconds)
			continue;
		*seconds = value * units[i].seconds;
		return true;
	}
	return false;
}

/* `YYYY-MM-DD` and, where wanted, `HH:MM` or `HH:MM:SS`, local time. */
static bool read_moment(const char *text, time_t *out)
{
	struct tm tm = {.tm_isdst = -1};
	int used = 0, day_end = 0;
	bool day = sscanf(text, "%4d-%2d-%2d%n %2d:%2d%n:%2d%n", &tm.tm_year, &tm.tm_mon,
			  &tm.tm_mday, &day_end, &tm.tm_hour, &tm.tm_min, &used, &tm.tm_sec,
			  &used) >= 3;

	if (!day || text[used > day_end ? used : day_end] != '\0')
		return false;
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > 31 || tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 ||
	    tm.tm_min > 59 || tm.tm_sec > 60)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*out = mktime(&tm);
	return *out != (time_t)-1;
}

bool select_since(const char *command, const char *text, int64_t *age_us)
{
	int64_t seconds;
	time_t moment;

	if (!read_duration(text, &seconds)) {
		if (!read_moment(text, &moment)) {
			ctl_complain("%s: '%s' is no time: write 90m, 24h, 7d, 2026-11-24 or "
				     "'2026-11-24 10:15'",
				     command, text);
			return false;
		}
		seconds = table_now() / US_PER_S - moment;
	}
	/* 0 would select everything */
	*age_us = seconds > 0 ? seconds * US_PER_S : 1;
	return true;
}

static bool select_net(const char *command, const char *text, struct ipnet *net)
{
	bool host_bits;

	if (ipnet_parse(text, net, &host_bits))
		return true;
	ctl_complain("%s: '%s' is no IP address and no network", command, text);
	return false;
}

/* `*` and `?` become LIKE's `%` and `_`. */
static const char *pattern_of(struct arena *arena, const char *text)
{
	struct strbuf out = STRBUF_INIT;
	char *pattern;

	for (text = text_clean(arena, text, strlen(text)); *text; text++) {
		if (strchr("%_" STORE_ESCAPE, *text))
			strbuf_addstr(&out, STORE_ESCAPE);
		strbuf_addch(&out, *text == '*' ? '%' : *text == '?' ? '_' : *text);
	}
	pattern = arena_strndup(arena, out.buf, out.len);
	text_lower(pattern);
	strbuf_release(&out);
	return pattern;
}

const char *select_bare(struct arena *arena, const char *address)
{
	size_t len = strlen(address);

	if (len < 2 || address[0] != '<' || address[len - 1] != '>')
		return address;
	return arena_strndup(arena, address + 1, len - 2);
}

bool select_filter(struct arena *arena, const char *command, const struct selection *selection,
		   struct ipnet *net, struct store_filter *out)
{
	struct store_filter filter = {.status = STORE_UNKNOWN};

	if (selection->status && !select_status(command, selection->status, &filter.status))
		return false;
	if (selection->ip && !select_net(command, selection->ip, net))
		return false;
	if (selection->since && !select_since(command, selection->since, &filter.since_us))
		return false;
	if (selection->limit &&
	    !select_number(command, "number from 1 on", selection->limit, 1, &filter.limit))
		return false;
	if (selection->ip)
		filter.net = net;
	if (selection->sender)
		filter.sender = pattern_of(arena, select_bare(arena, selection->sender));
	if (selection->recipient)
		filter.recipient = pattern_of(arena, select_bare(arena, selection->recipient));
	*out = filter;
	return true;
}

/* As requests have it. */
static const char *normal_address(struct arena *arena, const char *text)
{
	text = select_bare(arena, text);
	return request_address(arena, text_clean(arena, text, strlen(text)));
}

bool select_word(struct arena *arena, const char *command, const char *word, struct ipnet *net,
		 struct store_filter *out)
{
	struct store_filter filter = {.status = STORE_UNKNOWN};
	bool host_bits;

	if (ipnet_parse(word, net, &host_bits)) {
		filter.net = net;
	} else if (strchr(word, '@') || !strcmp(word, "<>")) {
		filter.address = normal_address(arena, word);
	} else {
		ctl_complain("%s: '%s' is no IP address, no network and no mail address", command,
			     word);
		return false;
	}
	*out = filter;
	return true;
}

bool select_tuple(struct arena *arena, const char *command, char **words, char *ip,
		  struct store_tuple *out)
{
	struct ipaddr client;

	if (!ipaddr_parse(words[0], &client)) {
		ctl_complain("%s: '%s' is no IP address", command, words[0]);
		return false;
	}
	ipaddr_format(&client, ip);
	out->ip = ip;
	out->sender = normal_address(arena, words[1]);
	out->recipient = normal_address(arena, words[2]);
	if (*out->recipient)
		return true;
	ctl_complain("%s: the recipient is empty", command);
	return false;
}
