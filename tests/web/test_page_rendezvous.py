"""The rendezvous on the page: who may find me, invitations, being forgotten, and one that is not what it was."""

from playwright.sync_api import Browser, Page, expect

from tests.support.browser import complaints, open_page
from tests.support.fake_agent import INVITE, FakeAgent, fingerprint

PHONE = {"width": 360, "height": 700}


def who_am_i(page: Page) -> None:
    page.locator(".me summary").click()


def test_i_choose_who_may_find_me(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        who_am_i(page)
        choice = page.get_by_label("Who may find me")
        expect(choice).to_have_value("listed")
        choice.select_option("hidden")
        assert agent.called("set_visibility") == {"visibility": "hidden"}
        page.reload()
        who_am_i(page)
        expect(page.get_by_label("Who may find me")).to_have_value("hidden")
        agent.refuse("set_visibility", "rendezvous_down", "The rendezvous does not answer.")
        page.get_by_label("Who may find me").select_option("listed")
        expect(page.locator(".membership")).to_contain_text("does not answer")


def test_i_invite_somebody_with_a_link_and_a_code(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("button", name="Invite somebody").first.click()
        dialog = page.get_by_role("dialog", name="Invite somebody")
        expect(dialog.get_by_label("Invite link")).to_have_value(INVITE)
        code = dialog.get_by_alt_text("QR code of the invite link")
        assert code.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        dialog.get_by_role("button", name="Copy").click()
        expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("() => navigator.clipboard.readText()") == INVITE
        assert complaints(page) == []


def test_i_open_an_invitation_and_stand_before_whoever_sent_it(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url, viewport=PHONE) as page:
        page.get_by_role("button", name="Open an invitation").click()
        dialog = page.get_by_role("dialog", name="Open an invitation")
        dialog.get_by_label("Invite link").fill(INVITE)
        agent.refuse("open_invite", "key_changed", "This may be somebody else. Do not connect.")
        dialog.get_by_role("button", name="Open").click()
        expect(dialog).to_contain_text("Do not connect.")
        assert agent.called("open_invite") == {"link": INVITE}
        agent.accept("open_invite")
        dialog.get_by_role("button", name="Open").click()
        expect(page.get_by_role("heading", name="Dora")).to_be_visible()
        expect(page.get_by_role("button", name="Keys compared")).to_be_visible()
        expect(page.get_by_role("button", name="Ask to connect")).to_be_visible()


def test_an_invitation_to_another_rendezvous_asks_first(browser: Browser, agent: FakeAgent) -> None:
    link = INVITE.replace("127.0.0.1:8000", "elsewhere")
    with open_page(browser, agent.url) as page:
        page.get_by_role("button", name="Open an invitation").click()
        dialog = page.get_by_role("dialog", name="Open an invitation")
        dialog.get_by_label("Invite link").fill(link)
        dialog.get_by_role("button", name="Open").click()
        expect(dialog).to_contain_text("Dora is at another rendezvous, http://elsewhere.")
        assert agent.called("open_invite") == {"link": link}
        assert complaints(page) == []
        dialog.get_by_role("button", name="Move there").click()
        assert agent.called("open_invite") == {"link": link, "move": True}
        expect(page.get_by_role("heading", name="Dora")).to_be_visible()


def test_somebody_new_opens_an_invitation_before_choosing_a_name(browser: Browser) -> None:
    with FakeAgent(None) as new, open_page(browser, new.url, viewport=PHONE) as page:
        new.listed.append(dora())
        page.get_by_text("I have an invitation").click()
        page.get_by_label("Invite link").fill(INVITE)
        assert complaints(page) == []
        page.get_by_role("button", name="Open", exact=True).click()
        assert new.called("open_invite") == {"link": INVITE}
        page.get_by_label("Your name").fill("Alice")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("heading", name="Dora")).to_be_visible()


def dora() -> dict[str, object]:
    known = {"name": "Dora", "fingerprint": fingerprint("Dora"), "words": "acorn", "digits": "1"}
    return {**known, "online": True, "connected": False, "verified": False, "key_changed": False}


def test_being_forgotten_is_asked_twice(browser: Browser, agent: FakeAgent) -> None:
    with open_page(browser, agent.url) as page:
        who_am_i(page)
        page.get_by_role("button", name="Forget me").click()
        dialog = page.get_by_role("dialog", name="Forget me")
        expect(dialog).to_contain_text("the name is free for anybody")
        assert complaints(page) == []
        dialog.get_by_role("button", name="Yes, forget me").click()
        assert agent.called("forget_me") == {}
        expect(page.get_by_label("Your name")).to_be_visible()


def test_a_rendezvous_that_is_not_what_it_was_waits_for_a_decision(browser: Browser, agent: FakeAgent) -> None:
    two = {"fingerprint": fingerprint("before"), "new_fingerprint": fingerprint("now")}
    lie = {"name": "Bob", "source": "Carol", "fingerprints": [fingerprint("b"), fingerprint("c")], "times": [1, 2]}
    agent.reachability |= {"fingerprint": two["fingerprint"], "evidence": [lie]}
    with open_page(browser, agent.url, viewport=PHONE) as page:
        alert = page.locator(".distrust")
        expect(alert).to_contain_text("The rendezvous has contradicted itself")
        alert.locator("summary").click()
        expect(alert).to_contain_text(fingerprint("c"))
        agent.reachability |= {"changed": two}
        agent.say_state()
        expect(alert).to_contain_text("another key than before")
        expect(alert).to_contain_text(two["new_fingerprint"])
        assert complaints(page) == []
        alert.get_by_role("button", name="Go on with it").click()
        assert agent.called("trust_rendezvous") == {"fingerprint": two["new_fingerprint"]}
        expect(alert).to_have_count(0)


def test_a_rendezvous_that_wants_a_code_of_newcomers_is_given_one(browser: Browser) -> None:
    with FakeAgent(None) as new:
        new.reachability |= {"code_required": True}
        with open_page(browser, new.url) as page:
            page.get_by_label("Your name").fill("Alice")
            page.get_by_label("Code that this rendezvous wants").fill(" open sesame ")
            page.get_by_role("button", name="Start").click()
            assert new.called("sign_up") == {"name": "Alice", "code": "open sesame"}


def test_an_invitation_that_the_agent_was_started_with_is_there_when_the_page_opens(
    browser: Browser, agent: FakeAgent
) -> None:
    agent.more = {"invitation": {"name": "Dora"}}
    with open_page(browser, agent.url) as page:
        expect(page.get_by_role("heading", name="Dora")).to_be_visible()
    agent.more = {"invitation": {"message": "This may be somebody else."}}
    with open_page(browser, agent.url) as page:
        expect(page.locator(".notice")).to_contain_text("This may be somebody else.")
    agent.more = {"invitation": {"link": INVITE.replace("127.0.0.1:8000", "elsewhere")}}
    with open_page(browser, agent.url) as page:
        expect(page.get_by_role("dialog")).to_contain_text("Dora is at another rendezvous")
