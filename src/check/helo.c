/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "base/domain.h"
#include "base/text.h"
#include "check/check.h"

#define TAG_V6 "ipv6:" /* RFC 5321 section 4.1.3 */

/* Whether the name is an address literal of this very client: `[192.0.2.1]`, `[ipv6:2001:db8::1]`.
 */
static bool is_own_literal(const char *helo, const struct ipaddr *client)
{
	char text[128]; /* longer than an address with its zone; what does not fit is none */
	size_t len = strlen(helo);
	struct ipaddr ip;

	if (len < 2 || len >= sizeof(text) || helo[0] != '[' || helo[len - 1] != ']')
		return false;
	memcpy(text, helo + 1, len - 2);
	text[len - 2] = '\0';
	if (!text_starts_nocase(text, TAG_V6))
		return ipaddr_parse(text, &ip) && ipaddr_equal(&ip, client);
	return strchr(text + strlen(TAG_V6), ':') && ipaddr_parse(text + strlen(TAG_V6), &ip) &&
	       ipaddr_equal(&ip, client);
}

struct check_score check_helo(struct check *check)
{
	const struct check_subject *subject = check->subject;
	bool known = strcmp(subject->client_name, "unknown") != 0;
	char error[256];
	int same;

	if (known && !strcmp(subject->client_name, subject->helo_name))
		return (struct check_score){0, "HELO is the client's name"};
	if (is_own_literal(subject->helo_name, &subject->client))
		return (struct check_score){1, "HELO is the client's address"};
	if (!known)
		return (struct check_score){2, "the client has no verified name to match HELO"};
	same = domain_same_registrable(subject->helo_name, subject->client_name, error,
				       sizeof(error));
	if (same < 0) {
		check_note(check, "domain", "HELO is not checked: %s", error);
		return (struct check_score){CHECK_UNKNOWN, "HELO could not be checked"};
	}
	return same ? (struct check_score){1, "HELO is in the client's domain"}
		    : (struct check_score){2, "HELO does not match the client's name"};
}
