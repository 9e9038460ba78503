"""The page as a person uses it: signing up, people, requests to answer, and what survives a change."""

import re
import time

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import open_page
from tests.support.fake_agent import FakeAgent, person


def test_a_new_person_signs_up_and_is_led_in(browser: Browser) -> None:
    with FakeAgent(None) as agent, open_page(browser, agent.url) as page:
        page.get_by_label("Your name").fill("Alice")
        page.get_by_role("button", name="Start").click()
        assert agent.called("sign_up") == {"name": "Alice"}
        expect(page.get_by_role("heading", name="People")).to_be_visible()
        expect(page.get_by_text("Nobody else is here yet.")).to_be_visible()
        expect(page.locator(".me")).to_contain_text("Alice")


def test_a_refused_name_is_explained_in_place_and_stays_in_the_field(browser: Browser) -> None:
    with FakeAgent(None) as agent, open_page(browser, agent.url) as page:
        page.get_by_label("Your name").fill("taken")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert")).to_contain_text("Somebody else holds the name")
        expect(page.get_by_label("Your name")).to_have_value("taken")


def test_people_are_listed_contacts_first_with_their_presence(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        expect(page.locator(".person .name")).to_have_text(["Bob", "Dora", "Carol"])
        expect(page.locator(".person .presence")).to_have_text(["connected", "not online", "online"])
        agent.change_person("Dora", online=True)
        expect(page.locator('[data-person="Dora"]')).to_contain_text("online")


def test_search_asks_the_rendezvous_and_more_brings_the_next_page(browser: Browser, agent: FakeAgent) -> None:
    agent.listed += [person(f"Person {number:02}") for number in range(30)]
    with open_page(browser, agent.url) as page:
        expect(page.locator(".person")).to_have_count(agent.page_size)
        page.get_by_role("button", name="Show more").click()
        expect(page.locator(".person")).to_have_count(33)
        page.get_by_role("searchbox").fill("person 07")
        expect(page.locator(".person .name")).to_have_text(["Person 07"])
        page.get_by_role("searchbox").fill("nobody")
        expect(page.get_by_text("Nobody here has such a name.")).to_be_visible()


def test_who_signs_up_later_appears_without_a_reload(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, "about:blank") as page:
        page.clock.install()
        page.goto(agent.url)
        expect(page.locator(".person")).to_have_count(3)
        agent.listed.append(person("Erik"))
        page.clock.fast_forward(6000)
        expect(page.locator('[data-person="Erik"]')).to_be_visible()


def test_a_list_that_did_not_come_says_why_and_comes_by_itself(browser: Browser, agent: FakeAgent) -> None:
    agent.refuse("list_people", "rendezvous_down", "The rendezvous does not answer.")
    with open_page(browser, "about:blank") as page:
        page.clock.install()
        page.goto(agent.url)
        expect(page.locator(".people .empty")).to_contain_text("The rendezvous does not answer.")
        agent.accept("list_people")
        page.clock.fast_forward(6000)
        expect(page.locator('[data-person="Carol"]')).to_be_visible()
        expect(page.locator(".people .empty")).to_have_count(0)


def test_only_what_makes_sense_can_be_asked(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        composer = page.locator(".composer")
        page.locator('[data-person="Dora"]').click()
        expect(composer.get_by_role("button")).to_have_text(["Ask to connect"])
        expect(composer.get_by_role("button")).to_be_disabled()
        expect(composer).to_contain_text("Dora is not online.")

        page.locator('[data-person="Carol"]').click()
        expect(composer.get_by_role("button")).to_have_text(["Ask to connect"])
        composer.get_by_role("textbox").fill("We met on Monday")
        composer.get_by_role("button").click()
        assert agent.called("connect_to") == {"peer": "Carol", "wish": "We met on Monday"}
        expect(composer.get_by_role("button")).to_have_text(["Cancel"])
        expect(composer).to_contain_text(re.compile("Waiting for Carol to answer · [45]:"))

        agent.change(next(iter(agent.requests)), phase="done")
        agent.change_person("Carol", connected=True)
        asks = ["Ask for a quote", "Ask for a picture", "Offer …"]
        expect(composer.get_by_role("button")).to_have_text(asks)
        composer.get_by_role("button", name="Ask for a picture").click()
        assert agent.called("ask_image") == {"peer": "Carol"}

        page.get_by_role("button", name="Disconnect").click()
        assert agent.called("disconnect_from") == {"peer": "Carol"}
        expect(composer.get_by_role("button")).to_have_text(["Ask to connect"])


def test_a_refused_call_is_explained_where_it_was_made(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url + "#with/Bob") as page:
        agent.refuse("ask_quote", "limit", "Bob has three requests of yours already.")
        page.get_by_label("A wish").fill("the sea")
        page.get_by_role("button", name="Ask for a quote").click()
        expect(page.locator(".composer [role=alert]")).to_have_text("Bob has three requests of yours already.")
        expect(page.get_by_label("A wish")).to_have_value("the sea")


def test_a_request_is_shown_counted_said_and_answered(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        expect(page).to_have_title("TMGE")
        yes = agent.put("connection", "ask", "in", "Carol", wish="We met <b>on</b> Monday")
        no = agent.put("connection", "ask", "in", "Erik")
        expect(page).to_have_title("(2) TMGE")
        expect(page.locator("#news")).to_contain_text("would like to connect")
        carol = page.locator(f'.card[data-request="{yes}"]')
        expect(carol).to_contain_text("“We met <b>on</b> Monday”")
        expect(carol.get_by_role("timer")).to_have_text(re.compile("^[45]:[0-9]{2}$"))

        carol.get_by_role("button", name="Accept").click()
        assert agent.called("answer") == {"request": yes, "accept": True}
        erik = page.locator(f'.card[data-request="{no}"]')
        erik.get_by_role("button", name="Decline").click()
        assert agent.called("answer") == {"request": no, "accept": False}
        expect(page.locator(".card")).to_have_count(0)
        expect(page).to_have_title("TMGE")
        # The buttons are gone: the keyboard goes on from where they were, not from the top.
        expect(page.get_by_role("heading", name="Waiting for you")).to_be_focused()


def test_the_owner_chooses_the_quote_or_lets_it_be_random(browser: Browser, agent: FakeAgent) -> None:
    item = agent.offer_quote("Know thyself.", "Delphi")
    first = agent.put("quote", "ask", "in", "Bob", wish="something short")
    second = agent.put("quote", "ask", "in", "Bob")
    with open_page(browser, agent.url) as page:
        chosen = page.locator(f'.card[data-request="{first}"]')
        chosen.get_by_label("Which quote").select_option(label="Know thyself. — Delphi")
        chosen.get_by_role("button", name="Accept").click()
        assert agent.called("answer") == {"request": first, "accept": True, "item": item}
        page.locator(f'.card[data-request="{second}"]').get_by_role("button", name="Accept").click()
        assert agent.called("answer") == {"request": second, "accept": True}


def test_the_owner_chooses_the_picture_by_its_look(browser: Browser, agent: FakeAgent) -> None:
    agent.offer_picture(1, "one.png")
    item = agent.offer_picture(2, "two.png")
    request = agent.put("image", "ask", "in", "Bob")
    with open_page(browser, agent.url) as page:
        expect(page.get_by_label("Pick one at random")).to_be_checked()
        page.locator(".thumb", has=page.get_by_alt_text("two.png")).click()
        page.get_by_role("button", name="Accept").click()
        assert agent.called("answer") == {"request": request, "accept": True, "item": item}


def test_with_nothing_to_give_only_declining_is_possible(browser: Browser, agent: FakeAgent) -> None:
    agent.put("quote", "ask", "in", "Bob")
    with open_page(browser, agent.url) as page:
        expect(page.get_by_role("button", name="Accept")).to_be_disabled()
        expect(page.locator(".card")).to_contain_text("You offer no quote yet.")


def test_typed_text_focus_and_scrolling_survive_news(browser: Browser, agent: FakeAgent) -> None:
    for number in range(40):
        agent.put("quote", "ask", "out", "Bob", "expired", age=1000 - number)
    agent.page_size = 50
    with open_page(browser, agent.url + "#with/Bob") as page:
        expect(page.locator(".entry")).to_have_count(40)
        wish = page.get_by_label("A wish")
        wish.press_sequentially("about the s")
        page.locator(".timeline").evaluate("box => box.scrollTop = -500")
        top = page.locator(".entry").nth(20).bounding_box()
        agent.change_person("Carol", online=False)
        agent.put("connection", "ask", "in", "Carol")
        agent.say_state()
        expect(page.locator('[data-person="Carol"]')).to_contain_text("not online")
        expect(wish).to_be_focused()
        page.keyboard.type("ea")
        expect(wish).to_have_value("about the sea")
        assert page.locator(".entry").nth(20).bounding_box() == top


def test_a_reload_and_the_back_button_keep_the_place(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url, viewport={"width": 390, "height": 800}) as page:
        page.locator('[data-person="Bob"]').click()
        expect(page.locator("h2.name")).to_have_text("Bob")
        page.reload()
        expect(page.locator("h2.name")).to_have_text("Bob")
        page.go_back()
        expect(page.locator('[data-person="Bob"]')).to_be_visible()
        expect(page.locator("h2.name")).to_be_hidden()


def test_a_person_who_is_not_listed_is_looked_up_or_said_to_be_unknown(browser: Browser, agent: FakeAgent) -> None:
    agent.page_size = 1
    agent.listed.append(person("Zoë"))
    with open_page(browser, agent.url + "#with/Zo%C3%AB") as page:
        expect(page.get_by_role("button", name="Ask to connect")).to_be_enabled()
        page.goto(agent.url + "#with/Nobody")
        expect(page.locator(".composer")).to_contain_text("Nobody here is called Nobody.")


def test_a_stopped_agent_is_said_and_the_page_goes_on_when_it_is_back(browser: Browser) -> None:
    with FakeAgent("Alice") as first, open_page(browser, first.url) as page:
        banner = page.locator(".banner")
        expect(banner).to_have_text("")
        port = first.port
        first.__exit__(None, None, None)
        expect(banner).to_contain_text("Your agent does not answer.")
        with FakeAgent("Alice", port) as second:
            second.listed = [person("Erik")]
            expect(banner).to_have_text("")
            expect(page.locator('[data-person="Erik"]')).to_be_visible()


def test_a_page_that_is_no_longer_let_in_says_what_to_do(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        expect(page.locator(".person")).to_have_count(3)
        agent.lets_in = False
        agent.hang_up()
        expect(page.locator(".banner")).to_contain_text("Open the address that the agent printed")


def test_an_unreachable_rendezvous_is_a_sentence_and_notices_are_read_aloud(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        expect(page.locator(".reach")).to_have_text("Rendezvous reached")
        message = "The rendezvous at http://127.0.0.1:8000 does not answer."
        agent.reachability = {"rendezvous": "down", "message": message, "peer_port": 1}
        agent.say_state()
        expect(page.locator(".banner")).to_have_text(message)
        agent.say("notice", {"level": "error", "code": "limit", "message": "The disk is full."})
        expect(page.get_by_role("log")).to_contain_text("The disk is full.")
        page.get_by_role("log").get_by_role("button", name="Close").click()
        expect(page.locator(".notice")).to_have_count(0)


@pytest.mark.parametrize("name", ["<b>bold</b>", "\u202elive <i>x</i>", "a" * 300])
def test_foreign_names_are_shown_as_text_and_leave_the_layout_intact(
    browser: Browser, agent: FakeAgent, name: str
) -> None:
    agent.listed.append(person(name, connected=True))
    agent.put("quote", "ask", "in", name, wish=f"{name} {name}")
    quote = {"text": name * 20, "author": name, "source": name}
    agent.put("quote", "ask", "out", name, "done", age=9, quote=quote)
    phone = {"width": 360, "height": 740}
    with open_page(browser, agent.url, viewport=phone) as page:
        page.evaluate("name => location.hash = 'with/' + encodeURIComponent(name)", name)
        expect(page.locator("h2.name bdi")).to_have_text(name)
        expect(page.locator(".entry blockquote")).to_have_text(name * 20)
        assert page.locator("b, i").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator(".card").evaluate("e => e.scrollWidth <= e.clientWidth + 1")


def test_the_countdown_runs_by_itself(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, "about:blank") as page:
        page.clock.install(time=time.time())
        agent.put("connection", "ask", "in", "Carol")
        page.goto(agent.url)
        timer = page.locator(".card").get_by_role("timer")
        expect(timer).to_have_text(re.compile("^[45]:"))
        page.clock.fast_forward(280_000)
        expect(timer).to_have_text(re.compile("^0:[12]"))
        expect(timer).to_have_attribute("data-soon", "")
