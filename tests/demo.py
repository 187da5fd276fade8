#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Shows bley at work: real requests over a real socket, SQLite, no DNS. `./bootstrap demo` runs this.

The exit status tells whether every answer was the right one.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import bleytest

SPAMMER = {
    "client_address": "203.0.113.7",
    "client_name": "unknown",
    "reverse_client_name": "unknown",
    "helo_name": "friend",
    "sender": "offers@example.net",
    "recipient": "you@example.org",
}
CLEAN = {
    "client_address": "192.0.2.25",
    "client_name": "mail.example.com",
    "reverse_client_name": "mail.example.com",
    "helo_name": "mail.example.com",
    "sender": "alice@example.com",
    "recipient": "you@example.org",
}

CONF = """\
[bley]
dbtype = sqlite3
dbpath = {folder}
dbname = bley.db
log_file = {folder}/log
reject_msg = greylisted, try again later
greylist_period = 29
dnsbl_threshold = 0
dnswl_threshold = 0
use_spf = 0
# so that each answer comes from the triplet itself, not from what is remembered of the client
cache_valid = 0
whitelist_clients_file = {folder}/whitelist_clients
whitelist_recipients_file = {folder}/whitelist_recipients
"""


def say(text=""):
    print(text, flush=True)


def start_service(case, port, conf):
    """bley behind a listener that starts one handler a connection, with the connection as fd 0 and 1."""
    activate = bleytest.find_program("systemd-socket-activate")
    command = [bleytest.program("bley"), *bleytest.ALLOW_ROOT, "-c", conf]
    if not activate:
        sys.exit("demo: systemd-socket-activate is not here; it comes with systemd")
    case.start([activate, "-l", f"127.0.0.1:{port}", "--accept", "--inetd", *command])
    case.wait_for_port(port)
    say(f"  systemd-socket-activate listens on 127.0.0.1:{port} and starts, for each connection,")
    say(f"  {' '.join(command)}")


class Demo(bleytest.TestCase):
    """Not a test: it only borrows their folder, their processes and their cleanup."""

    def runTest(self):
        self.wrong = 0
        conf = self.write("bley.conf", CONF.format(folder=self.tmp))
        self.write("whitelist_clients", "")
        self.write("whitelist_recipients", "postmaster@\n")
        self.port = bleytest.free_port()
        say("bley decides for a mail server whether a message has to wait. Here is no mail server: the demonstration")
        say("asks what Postfix would ask, over the same protocol.")
        say()
        start_service(self, self.port, conf)

        self.step("A client without a reverse name, with a HELO that is none of its names", SPAMMER,
                  "DEFER_IF_PERMIT greylisted, try again later",
                  "HELO scores 2 and rfc_threshold is 2: this client has to come back after 29 minutes.")
        self.step("A client whose name, reverse name and HELO agree", CLEAN, "DUNNO",
                  "nothing speaks against it: it is let through at once, and remembered.")
        self.step("The first one again, a moment later", SPAMMER, "DEFER_IF_PERMIT greylisted, try again later",
                  "too early. That costs it greylist_penalty, 10 minutes more.")
        say()
        say("   ... now 40 minutes pass. (Nobody waits: the demonstration moves the times in the database back by as much.)")
        self.move_time(40 * 60, database=self.path("bley.db"))
        self.step("The first one comes back, as a real mail server does", SPAMMER, "PREPEND X-Greylist: delayed 24",
                  "it has waited longer than 29 + 10 minutes: the message passes, and carries this header.")
        self.step("Its next message", SPAMMER, "DUNNO", "this client, sender and recipient are known by now.")
        self.step("The spammer writes to postmaster", {**SPAMMER, "client_address": "203.0.113.8",
                                                       "recipient": "postmaster@example.org"}, "DUNNO",
                  "whitelist_recipients says that postmaster@ is never delayed.")
        self.show_database()

    def step(self, title, attributes, expected, why):
        say()
        say(f"{title}:")
        for name in ("client_address", "client_name", "helo_name", "sender", "recipient"):
            say(f"  > {name}={attributes[name]}")
        client = bleytest.PolicyClient(("127.0.0.1", self.port))
        try:
            answer = client.ask(**attributes)
        except (AssertionError, OSError) as error:
            answer = f"(none: {error})"
        finally:
            client.close()
        say(f"  < action={answer}")
        if answer == expected or (expected.startswith("PREPEND") and answer.startswith(expected)):
            say(f"    right: {why}")
        else:
            say(f"    WRONG: `{expected}' was expected")
            self.wrong += 1

    def show_database(self):
        self.wait_until(lambda: len(self.rows("SELECT 1 FROM bley_log", database=self.path("bley.db"))) == 6,
                        "six rows in bley_log")
        for table, columns in (
            ("bley_status", "ip, sender, recipient, status, fail_count, last_action"),
            ("bley_log", "action, ip, recipient, check_helo, check_db, check_postmaster"),
        ):
            say()
            say(f"What {table} holds:")
            rows = self.rows(f"SELECT {columns} FROM {table}", database=self.path("bley.db"))
            print_table(columns.split(", "), rows)


def print_table(names, rows):
    table = [names] + [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(names))]
    for row in table:
        say("  " + "  ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip())


def main():
    demo = Demo()
    result = demo.run()
    say()
    for _, text in result.failures + result.errors:
        print(text, file=sys.stderr)
    if result.failures or result.errors or demo.wrong:
        say("The demonstration has failed.")
        return 1
    say("Every answer was the right one.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
