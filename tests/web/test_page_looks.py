"""What every state of the page keeps to: accessible in both themes, nothing beside the screen, small."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import WIDE, complaints, open_page
from tests.support.fake_agent import WEB, FakeAgent, person, picture

MOST_BYTES = 150_000  # scripts and styles that are loaded at once, as they are
WIDTHS = (320, 390, 768, 1024, 1920)


@pytest.fixture
def busy(agent: FakeAgent) -> FakeAgent:
    """An agent with something of everything."""
    agent.listed.append(person("شیرین"))
    agent.offer_quote("Know thyself.", "Delphi", "Inscription")
    agent.offer_picture(1, "hills.png")
    agent.put("connection", "ask", "out", "Bob", "done", age=90)
    agent.put("quote", "ask", "out", "Bob", "done", age=80, quote={"text": "Ist Ruh", "author": ""})
    agent.put("quote", "ask", "out", "Bob", "rejected", age=70, reason="Bob declined.")
    image = agent.image(picture(600, 400), 600, 400)
    agent.put("image", "ask", "in", "Bob", "done", age=60, image=image)
    progress = {"bytes": 1, "total": 4, "rate": 1, "rtt": 1, "loss": 0, "path": "lan"}
    awaited = {name: value for name, value in image.items() if name != "url"}
    agent.put("image", "ask", "out", "Bob", "transferring", image=awaited, progress=progress)
    for kind, peer in (("connection", "Carol"), ("quote", "Bob"), ("image", "Bob")):
        agent.put(kind, "ask", "in", peer, wish="a wish")
    return agent


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_state(browser: Browser, busy: FakeAgent, theme: str) -> None:
    # Animations would be caught half way, with colours that are not there to stay.
    looks = {"color_scheme": theme, "reduced_motion": "reduce"}
    found = {}
    with FakeAgent(None) as new, open_page(browser, new.url, **looks) as page:
        expect(page.get_by_label("Your name")).to_be_visible()
        found["sign-up"] = complaints(page)
    with open_page(browser, busy.url, **looks) as page:
        expect(page.locator(".card")).to_have_count(3)
        found["nobody chosen"] = complaints(page)
        for name in ("Dora", "Carol", "Bob"):
            page.locator(f'[data-person="{name}"]').click()
            expect(page.locator("h2.name")).to_have_text(name)
            found[f"talk with {name}"] = complaints(page)
        page.get_by_role("button", name="Offer …").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        found["offering"] = complaints(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Pictures").click()
        page.locator(".gallery .remove").click()
        page.locator(".me summary").click()
        busy.say("notice", {"level": "error", "code": "limit", "message": "The disk is full."})
        expect(page.locator(".notice")).to_be_visible()
        found["shelf, details and notice"] = complaints(page)
    assert not [f"{state}: {line}" for state, lines in found.items() for line in lines]


def test_nothing_stands_beside_the_screen_at_any_width(browser: Browser, busy: FakeAgent) -> None:
    with open_page(browser, busy.url + "#with/Bob") as page:
        expect(page.locator(".entry")).to_have_count(7)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 700})
            for place in ("#with/Bob", "#with/Carol", "#people", "#offer"):
                page.evaluate("place => location.hash = place", place)
                expect(page.locator("[data-view]")).to_have_attribute(
                    "data-view", {"#people": "people", "#offer": "offer"}.get(place, "talk")
                )
                assert beside(page) == [], (width, place)


def beside(page: Page) -> list[str]:
    """List the visible buttons, fields and headings that reach over an edge of the screen."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, h2, h3, summary, .entry, .card")]
            .filter((element) => element.checkVisibility() && !element.closest(".thumbs, .unseen"))
            .map((element) => [element, element.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.left < 0 || box.right > innerWidth + 0.5))
            .map(([element]) => element.outerHTML.slice(0, 80))"""
    )
    return found


def test_everything_can_be_done_with_the_keyboard_alone(browser: Browser, agent: FakeAgent) -> None:
    agent.put("connection", "ask", "in", "Carol")
    with open_page(browser, agent.url, viewport=WIDE) as page:
        bob = page.locator('[data-person="Bob"]')
        bob.focus()
        page.keyboard.press("Enter")
        page.get_by_label("A wish").focus()
        page.keyboard.type("the sea")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Ask for a quote")).to_be_focused()
        page.keyboard.press("Enter")
        assert agent.called("ask_quote") == {"peer": "Bob", "wish": "the sea"}
        page.get_by_role("button", name="Accept").focus()
        page.keyboard.press("Enter")
        assert agent.called("answer")["accept"] is True


def test_scripts_and_styles_that_the_page_begins_with_stay_small() -> None:
    static = WEB / "static"
    reached, ahead = set[Path](), [static / "main.js"]
    while ahead:
        module = ahead.pop()
        if module not in reached:
            reached.add(module)
            imported = re.findall(r'^(?:import|export) [^;]*?"\./([\w.]+)";', module.read_text("utf-8"), re.MULTILINE)
            ahead += [static / name for name in imported]
    styles = re.findall(r"/static/([\w.]+\.css)", (WEB / "templates" / "index.html").read_text("utf-8"))
    texts = [path.stat().st_size for path in static.glob("texts_*.js")]  # of which a page loads one
    assert len(reached) > 10
    assert len(styles) > 1
    files = [*reached, *(static / name for name in styles)]
    assert sum(path.stat().st_size for path in files) + max(texts) <= MOST_BYTES
