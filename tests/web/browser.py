"""Opens a page in headless Chromium, and prints as JSON what a person would see.

browser.py URL [FOLDER]: waits until the picture has moved and the numbers have risen, or
for half a minute. With FOLDER it leaves screenshots there, wide and narrow, light and
dark. Chromium is told by pipes what to do, and can reach nothing but 127.0.0.1.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time

PATIENCE = 30

SEEN = """(() => {
  const picture = document.getElementById("picture");
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  const pen = canvas.getContext("2d");
  let pixels = null;
  try {
    pen.drawImage(picture, 0, 0, 64, 64);
    pixels = pen.getImageData(0, 0, 64, 64).data.reduce((sum, byte) => (sum * 31 + byte) | 0, 7);
  } catch (error) {}
  const row = [...document.querySelectorAll("#rows tr")].find((row) => row.cells[0].textContent === "web");
  return {
    width: picture.naturalWidth,
    pixels,
    frames: document.getElementById("frames").textContent,
    state: document.getElementById("state").textContent,
    lost: document.getElementById("state").classList.contains("lost"),
    services: document.querySelectorAll("#rows tr").length,
    sent: row ? row.cells[4].textContent : null,
    fits: document.documentElement.scrollWidth <= window.innerWidth,
  };
})()"""


class Browser:
    def __init__(self, profile):
        to_browser, self.to = os.pipe()
        self.back, from_browser = os.pipe()
        arguments = [
            "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-domain-reliability",
            "--disable-client-side-phishing-detection", "--disable-default-apps", "--disable-extensions",
            "--metrics-recording-only", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
        ]

        def pipes():
            # Chromium reads commands from descriptor 3 and writes to 4.
            read, write = os.dup(to_browser), os.dup(from_browser)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self.process = subprocess.Popen(
            arguments, preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.unread, self.number, self.session = b"", 0, None
        self.complaints = []

    def next(self):
        while b"\0" not in self.unread:
            more = os.read(self.back, 1 << 16)
            if not more:
                sys.exit("Chromium has ended")
            self.unread += more
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def ask(self, method, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")
        while True:
            message = self.next()
            if message.get("id") == self.number:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]
            self.hear(message)

    def hear(self, message):
        """Keeps what the console would show in red."""
        if message.get("method") == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["level"] == "error":
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"]["exceptionDetails"]))

    def evaluate(self, script):
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def look(self, width, height, scheme):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 500)
        self.ask("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": scheme}])


def main():
    url = sys.argv[1]
    folder = sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory(prefix="onepoll-browser-", ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            page = browser.ask("Target.createTarget", url="about:blank")["targetId"]
            browser.session = browser.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                browser.ask(f"{domain}.enable")
            browser.look(1280, 900, "light")
            browser.ask("Page.navigate", url=url)
            print(json.dumps(watch(browser, folder), ensure_ascii=False))
        finally:
            browser.process.kill()
            browser.process.wait()


def watch(browser, folder):
    pixels, sent, seen, fits = set(), set(), {}, True
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and (len(pixels) < 3 or len(sent) < 3):
        # Before the page is there, there is nothing to see.
        seen = browser.evaluate(SEEN) or {}
        if seen.get("width"):
            pixels.add(seen["pixels"])
        if seen.get("sent"):
            sent.add(seen["sent"])
        time.sleep(0.2)
    for width, height in ((1280, 900), (400, 900)):
        for scheme in ("light", "dark"):
            browser.look(width, height, scheme)
            fits = fits and browser.evaluate(SEEN)["fits"]
            if folder:
                shot = browser.ask("Page.captureScreenshot", format="png")
                with open(f"{folder}/{width}-{scheme}.png", "wb") as file:
                    file.write(base64.b64decode(shot["data"]))
    seen.update(pictures=len(pixels), numbers=len(sent), complaints=browser.complaints, fits=fits)
    return seen


if __name__ == "__main__":
    main()
