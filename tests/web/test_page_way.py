"""How two agents are connected, on the page: beside a name, above a conversation, in the dialog that explains it."""

import re
from itertools import product
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from agent.diagnosis import Case, advise, network, sentence
from agent.forecast import NOTHING_TOLD, Reach, forecast
from agent.protocol.candidates import Candidate, Filtering, Found, Mapping, Nat, PathKind
from agent.protocol.report import Outcome, Tried
from tests.support.browser import complaints, open_page
from tests.support.fake_agent import FakeAgent, person

CONE = {
    "path": "direct",
    "because": "Both networks keep to one port, so that each side can open the way for the other.",
}
HARD = {"path": "relayed", "because": "The network of Bob lets no UDP through, which a direct path needs."}
AWAY = {"path": "unreachable", "because": "Dora is not online."}
NAT: dict[str, Any] = {"mapping": "independent", "filtering": "port", "udp": True, "ipv6": False}
MINE = {**NAT, "sentence": "A NAT that keeps one port for everybody, but lets in answers only."}
TRIED: list[dict[str, Any]] = [
    {
        "side": "here",
        "found": "host",
        "address": "10.0.0.7:4001",
        "outcome": "no_answer",
        "sentence": "Your 192.168.1.4:5051 → their 10.0.0.7:4001: no answer",
    },
    {
        "side": "here",
        "found": "reflexive",
        "address": "203.0.113.9:4001",
        "outcome": "answered",
        "rtt": 23,
        "sentence": "Your 192.168.1.4:5051 → their 203.0.113.9:4001, as seen from outside: answered in 23 ms",
    },
    {
        "side": "there",
        "found": "host",
        "address": "192.168.1.4:5051",
        "outcome": "unreachable",
        "sentence": "Bob → your 192.168.1.4:5051: there is no way to it",
    },
]
RELAY = {"kind": "relay-udp", "server": "198.51.100.7:3478", "left": 90_000_000, "rtt": 31}


def doctor(path: str | None, forecast: dict[str, str], **more: Any) -> dict[str, Any]:
    """Describe a connection as the agent does."""
    way = {"kind": path, "rtt": 23.4, "loss": 0.012, "since": 1_700_000_000} if path else None
    found = {"forecast": forecast, "connection": "open" if path else "none", "mine": MINE, "theirs": None}
    return {**found, "path": way, "tried": [], "relay": None, "advice": "Nothing has to be done.", **more}


@pytest.fixture
def meeting(agent: FakeAgent) -> FakeAgent:
    """Bob is connected by a punched path, Dora is away, Carol was never asked."""
    agent.contacts = [
        person("Bob", connected=True, path="punched", forecast=CONE),
        person("Dora", online=False, connected=True, path=None, forecast=AWAY),
    ]
    agent.listed = [*agent.contacts, person("Carol", path=None, forecast=HARD)]
    theirs = {**NAT, "filtering": "open", "sentence": "A NAT that keeps one port for everybody, and lets them in."}
    more = {"theirs": theirs, "tried": TRIED, "relay": RELAY}
    agent.doctors = {
        "Bob": doctor("punched", CONE, **more),
        "Carol": doctor(None, HARD, advice="Carol would have to let UDP through."),
        "Dora": doctor(None, AWAY, advice="Ask Dora to start their agent."),
    }
    return agent


def test_a_forecast_stands_above_the_conversation_before_the_first_attempt(
    browser: Browser, meeting: FakeAgent
) -> None:
    with open_page(browser, meeting.url + "#with/Carol") as page:
        way = page.locator(".way")
        expect(way).to_contain_text("will be relayed")
        expect(way).to_contain_text(HARD["because"])
        meeting.change_person("Carol", forecast=CONE)
        expect(way).to_contain_text("will be direct")
        page.locator('[data-person="Dora"]').click()
        expect(way).to_contain_text("out of reach now")
        expect(way).to_contain_text("Dora is not online.")


def test_the_path_in_use_is_in_words_and_follows_the_news(browser: Browser, meeting: FakeAgent) -> None:
    with open_page(browser, meeting.url + "#with/Bob") as page:
        row, way = page.locator('[data-person="Bob"]'), page.locator(".way")
        for path, words in {
            "loopback": "this computer",
            "lan": "local network",
            "direct": "direct",
            "mapped": "direct, router port",
            "punched": "direct, punched",
            "relay-udp": "relayed",
            "relay-ws": "relayed (web)",
        }.items():
            meeting.change_person("Bob", path=path, forecast=HARD)
            expect(way.locator(".way-badge")).to_have_text(words)
            expect(row.locator(".presence")).to_have_text(f"connected · {words}")
            expect(way.locator(".way-why")).to_have_text(HARD["because"] if "relay" in path else "")
        meeting.change_person("Bob", forecast=CONE)
        expect(way.locator(".way-why")).to_have_text("A direct path should be possible, and is tried.")


def test_the_dialog_explains_a_connection_and_is_reached_by_keyboard(browser: Browser, meeting: FakeAgent) -> None:
    with open_page(browser, meeting.url + "#with/Bob") as page:
        opener = page.get_by_role("button", name="How are we connected?")
        opener.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="How are you and Bob connected?")
        expect(dialog).to_be_visible()
        assert meeting.called("get_doctor") == {"peer": "Bob"}
        for text in (
            "direct, punched",
            "Packets go straight, through the holes that both sides have punched.",
            "23.4 ms",
            "1.2%",
            "198.51.100.7:3478",
            "90.0 MB",
            MINE["sentence"],
            "and lets them in.",
            "Nothing has to be done.",
        ):
            expect(dialog).to_contain_text(text)
        expect(dialog.locator(".tries li")).to_have_text([one["sentence"] for one in TRIED])
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(opener).to_be_focused()


def test_the_open_dialog_looks_again_and_keeps_the_focus_and_stops_when_closed(
    browser: Browser, meeting: FakeAgent
) -> None:
    with open_page(browser, "about:blank") as page:
        page.clock.install()
        page.goto(meeting.url + "#with/Bob")
        page.get_by_role("button", name="How are we connected?").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("direct, punched")
        dialog.get_by_role("button", name="Close").focus()
        meeting.doctors["Bob"] = doctor("relay-ws", HARD)
        page.clock.fast_forward(2500)
        expect(dialog).to_contain_text("relayed (web)")
        expect(dialog).to_contain_text(HARD["because"])
        expect(dialog.get_by_role("button", name="Close")).to_be_focused()
        meeting.refuse("get_doctor", "rendezvous_down", "The rendezvous does not answer.")
        page.clock.fast_forward(2500)
        expect(dialog.get_by_role("alert")).to_have_text("The rendezvous does not answer.")
        expect(dialog).to_contain_text("relayed (web)")
        meeting.accept("get_doctor")
        page.clock.fast_forward(2500)
        expect(dialog.get_by_role("alert")).to_have_count(0)
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        page.clock.fast_forward(2500)
        meeting.calls.clear()
        page.clock.fast_forward(10_000)
        assert not [name for name, _ in meeting.calls if name == "get_doctor"]


def test_who_is_not_connected_is_explained_too(browser: Browser, meeting: FakeAgent) -> None:
    with open_page(browser, meeting.url + "#with/Dora") as page:
        page.get_by_role("button", name="How are we connected?").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("out of reach now")
        expect(dialog).to_contain_text("Ask Dora to start their agent.")
        expect(dialog).to_contain_text("Their agent has not told.")


def test_what_stands_in_front_of_me_is_under_who_i_am(browser: Browser, agent: FakeAgent) -> None:
    candidates = [
        {"found": "host", "address": "192.168.1.4:5051"},
        {"found": "reflexive", "address": "203.0.113.9:5051"},
    ]
    agent.reachability |= {"nat": MINE, "candidates": candidates, "relays": [], "stun": []}
    with open_page(browser, agent.url) as page:
        page.locator(".me summary").click()
        mine = page.locator(".popover")
        expect(mine).to_contain_text(MINE["sentence"])
        expect(mine).to_contain_text("203.0.113.9:5051 as seen from outside")


def test_a_quote_says_how_it_came(browser: Browser, agent: FakeAgent) -> None:
    quote = {"text": "Know thyself.", "author": "Delphi"}
    for age, via in enumerate(("tcp", "tcp-back", "session")):
        agent.put("quote", "ask", "out", "Bob", "done", quote=quote, via=via, age=3 - age)
    with open_page(browser, agent.url + "#with/Bob") as page:
        words = ["came straight over TCP", "came over TCP, dialled back", "came inside the session"]
        expect(page.locator(".entry .via")).to_have_text(words)


def told_sentences() -> set[str]:
    """Collect what the agent says of networks, tries and what would help."""
    nats = [Nat(mapping, filtering) for mapping in Mapping for filtering in Filtering]
    sides = [Reach(nat, True) for nat in nats] + [NOTHING_TOLD, Reach(nats[-1], True, ipv6=True, mapped=True)]
    told = {network(side) for side in sides}
    outcomes = [Tried(found, ("203.0.113.9", 4001), outcome, 0.023) for found in Found for outcome in Outcome]
    ours = [Candidate(Found.HOST, ("10.0.0.4", 5051))]
    told |= {sentence(one, "Bob", ours, here=here) for one in outcomes for here in (True, False)}
    told.add(sentence(Tried(Found.HOST, ("relay-ws", 1), Outcome.ANSWERED), "Bob", ours, here=True))
    stands: list[dict[str, bool]] = [
        {},
        {"online": False},
        {"rendezvous": False},
        {"relay": False},
        {"same_network": True},
        {"relay": False, "first_by_relay": True},
    ]
    for mine, theirs, stand in product(sides, sides, stands):
        said = forecast("Bob", mine, theirs, **stand)
        cases = [Case("Bob", mine, theirs, said, 5051)]
        for kind, age in ((PathKind.RELAY_UDP, 1.0), (PathKind.RELAY_UDP, 99.0), (PathKind.LAN, 1.0)):
            cases.append(Case("Bob", mine, theirs, said, 5051, kind, age, 0.0 if age > 1 else 0.1, outcomes[-2:]))
            cases.append(Case("Bob", mine, theirs, said, 5051, kind, age))
        told |= {said.because, *map(advise, cases)}
    return told


def test_what_the_agent_says_is_said_in_persian(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url, locale="fa") as page:
        said = page.evaluate(
            """async (told) => {
                const { said } = await import("/static/language.js");
                return told.map((sentence) => [sentence, said(sentence)]);
            }""",
            sorted(told_sentences()),
        )
    own = re.compile(r"Bob|UDP|IPv6|UPnP|NAT")
    assert len(said) > 60
    assert not {english for english, persian in said if re.search("[A-Za-z]{2}", own.sub("", persian))}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_the_dialog(browser: Browser, meeting: FakeAgent, theme: str) -> None:
    looks = {"color_scheme": theme, "reduced_motion": "reduce"}
    with open_page(browser, meeting.url + "#with/Bob", **looks) as page:
        expect(page.locator(".way")).to_be_visible()
        assert complaints(page) == []
        page.get_by_role("button", name="How are we connected?").click()
        expect(page.locator(".tries").first).to_be_visible()
        assert complaints(page) == []
        assert beyond(page) == 0


def test_a_narrow_screen_and_a_long_name_hold_it(browser: Browser, meeting: FakeAgent) -> None:
    name = "W" * 60
    meeting.listed.append(person(name, connected=True, path="relay-ws", forecast=HARD))
    meeting.doctors[name] = doctor("relay-ws", HARD, tried=TRIED)
    with open_page(browser, f"{meeting.url}#with/{name}", viewport={"width": 320, "height": 640}) as page:
        page.get_by_role("button", name="How are we connected?").click()
        expect(page.locator(".tries").first).to_be_visible()
        assert beyond(page) == 0


def beyond(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    wider: int = page.evaluate("Math.max(0, document.documentElement.scrollWidth - innerWidth)")
    return wider
