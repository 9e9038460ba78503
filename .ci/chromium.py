"""Where the browser for the tests is, and how it comes to a machine that has none.

Used by .ci/launch.py before the tests and by tests/conftest.py. Standard library only.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from environment import PYTHON, SetupError, step

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_APPS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ASK_PLAYWRIGHT = (
    "from playwright.sync_api import sync_playwright\nwith sync_playwright() as p: print(p.chromium.executable_path)"
)
CURE = (
    "The page's tests need Chromium: run `sudo apt install chromium` (Debian) or"
    " `brew install --cask chromium` (macOS), or name a browser in TMGE_CHROMIUM."
)


def find() -> str | None:
    """Return the path of a Chromium that starts, or None."""
    named = os.environ.get("TMGE_CHROMIUM")
    if named:
        return named
    on_path = (shutil.which(name) for name in NAMES)
    for candidate in (*on_path, *MAC_APPS):
        if candidate and _starts(candidate):
            return candidate
    return _playwrights_own()


def find_or_install() -> str:
    """Return the path of a Chromium, installed now if need be; SetupError says what to do."""
    found = find()
    if found:
        return found
    for what, command in _ways_to_install():
        try:
            step(what, command)
        except SetupError:
            continue
        found = find()
        if found:
            return found
    raise SetupError(CURE)


def _ways_to_install() -> list[tuple[str, list[str]]]:
    playwright = [str(PYTHON), "-m", "playwright", "install", "chromium"]
    ways = [("installing Chromium with Playwright", playwright)]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        apt = "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium"
        ways.insert(0, ("installing Chromium with apt-get", ["sh", "-c", apt]))
    return ways


def _playwrights_own() -> str | None:
    try:
        asked = subprocess.run([PYTHON, "-c", ASK_PLAYWRIGHT], capture_output=True, text=True)
    except OSError:
        return None
    path = asked.stdout.strip()
    return path if path and Path(path).exists() and _starts(path) else None


def _starts(path: str) -> bool:
    if sys.platform == "darwin":
        return Path(path).exists()
    try:
        return subprocess.run([path, "--version"], capture_output=True).returncode == 0
    except OSError:
        return False
