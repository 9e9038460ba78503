"""A conversation over days, and a picture that is seen before it is whole."""

from playwright.sync_api import Browser, expect

from tests.support.browser import open_page
from tests.support.fake_agent import FakeAgent, picture

DAY = 86_400


def test_the_entries_of_each_day_stand_under_its_name(browser: Browser, agent: FakeAgent) -> None:
    for age in (0, 0, 9 * DAY):
        agent.put("quote", "ask", "out", "Bob", "expired", age=age)
    with open_page(browser, agent.url + "#with/Bob") as page:
        expect(page.locator(".entry")).to_have_count(3)
        expect(page.locator(".day")).to_have_count(2)
        expect(page.locator(".day").last).to_have_text("today")


def test_only_who_receives_a_picture_follows_it_while_it_arrives(browser: Browser, agent: FakeAgent) -> None:
    image = agent.image(picture(80, 50), 80, 50)
    del image["url"]
    receives = agent.put("image", "ask", "out", "Bob", "transferring", image=image)
    agent.put("image", "ask", "in", "Bob", "transferring", image=image)
    with open_page(browser, agent.url + "#with/Bob") as page:
        expect(page.locator(".frame-empty")).to_have_count(2)
        expect(page.locator(".frame-empty img")).to_have_attribute("src", f"/media/partial/{receives}")
