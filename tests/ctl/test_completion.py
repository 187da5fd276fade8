# SPDX-License-Identifier: BSD-3-Clause
"""Bash and zsh, the real ones, complete commands and options as the help has them."""

import os
import re
import unittest

import bleytest
import terminal

# Completes what is in the editor's line and writes down what compadd was given that fits, one a line.
ZSH = """
fpath=({folder} $fpath)
autoload -U compinit
compinit -u -D
compadd() {{
	local -a fit
	if [[ " ${{(j: :)@[1,(i)--]}} " != *' '-[a-zA-Z]#[OAD]' '* ]]; then
		builtin compadd -O fit "$@"
		print -rl -- $fit >> {out}
	fi
	builtin compadd "$@"
}}
tell() {{
	: > {out}
	zle complete-word
	print -r -- END >> {out}
	BUFFER=
}}
zle -N tell
bindkey '^T' tell
setopt extendedglob
PROMPT='ready> '
clear
"""


class Completion(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.conf = self.write_conf()

    def installed(self, name):
        """The file as `make install` puts it down."""
        root = self.path("root")
        done = self.run_program(["make", "-s", "-C", bleytest.BUILD, "install-data", f"DESTDIR={root}"], timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = [os.path.join(folder, name) for folder, _, names in os.walk(root) if name in names]
        self.assertEqual(len(found), 1)
        return found[0]

    def bash(self, *words):
        quoted = " ".join(f"'{word}'" for word in (bleytest.program("bleyctl"), *words))
        if not hasattr(self, "script"):
            self.script = self.installed("bleyctl")
        result = self.run_program([self.need("bash"), "-c", f"""
            . {self.script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _bleyctl
            printf '%s\\n' "${{COMPREPLY[@]}}" """])
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return sorted(result.stdout.split())

    def zsh(self, *words):
        if not hasattr(self, "shell"):
            out = self.path("completed")
            setup = self.write("setup.zsh", ZSH.format(folder=os.path.dirname(self.installed("_bleyctl")), out=out))
            env = {**os.environ, "TERM": "xterm", "HOME": self.tmp, "PATH": bleytest.BUILD + ":" + os.environ["PATH"]}
            self.shell = terminal.Terminal(self, [self.need("zsh"), "-f", "-i"], env=env, cwd=self.tmp)
            self.shell.type(f". {setup}\n")
        self.shell.wait_for(b"ready> ")
        self.shell.type("bleyctl " + " ".join(words) + "\x14")

        def done():
            self.shell.drain()
            if not os.path.exists(self.path("completed")):
                return None
            with open(self.path("completed"), encoding="utf-8") as stream:
                return re.fullmatch(r"(.*)END\n", stream.read(), re.DOTALL)
        found = self.wait_until(done, "what zsh completes").group(1)
        os.unlink(self.path("completed"))
        self.shell.type("\n")
        return sorted(found.split())

    def help(self, *words):
        return self.run_program([bleytest.program("bleyctl"), *words, "--help"]).stdout

    def check_all(self, complete):
        """Each command, and each command's options, as the help has them."""
        commands = re.findall(r"^  ([a-z]+) ", self.help().split("Commands")[1], re.MULTILINE)
        self.assertGreater(len(commands), 10)
        self.assertEqual(complete(""), sorted(commands + ["--config", "--help", "--version"]))
        for command in commands:
            with self.subTest(command):
                text = self.help(command)
                self.assertEqual(complete(command, "--"), sorted(re.findall(r"^  (?:-., )?(--[a-z-]+)", text, re.MULTILINE)))
                for option in re.findall(r"^  (--[a-z-]+) [A-Z]", text, re.MULTILINE):
                    if option not in ("--status", "--since", "--whitelist"):
                        self.assertEqual(complete(command, option, ""), [])

    def check_some(self, complete):
        self.assertEqual(complete("s"), ["show", "spf", "stats"])
        self.assertEqual(complete("-c", "x", "list", "--json", "--li"), ["--limit"])
        self.assertEqual(complete("list", "--status", ""), ["clean", "grey", "listed"])
        self.assertEqual(complete("list", "--status", "grey", "--se"), ["--sender"])
        self.assertEqual(complete("stats", "--since", "2"), ["24h"])
        self.assertEqual(complete("import", "--dry-run", "sq"), ["sqlgrey"])

    def test_bash(self):
        self.check_all(self.bash)
        self.check_some(self.bash)
        self.assertEqual(self.bash("-c", self.path("ble")), [self.conf])
        self.assertEqual(self.bash("test", self.path("ble")), [self.conf])

    def test_zsh(self):
        self.need("zsh")
        self.check_all(self.zsh)
        self.check_some(self.zsh)
        for words in (["-c", "ble"], ["test", "ble"]):
            self.assertEqual(self.zsh(*words), ["bley.conf"])


if __name__ == "__main__":
    unittest.main()
