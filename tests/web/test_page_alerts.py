"""Requests are noticed while nobody looks: the icon, the title, a notification where it was chosen."""

from playwright.sync_api import Browser, Page, expect

from tests.support.browser import PATIENCE, open_page
from tests.support.fake_agent import FakeAgent

RECORD = """
globalThis.noted = [];
globalThis.Notification = class {
    static permission = "granted";
    static requestPermission = async () => "granted";
    constructor(title, options) { noted.push([title, options.body, options.tag]); }
    close() {}
};
document.hasFocus = () => false;
"""


def test_the_icon_and_the_title_say_that_something_waits(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        expect(page.locator(".person")).to_have_count(3)
        expect(page.locator('link[rel="icon"]')).to_have_attribute("href", "/static/icon.svg")
        request = agent.put("quote", "ask", "in", "Bob")
        expect(page.locator('link[rel="icon"]')).to_have_attribute("href", "/static/icon-waiting.svg")
        expect(page).to_have_title("(1) TMGE")
        agent.change(request, phase="cancelled")
        expect(page.locator('link[rel="icon"]')).to_have_attribute("href", "/static/icon.svg")


def noted(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.evaluate("noted")
    return found


def test_a_notification_names_who_asks_for_what_once_it_was_chosen(browser: Browser, agent: FakeAgent) -> None:
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.add_init_script(RECORD)
    page.goto(agent.url)
    agent.put("quote", "ask", "in", "Bob")
    expect(page.locator(".card")).to_have_count(1)
    assert noted(page) == []
    page.locator(".me summary").click()
    page.get_by_label("Notify me when somebody asks").check()
    request = agent.put("image", "ask", "in", "Bob", wish="the sea")
    expect(page.locator(".card")).to_have_count(2)
    isolated = "\u2068Bob\u2069"  # a name cannot turn the sentence around
    assert noted(page) == [[f"{isolated} asks you for a picture", "the sea", request]]
    page.reload()
    expect(page.locator(".card")).to_have_count(2)
    page.locator(".me summary").click()
    expect(page.get_by_label("Notify me when somebody asks")).to_be_checked()
    context.close()
