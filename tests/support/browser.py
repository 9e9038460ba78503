"""Opens pages in a headless Chromium, for every test that looks at the page. Knows nothing of what is on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
WIDE = {"width": 1280, "height": 800}
PATIENCE = 20_000  # milliseconds: a busy machine is no fault of the page


@contextmanager
def headless(chromium: str) -> Iterator[Browser]:
    """Run one browser, whose path the fixture `chromium` gives, for as long as the block lasts."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, url: str, **context: Any) -> Iterator[Page]:
    """Open `url` as a new person would: no cookies, no cache.

    `context` goes to Playwright: `viewport`, `color_scheme`, `locale` … An error in the page's
    scripts, or something that its Content-Security-Policy stopped, fails the block at its end.
    """
    fresh = browser.new_context(**{"viewport": WIDE, "locale": "en-GB", **context})
    fresh.set_default_timeout(PATIENCE)
    page = fresh.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None,
    )
    try:
        page.goto(url)
        yield page
        assert not faults, faults
    finally:
        fresh.close()


def complaints(page: Page) -> list[str]:
    """Run axe-core on the page as it is, and list what it finds, one line for each rule.

    The script goes in by way of Playwright, which the page's own policy does not bind.
    """
    assert AXE.exists(), "axe-core is missing: run `./run test`, which fetches it"
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document).then((result) => result.violations)")
    return [f"{rule['id']}: {[node['html'] for node in rule['nodes']]}" for rule in found]
