"""Two people at their pages, in a real browser, on real agents: from the first name to the saved picture."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser import open_page
from tests.support.local_client import clients
from tests.support.pictures import picture
from tests.support.programs import Agent, Programs, Rendezvous, furnished

MIXED = "Σοφία — خِرَد — חכמה — 智慧 — बुद्धि — 👩‍🔬 e\u0301 <b>&amp;</b> "
HASH_OF_SHOWN = """
async (image) => {
    await image.decode();
    const data = await (await fetch(image.src)).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
    return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
"""


class Person:
    """Someone at the page of their agent, who finds things as people do: by what is written on them."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name

    @property
    def timeline(self) -> Locator:
        return self.page.get_by_role("region", name="Conversation with")

    def sign_up(self) -> None:
        self.page.get_by_label("Your name").fill(self.name)
        self.page.get_by_role("button", name="Start").click()

    def open(self, other: str) -> None:
        """Open the conversation with someone on the list."""
        self.page.get_by_role("link", name=other).click()
        expect(self.page.get_by_role("heading", name=other, level=2)).to_be_visible()

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def card(self, sentence: str) -> Locator:
        """Find what waits for an answer, by its heading."""
        card = self.page.get_by_role("form", name=sentence)
        expect(card).to_have_count(1)
        return card

    def answer(self, sentence: str, button: str) -> None:
        self.card(sentence).get_by_role("button", name=button).click()
        expect(self.page.get_by_role("form", name=sentence)).to_have_count(0)

    def add_quote(self, text: str, author: str) -> None:
        """Add a quote under "What I offer"."""
        self.page.get_by_role("button", name=re.compile("^Quotes")).click()
        box = self.page.get_by_label("Text", exact=True)
        if not box.is_visible():
            self.page.get_by_text("Add a quote").click()
        box.fill(text)
        self.page.get_by_label("Author").fill(author)
        self.press("Add")
        expect(box).to_have_value("")

    def entries(self) -> Locator:
        return self.timeline.get_by_role("listitem")


@pytest.fixture(scope="module")
def agents(programs: Programs, rendezvous: Rendezvous) -> dict[str, Agent]:
    """Agents of people who have no name yet; Alice's is the very first start of one, as everybody's would be."""
    folders = {"Alice": programs.folder / "Alice"} | {
        name: furnished(programs.folder / name) for name in ("Bob", "Carol")
    }
    started = {
        name: programs.run(Agent(name, folder, rendezvous.url, signs_up=False)) for name, folder in folders.items()
    }
    for agent in started.values():
        agent.wait_until_ready()
    return started


@pytest.fixture(scope="module")
def pages(browser: Browser, agents: dict[str, Agent]) -> Iterator[dict[str, Person]]:
    """Alice and Bob, signed up and connected, each at a page that stays open."""
    with open_page(browser, agents["Alice"].page_url) as first, open_page(browser, agents["Bob"].page_url) as second:
        yield {"Alice": Person(first, "Alice"), "Bob": Person(second, "Bob")}


@pytest.fixture
def alice(pages: dict[str, Person]) -> Person:
    return pages["Alice"]


@pytest.fixture
def bob(pages: dict[str, Person]) -> Person:
    return pages["Bob"]


def test_two_people_sign_up_find_each_other_and_connect_after_a_no_and_a_yes(alice: Person, bob: Person) -> None:
    for person in (alice, bob):
        person.sign_up()
        expect(person.page.get_by_role("heading", name="People")).to_be_visible()
    alice.open("Bob")
    expect(alice.page.get_by_role("button", name="Ask for a quote")).to_have_count(0)
    alice.page.get_by_label("A word with it").fill("We met on Monday")
    alice.press("Ask to connect")

    card = bob.card("Alice would like to connect")
    expect(card).to_contain_text("We met on Monday")
    expect(card.get_by_role("timer")).to_have_text(re.compile(r"^[45]:\d\d$"))
    bob.answer("Alice would like to connect", "Decline")
    expect(alice.entries().last).to_contain_text("Bob declined")

    alice.press("Ask to connect")
    bob.answer("Alice would like to connect", "Accept")
    expect(alice.page.get_by_role("button", name="Ask for a quote")).to_be_enabled()
    bob.open("Alice")
    expect(bob.page.get_by_role("button", name="Ask for a quote")).to_be_enabled()


def test_a_quote_is_asked_for_chosen_and_shown_with_its_author(alice: Person, bob: Person) -> None:
    bob.add_quote("دوست آن باشد که گیرد دست دوست", "سعدی")
    alice.page.get_by_label("A wish").fill("a Persian one")
    alice.press("Ask for a quote")
    card = bob.card("Alice asks you for a quote")
    card.get_by_label("Which quote").select_option(label="دوست آن باشد که گیرد دست دوست — سعدی")
    bob.answer("Alice asks you for a quote", "Accept")
    for person in (alice, bob):
        entry = person.entries().last
        expect(entry.get_by_role("blockquote")).to_have_text("دوست آن باشد که گیرد دست دوست")
        expect(entry.get_by_role("figure")).to_contain_text("سعدی")


def test_a_picture_is_shown_byte_for_byte_as_the_owner_has_it_and_can_be_saved(
    alice: Person, bob: Person, tmp_path: Path
) -> None:
    own = tmp_path / "blue noise.png"
    own.write_bytes(picture("PNG", (1200, 900), seed=5))
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    bob.page.get_by_role("button", name=re.compile("^Pictures")).click()
    bob.page.get_by_label("Add pictures").set_input_files(own)
    expect(bob.page.get_by_role("status").get_by_text("added", exact=True)).to_be_visible()

    alice.press("Ask for a picture")
    card = bob.card("Alice asks you for a picture")
    card.get_by_title("blue noise.png").click()
    bob.answer("Alice asks you for a picture", "Accept")
    for person in (alice, bob):
        shown = person.entries().last.locator(".frame:not(.frame-empty) img")
        expect(shown).to_be_visible()
        assert shown.evaluate(HASH_OF_SHOWN) == digest

    with alice.page.expect_download() as saving:
        alice.entries().last.get_by_role("link", name="Save").click()
    assert saving.value.suggested_filename.endswith(".png")
    assert Path(saving.value.path()).read_bytes() == own.read_bytes()


def test_a_quote_of_64_kb_in_many_scripts_is_read_whole(alice: Person, bob: Person) -> None:
    text = (MIXED * 1000).encode()[: 64 * 1024].decode(errors="ignore").strip()
    bob.add_quote(text, "Everyone")
    alice.press("Ask for a quote")
    choice = bob.card("Alice asks you for a quote").get_by_label("Which quote")
    choice.select_option(value=choice.locator("option", has_text="Everyone").get_attribute("value"))
    bob.answer("Alice asks you for a quote", "Accept")
    expect(alice.entries().last.get_by_role("blockquote")).to_have_text(text)
    alice.page.reload()
    expect(alice.entries().last.get_by_role("blockquote")).to_have_text(text)


def test_no_request_is_lost_with_the_page_and_several_wait_from_several_people(
    browser: Browser, agents: dict[str, Agent], alice: Person, bob: Person
) -> None:
    with open_page(browser, agents["Carol"].page_url) as page:
        carol = Person(page, "Carol")
        carol.sign_up()
        bob.page.goto("about:blank")  # as good as a closed tab: nobody looks
        alice.press("Ask for a quote")
        alice.press("Ask for a picture")
        expect(alice.entries().last).to_contain_text("Waiting for Bob")
        carol.open("Bob")
        carol.press("Ask to connect")
        expect(carol.entries().last).to_contain_text("Waiting for Bob")

        bob.page.goto(agents["Bob"].page_url)
        sentences = ["Alice asks you for a quote", "Alice asks you for a picture", "Carol would like to connect"]
        expect(bob.page).to_have_title("(3) TMGE")
        for sentence in sentences:
            bob.card(sentence)
        bob.page.reload()
        for sentence in sentences:
            bob.card(sentence)

        alice.entries().last.get_by_role("button", name="Cancel").click()
        expect(alice.entries().last).to_contain_text("Cancelled")
        expect(bob.page.get_by_role("form", name=sentences[1])).to_have_count(0)
        bob.answer(sentences[2], "Accept")
        expect(carol.page.get_by_role("button", name="Ask for a quote")).to_be_enabled()
        bob.answer(sentences[0], "Decline")
        expect(alice.entries().nth(-2)).to_contain_text("Bob declined")
        expect(bob.page).to_have_title("TMGE")


def test_a_request_with_a_short_life_runs_out_on_both_pages(
    agents: dict[str, Agent], alice: Person, bob: Person
) -> None:
    with clients(agents["Alice"].page_url) as (script,):  # the page itself always leaves 5 minutes
        script.ask("ask_quote", "Bob", lifetime=5)
    card = bob.card("Alice asks you for a quote")
    expect(card.get_by_role("timer")).to_have_text(re.compile("^0:0[0-5]$"))
    expect(card).to_have_count(0)
    expect(alice.entries().last).to_contain_text("No answer in time")


def test_a_first_start_brings_something_to_offer(alice: Person) -> None:
    expect(alice.page.get_by_role("button", name=re.compile(r"^Quotes ?(6\d|[7-9]\d|\d{3})"))).to_be_visible()
    alice.page.get_by_role("button", name=re.compile("^Pictures ?[1-9]")).click()
    expect(alice.page.get_by_role("region", name="What I offer").get_by_role("img").first).to_be_visible()


def test_who_is_not_online_is_said_to_be_so(agents: dict[str, Agent], alice: Person) -> None:
    assert agents["Bob"].stop() == 0
    alice.press("Ask for a quote")
    expect(alice.entries().last).to_contain_text("Bob is not online.")
