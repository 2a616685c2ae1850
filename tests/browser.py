"""Chromium without a window, spoken to through two pipes in its DevTools protocol; no library stands between."""

import base64
import json
import os
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-pipe",
]  # fmt: skip


class Browser:
    """One page; `urls` are all requests of it and its frames, `wrong` what its console or its scripts complained of."""

    def __init__(self, home, width=1300, height=900, dark=False):
        self.urls, self.wrong, self._number, self._held = [], [], 0, b""
        ours, theirs = os.pipe(), os.pipe()  # read end, write end
        to_read, to_write = theirs[0], ours[1]
        shell = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        words = [CHROMIUM, *FLAGS, f"--user-data-dir={home}", f"--window-size={width},{height}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "chromium", *words], pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(ours[0]), os.close(theirs[1])
        self._in, self._out, self._session = to_write, to_read, None
        found = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        target = found[0]["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for each in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{each}.enable")
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._in)  # it ends when nobody speaks to it any more
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._out)

    def call(self, method, **params):
        """What a command gives; what is told meanwhile is kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._in, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                return told["result"]
            self._hear(told)

    def _next(self):
        while b"\0" not in self._held:
            more = os.read(self._out, 1 << 16)
            assert more, "chromium ended"
            self._held += more
        told, _, self._held = self._held.partition(b"\0")
        return json.loads(told)

    def _hear(self, told):
        name, params = told.get("method"), told.get("params", {})
        if name == "Network.requestWillBeSent":
            self.urls.append(params["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            self.wrong.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"])))
        elif name == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.wrong.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif name == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.wrong.append(str(params["args"]))

    def open(self, url):
        """Go there."""
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of an expression in the page; promises are waited for."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, script, seconds=60):
        """The first value of an expression that is true."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, (script, self.wrong, self.run("document.body && document.body.innerText"))
            time.sleep(0.1)
        return found

    def press(self, key):
        """A key, down and up."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, path, whole=False):
        """A screenshot."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(told["data"]))

    def flaws(self, width):
        """What a person sees of bad layout on a page of this width: [what, of which element, its words or figures]."""
        return self.run(FLAWS.replace("WIDTH", str(width)))


FLAWS = """
(() => {
  const found = [], seen = (e) => e.getClientRects().length > 0, words = (e) => e.textContent.trim().slice(0, 60);
  const boxed = (e) => {
    for (let p = e.parentElement; p; p = p.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(p).overflowX)) return true;
    return false;
  };
  const whole = document.documentElement.scrollWidth;
  if (whole > WIDTH) found.push(["the page is wide", "html", whole]);
  for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect();
    if (seen(e) && box.width && (box.right > WIDTH + 1 || box.left < -1) && !boxed(e))
      found.push(["cut off", e.tagName, words(e)]);
  }
  for (const e of document.querySelectorAll(".scroll")) {
    const pinned = [...e.querySelectorAll("th[scope=row]")].filter(seen).map((th) => th.getBoundingClientRect().width);
    const most = Math.max(0, ...pinned);
    if (seen(e) && e.scrollWidth > e.clientWidth + 1 && most > WIDTH / 2)
      found.push(["what is pinned hides the rest", "th", most]);
    if (seen(e) && e.tabIndex < 0) found.push(["no key scrolls it", "div", words(e)]);
  }
  for (const svg of [...document.querySelectorAll("svg[role=img]")].filter(seen)) {
    const frame = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll("text")].filter(seen);
    const boxes = texts.map((each) => each.getBoundingClientRect());
    if (!svg.querySelector(":scope > title")) found.push(["no title", "svg", words(svg)]);
    boxes.forEach((one, i) => {
      const times = frame.width / (svg.viewBox.baseVal.width || frame.width);
      const size = parseFloat(getComputedStyle(texts[i]).fontSize) * times;
      if (size < 9) found.push(["too small", "text", words(texts[i]), size]);
      if (one.left < frame.left - 12 || one.right > frame.right + 12
          || one.top < frame.top - 3 || one.bottom > frame.bottom + 4)
        found.push(["outside its picture", "text", words(texts[i])]);
      for (const [j, two] of boxes.slice(0, i).entries())
        if (Math.min(one.right, two.right) - Math.max(one.left, two.left) > 2
            && Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 5)
          found.push(["over one another", "text", words(texts[j]), words(texts[i])]);
    });
  }
  return found;
})()
"""
