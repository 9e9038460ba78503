"""The QR code of this person's key, served by a real agent's page."""

from xml.etree import ElementTree

from tests.support.page_server import RunningAgent, ask


def test_the_code_is_a_drawing_that_scales_and_that_no_cache_keeps(page: RunningAgent) -> None:
    answer = ask(page, "/qr.svg", Cookie=page.cookie)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    drawn = ElementTree.fromstring(answer.body)
    assert "viewBox" in drawn.attrib
    assert "width" not in drawn.attrib


def test_nobody_else_gets_the_code(page: RunningAgent) -> None:
    assert ask(page, "/qr.svg").status == 401
