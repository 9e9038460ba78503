"""The page in every language: complete, in its own direction, with the numbers and dates of its readers."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import open_page
from tests.support.fake_agent import WEB, FakeAgent, person

LANGUAGES = sorted(path.stem.removeprefix("texts_") for path in (WEB / "static").glob("texts_*.js"))
FLAT = """
async (languages) => {
    const flat = (value, at) => {
        if (typeof value === "function") return [[at, value(3)]];
        if (typeof value === "string") return [[at, value]];
        return Object.entries(value).flatMap(([key, inner]) => flat(inner, `${at}.${key}`));
    };
    const tables = {};
    for (const language of languages) {
        const { sentences, ...texts } = (await import(`/static/texts_${language}.js`)).texts;
        tables[language] = { texts: Object.fromEntries(flat(texts, "")), sentences: sentences ?? {} };
    }
    return tables;
}
"""


@pytest.fixture(scope="module")
def tables(browser: Browser) -> Iterator[dict[str, Any]]:
    with FakeAgent() as agent, open_page(browser, agent.url) as page:
        yield page.evaluate(FLAT, LANGUAGES)


def places(text: str) -> list[str]:
    return sorted(set(re.findall(r"\{\w+\}", text)))


def test_english_and_persian_are_there() -> None:
    assert {"en", "fa"} <= set(LANGUAGES)


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_every_language_says_everything_with_the_same_places_for_values(tables: Any, language: str) -> None:
    english, other = tables["en"]["texts"], tables[language]["texts"]
    assert set(other) == set(english)
    wrong = {key for key in english if places(other[key]) != places(english[key])}
    assert not wrong
    same = {key for key in english if other[key] == english[key]} - {".app"}
    assert not {key for key in same if re.search(r"[A-Za-z]{3}", re.sub(r"\{\w+\}|TMGE", "", english[key]))}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_sentences_of_the_agent_keep_their_values(tables: Any, language: str) -> None:
    for pattern, text in tables[language]["sentences"].items():
        count = pattern.count("{}")
        assert places(text) == [f"{{{at + 1}}}" for at in range(count)], pattern


def open_in(browser: Browser, agent: FakeAgent, language: str) -> Any:
    return open_page(browser, agent.url, locale={"en": "en-GB"}.get(language, language))


def test_the_page_speaks_the_browsers_language_until_another_is_chosen(browser: Browser, agent: FakeAgent) -> None:
    with open_in(browser, agent, "fa") as page:
        expect(page.locator("html")).to_have_attribute("lang", "fa")
        expect(page.locator("html")).to_have_attribute("dir", "rtl")
        choose(page, "en")
        expect(page.locator("html")).to_have_attribute("lang", "en")
        page.reload()
        expect(page.locator("html")).to_have_attribute("lang", "en")


def choose(page: Page, language: str) -> None:
    page.locator(".me summary").click()
    page.locator("select.language").select_option(language)


def test_persian_runs_from_right_to_left_with_persian_digits(browser: Browser, agent: FakeAgent) -> None:
    agent.contacts[1] = person("Dora", online=False, connected=True, last_seen=1_700_000_000)
    agent.put("quote", "ask", "in", "Bob", wish="دریا")
    with open_in(browser, agent, "fa") as page:
        expect(page.locator(".card")).to_have_count(1)
        people = page.locator(".people").bounding_box()
        talk = page.locator(".talk").bounding_box()
        assert people is not None
        assert talk is not None
        assert people["x"] > talk["x"]
        countdown = page.locator(".card .countdown")
        expect(countdown).to_have_text(re.compile(r"^[\u06f0-\u06f9]+:[\u06f0-\u06f9]{2}$"))
        expect(page.locator('[data-person="Dora"] .presence')).to_contain_text("۱۴۰۲")


def test_sentences_of_the_agent_are_read_in_persian_names_and_all(browser: Browser, agent: FakeAgent) -> None:
    with open_in(browser, agent, "fa") as page:
        agent.put("quote", "ask", "out", "Bob", "unreachable", reason="Bob went offline.")
        page.locator('[data-person="Bob"]').click()
        expect(page.locator(".reason")).to_have_text("Bob رفت.")
        agent.say("notice", {"level": "info", "code": "limit", "message": json.dumps("never said before")})
        expect(page.locator(".notice")).to_contain_text("never said before")
