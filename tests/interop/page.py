"""Looks at the service's page in a real browser, headless Chromium, light and dark.

The service runs against `keywheel sandbox`; one connection is well, one has just been rotated and one
is blocked. Usage: page.py KEYWHEEL FOLDER, where the screenshots go.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--hide-scrollbars", "--window-size=1200,900"]

VOID = {"meta", "link", "br"}


class Whole(HTMLParser):
    """Every element that is opened is closed, in order; nothing runs and nothing is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.rows, self.meters = [], [], 0, 0

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        assert tag != "script" and not any(name.startswith("on") for name in names), (tag, names)
        for name in ("src", "href"):
            assert not re.match(r"[a-z]+:|//", names.get(name) or ""), names
        self.rows += tag == "tr"
        self.meters += tag == "meter"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag


def sandbox(keywheel):
    process = subprocess.Popen([keywheel, "sandbox", "--listen", "127.0.0.1:0", "--apps", "3", "-o", "json"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    text = ""
    while True:
        text += process.stdout.readline()
        try:
            return process, json.loads(text)
        except json.JSONDecodeError:
            continue


def wait_for(path, pattern):
    for _ in range(600):
        found = re.search(pattern, path.read_text())
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{pattern} is not in {path.read_text()}")


def shoot(url, profile, picture, *more):
    command = [*BROWSER, f"--user-data-dir={profile}", f"--screenshot={picture}", *more, url]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    data = Path(picture).read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 10_000, len(data)
    return data


def main():
    keywheel, pictures = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
    running = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        try:
            process, offer = sandbox(keywheel)
            running.append(process)
            config = folder / "keywheel.toml"
            run = lambda *words, **more: subprocess.run([keywheel, "--config", str(config), *words], check=True,
                                                        capture_output=True, text=True, **more)
            run("init")
            with config.open("a") as settings:
                settings.write(offer["cloud"] + '\n[service]\nlisten = "127.0.0.1:0"\n')
            for n, app in enumerate(offer["applications"]):
                more = ["--to-file", str(folder / f"secret-{n}")] if n else []
                run("connection", "add", f"app-{n}", "--tenant-id", offer["tenant_id"], "--client-id",
                    app["client_id"], "--cloud", "sandbox", *more, input=app["secret"])
            log = folder / "log"
            service = subprocess.Popen([keywheel, "--config", str(config), "run"], stderr=log.open("w"))
            running.append(service)
            url = wait_for(log, r"the page are at (\S+)")[1]
            page = urllib.request.urlopen(url).read().decode()
            whole = Whole()
            whole.feed(page)
            assert not whole.open and whole.headings[:2] == ["h1", "h2"], (whole.open, whole.headings)
            assert whole.meters == 3 and whole.rows >= 4, (whole.meters, whole.rows)
            assert "nothing says where a new secret goes" in page
            light = shoot(url, folder / "light", pictures / "page-light.png")
            dark = shoot(url, folder / "dark", pictures / "page-dark.png",
                         "--blink-settings=preferredColorScheme=0")
            assert light != dark, "dark looks like light"
            service.send_signal(signal.SIGTERM)
            assert service.wait(60) == 0
        finally:
            for process in running:
                process.kill()
                process.wait()
    print("page: whole, without scripts, seen light and dark")


if __name__ == "__main__":
    main()
