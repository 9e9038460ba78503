"""Makes the README's picture of two pages mid-exchange: `python -m tests.e2e.screenshot [FILE]`.

Real agents, a real browser, the starter collection; on the left what Alice was given, on the right what Bob is asked.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Page, expect

from tests.support.browser import headless, open_page
from tests.support.local_client import LocalClient, clients, connect
from tests.support.programs import ROOT, Agent, Programs

sys.path.insert(0, str(ROOT / ".ci"))  # where pytest finds it too
import chromium

SIZE: Final = {"width": 1000, "height": 940}
GAP: Final = 16  # between the pages, in a colour of neither
QUOTE: Final = "rounded with a sleep"
PICTURE: Final = 1  # of the starter pictures, by age


def main() -> None:
    """Write the picture to the file that is named, or to docs/screenshot.png."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "screenshot.png"
    browser_path = chromium.find()
    if browser_path is None:
        sys.exit(chromium.CURE)
    with tempfile.TemporaryDirectory() as folder, Programs(Path(folder)) as programs:
        rendezvous = programs.rendezvous()
        agents = [programs.run(Agent(name, Path(folder) / name, rendezvous.url)) for name in ("alice", "bob")]
        urls = [agent.page_url for agent in agents]
        with clients(*urls) as (alice, bob):
            exchange(alice, bob)
        with headless(browser_path) as browser:
            look: dict[str, Any] = {"viewport": SIZE, "color_scheme": "light", "reduced_motion": "reduce"}
            with open_page(browser, urls[0], **look) as left, open_page(browser, urls[1], **look) as right:
                shots = [shot(left, "bob"), shot(right, "alice")]
    both = Image.new("RGB", (2 * SIZE["width"] + GAP, SIZE["height"]), "#8a8f8d")
    for index, one in enumerate(shots):
        both.paste(one, (index * (SIZE["width"] + GAP), 0))
    target.parent.mkdir(parents=True, exist_ok=True)
    both.save(target, optimize=True)
    print(f"{target}: {both.width} × {both.height}, {target.stat().st_size // 1000} KB")


def exchange(alice: LocalClient, bob: LocalClient) -> None:
    """Bring Alice a quote and a picture, and leave one question of hers open."""
    for side in (alice, bob):
        side.until(lambda side=side: side.me, "a name")  # type: ignore[misc]
    connect(alice, bob)
    given: list[tuple[str, str, Callable[[dict[str, Any]], bool]]] = [
        ("ask_image", "", lambda item: item["kind"] == "image"),
        ("ask_quote", "something about dreams", lambda item: QUOTE in item.get("text", "")),
    ]
    for verb, wish, fits in given:
        item = bob.until(lambda fits=fits: [one["item"] for one in bob.library if fits(one)][-PICTURE:], "an item")[0]  # type: ignore[misc]
        request = alice.ask(verb, "bob", wish=wish)
        bob.accept(request, item=item)
        alice.until_phase(request, "done")
    bob.until(lambda: sum(item["kind"] == "image" for item in bob.library) >= 6, "pictures to choose from")
    bob.until_phase(alice.ask("ask_image", "bob", wish="another one, with more blue?"), "waiting")


def shot(page: Page, other: str) -> Image.Image:
    """Open the conversation with someone, and take its picture once all in it is drawn."""
    page.get_by_role("link", name=other).click()
    shown = page.get_by_role("region", name="Conversation with").locator(".frame:not(.frame-empty) img")
    expect(shown).to_be_visible()
    page.evaluate("() => Promise.all([...document.images].map((image) => image.loading === 'lazy' || image.decode()))")
    page.mouse.move(0, 0)
    return Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")


if __name__ == "__main__":
    main()
