# SPDX-License-Identifier: BSD-3-Clause
"""configure's contract, and what make installs and takes away again."""

import fnmatch
import glob
import os
import re
import stat
import tarfile
import unittest

import bleytest

CONFIGURE = os.path.join(bleytest.SRC, "configure")


class Configure(bleytest.TestCase):
    def configure(self, *args, env=None, cwd=None, script=CONFIGURE):
        environment = {"PATH": os.environ["PATH"], "HOME": self.tmp}
        environment.update(env or {})
        return self.run_program(["sh", script, *args], cwd=cwd or self.tmp, env=environment, timeout=120)

    def configured(self, *args, **options):
        done = self.configure("--quiet", *args, **options)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        return done

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as stream:
            return stream.read()

    def define(self, name):
        return re.search(rf'#define {name} "(.*)"', self.read("config.h")).group(1)

    def make(self, *args, folder=None):
        done = self.run_program(["make", "-C", folder or self.tmp, *args], timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        return done


class Options(Configure):
    def test_help_and_version(self):
        done = self.configure("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for option in ("--prefix", "--exec-prefix", "--bindir", "--sbindir", "--libdir", "--sysconfdir",
                       "--localstatedir", "--mandir", "--with-systemdsystemunitdir", "--with-store", "CFLAGS"):
            self.assertIn(option, done.stdout)
        done = self.configure("--version")
        self.assertRegex(done.stdout, r"^bley \d+\.\d+\.\d+\n$")
        self.assertEqual(os.listdir(self.tmp), [])

    def test_what_is_refused(self):
        for args in (
            ["--prefxi=/usr"], ["--nonsense"], ["-x"], ["nonsense"], ["--prefix"], ["--prefix=usr"], ["--prefix="],
            ["--prefix=/a b"], ["--sysconfdir=/etc/$(x)"], ["--prefix=/a|b"], ["--prefix=/a&b"], ["--prefix=/a\nb"], ["--libdir=/l;x"],
            ["--with-zshcompletiondir=no"], ["--with-store=oracle"], ["--with-store"], ["--with-store="], ["--enable-werror=perhaps"],
            ["--disable-werror=no"], ["--without-systemd=no"], ["1X=y"], ["A-B=y"],
        ):
            with self.subTest(args=args):
                done = self.configure(*args)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertIn("--help", done.stderr)
                self.assertEqual([n for n in os.listdir(self.tmp) if n != "config.log"], [])

    def test_folder_with_blanks_as_source(self):
        os.symlink(bleytest.SRC, self.path("a folder"))
        done = self.configure(script=self.path("a folder/configure"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("blanks", done.stderr)

    def test_missing_compiler_and_libraries_are_told_together(self):
        tools = self.path("tools")
        os.mkdir(tools)
        for name in ("sh", "sed", "tr", "rm", "mv", "cat", "cmp", "chmod", "grep", "uname", "install"):
            os.symlink(self.need(name), os.path.join(tools, name))
        done = self.configure(env={"PATH": tools})
        self.assertEqual(done.returncode, 1)
        for word in ("C compiler", "pkg-config", "libpsl", "libldns-dev", "libspf2-dev", "libpcre2-dev", "systemd-devel",
                     "apt-get install", "dnf install", "gcc"):
            self.assertIn(word, done.stderr)
        self.assertFalse(os.path.exists(self.path("Makefile")))

    def test_named_store_that_is_missing(self):
        # pkg-config that knows everything but libpq
        script = self.write("pkg-config", '#!/bin/sh\ncase "$*" in *libpq*) exit 1 ;; esac\nexec pkg-config "$@"\n', 0o755)
        done = self.configure("--with-store=sqlite,pgsql", env={"PKG_CONFIG": script})
        self.assertEqual(done.returncode, 1)
        self.assertIn("libpq-dev", done.stderr)
        self.assertNotIn("libsqlite3-dev", done.stderr)
        self.assertFalse(os.path.exists(self.path("Makefile")))


class Written(Configure):
    def test_all_of_it(self):
        """One configure with everything set: folders, environment, warnings, the record, and doing it again."""
        done = self.configure(
            "--prefix=/opt/x/", "--exec-prefix", "/opt/y", "--libdir=${exec_prefix}/lib/arch", "--sysconfdir=/etc",
            "--localstatedir=/var", "--with-systemdsystemunitdir=/opt/units", "--with-store=sqlite",
            "--with-zshcompletiondir=/opt/zsh",
            # what packagers' tools pass
            "--build=x86_64-linux-gnu", "--includedir=${prefix}/include", "--mandir=${prefix}/share/man",
            "--infodir=${prefix}/share/info", "--disable-option-checking", "--disable-silent-rules",
            "--libexecdir=${prefix}/libexec", "--runstatedir=/run", "--disable-maintainer-mode",
            "--disable-dependency-tracking", "--program-prefix=", "--datadir=/opt/x/share", "--sharedstatedir=/var/lib",
            # unknown
            "--enable-turbo", "--without-care", "--with-wings=2",
            "CFLAGS=-O1 -DIT=\"it's\"",
            env={"LDFLAGS": "-Wl,-O1", "UNRELATED": "1"},
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            done.stderr.splitlines(),
            [f"configure: warning: unknown option --{o}" for o in ("enable-turbo", "with-care", "with-wings")])
        self.assertRegex(done.stdout, r"(?m)^checking for libpsl\.\.\. \d")
        self.assertEqual(self.define("BLEY_MODULEDIR"), "/opt/y/lib/arch/bley")
        self.assertEqual(self.define("BLEY_SYSCONFDIR"), "/etc")
        self.assertEqual(
            dict(re.findall(r"(?m)^  (\w+) {2,}(.+)", done.stdout)),
            {"programs": "/opt/y/sbin, /opt/y/bin", "modules": "/opt/y/lib/arch/bley", "configuration": "/etc/bley",
             "database": "/var/lib/bley", "units": "/opt/units", "stores": "sqlite",
             "compiler": f"{re.search(r'(?m)^CC = (.*)', self.read('Makefile')).group(1)} -O1 -DIT=\"it's\""})
        makefile = self.read("Makefile")
        self.assertIn("\nprefix = /opt/x\n", makefile)
        self.assertIn("\nlibdir = ${exec_prefix}/lib/arch\n", makefile)
        self.assertIn("\nsystemdsystemunitdir = /opt/units\n", makefile)
        self.assertIn("\nzshcompletiondir = /opt/zsh\n", makefile)
        self.assertIn("\nCFLAGS = -O1 -DIT=\"it's\"\n", makefile)
        self.assertIn("\nLDFLAGS = -Wl,-O1\n", makefile)
        self.assertIn("\nV = 1\n", makefile)
        self.assertNotIn("store_pgsql", re.search(r"(?m)^MODULES = (.*)", makefile).group(1))
        log = self.read("config.log")
        self.assertIn("'--enable-turbo'", log)
        self.assertIn("LDFLAGS='-Wl,-O1'", log)

        # config.status does the same again, from anywhere, whatever the environment says now
        before = {name: self.read(name) for name in ("Makefile", "config.h")}
        changed = os.stat(self.path("config.h")).st_mtime_ns
        os.unlink(self.path("Makefile"))
        again = self.run_program(
            [self.path("config.status"), "--quiet"], cwd="/", timeout=120,
            env={"PATH": os.environ["PATH"], "CC": "false", "CFLAGS": "-Wrong"})
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual({name: self.read(name) for name in before}, before)
        self.assertEqual(os.stat(self.path("config.h")).st_mtime_ns, changed, "config.h was touched without need")

    def test_defaults(self):
        done = self.configure()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for line in ("  programs       /usr/local/sbin, /usr/local/bin", "  database       /usr/local/var/lib/bley"):
            self.assertIn(f"\n{line}\n", done.stdout)
        self.assertEqual(self.define("BLEY_SYSCONFDIR"), "/usr/local/etc")
        self.assertEqual(self.define("BLEY_MODULEDIR"), "/usr/local/lib/bley")
        makefile = self.read("Makefile")
        self.assertIn("\nzshcompletiondir = ${datadir}/zsh/site-functions\n", makefile)
        self.assertIn("\nsystemdsystemunitdir = ${prefix}/lib/systemd/system\n", makefile)
        for flag in ("-fPIE", "-pie", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro", "-Wl,-z,now",
                     "-Wl,--as-needed", "-Wconversion", "-Wvla"):
            self.assertIn(flag, makefile)
        self.assertNotIn("-Werror", makefile)

    def test_switched_off(self):
        self.configured("--disable-hardening", "--disable-warnings", "--without-systemd", "--enable-werror")
        makefile = self.read("Makefile")
        for flag in ("-fPIE", "-fstack-protector", "_FORTIFY_SOURCE", "relro", "-Wconversion"):
            self.assertNotIn(flag, makefile)
        self.assertIn("\nsystemdsystemunitdir = no\n", makefile)
        self.assertIn("-Werror", makefile)
        self.assertNotIn("systemd", re.search(r"(?m)^MODULES = (.*)", makefile).group(1))


class Installed(Configure):
    """A build of its own, because the one under test may have any prefix; without optimisation, to be quick."""

    def files(self, root):
        return sorted(
            os.path.join(folder, name)[len(root):]
            for folder, _, names in os.walk(root) for name in names)

    def manuals(self):
        names = [os.path.basename(page) for page in glob.glob(os.path.join(bleytest.SRC, "man", "*.[0-9]"))]
        return [f"/usr/share/man/man{name[-1]}/{name}" for name in names]

    def symbols(self, path, kind):
        return set(re.findall(r" [A-Z] (\w+)", self.run_program(["nm", "-D", kind, path]).stdout))

    def test_install_and_uninstall(self):
        build, root = self.path("build"), self.path("root")
        os.mkdir(build)
        self.configured("--prefix=/usr", "--sysconfdir=/etc", "--localstatedir=/var", "--with-systemdsystemunitdir=/usr/lib/systemd/system",
                        "CFLAGS=-O0", cwd=build)
        self.make("-j2", "all", folder=build)
        self.make("install-strip", f"DESTDIR={root}", folder=build)
        files = self.files(root)
        for name in ("/usr/sbin/bley", "/usr/sbin/bleyctl", "/usr/lib/bley/store_sqlite.so", "/usr/lib/bley/domain.so",
                     "/usr/lib/bley/resolver_ldns.so", "/usr/lib/bley/spf.so", "/usr/lib/bley/systemd.so",
                     "/etc/bley/bley.conf", "/etc/bley/whitelist_clients", "/etc/bley/whitelist_recipients",
                     "/usr/share/doc/bley/LICENSE", "/usr/share/doc/bley/examples/bley.conf",
                     "/usr/lib/systemd/system/bley.socket", *self.manuals()):
            self.assertIn(name, files)
        self.assertFalse(os.path.exists(root + "/var"), "the state folder is the packages' and tmpfiles' business")
        for name in files:
            mode = stat.S_IMODE(os.stat(root + name).st_mode)
            self.assertEqual(mode, 0o755 if "/sbin/" in name or "/bin/" in name else 0o644, name)
            with open(root + name, "rb") as stream:
                self.assertNotRegex(stream.read(), rb"@[a-z]+dir@", name)

        # a person's configuration stays
        with open(root + "/etc/bley/bley.conf", "a", encoding="utf-8") as stream:
            stream.write("# mine\n")
        self.make("install", f"DESTDIR={root}", folder=build)
        with open(root + "/etc/bley/bley.conf", encoding="utf-8") as stream:
            self.assertIn("# mine", stream.read())
        self.make("uninstall", f"DESTDIR={root}", folder=build)
        self.assertEqual(self.files(root), ["/etc/bley/bley.conf"])
        os.unlink(root + "/etc/bley/bley.conf")
        self.make("install", f"DESTDIR={root}", folder=build)
        self.make("uninstall", f"DESTDIR={root}", folder=build)
        self.assertEqual(self.files(root), [])
        self.assertFalse(os.path.exists(root + "/etc/bley"))

        # programs are linked with nothing but the C library
        needed = self.run_program(["readelf", "-d", os.path.join(build, "bley")]).stdout
        libraries = re.findall(r"NEEDED.*\[(.*?)\.so", needed)
        self.assertLessEqual(set(libraries), {"libc", "libdl", "ld-linux-x86-64"}, libraries)
        self.assertIn("NOW PIE", needed)
        exported = self.symbols(os.path.join(build, "bley"), "--defined-only")
        for name in sorted(os.listdir(os.path.join(build, "modules"))):
            module = os.path.join(build, "modules", name)
            self.assertEqual(self.symbols(module, "--defined-only"), {"bley_module"}, name)
            # what it leaves open is the program's or a library's (which the linker has marked with @VERSION, or which it links)
            linked = self.run_program(["ldd", "-r", module], env={"PATH": os.environ["PATH"]})
            open_symbols = set(re.findall(r"undefined symbol: (\w+)", linked.stdout + linked.stderr))
            self.assertLessEqual(open_symbols, exported, f"{name} cannot be loaded")

        # elsewhere: paths in files follow the prefix; SQLite's archive instead of its library
        self.configured("--prefix=/opt/b", "--enable-static-sqlite", "CFLAGS=-O0", cwd=build)
        self.make("data", "modules/store_sqlite.so", folder=build)
        module = os.path.join(build, "modules/store_sqlite.so")
        self.assertNotIn("libsqlite3", self.run_program(["readelf", "-d", module]).stdout)
        self.assertEqual(self.symbols(module, "--defined-only"), {"bley_module"})
        with open(os.path.join(build, "data/conf/bley.conf"), encoding="utf-8") as stream:
            self.assertIn("/opt/b/var/lib/bley", stream.read())
        self.make("distclean", folder=build)
        self.assertEqual(os.listdir(build), [])


class Packaging(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        if not os.path.isdir(os.path.join(bleytest.SRC, "debian")):
            self.skipTest("Debian's packaging is not part of the tarball")

    def read(self, *parts):
        with open(os.path.join(bleytest.SRC, *parts), encoding="utf-8") as stream:
            return stream.read()

    def test_version(self):
        ours = re.search(r"(?m)^VERSION=(.+)", self.read("configure")).group(1)
        self.assertEqual(re.match(r"bley \((.+)-[^-]+\) ", self.read("debian", "changelog")).group(1), ours)

    def test_every_file_is_in_one_package(self):
        """As dh_install and dh_missing see it, with the folders that debhelper and debian/rules give configure."""
        folders = [f"{name}={folder}" for name, folder in re.findall(r"--with-(\w+dir)=(\S+)", self.read("debian", "rules"))]
        self.assertEqual(len(folders), 2)
        done = self.run_program(
            ["make", "-s", "-C", bleytest.BUILD, "install", f"DESTDIR={self.tmp}/root", "prefix=/usr", "libdir=/usr/lib/any",
             "sysconfdir=/etc", "localstatedir=/var", *folders], timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        patterns = [line for name in os.listdir(os.path.join(bleytest.SRC, "debian"))
                    if name.endswith(".install") or name == "not-installed"
                    for line in self.read("debian", name).splitlines() if line and line[0] != "#"]
        for folder, _, names in os.walk(self.path("root")):
            for path in (os.path.relpath(os.path.join(folder, name), self.path("root")) for name in names):
                fits = [pattern for pattern in patterns
                        if fnmatch.fnmatch(path, pattern) or path.startswith(f"{pattern}/")]
                self.assertEqual(len(fits), 1, f"{path}: {fits}")

    def test_zsh_looks_there(self):
        if not os.path.exists("/etc/debian_version"):
            self.skipTest("Debian's zsh is another")
        folder = re.search(r"--with-zshcompletiondir=(\S+)", self.read("debian", "rules")).group(1)
        looks = self.run_program([self.need("zsh"), "-f", "-c", "print -l $fpath"]).stdout
        self.assertIn(folder, looks.split())

    def test_tarball_leaves_it_out(self):
        if not os.path.exists(os.path.join(bleytest.SRC, ".git")):
            self.skipTest("no git here")
        self.need("git")
        self.assertEqual(self.run_program(["sh", CONFIGURE, "--quiet"], cwd=self.tmp, timeout=120).returncode, 0)
        done = self.run_program(["make", "dist"], cwd=self.tmp, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with tarfile.open(glob.glob(self.path("bley-*.tar.gz"))[0]) as tarball:
            names = {name.split("/")[1] for name in tarball.getnames() if "/" in name}
        self.assertLessEqual({"MANIFEST", "configure", "src"}, names)
        self.assertNotIn("debian", names)


class Scripts(bleytest.TestCase):
    def test_shellcheck(self):
        scripts = [os.path.join(bleytest.SRC, name) for name in ("configure", "bootstrap", ".ci/run")]
        scripts += glob.glob(os.path.join(bleytest.SRC, "debian", "*.p*[mt]"))
        scripts += glob.glob(os.path.join(bleytest.SRC, "debian", "tests", "answers"))
        done = self.run_program([self.need("shellcheck"), *scripts])
        self.assertEqual(done.stdout + done.stderr, "")

    def test_bootstrap_usage(self):
        done = self.run_program(["sh", os.path.join(bleytest.SRC, "bootstrap")])
        self.assertEqual(done.returncode, 2)
        self.assertIn("./bootstrap demo", done.stderr)


if __name__ == "__main__":
    unittest.main()
