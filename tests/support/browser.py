"""Finds Chromium and opens pages in it, for every test that looks at the page. Knows nothing of what is on it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
REPOSITORY = Path(__file__).resolve().parents[2]


def find_chromium() -> Path | None:
    """Give the browser's path: TMGE_CHROMIUM, else one on the PATH; None lets Playwright use its own."""
    named = os.environ.get("TMGE_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return Path(found)
    return MAC if MAC.exists() else None


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run one headless browser for as long as the block lasts."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(path) if path else None, headless=True, args=list(ARGUMENTS)
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, url: str, **context: Any) -> Iterator[Page]:
    """Open `url` as a new person would: no cookies, no cache. Any error of the page fails the block at its end.

    `context` goes to Playwright: `viewport`, `color_scheme`, `locale` …
    """
    fresh = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})
    fresh.set_default_timeout(10_000)
    page = fresh.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None,
    )
    try:
        page.goto(url)
        yield page
        assert not errors, errors
    finally:
        fresh.close()


def axe_script() -> Path | None:
    """Give the path of axe-core's script, installed from npm beside the project, or None where it is not."""
    path = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
    return path if path.exists() else None
