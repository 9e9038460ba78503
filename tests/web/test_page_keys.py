"""Keys on the page: mine to show, theirs to compare, and one that has changed."""

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from agent.words import digits, words
from tests.support.browser import complaints, open_page
from tests.support.fake_agent import FakeAgent, fingerprint


def shows(figure: Locator, key: bytes) -> None:
    """See that words and digits of a key stand there."""
    expect(figure.locator(".words")).to_have_text(words(key))
    expect(figure.locator(".digits")).to_have_text(digits(key))


def compare(page: Page) -> Locator:
    page.get_by_role("button", name="Compare keys").click()
    return page.get_by_role("dialog", name="Compare keys with Bob")


def test_my_key_is_words_digits_and_a_code_that_can_be_scanned(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        page.locator(".me summary").click()
        shows(page.get_by_role("figure", name="Your key"), b"me")
        code = page.get_by_alt_text("QR code")
        assert code.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        expect(page.locator(".me")).to_contain_text("Read them out to each other")


def test_keys_are_compared_side_by_side_and_the_mark_can_be_taken_away(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url + "#with/Bob") as page:
        dialog = compare(page)
        shows(dialog.get_by_role("figure", name="The key of Bob"), b"Bob")
        shows(dialog.get_by_role("figure", name="Your key"), b"me")
        dialog.get_by_role("button", name="Mark as compared").click()
        assert agent.called("set_verified") == {"peer": "Bob", "verified": True}
        expect(dialog).to_contain_text("You have compared the key of Bob.")
        dialog.locator(".actions").get_by_role("button", name="Close").click()
        expect(page.get_by_role("link", name="Bob")).to_contain_text("Keys compared")

        page.get_by_role("button", name="Keys compared").click()
        dialog.get_by_role("button", name="Take the mark away").click()
        assert agent.called("set_verified") == {"peer": "Bob", "verified": False}
        page.keyboard.press("Escape")
        expect(page.locator(".mark")).to_have_count(0)


def test_a_refused_mark_is_explained_where_it_was_made(browser: Browser, agent: FakeAgent) -> None:
    agent.refuse("set_verified", "key_changed", "Bob has another key.")
    with open_page(browser, agent.url + "#with/Bob") as page:
        dialog = compare(page)
        dialog.get_by_role("button", name="Mark as compared").click()
        expect(dialog.get_by_role("alert")).to_have_text("Bob has another key.")


def test_a_stranger_s_key_can_be_looked_at_and_not_be_marked(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url + "#with/Carol") as page:
        page.get_by_role("button", name="Compare keys").click()
        shows(page.get_by_role("figure", name="The key of Carol"), b"Carol")
        expect(page.get_by_role("dialog").get_by_role("button")).to_have_count(1)
        expect(page.get_by_role("dialog")).to_contain_text("once you are connected")


def test_another_key_stops_everything_and_explains_itself(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url + "#with/Bob") as page:
        expect(page.get_by_role("button", name="Ask for a quote")).to_be_enabled()
        agent.change_key("Bob")
        expect(page.get_by_role("alert")).to_have_text("Bob has another key than before")
        expect(page.locator('[data-person="Bob"]')).to_contain_text("has another key")
        shows(page.get_by_role("figure", name="The key you connected with"), b"Bob")
        shows(page.get_by_role("figure", name="The key that the rendezvous gives now"), b"another Bob")
        expect(page.locator(".composer").get_by_role("button")).to_have_text(["Keep the old key", "Trust the new key"])
        expect(page.get_by_role("button", name="Compare keys")).to_have_count(0)


def test_the_old_key_can_be_kept_and_the_decision_be_made_anew(browser: Browser, agent: FakeAgent) -> None:
    agent.change_key("Bob")
    with open_page(browser, agent.url + "#with/Bob") as page:
        page.get_by_role("button", name="Keep the old key").click()
        assert agent.called("trust_key") == {"peer": "Bob", "fingerprint": fingerprint("Bob")}
        expect(page.locator(".composer")).to_contain_text("you kept the old one")
        expect(page.get_by_role("button", name="Trust the new key")).to_be_hidden()
        page.get_by_text("Show both keys").click()
        page.get_by_role("button", name="Trust the new key").click()
        assert agent.called("trust_key") == {"peer": "Bob", "fingerprint": fingerprint("another Bob")}
        expect(page.get_by_role("button", name="Ask to connect")).to_be_enabled()


def test_a_trusted_key_is_neither_connected_nor_compared(browser: Browser, agent: FakeAgent) -> None:
    agent.change_person("Bob", verified=True)
    agent.change_key("Bob")
    with open_page(browser, agent.url + "#with/Bob") as page:
        page.get_by_role("button", name="Trust the new key").click()
        expect(page.locator(".composer").get_by_role("button")).to_have_text(["Ask to connect"])
        expect(page.locator(".mark")).to_have_count(0)
        shows(compare(page).get_by_role("figure", name="The key of Bob"), b"another Bob")


def test_a_key_that_changed_again_is_not_trusted_unseen(browser: Browser, agent: FakeAgent) -> None:
    agent.change_key("Bob")
    agent.refuse("trust_key", "key_changed", "This is not the key that the rendezvous gives: look again.")
    with open_page(browser, agent.url + "#with/Bob") as page:
        page.get_by_role("button", name="Trust the new key").click()
        expect(page.locator(".composer .failure")).to_contain_text("look again")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_keys_are_accessible_and_stay_on_the_screen(browser: Browser, agent: FakeAgent, theme: str, width: int) -> None:
    looks = {"color_scheme": theme, "reduced_motion": "reduce", "viewport": {"width": width, "height": 700}}
    agent.change_key("Dora")
    agent.change_person("Bob", verified=True)
    with open_page(browser, agent.url + "#with/Bob", **looks) as page:
        page.get_by_role("button", name="Keys compared").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        found = complaints(page) + beside(page)
        page.keyboard.press("Escape")
        page.locator(".me summary").click()
        found += complaints(page) + beside(page)
        page.keyboard.press("Escape")
        page.goto(agent.url + "#with/Dora")
        expect(page.get_by_role("button", name="Trust the new key")).to_be_attached()
        found += complaints(page) + beside(page)
    assert found == []


def beside(page: Page) -> list[str]:
    """List the parts of keys that reach over an edge of their box or of the screen."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll(".key span, .qr, .key, dialog .button")]
            .filter((element) => element.checkVisibility())
            .filter((element) => {
                const inner = element.getBoundingClientRect();
                const outer = element.closest(".key")?.getBoundingClientRect() ?? { left: 0, right: innerWidth };
                return inner.left < outer.left || inner.right > outer.right + 0.5 || inner.right > innerWidth;
            })
            .map((element) => element.outerHTML.slice(0, 80))"""
    )
    return found
