# SPDX-License-Identifier: BSD-3-Clause
"""The manual and the example file say what the programs do: generated parts are generated anew and must
not differ, and the options of the help and of the manual are the same."""

import glob
import os
import re
import unittest

import bleytest

MAN = os.path.join(bleytest.SRC, "man")
BEGIN = '.\\" settings begin: bleyctl config --mdoc\n'
END = '.\\" settings end\n'
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


def read(*parts):
    with open(os.path.join(bleytest.SRC, *parts), encoding="utf-8") as f:
        return f.read()


def manual_section(page, command=None):
    """The source of a page, or of the part that describes one command; else what comes before those."""
    source = read("man", page)
    if ".Sh COMMANDS\n" not in source:
        return source
    before, commands = source.split(".Sh COMMANDS\n")
    if command is None:
        return before
    parts = re.split(r"^\.Ss (\S+)\n", commands.split("\n.Sh ")[0], flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))[command]


def manual_options(source):
    """The options that a tagged list explains."""
    found = set()
    for line in re.findall(r"^\.It Fl (.*)", source, flags=re.M):
        for option in re.split(r" , Fl ", line):
            found.add("-" + option.split()[0].replace("\\-", "-"))
    return found


class Docs(bleytest.TestCase):
    def output(self, name, *args):
        result = self.run_program([bleytest.program(name), *args])
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def help_options(self, name, *args):
        text = self.output(name, *args, "--help")
        found = set()
        for line in re.findall(r"^  (-.*)", text, flags=re.M):
            found.update(OPTION.findall(line.split("   ")[0]))
        return found

    def test_example(self):
        self.assertEqual(read("conf", "bley.conf.example"), self.output("bleyctl", "config", "--defaults"),
                         "renew it: bleyctl config --defaults > conf/bley.conf.example")

    def test_manual_settings(self):
        section = read("man", "bley.conf.5").split(BEGIN)[1].split(END)[0]
        self.assertEqual(section, self.output("bleyctl", "config", "--mdoc"),
                         "put the output of `bleyctl config --mdoc` between the two marks")

    def test_lint(self):
        self.need("mandoc")
        pages = sorted(glob.glob(os.path.join(MAN, "*.[0-9]")))
        self.assertTrue(pages)
        result = self.run_program(["mandoc", "-Tlint", "-Wstyle", *pages])
        # a page of ours that is not installed yet, or another package's
        lines = [line for line in (result.stdout + result.stderr).splitlines()
                 if "referenced manual not found" not in line and "outdated mandoc.db" not in line]
        self.assertEqual(lines, [])

    def test_references(self):
        """A reference to a page of ours leads to one."""
        ours = {os.path.basename(page) for page in glob.glob(os.path.join(MAN, "*.[0-9]"))}
        for page in sorted(ours):
            for name, section in re.findall(r"^\.Xr (bley\S*) (\d)", read("man", page), flags=re.M):
                self.assertIn(f"{name}.{section}", ours, page)

    def test_options(self):
        for name, section in (("bley", 8), ("bleyctl", 8), ("bleygraph", 1)):
            self.assertEqual(manual_options(manual_section(f"{name}.{section}")), self.help_options(name), name)

    def test_commands(self):
        listed = re.findall(r"^  (\w+) +", self.output("bleyctl", "--help").split("Commands")[1], flags=re.M)
        described = re.findall(r"^\.Ss (\S+)", read("man", "bleyctl.8").split(".Sh COMMANDS")[1], flags=re.M)
        self.assertEqual(listed, described)
        self.assertEqual(listed, sorted(listed))
        common = {"-c", "--config", "-h", "--help"}
        for command in listed:
            with self.subTest(command):
                self.assertEqual(manual_options(manual_section("bleyctl.8", command)),
                                 self.help_options("bleyctl", command) - common)

    def test_wrong_usage(self):
        for args in ([], ["no-such"], ["--no-such"], ["check", "--no-such"], ["check", "argument"],
                     ["config", "--defaults", "--mdoc"], ["allow", "192.0.2.1", "a@b"], ["allow", "x", "a@b", "c@d"],
                     ["forget", "--yes"], ["forget", "--yes", "nothing"], ["forget", "192.0.2.1"], ["import", "x", "y"], ["list", "--status", "x"],
                     ["list", "--ip", "x"], ["list", "--since", "yesterday"], ["list", "--limit", "0"], ["show"],
                     ["stats", "--json", "--prometheus"], ["stats", "--since", "-1h"], ["test", "a", "b"],
                     ["why", "192.0.2.1"]):
            with self.subTest(args):
                result = self.run_program([bleytest.program("bleyctl"), *args])
                self.assertEqual((result.returncode, result.stdout), (2, ""))
                self.assertRegex(result.stderr, r"^bleyctl\b.*\n")
                self.assertLessEqual(result.stderr.count("\n"), 2)


if __name__ == "__main__":
    unittest.main()
