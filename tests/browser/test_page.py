# SPDX-License-Identifier: BSD-3-Clause
"""bleygraph's page in headless Chromium, as a desktop and as a phone show it, in light and in dark colours.

Not part of `make check`, as a browser is large: `make check-browser`. With BLEY_TEST_SCREENSHOTS=FOLDER it leaves pictures there.
"""

import os
import sqlite3
import time
import unittest

import bleytest
import browser

DESKTOP = (1280, 900)
TABLET = (800, 1000)
PHONE = (390, 844)
SMALL_PHONE = (320, 640)
SIZES = (DESKTOP, TABLET, PHONE, SMALL_PHONE)
PICTURES = 12
SMALLEST = 10  # pixels, of letters

# of each text: what it says, its box, how large its letters are, and the picture's size
TEXTS = """
    [...document.querySelectorAll("text")].map(text => {
        const box = text.getBoundingClientRect(), root = document.documentElement.getBoundingClientRect();
        return {text: text.textContent, left: box.left - root.left, right: box.right - root.left, top: box.top - root.top,
                bottom: box.bottom - root.top, size: parseFloat(getComputedStyle(text).fontSize),
                width: root.width, height: root.height};
    }).filter(text => text.text.trim())
"""

# of each image: its file, what it is wide of itself and here
IMAGES = """
    Promise.all([...document.images].map(image => image.decode().catch(() => 0))).then(() =>
        [...document.images].map(image => [image.currentSrc.split("/").pop(), image.naturalWidth, image.clientWidth]))
"""


def setUpModule():
    if not browser.program():
        bleytest.TestCase().need("chromium")


class Page(bleytest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.chromium = browser.Chromium()
        cls.addClassCleanup(cls.chromium.close)

    def setUp(self):
        super().setUp()
        self.need("gnuplot")
        self.out = self.path("stats")
        self.write_conf(dnsbl_threshold=2, dnswl_threshold=2, rfc_threshold=2)
        self.assertEqual(self.bleyctl("init").returncode, 0)

    def fill(self, copies):
        """Of each class some rows in each slot, and those that came back; all of it so many times."""
        accepted = [dict(cache=1), dict(postmaster=1), dict(db=0), dict(db=2), dict(dnswl=2), {}]
        deferred = [dict(cache=1), dict(db=2), dict(dnsbl=2), dict(helo=2), dict(helo=1, dyn=1), dict(helo=1, spf=1),
                    dict(spf=1, s_eq_r=1), {}]
        columns = ("dnswl", "dnsbl", "helo", "dyn", "db", "spf", "s_eq_r", "postmaster", "cache")
        now = time.time()
        rows = []

        def add(age, sender, action, checks):
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now - age))
            values = [checks.get(name, -1 if name == "db" else 0) for name in columns]
            rows.append((stamp, "192.0.2.1", sender, "r@example.org", action, *values))

        for slot in range(12):
            for size in (1, 2, 12, 48, 28 * 24):
                for number, checks in enumerate(accepted + deferred):
                    for again in range(1 + (slot * 5 + number * 3) % 7):
                        add((slot + 0.5) * size * 3600, f"{slot}.{size}.{number}.{again}@example.com",
                            "DUNNO" if number < len(accepted) else "DEFER_IF_PERMIT", checks)
        for number, checks in enumerate(deferred[2:]):
            for minutes in (10, 20, 40, 100, 200, 600, 1300, 3000):
                add(3000 * 60 + 60, f"{number}.{minutes}@back.example", "DEFER_IF_PERMIT", checks)
                add((3000 - minutes) * 60 + 60, f"{number}.{minutes}@back.example", "PREPEND", {"db": 2})
        with sqlite3.connect(self.database()) as connection:
            connection.executemany("INSERT INTO bley_log VALUES (" + ",".join("?" * 14) + ")", rows)
            if copies > 1:
                many = f"WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < {copies})"
                connection.execute(f"INSERT INTO bley_log {many} SELECT l.* FROM bley_log l, n WHERE"
                                   " logtime < datetime('now', '-300 days')")
        connection.close()

    def draw(self):
        result = self.run_program([bleytest.program("bleygraph"), "-c", self.path("bley.conf"), "-d", self.out])
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def open(self, name, size, scheme="light"):
        return self.chromium.open(f"file://{self.out}/{name}", *size, scheme)

    def check_page(self, size, scheme):
        page = self.open("index.html", size, scheme)
        images = page.evaluate(IMAGES)
        self.assertEqual(len(images), PICTURES)
        ending = ("-narrow" if size[0] < 700 else "") + ("-dark" if scheme == "dark" else "") + ".svg"
        for name, natural, shown in images:
            self.assertGreater(natural, 0, name)
            self.assertTrue(name.endswith(ending) and name.count("-") <= 1 + ending.count("-"), name)
            self.assertLessEqual(shown, size[0])
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), size[0])
        self.assertEqual(page.complaints, [])
        self.assertEqual(page.evaluate("getComputedStyle(document.body).backgroundColor === 'rgb(18, 20, 21)'"),
                         scheme == "dark")
        folder = os.environ.get("BLEY_TEST_SCREENSHOTS")
        if folder:
            page.screenshot(os.path.join(folder, f"{size[0]}-{scheme}.png"))
        page.close()
        return {name: shown / natural for name, natural, shown in images}

    def check_texts(self, name, scale):
        """Its texts lie within the picture, beside each other, and can be read."""
        page = self.open(name, DESKTOP)
        texts = page.evaluate(TEXTS)
        page.close()
        self.assertGreater(len(texts), 1, name)
        for text in texts:
            self.assertGreaterEqual(text["size"] * scale, SMALLEST, (name, text))
            self.assertGreaterEqual(min(text["left"], text["top"]), 0, (name, text))
            self.assertLessEqual(text["right"], text["width"], (name, text))
            self.assertLessEqual(text["bottom"], text["height"], (name, text))
        for i, a in enumerate(texts):
            for b in texts[i + 1:]:
                apart = (a["right"] <= b["left"] or b["right"] <= a["left"] or
                         a["bottom"] - 4 <= b["top"] or b["bottom"] - 4 <= a["top"])  # boxes have room above the letters
                self.assertTrue(apart, (name, a["text"], b["text"]))

    def test_loads_and_fits(self):
        self.fill(1)
        self.draw()
        for size in SIZES:
            for scheme in ("light", "dark"):
                with self.subTest(size=size, scheme=scheme):
                    self.check_page(size, scheme)

    def test_nothing_to_draw(self):
        self.draw()
        for size in (DESKTOP, PHONE):
            self.check_page(size, "light")
            self.check_texts("ch-7d.svg" if size is DESKTOP else "ch-7d-narrow.svg", 1)

    def test_texts(self):
        self.fill(4000)
        self.draw()
        for size in (DESKTOP, PHONE):
            for name, scale in self.check_page(size, "light").items():
                self.check_texts(name, scale)


if __name__ == "__main__":
    unittest.main()
