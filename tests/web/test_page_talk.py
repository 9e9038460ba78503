"""One conversation: how each request stands in words, quotes, pictures on their way and arrived."""

import hashlib

from playwright.sync_api import Browser, expect

from tests.support.browser import open_page
from tests.support.fake_agent import FakeAgent, Value, picture

SAADI: Value = {
    "text": "بنی‌آدم اعضای یکدیگرند\nکه در آفرینش ز یک گوهرند",  # noqa: RUF001
    "author": "سعدی",
    "source": "گلستان",
}
PROGRESS: Value = {
    "bytes": 5_000_000,
    "total": 20_000_000,
    "rate": 2_500_000,
    "rtt": 12.4,
    "loss": 0.004,
    "path": "lan",
}


STANDINGS = [
    ("out", "waiting", "Waiting for Bob to answer"),
    ("in", "waiting", "Waiting for your answer"),
    ("out", "accepted", "Bob said yes: it is on its way"),
    ("out", "rejected", "Bob declined"),
    ("in", "rejected", "You declined"),
    ("out", "expired", "No answer in time"),
    ("in", "expired", "You did not answer in time"),
    ("out", "unreachable", "Bob could not be reached"),
    ("out", "cancelled", "Cancelled"),
    ("out", "failed", "It did not work"),
]


def test_each_phase_is_told_in_plain_words_with_its_reason(browser: Browser, agent: FakeAgent) -> None:
    requests = [
        agent.put("quote", "ask", direction, "Bob", phase, reason=f"Reason of {phase}.")
        for direction, phase, _ in STANDINGS
    ]
    with open_page(browser, agent.url + "#with/Bob") as page:
        for request, (direction, phase, sentence) in zip(requests, STANDINGS, strict=True):
            entry = page.locator(f'.entry[data-request="{request}"]')
            expect(entry).to_contain_text(sentence)
            expect(entry).to_contain_text(f"Reason of {phase}.")
            may_cancel = phase == "accepted" or (phase == "waiting" and direction == "out")
            expect(entry.get_by_role("button", name="Cancel")).to_have_count(int(may_cancel))


def test_what_is_on_its_way_can_be_cancelled(browser: Browser, agent: FakeAgent) -> None:
    request = agent.put("quote", "ask", "out", "Bob")
    with open_page(browser, agent.url + "#with/Bob") as page:
        page.locator(".entry").get_by_role("button", name="Cancel").click()
        assert agent.called("cancel") == {"request": request}
        expect(page.locator(".entry")).to_contain_text("Cancelled")


def test_a_quote_is_set_as_one_in_its_own_direction(browser: Browser, agent: FakeAgent) -> None:
    request = agent.put("quote", "ask", "out", "Bob", "accepted", wish="about people")
    with open_page(browser, agent.url + "#with/Bob") as page:
        expect(page.locator(".entry")).to_contain_text("“about people”")
        agent.say("quote", {"request": request, "peer": "Bob", **SAADI})
        agent.change(request, phase="done")
        quote = page.locator(".entry blockquote")
        expect(quote).to_have_text(SAADI["text"], use_inner_text=True)
        expect(quote).to_have_css("direction", "rtl")
        caption = page.locator(".entry figcaption")
        expect(caption).to_have_text("— سعدی, گلستان")
        expect(caption).to_have_css("direction", "rtl")
        expect(caption.locator("cite")).to_have_text("گلستان")


def test_a_long_quote_is_shown_whole_where_the_timeline_has_it(browser: Browser, agent: FakeAgent) -> None:
    words = "word " * 2000
    request = agent.put("quote", "ask", "out", "Bob", "done", quote={"text": words, "author": "A"})
    cut = {"text": words[:1000], "author": "A", "cut": True}
    with open_page(browser, agent.url + "#with/Bob") as page:
        expect(page.locator("blockquote")).to_have_text(words)
        # A later `state` brings only the beginning: the whole stays.
        agent.requests[request]["quote"] = cut
        agent.contacts[0]["online"] = False
        agent.say_state()
        agent.change_person("Bob", connected=False)
        expect(page.locator(".talk-head")).to_contain_text("not online")
        expect(page.locator("blockquote")).to_have_text(words)


def test_a_picture_arrives_without_moving_the_page_and_can_be_seen_large_and_saved(
    browser: Browser, agent: FakeAgent
) -> None:
    data = picture(800, 500)
    image = agent.image(data, 800, 500)
    awaited = {name: value for name, value in image.items() if name != "url"}
    request = agent.put("image", "ask", "out", "Bob", "transferring", image=awaited)
    with open_page(browser, agent.url + "#with/Bob") as page:
        entry = page.locator(".entry")
        expect(entry).to_contain_text("On its way")
        agent.say("image_progress", {"request": request, **PROGRESS})
        for fact in ("5.0 MB of 20.0 MB", "2.5 MB/s", "0:06 left", "12.4 ms round trip"):
            expect(entry).to_contain_text(fact)
        for fact in ("25%", "0.4% lost", "local network"):
            expect(entry).to_contain_text(fact)
        expect(entry.get_by_role("progressbar")).to_have_js_property("value", 5_000_000)
        before = entry.locator(".frame").bounding_box()

        agent.say("image_progress", {"request": request, **PROGRESS, "bytes": 19_000_000})
        expect(entry).to_contain_text("95%")
        assert entry.locator(".frame").bounding_box() == before

        agent.say("image", {"request": request, "peer": "Bob", **image})
        agent.change(request, phase="done", image=image)
        expect(entry.get_by_role("progressbar")).to_have_count(0)
        after = entry.locator(".frame").bounding_box()
        assert before is not None
        assert after is not None
        assert (after["width"], after["height"]) == (before["width"], before["height"])

        entry.get_by_role("button", name="Open large").click()
        large = page.get_by_role("dialog").locator("img")
        expect(large).to_have_js_property("naturalWidth", 800)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(entry.get_by_role("button", name="Open large")).to_be_focused()

        with page.expect_download() as download:
            entry.get_by_role("link", name="Save").click()
        assert download.value.suggested_filename == f"Bob-{image['sha256'][:8]}.png"
        saved = download.value.path().read_bytes()
        assert hashlib.sha256(saved).hexdigest() == image["sha256"]


def test_a_picture_that_never_came_leaves_no_empty_place(browser: Browser, agent: FakeAgent) -> None:
    image = agent.image(picture(80, 50), 80, 50)
    del image["url"]
    agent.put("image", "offer", "in", "Bob", "rejected", image=image)
    with open_page(browser, agent.url + "#with/Bob") as page:
        expect(page.locator(".entry")).to_contain_text("PNG, 80 × 50")
        expect(page.locator(".frame")).to_have_count(0)


def test_earlier_entries_are_fetched_on_demand(browser: Browser, agent: FakeAgent) -> None:
    for number in range(45):
        agent.put("quote", "ask", "out", "Bob", "expired", age=1000 - number)
    old, agent.requests = agent.requests, {}
    with open_page(browser, agent.url) as page:
        expect(page.locator(".person")).to_have_count(3)
        agent.requests = old
        page.locator('[data-person="Bob"]').click()
        expect(page.locator(".entry")).to_have_count(20)
        page.get_by_role("button", name="Show earlier ones").click()
        expect(page.locator(".entry")).to_have_count(40)
        page.get_by_role("button", name="Show earlier ones").click()
        expect(page.locator(".entry")).to_have_count(45)
        expect(page.get_by_role("button", name="Show earlier ones")).to_have_count(0)


def test_something_of_mine_is_offered(browser: Browser, agent: FakeAgent) -> None:
    quote = agent.offer_quote("Know thyself.", "Delphi")
    image = agent.offer_picture(1, "hills.png")
    with open_page(browser, agent.url + "#with/Bob") as page:
        page.get_by_role("button", name="Offer …").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Offer").click()
        expect(dialog.get_by_role("alert")).to_have_text("Choose what to offer first.")
        dialog.locator(f'[data-item="{quote}"]').click()
        dialog.get_by_role("button", name="Offer").click()
        assert agent.called("offer_quote") == {"peer": "Bob", "item": quote}
        expect(dialog).to_have_count(0)
        expect(page.locator(".entry")).to_contain_text("You offered a quote")

        page.get_by_role("button", name="Offer …").click()
        dialog.get_by_role("button", name="Pictures").click()
        dialog.locator(f'[data-item="{image}"]').click()
        dialog.get_by_role("button", name="Offer").click()
        assert agent.called("offer_image") == {"peer": "Bob", "item": image}


def test_a_name_for_which_nobody_vouches_is_called_that_on_both_sides(browser: Browser, agent: FakeAgent) -> None:
    agent.change_person("Carol", online=True, lan=True, unchecked=True)
    agent.put("connection", "ask", "in", "Carol", unchecked=True)
    agent.put("connection", "ask", "in", "Dora")
    with open_page(browser, agent.url + "#with/Carol") as page:
        cards = page.locator(".requests .card")
        expect(cards).to_have_count(2)
        expect(cards.filter(has_text="Carol")).to_contain_text("nobody vouches for this name")
        expect(cards.filter(has_text="Dora")).not_to_contain_text("vouches")
    agent.requests.clear()
    with open_page(browser, agent.url + "#with/Carol") as page:
        expect(page.locator(".composer")).to_contain_text("nobody vouches for this name")
