# SPDX-License-Identifier: BSD-3-Clause
"""A real systemd as process 1 of fresh namespaces, on a throw-away overlay of this machine's files, with bley installed.

Nothing outside is written: the root is an overlay whose upper layer is a tmpfs of its own mount namespace, so that it
is gone with the last process. The network has a loopback of its own, and nothing else.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import bleytest

CLONE_NEWNET = 0x40000000
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # wherever they were installed

# Runs as process 1 in the new namespaces, and becomes systemd. $1: an empty folder; $2: the build folder.
INIT = r"""
set -eu
mount --make-rprivate /
top=$1
mount -t tmpfs -o mode=755 tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
root=$top/root
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" overlay "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
for folder in tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
	touch "$root/dev/$name"
	mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
touch "$root/dev/console"
mount --bind /dev/null "$root/dev/console"

make -s -C "$2" install "DESTDIR=$root" >/dev/null

# nothing starts but what a test asks for
units=$root/run/systemd/system
mkdir -p "$units" "$root/run/systemd/journald.conf.d"
for unit in systemd-tmpfiles-clean.timer systemd-timesyncd.service systemd-udevd.service systemd-networkd.service \
	systemd-resolved.service systemd-remount-fs.service systemd-sysctl.service systemd-modules-load.service \
	systemd-machine-id-commit.service systemd-random-seed.service systemd-update-utmp.service systemd-firstboot.service \
	systemd-sysusers.service systemd-hwdb-update.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
	sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount proc-sys-fs-binfmt_misc.automount \
	systemd-binfmt.service ldconfig.service systemd-journal-catalog-update.service systemd-update-done.service; do
	ln -s /dev/null "$units/$unit"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' >"$units/test.target"
# where bley is built with a leak sanitizer: it traces its process, which the units' sandbox forbids
mkdir -p "$root/run/systemd/system.conf.d"
printf '[Manager]\nDefaultEnvironment=ASAN_OPTIONS=detect_leaks=0\n' >"$root/run/systemd/system.conf.d/test.conf"
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$root/run/systemd/journald.conf.d/test.conf"
: >"$root/etc/machine-id"

ip link set lo up
cd "$root"
mkdir -p old
pivot_root . old
exec /bin/sh -c 'umount -l /old; mount --make-rshared /; rmdir /old; cd /; exec env -i container=test \
	PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_PROC_CMDLINE="systemd.unit=test.target systemd.unified_cgroup_hierarchy=1" \
	/lib/systemd/systemd --system </dev/null >/dev/null 2>&1'
"""

libc = ctypes.CDLL(None, use_errno=True)


def set_namespace(fd):
    """Moves this thread into a network namespace."""
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def cgroup2():
    with open("/proc/mounts", encoding="utf-8") as stream:
        for fields in map(str.split, stream):
            if fields[2] == "cgroup2":
                return fields[1]
    return None


def missing():
    """Why there can be no systemd of our own here; None where there can."""
    if os.geteuid() != 0:
        return "needs root"
    for name in ("unshare", "nsenter", "setpriv", "ip", "make"):
        if not bleytest.find_program(name):
            return f"{name} is not installed"
    if not os.access("/lib/systemd/systemd", os.X_OK):
        return "systemd is not installed"
    top = cgroup2()
    if not top or not os.access(top, os.W_OK):
        return "no cgroup2 hierarchy to be had"
    with tempfile.TemporaryDirectory(prefix="bley-try-") as folder:
        trial = ("mount --make-rprivate / && mount -t tmpfs tmpfs $0 && mkdir $0/u $0/w $0/r &&"
                 " mount -t overlay -o lowerdir=/,upperdir=$0/u,workdir=$0/w overlay $0/r && mount -t proc proc $0/r/proc")
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--cgroup", "--net", "--uts", "--ipc", "sh", "-c", trial,
                               folder], capture_output=True, text=True, check=False)
    return f"no namespaces or overlay to be had: {done.stderr.strip()}" if done.returncode else None


class System:
    """One booted system. stop() it."""

    def __init__(self):
        why = missing()
        if why:
            raise unittest.SkipTest(f"a systemd of our own: {why}")
        self.folder = tempfile.mkdtemp(prefix="bley-systemd-")
        self.cgroup = os.path.join(cgroup2(), os.path.basename(self.folder))
        self.process = self.pid = self.network = self.outside = None
        try:
            self._boot()
        except BaseException:
            self.stop()
            raise

    def _boot(self):
        os.mkdir(self.cgroup)
        os.mkdir(os.path.join(self.folder, "mnt"))
        script = os.path.join(self.folder, "init")
        with open(script, "w", encoding="utf-8") as stream:
            stream.write(INIT)
        # whatever ends this process ends the whole system, too
        command = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', self.cgroup, "setpriv", "--pdeathsig", "KILL",
                   "unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--net", "--uts", "--ipc",
                   "sh", script, os.path.join(self.folder, "mnt"), bleytest.BUILD]
        with open(os.path.join(self.folder, "errors"), "wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        self._wait(self._is_up, "systemd as process 1")
        self.outside = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.network = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.run("systemctl", "is-system-running", "--wait", check=False)
        self.run("systemd-sysusers")
        self.run("systemd-tmpfiles", "--create", "bley.conf")

    def _is_up(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, "errors"), encoding="utf-8", errors="replace") as stream:
                raise AssertionError(f"systemd did not start: {stream.read()}")
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as stream:
            pids = stream.read().split()
        if not pids:
            return False
        self.pid = int(pids[0])
        try:
            with open(f"/proc/{self.pid}/comm", encoding="ascii") as stream:
                is_systemd = stream.read() == "systemd\n"
        except OSError:
            return False
        return is_systemd and os.path.exists(self.path("/run/systemd/private"))

    @staticmethod
    def _wait(predicate, what, timeout=2 * bleytest.PATIENCE):
        deadline = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {timeout} s")
            time.sleep(0.02)

    def stop(self):
        for fd in (self.network, self.outside):
            if fd is not None:
                os.close(fd)
        if self.process:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        deadline = time.monotonic() + 10
        while os.path.isdir(self.cgroup) and time.monotonic() < deadline:
            for folder, _, _ in os.walk(self.cgroup, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:  # its processes are still about to go
                    time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- from outside

    def path(self, name):
        """A file of the system as this process sees it."""
        return f"/proc/{self.pid}/root{name}"

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(path, mode)

    def command(self, *command):
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "--", *command]

    def run(self, *command, check=True, timeout=2 * bleytest.PATIENCE):
        """Runs a command within; returns what it printed, or the CompletedProcess where check is False."""
        done = subprocess.run(self.command(*command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env={"PATH": PROGRAMS}, timeout=timeout, check=False)
        if not check:
            return done
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}"
                                 f"\n{self.run('journalctl', '-n', '30', '--no-pager', check=False).stdout}")
        return done.stdout

    def show(self, unit, name):
        """A property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def journal(self, *match):
        """Entries of the journal, as dictionaries."""
        self.run("journalctl", "--sync")
        return [json.loads(line) for line in self.run("journalctl", "-o", "json", "--no-pager", *match).splitlines()]

    def connect(self, address):
        """A PolicyClient of a port (number) or of a unix socket's path within."""
        if isinstance(address, str):
            return bleytest.PolicyClient(self.path(address))
        set_namespace(self.network)
        try:
            return bleytest.PolicyClient(("127.0.0.1", address))
        finally:
            set_namespace(self.outside)
