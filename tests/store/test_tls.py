# SPDX-License-Identifier: BSD-3-Clause
"""dbtls with real servers that take nothing but TLS: neither option file nor service makes it weaker than it says."""

import os
import subprocess
import unittest

import bleytest
import servers

DEFER = "DEFER_IF_PERMIT greylisted, try again later"


def make_certificate(folder, name, issuer=None):
    """NAME.crt and NAME.key: an authority, or what an authority has issued for 127.0.0.1."""
    def path(suffix, base=name):
        return os.path.join(folder, f"{base}.{suffix}")

    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
           "-keyout", path("key")]
    if not issuer:
        servers.run([*new, "-x509", "-days", "3", "-out", path("crt")])
        return
    servers.run([*new, "-out", path("csr")])
    servers.run(["openssl", "x509", "-req", "-in", path("csr"), "-CA", path("crt", issuer), "-CAkey", path("key", issuer),
                 "-CAcreateserial", "-days", "3", "-extfile", "/dev/stdin", "-out", path("crt")],
                input="subjectAltName=IP:127.0.0.1")


class TlsCase:
    """The kind gives: make(), which starts the server, and settings(trusted, strict), a file in HOME that the library reads."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        bleytest.TestCase().need("openssl")
        cls.server = cls.make()
        cls.name = cls.server.database()

    @classmethod
    def tearDownClass(cls):
        cls.server.remove()
        super().tearDownClass()

    def connects(self, dbtls, trusted=None, strict=None, host="127.0.0.1"):
        """Whether a handler gets through, given what the library's file says: whom to trust, to be strict or not at all."""
        os.chmod(self.write_conf(cache_valid=0, dbtls=dbtls, dbhost=host, dbport=self.server.port, dbname=self.name, **self.KEYS),
                 0o600)
        if trusted:  # where bley's sandbox lets libraries read
            with open(self.server.path(f"{trusted}.crt"), encoding="ascii") as stream:
                trusted = self.write(".postgresql/trusted.crt", stream.read())
        env = self.settings(trusted, strict)
        answer = self.handler(env={**os.environ, "HOME": self.tmp, **env}).ask_suspicious()
        self.assertIn(answer, (DEFER, "DUNNO"))
        if answer == "DUNNO":
            self.wait_for_log("error: .*dbtls" if dbtls != "off" else "error: ")
        return answer == DEFER

    def test_off(self):
        self.assertFalse(self.connects("off"))

    def test_prefer(self):
        self.assertTrue(self.connects("prefer"))
        self.assertTrue(self.connects("prefer", strict=False))
        self.assertTrue(self.connects("prefer", trusted="authority", strict=True))
        self.assertFalse(self.connects("prefer", trusted="stranger", strict=True))

    def test_require(self):
        self.assertTrue(self.connects("require"))
        self.assertTrue(self.connects("require", strict=False))
        self.assertFalse(self.connects("require", trusted="stranger", strict=True))

    def test_verify(self):
        self.assertTrue(self.connects("verify", trusted="authority"))
        self.assertTrue(self.connects("verify", trusted="authority", strict=False))
        self.assertFalse(self.connects("verify", trusted="authority", host="127.0.0.2"))
        for strict in None, False:
            self.assertFalse(self.connects("verify", strict=strict))
            self.assertFalse(self.connects("verify", trusted="stranger", strict=strict))
            self.assertFalse(self.connects("verify", trusted="authority", strict=strict, host="127.0.0.2"))


def make_certificates(server):
    for name, issuer in (("authority", None), ("stranger", None), ("server", "authority")):
        make_certificate(server.folder, name, issuer)
        subprocess.run(["chown", f"{server.user}:", server.path(f"{name}.key")], check=os.geteuid() == 0)


class PostgreSQL(TlsCase, bleytest.TestCase):
    KEYS = {"dbtype": "pgsql", "dbuser": "bley", "dbpass": "bley"}

    @classmethod
    def make(cls):
        if not servers.PostgreSQL.programs():
            bleytest.TestCase().need("initdb")
        server = servers.PostgreSQL(listen_addresses="127.0.0.1,127.0.0.2")
        make_certificates(server)
        with open(server.path("data", "pg_hba.conf"), "w", encoding="ascii") as stream:
            stream.write("local all all trust\nhostssl all all 127.0.0.0/24 scram-sha-256\n")
        server.stop()
        server.settings.update(ssl="on", ssl_cert_file=server.path("server.crt"), ssl_key_file=server.path("server.key"))
        server.start()
        return server

    def settings(self, trusted, strict):
        lines = ["[bley]", "connect_timeout=10"]
        lines += [f"sslrootcert={trusted}"] if trusted else []
        lines += ["sslmode=verify-full" if strict else "sslmode=disable"] if strict is not None else []
        self.write(".pg_service.conf", "\n".join(lines) + "\n")
        return {"PGSERVICE": "bley"}


class MariaDB(TlsCase, bleytest.TestCase):
    KEYS = {"dbtype": "mysql", "dbuser": "bley", "dbpass": "bley"}

    @classmethod
    def make(cls):
        bleytest.TestCase().need("mariadbd", "mariadb-install-db")
        server = servers.MariaDB("--bind-address=127.0.0.1,127.0.0.2")
        make_certificates(server)
        server.stop()
        server.options = (*server.options, f"--ssl-cert={server.path('server.crt')}", f"--ssl-key={server.path('server.key')}")
        server.start()
        server.sql("ALTER USER bley, bley@localhost REQUIRE SSL")
        return server

    def settings(self, trusted, strict):
        lines = ["[client]"]
        lines += [f"ssl-ca={trusted}"] if trusted else []
        lines += [f"ssl-verify-server-cert={int(strict)}", f"ssl-enforce={int(strict)}"] if strict is not None else []
        self.write(".my.cnf", "\n".join(lines) + "\n")
        return {}


if __name__ == "__main__":
    unittest.main()
