# SPDX-License-Identifier: BSD-3-Clause
"""The log goes wrong in mid-traffic: what takes the lines is gone, full, or hangs."""

import datetime
import fcntl
import os
import re
import select
import socket
import threading
import unittest

import bleytest
import servers
from traffic import FaultCase, Traffic

WAIT = 2  # seconds that the log may hold up mail, once
LOST = r"warning: (\d+) lines? lost while the log did not take any"


class Daemon:
    """A log daemon's socket. begin() and end() may come again and again, and between them hang() and go_on()."""

    def __init__(self, test, path):
        self.path, self.lines, self.socket = path, [], None
        self.reading = threading.Event()
        test.addCleanup(self.end)

    def begin(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)
        self.reading.set()
        self.reader = threading.Thread(target=self.read, args=(self.socket,), daemon=True)
        self.reader.start()

    def read(self, sock):
        while data := sock.recv(65536):
            self.lines.append(data.decode())
            self.reading.wait()

    def hang(self):
        """It lives and reads no more, as one that is stopped or waits for its disk."""
        self.reading.clear()

    def go_on(self):
        self.reading.set()

    def end(self):
        """As when it is killed: the name stays, and nobody listens."""
        if self.socket:
            self.go_on()
            self.socket.shutdown(socket.SHUT_RD)
            self.reader.join()
            self.socket.close()
            self.socket = None


class LogCase(FaultCase):
    """/dev/log and the journal's socket of its own for those that `command` starts; needs root."""

    def setUp(self):
        super().setUp()
        self.need_root()
        self.need("unshare", "nsenter")
        dev, run = self.path("dev"), self.path("run")
        os.mkdir(dev)
        os.makedirs(os.path.join(run, "systemd", "journal"))
        script = ('for name in null zero full random urandom; do : >"$0/$name"; mount --bind "/dev/$name" "$0/$name"; done;'
                  ' mount --rbind "$0" /dev; mount --bind "$1" /run; echo ready; read end')
        keeper = self.start(["unshare", "-m", "--propagation", "private", "sh", "-c", script, dev, run], log="keeper.out", stdin=-1)
        self.wait_for_log("ready", "keeper.out")
        self.command = ("nsenter", "-t", str(keeper.pid), "-m", "--")
        self.syslog = Daemon(self, os.path.join(dev, "log"))
        self.journal = Daemon(self, os.path.join(run, "systemd", "journal", "socket"))

    def start_handler(self, **options):
        return self.handler(wrapper=self.command, **options)

    @staticmethod
    def decided(lines):
        return len([line for line in lines if "decided action=" in line])

    @staticmethod
    def lost(lines):
        return sum(int(found.group(1)) for line in lines if (found := re.search(LOST, line)))

    def wait_for_lines(self, count, lines, what):
        """So many more decisions; lines: a function that returns what is there by now."""
        before = self.decided(lines())
        self.wait_until(lambda: self.decided(lines()) >= before + count, what)

    def finish(self, traffic, lines):
        """Nobody was held up, and each decision has its line or is counted."""
        traffic.finish(WAIT)
        self.assertEqual(traffic.failed, 0, str(traffic))
        self.wait_until(lambda: self.decided(lines()) + self.lost(lines()) >= traffic.asked, f"all lines ({traffic})")
        self.assertEqual(self.decided(lines()) + self.lost(lines()), traffic.asked)
        self.assert_remembered(traffic)


class Gone(LogCase):
    def test_its_folder_is_removed(self):
        """Lines go to syslog meanwhile, which is told why; and to the file again, when there is a folder."""
        self.syslog.begin()
        os.mkdir(self.path("logs"))
        self.configure(log_file=self.path("logs", "log"))
        # a handler whose sandbox knows the folder that is gone makes room for one that knows the new one
        traffic = Traffic(self, self.start_handler, lossy=True)
        traffic.wait_for_health()
        os.rename(self.path("logs"), self.path("away"))
        self.wait_until(lambda: self.decided(self.syslog.lines) > 20, "lines in syslog")
        traffic.wait_for_health()
        os.mkdir(self.path("logs"))
        self.wait_until(lambda: self.decided(self.log_lines("logs/log")) > 20, "lines in the file")
        traffic.wait_for_health()
        traffic.finish(30)
        self.assertEqual(traffic.failed, 0, str(traffic))
        why = [line for line in self.syslog.lines if "cannot write log_file" in line]
        self.assertIn(len(why), range(1, 9), why)
        self.assert_remembered(traffic)

    def test_syslog_is_gone(self):
        self.syslog.begin()
        self.configure(log_file="syslog")
        traffic = Traffic(self, self.start_handler)
        self.wait_until(lambda: self.decided(self.syslog.lines) > 20, "lines in syslog")
        self.syslog.end()
        traffic.wait_for_health()
        os.unlink(self.syslog.path)
        traffic.wait_for_health()
        before = self.decided(self.syslog.lines)
        self.syslog.begin()
        self.wait_until(lambda: self.decided(self.syslog.lines) > before + 20, "lines in syslog")
        traffic.wait_for_health()
        traffic.finish(30)
        self.assertEqual(traffic.failed, 0, str(traffic))
        self.assert_remembered(traffic)

    def test_its_disk_is_full(self):
        self.need_root()
        self.syslog.begin()
        disk = servers.Disk(self.path("logs"), "64k")
        self.addCleanup(disk.remove)
        # both: the disk's keeper has its own mounts, among which this one's are not
        os.symlink(os.path.join(disk.folder, "log"), self.path("logs.link"))
        self.configure(log_file=self.path("logs.link"), sandbox="no")
        traffic = Traffic(self, self.start_handler)
        self.wait_until(lambda: self.decided(self.syslog.lines) > 20, "lines in syslog")
        traffic.wait_for_health()
        traffic.finish(30)
        self.assertEqual(traffic.failed, 0, str(traffic))
        why = [line for line in self.syslog.lines if "cannot write log_file" in line and "No space left" in line]
        self.assertTrue(why)
        self.assert_remembered(traffic)


class Format(LogCase):
    def test_as_the_c_library_writes_it(self):
        """Python's syslog is the C library's."""
        self.syslog.begin()
        env = {**os.environ, "TZ": "XXX-5:30"}
        code = "import syslog as s; s.openlog('bley', s.LOG_PID, s.LOG_MAIL); s.syslog(s.LOG_INFO, 'decided action=')"
        self.run_program([*self.command, "python3", "-c", code], env=env)
        self.configure(log_file="syslog")
        handler = self.start_handler(env=env)
        handler.ask()
        self.assertEqual(handler.finish(), 0)
        self.wait_until(lambda: len(self.syslog.lines) == 2, "two lines")
        parts = [re.fullmatch(r"(<22>)(... [ \d]\d \d\d:\d\d:\d\d)( bley\[)\d+(\]: decided action=)(.*)", line).groups()
                 for line in self.syslog.lines]
        self.assertEqual(*[(a, c, d) for a, _, c, d, _ in parts])
        moments = [datetime.datetime.strptime("2000 " + moment, "%Y %b %d %H:%M:%S") for _, moment, _, _, _ in parts]
        self.assertLess(abs(moments[1] - moments[0]), datetime.timedelta(seconds=bleytest.PATIENCE))

    def test_levels(self):
        self.syslog.begin()
        self.configure(log_file="syslog", db_timeout="never")
        self.start_handler(args=["-v"]).finish()
        self.wait_until(lambda: {line[:4] for line in self.syslog.lines} == {"<19>", "<23>"}, f"both levels in {self.syslog.lines}")

    def test_the_journal(self):
        self.journal.begin()
        self.configure(log_file="journal")
        self.start_handler().ask_suspicious(sender="\u00e4@example.net", instance="a=b\x01c")
        self.wait_until(lambda: self.journal.lines, "an entry")
        entry = dict(line.split("=", 1) for line in self.journal.lines[0].removesuffix("\n").split("\n"))
        expected = {"PRIORITY": "6", "SYSLOG_IDENTIFIER": "bley", "SYSLOG_FACILITY": "2", "BLEY_ACTION": "DEFER_IF_PERMIT",
                    "BLEY_SENDER": "\u00e4@example.net", "BLEY_INSTANCE": "a=b\ufffdc", "BLEY_SCORE_HELO": "2"}
        self.assertEqual({name: entry.get(name) for name in expected}, expected)
        self.assertRegex(entry["MESSAGE"], "^decided action=DEFER_IF_PERMIT ")

    def test_no_journal(self):
        self.syslog.begin()
        self.configure(log_file="journal")
        self.assertEqual(self.start_handler().ask(), "DUNNO")
        self.wait_until(lambda: self.decided(self.syslog.lines), "the line in syslog")
        self.assertRegex(self.syslog.lines[0], "error: cannot write log_file journal: No such file or directory; logging to syslog")


class Hanging(LogCase):
    """It is there and takes nothing: that costs a moment, once, and then lines, which are counted."""

    def lines(self):
        return self.syslog.lines + self.journal.lines

    def hang_and_go_on(self, traffic, *daemons):
        self.wait_for_lines(20, self.lines, "lines")
        for daemon in daemons:
            daemon.hang()
        traffic.wait_for({"right": 400})  # more than any queue holds
        for daemon in daemons:
            daemon.go_on()
        self.wait_for_lines(20, self.lines, "lines again")
        self.wait_until(lambda: self.lost(self.lines()), "word of what was lost")
        traffic.wait_for_health()
        self.finish(traffic, self.lines)

    def test_syslog(self):
        self.syslog.begin()
        self.configure(log_file="syslog")
        self.hang_and_go_on(Traffic(self, self.start_handler), self.syslog)

    def test_syslog_in_warm_mode(self):
        """All processes wait once, and count together; the parent, too, goes on."""
        self.syslog.begin()
        process, address = self.warm(wrapper=self.command, log_file="syslog")
        traffic = Traffic(self, lambda: self.client(address), renew=7)
        self.hang_and_go_on(traffic, self.syslog)
        process.terminate()
        self.assertEqual(process.wait(bleytest.PATIENCE), 0)

    def test_the_parent_of_warm_mode(self):
        self.syslog.begin()
        process, address = self.warm(wrapper=self.command, log_file="syslog")
        self.assertEqual(self.client(address).ask(), "DUNNO")
        self.syslog.hang()
        client = self.client(address)
        for _ in range(600):  # more than any queue holds
            self.assertEqual(client.ask(), "DUNNO")
        with open(self.path("whitelist_clients"), "a", encoding="ascii") as stream:
            stream.write("203.0.113.7\n")  # read anew, and told of
        self.wait_until(lambda: self.client(address).ask_suspicious() == "DUNNO", "the new whitelist")
        self.syslog.go_on()
        self.wait_until(lambda: client.ask() == "DUNNO" and self.lost(self.lines()), "word of what was lost")
        process.terminate()
        self.assertEqual(process.wait(bleytest.PATIENCE), 0)

    def test_the_journal(self):
        """What it does not take syslog takes, and where that hangs, too, lines are counted."""
        self.syslog.begin()
        self.journal.begin()
        self.configure(log_file="journal")
        self.hang_and_go_on(Traffic(self, self.start_handler), self.journal, self.syslog)
        self.assertTrue([line for line in self.syslog.lines if "cannot write log_file journal: nobody empties it" in line])

    def test_the_journal_in_warm_mode(self):
        self.syslog.begin()
        self.journal.begin()
        _, address = self.warm(wrapper=self.command, log_file="journal")
        self.hang_and_go_on(Traffic(self, lambda: self.client(address), renew=7), self.journal, self.syslog)

    def test_a_new_daemon_beside_one_that_hangs(self):
        self.syslog.begin()
        self.configure(log_file="syslog")
        traffic = Traffic(self, self.start_handler)
        self.wait_for_lines(20, self.lines, "lines")
        self.syslog.hang()
        traffic.wait_for({"right": 100})
        os.unlink(self.syslog.path)
        other = Daemon(self, self.syslog.path)
        other.begin()
        self.wait_for_lines(20, lambda: other.lines, "lines in the new one")
        self.syslog.go_on()
        self.finish(traffic, lambda: self.syslog.lines + other.lines)


class Reader(threading.Thread):
    """What comes out of a pipe, once started."""

    def __init__(self, test, fd):
        super().__init__(daemon=True)
        self.fd, self.text, self.done = fd, b"", False
        test.addCleanup(self.stop)

    def run(self):
        while not self.done:
            if select.select([self.fd], [], [], 0.05)[0]:
                self.text += os.read(self.fd, 65536)

    def stop(self):
        self.done = True
        if self.ident:
            self.join()

    def lines(self):
        return self.text.decode("utf-8", "replace").splitlines()


class Pipes(LogCase):
    """Nobody empties it: syslog has the lines until somebody does."""

    def setUp(self):
        super().setUp()
        self.syslog.begin()

    def stuck_and_read(self, traffic, fd, name, pattern):
        """fd: where to read from the pipe, which nobody does so far."""
        self.wait_for_lines(100, lambda: self.syslog.lines, "lines in syslog")
        why = [line for line in self.syslog.lines if f"cannot write log_file {name}: nobody empties it; logging to syslog" in line]
        self.assertIn(len(why), range(1, 30), why[:20])
        reader = Reader(self, fd)
        reader.start()
        self.wait_for_lines(100, reader.lines, "lines in the pipe")
        traffic.wait_for_health()
        self.finish(traffic, lambda: reader.lines() + self.syslog.lines)
        for line in reader.lines():
            self.assertRegex(line, pattern)

    def fifo(self):
        os.mkfifo(self.path("fifo"))
        fd = os.open(self.path("fifo"), os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 8192)
        return fd

    def pipe(self):
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 8192)
        return ours, theirs

    FILE_LINE = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} bley\[\d+\]: "

    def test_a_fifo_that_is_full(self):
        fd = self.fifo()
        self.configure(log_file=self.path("fifo"))
        self.stuck_and_read(Traffic(self, self.start_handler), fd, self.path("fifo"), self.FILE_LINE)

    def test_a_fifo_that_is_full_in_warm_mode(self):
        fd = self.fifo()
        _, address = self.warm(wrapper=self.command, log_file=self.path("fifo"))
        self.stuck_and_read(Traffic(self, lambda: self.client(address), renew=50), fd, self.path("fifo"), self.FILE_LINE)

    def test_a_fifo_that_nobody_has_opened(self):
        os.mkfifo(self.path("fifo"))
        self.configure(log_file=self.path("fifo"))
        traffic = Traffic(self, self.start_handler)
        self.wait_for_lines(20, lambda: self.syslog.lines, "lines in syslog")
        self.assertIn("No such device or address; logging to syslog", "".join(self.syslog.lines))
        fd = os.open(self.path("fifo"), os.O_RDWR)  # no end of file between two lines
        self.addCleanup(os.close, fd)
        reader = Reader(self, fd)
        reader.start()
        self.wait_for_lines(20, reader.lines, "lines in the pipe")
        self.finish(traffic, lambda: reader.lines() + self.syslog.lines)

    def test_standard_error(self):
        ours, theirs = self.pipe()
        self.configure(log_file="-")
        flags = fcntl.fcntl(theirs, fcntl.F_GETFL)
        self.stuck_and_read(Traffic(self, lambda: self.start_handler(stderr=theirs)), ours, "-", "^bley: ")
        self.assertEqual(fcntl.fcntl(theirs, fcntl.F_GETFL), flags)

    def test_standard_error_in_warm_mode(self):
        ours, theirs = self.pipe()
        _, address = self.warm(wrapper=self.command, log_file="-", stderr=theirs)
        self.stuck_and_read(Traffic(self, lambda: self.client(address), renew=50), ours, "-", "^bley: ")

    def test_standard_error_without_syslog(self):
        """Then lines are counted."""
        self.syslog.end()
        ours, theirs = self.pipe()
        self.configure(log_file="-")
        traffic = Traffic(self, lambda: self.start_handler(stderr=theirs))
        traffic.wait_for({"right": 400})
        reader = Reader(self, ours)
        reader.start()
        self.wait_for_lines(100, reader.lines, "lines in the pipe")
        traffic.wait_for_health()
        self.finish(traffic, reader.lines)
        self.assertTrue(self.lost(reader.lines()))

    def test_standard_error_to_the_journal(self):
        """systemd's StandardError=journal is a stream."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.configure(log_file="-")
        self.stuck_and_read(Traffic(self, lambda: self.start_handler(stderr=theirs)), ours.fileno(), "-", "^bley: ")


if __name__ == "__main__":
    unittest.main()
