"""The page's modules by themselves: the words of the contract, and apply() as a pure function."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from agent.page.exchange import CALLS, EVENTS
from tests.support.browser import open_page
from tests.support.fake_agent import WEB, FakeAgent

APPLY = """
async (events) => {
    const { apply, initial } = await import("/static/state.js");
    const freeze = (value) => {
        if (value && typeof value === "object") Object.values(Object.freeze(value)).forEach(freeze);
        return value;
    };
    return events.reduce((state, event) => freeze(apply(state, event)), freeze(initial));
}
"""
STATE: dict[str, Any] = {
    "me": {"name": "Alice", "fingerprint": "aaaa", "signed_up": True},
    "people": [{"name": "Bob", "fingerprint": "bbbb", "online": True, "connected": True}],
    "requests": [],
    "library": [],
    "settings": {},
    "reachability": {"rendezvous": "up", "message": ""},
}


def request(name: str, phase: str = "waiting", **more: Any) -> dict[str, Any]:
    entry = {"request": name, "kind": "quote", "verb": "ask", "direction": "in", "peer": "Bob"}
    return {**entry, "phase": phase, "created_at": 1, "expires_at": 301, **more}


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with FakeAgent() as agent, open_page(browser, agent.url) as page:
        yield page


def words_of(block: str) -> set[str]:
    source = (WEB / "static" / "events.js").read_text(encoding="utf-8")
    found = re.search(block + r": words\((.*?)\)", source, re.DOTALL)
    assert found
    return set(re.findall(r'"(\w+)"', found[1]))


def test_the_page_and_the_agent_use_the_same_words() -> None:
    assert words_of("calls") == set(CALLS)
    assert words_of("news") == EVENTS


def test_no_module_spells_an_event_by_itself() -> None:
    for path in (WEB / "static").glob("*.js"):
        spelled = re.findall(r'(?:call|emit)\w*\(\s*"\w+"', path.read_text(encoding="utf-8"))
        assert not spelled, path.name


def test_news_of_a_request_is_joined_to_what_is_known(page: Page) -> None:
    progress = {"request": "r", "bytes": 5, "total": 10}
    news = [request("r"), {"request": "r", "phase": "accepted"}]
    events = [["state", STATE], *(["request", one] for one in news), ["image_progress", progress]]
    state = page.evaluate(APPLY, events)
    expected = request("r", "accepted", progress={"bytes": 5, "total": 10})
    assert state["requests"] == {"r": expected}


def test_an_open_request_that_a_new_state_does_not_hold_is_gone(page: Page) -> None:
    news = [["request", request("open")], ["request", request("over", "rejected")]]
    state = page.evaluate(APPLY, [["state", STATE], *news, ["state", STATE]])
    assert list(state["requests"]) == ["over"]


def test_a_whole_text_is_not_replaced_by_its_beginning(page: Page) -> None:
    whole = request("r", "done", quote={"text": "all of it", "author": ""})
    cut = request("r", "done", quote={"text": "all", "author": "", "cut": True})
    events = [["timeline", {"peer": "Bob", "entries": [whole]}]]
    state = page.evaluate(APPLY, [*events, ["state", {**STATE, "requests": [cut]}]])
    assert state["requests"]["r"]["quote"]["text"] == "all of it"


def test_who_connects_joins_my_people_and_who_does_not_only_changes(page: Page) -> None:
    carol = {"name": "Carol", "fingerprint": "cccc", "online": True, "connected": False}
    state = page.evaluate(APPLY, [["state", STATE], ["people", [carol]]])
    assert [person["name"] for person in state["contacts"]] == ["Bob"]
    assert [person["name"] for person in state["listed"]] == ["Carol"]
    joined = [["state", STATE], ["people", [carol]], ["people", [{**carol, "connected": True}]]]
    state = page.evaluate(APPLY, joined)
    assert [person["name"] for person in state["contacts"]] == ["Bob", "Carol"]


def test_an_answer_to_an_older_search_is_ignored(page: Page) -> None:
    late = {"query": "a", "more": False, "people": STATE["people"], "next": None}
    state = page.evaluate(APPLY, [["search", "ab"], ["listed", late]])
    assert state["listed"] == []


def test_an_unknown_event_changes_nothing(page: Page) -> None:
    assert page.evaluate(APPLY, [["nonsense", 1]]) == page.evaluate(APPLY, [])
