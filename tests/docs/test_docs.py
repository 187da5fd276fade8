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

    def test_files(self):
        """Every file that `make install` puts down is named in a FILES section, and what is named there is put down. A name
        without a folder is one in a folder that the same section names."""
        root = self.path("root")
        done = self.run_program(["make", "-s", "-C", bleytest.BUILD, "install", f"DESTDIR={root}"], timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        installed = {os.path.join(folder, name)[len(root):] for folder, _, names in os.walk(root) for name in names}
        folders = {os.path.dirname(path) for path in installed}
        for path in installed:
            if path.endswith(".md"):
                with open(root + path, encoding="utf-8") as f:
                    for link in re.findall(r"\]\(([^):]+)\)", f.read()):
                        self.assertIn(os.path.join(os.path.dirname(path), link), installed, path)
        pages = {path for path in installed if re.search(r"/man/man\d/", path)}
        self.assertTrue(pages)
        named = set()
        for page in pages:
            with open(root + page, encoding="utf-8") as f:
                source = f.read()
            section = source.split("\n.Sh FILES\n")[1].split("\n.Sh ")[0].replace("\\-", "-")
            words = {word for line in re.findall(r"(?m)^\.(?:It )?(Pa .*)", section)
                     for word in re.findall(r"[^\s,]{2,}", line.replace("Pa ", " "))}
            there = {word for word in words if word in folders}
            named |= {word for word in words if word.startswith("/")}
            named |= {f"{folder}/{word}" for folder in there for word in words if not word.startswith("/")} & installed
        references = re.findall(r"(?m)^\.Xr (\S+) (\d)", read("man", "bley.8").split(".Sh SEE ALSO\n")[1].split("\n.Sh")[0])
        known = {f"{name}.{number}" for name, number in references} | {"bley.8"}
        self.assertEqual({os.path.basename(page) for page in pages} - known, set(), "bley(8) leads to them")
        self.assertEqual(installed - pages - named, set(), "installed, and named nowhere")
        self.assertEqual({path for path in named if os.path.dirname(path) in folders} - installed - folders, set(),
                         "named, and not installed")

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
                     ["why", "192.0.2.1"], ["list", "--limit"], ["-c"], ["list", "-xh"], ["check", "--json", "--nagios"],
                     ["list", "--json=x"], ["test", "--wri\nte", "--x\ny"]):
            with self.subTest(args):
                result = self.run_program([bleytest.program("bleyctl"), *args])
                self.assertEqual((result.returncode, result.stdout), (2, ""))
                self.assertRegex(result.stderr, r"\Ableyctl: [^\x00-\x1f]+\n\Z")


if __name__ == "__main__":
    unittest.main()
