# SPDX-License-Identifier: BSD-3-Clause
"""A headless Chromium, spoken to by its devtools protocol over two pipes (descriptors 3 and 4, JSON ended by NUL).

    with browser.Chromium() as chromium:
        page = chromium.open("file:///tmp/index.html", width=390, height=844, scheme="dark")
        page.evaluate("document.title")
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

import bleytest

# starting it takes seconds on a busy machine
PATIENCE = 90
PHONE = 600  # pixels: what is narrower is shown as a phone shows it


def program():
    """The browser's path, or None."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = bleytest.find_program(name)
        if path:
            return path
    return None


class Page:
    def __init__(self, chromium, target, session):
        self.chromium = chromium
        self.target = target
        self.session = session
        self.complaints = []  # what it wrote on its console, and files that it did not get

    def call(self, method, **parameters):
        return self.chromium.call(method, self.session, **parameters)

    def evaluate(self, expression):
        """The expression's value; a promise's once it is there."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def close(self):
        self.chromium.call("Target.closeTarget", targetId=self.target)
        del self.chromium.pages[self.session]

    def screenshot(self, path):
        """The whole page as a PNG file."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as stream:
            stream.write(base64.b64decode(data))

    def take(self, message):
        """Remembers what is worth a complaint."""
        method, parameters = message["method"], message["params"]
        if method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{parameters['type']}: {parameters['args']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif method == "Network.loadingFailed" and not parameters.get("canceled"):
            self.complaints.append(f"not loaded: {parameters['errorText']}")


class Chromium:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="bley-browser-")
        self.number = 0
        self.buffer = b""
        self.pages = {}
        self.process = None
        to_read, self.to = os.pipe()
        self.since, to_write = os.pipe()
        try:
            self.start(to_read, to_write)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(to_read)
            os.close(to_write)

    def start(self, to_read, to_write):
        command = [program(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
                   "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={self.folder}/profile"]
        # the pipes' ends may be 3 and 4 themselves: first out of the way, then where they belong
        script = f'exec 8<&{to_read} 9>&{to_write} 3<&8 4>&9; exec "$@" 8<&- 9>&-'
        with open(os.path.join(self.folder, "output"), "wb") as output:
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", script, "bash", *command], pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True, env={**os.environ, "HOME": self.folder})

    def close(self):
        """Ends it with all its processes."""
        os.close(self.to)
        os.close(self.since)
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, deadline):
        while b"\0" not in self.buffer:
            if not select.select([self.since], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError(f"Chromium gave no answer within {PATIENCE} s")
            data = os.read(self.since, 1 << 20)
            if not data:
                with open(os.path.join(self.folder, "output"), encoding="utf-8", errors="replace") as stream:
                    raise AssertionError("Chromium has ended: " + stream.read())
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def next(self, deadline):
        """One message; what a page has to say goes to it."""
        message = self.read(deadline)
        if "method" in message and message.get("sessionId") in self.pages:
            self.pages[message["sessionId"]].take(message)
        return message

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.next(deadline)
            if answer.get("id") == self.number:
                break
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, url, width, height, scheme="light", scale=1):
        """A new tab of this size, for a reader who prefers this scheme of colours, once all has been loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(domain + ".enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < PHONE)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.call("Page.navigate", url=url)
        deadline = time.monotonic() + PATIENCE
        while self.next(deadline).get("method") != "Page.loadEventFired":
            pass
        return page
