"""A browser for tests: headless Chromium, driven over two pipes with the DevTools protocol; needs no package."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_QUIET = ("background-networking", "component-update", "gpu", "quic", "sync")
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--mute-audio",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
_FLAGS += [f"--disable-{feature}" for feature in _QUIET]


class Page:
    """A tab: load an address, run JavaScript, press keys and the mouse, take pictures."""

    def __init__(self, send, receive):
        self._send, self._receive, self._last, self.problems = send, receive, 0, []
        (target,) = [t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page"][:1]
        self._session = None
        self._session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        self.requests = []

    def ask(self, method, **params):
        """Send a command and return its result; note what the page reports meanwhile."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        self._send(message)
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])

    def run(self, script):
        """Return the value of an expression, awaited."""
        result = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def load(self, address):
        """Load an address anew and return once the page has loaded."""
        self.run("window.before = true")
        if "loaderId" not in self.ask("Page.navigate", url=address):
            raise ValueError(
                f"{address} differs from the page that is open by its fragment alone: it is not loaded anew"
            )
        self.wait("!window.before && document.readyState === 'complete'")

    def wait(self, condition, seconds=30):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} did not become true")
            time.sleep(0.02)

    def size(self, width, height, dark=False, still=False):
        """Set the window, and what the reader prefers."""
        window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **window)
        features = [("prefers-color-scheme", "dark" if dark else "light")]
        features += [("prefers-reduced-motion", "reduce" if still else "no-preference")]
        self.ask("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in features])

    def middle(self, selector):
        """Return where an element is, scrolled into view."""
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        return self.run(f"(b => [b.left + b.width / 2, b.top + b.height / 2])({box})")

    def mouse(self, kind, x, y, **more):
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1, **more)

    def click(self, selector, times=1):
        """Click on the middle of an element."""
        x, y = self.middle(selector)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def key(self, name, code):
        """Press a key by its name and its Windows code."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def type(self, selector, text):
        """Put text in place of what a field holds."""
        self.click(selector, times=3)
        self.ask("Input.insertText", text=text)

    def picture(self):
        """Return the whole page as PNG, in base64."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]


@contextmanager
def page(profile):
    """Open a browser with a new profile in a folder, and yield a `Page`."""
    there, our_end = os.pipe()
    our_start, back = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (there, back)]  # so that 3 and 4 are free in the child
    move = "import os, sys; a, b, *program = sys.argv[1:]; os.dup2(int(a), 3), os.dup2(int(b), 4)"
    move += "; os.execv(program[0], program)"
    start = [sys.executable, "-ISc", move, *map(str, high)]  # the browser reads commands from 3 and answers on 4
    command = [*start, PROGRAM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    browser = subprocess.Popen(command, pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for end in (there, back, *high):
        os.close(end)
    buffer = bytearray()

    def send(message):
        os.write(our_end, json.dumps(message).encode() + b"\0")

    def receive():
        while b"\0" not in buffer:
            if not select.select([our_start], [], [], 60)[0]:
                raise TimeoutError("the browser has not answered for a minute")
            part = os.read(our_start, 1 << 16)
            if not part:
                raise RuntimeError("the browser has closed")
            buffer.extend(part)
        message, _, rest = bytes(buffer).partition(b"\0")
        buffer[:] = rest
        return json.loads(message)

    try:
        yield Page(send, receive)
    finally:
        browser.terminate()
        browser.wait(10)
        os.close(our_end)
        os.close(our_start)
