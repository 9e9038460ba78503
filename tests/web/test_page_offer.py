"""What I offer: quotes and pictures added, refused with a reason, and removed."""

import base64

from playwright.sync_api import Browser, FilePayload, expect

from tests.support.browser import open_page
from tests.support.fake_agent import FakeAgent, picture

DROP = """
([box, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
    const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
    document.querySelector(box).dispatchEvent(new DragEvent("dragover", options));
    document.querySelector(box).dispatchEvent(new DragEvent("drop", options));
}
"""


def test_a_quote_is_added_and_the_form_is_ready_for_the_next(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        expect(page.get_by_text("No quotes yet.")).to_be_visible()
        page.get_by_text("Add a quote", exact=True).click()
        page.get_by_label("Text").fill("  Two lines,\nof one poem ")
        page.get_by_label("Author").fill("A Poet")
        page.get_by_role("button", name="Add", exact=True).click()
        assert agent.called("add_quote") == {"text": "Two lines,\nof one poem", "author": "A Poet"}
        expect(page.locator(".offer blockquote")).to_have_text("Two lines,\nof one poem")
        expect(page.get_by_label("Text")).to_have_value("")


def test_a_refused_quote_is_explained_and_stays_in_the_form(browser: Browser, agent: FakeAgent) -> None:
    agent.refuse("add_quote", "too_large", "A quote can have at most 64 KiB.")
    with open_page(browser, agent.url) as page:
        page.get_by_text("Add a quote", exact=True).click()
        page.get_by_label("Text").fill("Long")
        page.get_by_label("Author").fill("A Poet")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator(".offer [role=alert]")).to_have_text("A quote can have at most 64 KiB.")
        expect(page.get_by_label("Text")).to_have_value("Long")


def test_each_uploaded_file_gets_its_own_word(browser: Browser, agent: FakeAgent) -> None:
    agent.settings["limits"]["image_bytes"] = 50_000
    files: list[FilePayload] = [
        {"name": "hills.png", "mimeType": "image/png", "buffer": picture(80, 50)},
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"},
        {"name": "huge.png", "mimeType": "image/png", "buffer": bytes(60_000)},
    ]
    with open_page(browser, agent.url) as page:
        page.get_by_role("button", name="Pictures").click()
        expect(page.get_by_text("No pictures yet.")).to_be_visible()
        page.get_by_label("Add pictures").set_input_files(files)
        expect(page.locator(".uploads li")).to_have_text(
            [
                "hills.pngadded",
                "notes.txtThis is not a JPEG, PNG, WebP or GIF picture.",
                "huge.pnglarger than 50 kB, the most a picture may have",
            ]
        )
        expect(page.get_by_alt_text("hills.png")).to_have_js_property("naturalWidth", 80)
        page.get_by_role("button", name="Clear this list").click()
        expect(page.locator(".uploads")).to_have_count(0)


def test_a_dropped_picture_is_added_and_the_page_stays(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        expect(page.locator(".offer")).to_be_visible()
        data = base64.b64encode(picture(80, 50)).decode()
        page.evaluate(DROP, [".offer", "dropped.png", data])
        expect(page.get_by_alt_text("dropped.png")).to_be_visible()
        assert page.url == agent.url


def test_removing_takes_a_second_word(browser: Browser, agent: FakeAgent) -> None:
    item = agent.offer_quote("Know thyself.", "Delphi")
    with open_page(browser, agent.url) as page:
        page.get_by_role("button", name="Remove: ").click()
        page.get_by_role("button", name="Keep it").click()
        expect(page.locator(".offer blockquote")).to_have_text("Know thyself.")
        page.get_by_role("button", name="Remove: ").click()
        page.get_by_role("button", name="Remove", exact=True).click()
        assert agent.called("remove_item") == {"item": item}
        expect(page.locator(".offer blockquote")).to_have_count(0)
