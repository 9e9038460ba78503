"""Who may speak to the page: Host, Origin, Sec-Fetch-Site, cookie and token, over real sockets."""

import re
from typing import Any

import pytest
import websocket
from werkzeug.test import EnvironBuilder

from agent.page.guard import Guard
from agent.page.token import Access
from tests.support.page_server import RunningAgent, ask, form

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"


def dial(agent: RunningAgent, path: str = WEBSOCKET, **more: Any) -> int:
    """Open a WebSocket; the status of the answer (101 if it opened)."""
    try:
        socket = websocket.create_connection(f"ws://127.0.0.1:{agent.port}{path}", **more)
    except websocket.WebSocketBadStatusException as refused:
        return int(refused.status_code)
    socket.close()
    return 101


def test_the_printed_link_is_swapped_for_a_cookie_that_is_not_the_token(page: RunningAgent) -> None:
    answer = ask(page, f"/?token={page.token}")
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"tmge_{page.port}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert page.token not in cookie
    shown = ask(page, "/", Cookie=cookie.partition(";")[0])
    assert shown.status == 200
    assert shown.headers["content-type"].startswith("text/html")
    assert shown.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=wrong", "/?code=wrong", "/?token=%00%E9"])
def test_without_a_good_credential_the_page_says_how_to_get_in(page: RunningAgent, path: str) -> None:
    answer = ask(page, path, Accept="text/html")
    assert answer.status == 401
    assert b"open the address that the agent printed" in answer.body
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/static/main.js", "/media/" + "0" * 64, "/library/images", "/nothing"])
def test_every_other_route_wants_a_credential(page: RunningAgent, path: str) -> None:
    answer = ask(page, path)
    assert answer.status == 401
    assert answer.error["code"] == "unauthorized"


def test_a_wrong_cookie_and_a_wrong_bearer_are_no_credentials(page: RunningAgent) -> None:
    name = f"tmge_{page.port}"
    assert ask(page, "/static/main.js", Cookie=f"{name}={page.token}").status == 401
    assert ask(page, "/static/main.js", Cookie="tmge_1=x").status == 401
    assert ask(page, "/static/main.js", Authorization="Bearer x").status == 401
    assert ask(page, "/static/main.js", Authorization=f"Basic {page.token}").status == 401
    assert ask(page, "/static/main.js", Authorization=page.bearer).status == 200
    assert ask(page, "/static/main.js", Cookie=f"{name}=other; {page.cookie}").status == 200
    assert ask(page, "/static/main.js", Cookie=f'a="{{"; {page.cookie}').status == 200


@pytest.mark.parametrize("path", ["/", "/static/main.js", POLLING])
@pytest.mark.parametrize("host", ["evil.test", "localhost", "localhost:1", "", "localhost:5050.evil.test"])
def test_another_host_is_refused_whoever_asks(page: RunningAgent, path: str, host: str) -> None:
    answer = ask(page, path, Host=host, Authorization=page.bearer)
    assert answer.status in (400, 403)
    assert b"root" not in answer.body


def test_another_host_is_refused_at_the_websocket(page: RunningAgent) -> None:
    assert dial(page, host="evil.test", suppress_origin=True, cookie=page.cookie) == 403
    assert dial(page, host="evil.test", origin="http://evil.test", cookie=page.cookie) == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_each_name_of_this_machine_is_accepted(page: RunningAgent, host: str) -> None:
    assert ask(page, "/", Host=f"{host}:{page.port}", Authorization=page.bearer).status == 200


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://localhost", "", "http://localhost:1"])
def test_another_origin_is_refused_everywhere(page: RunningAgent, origin: str) -> None:
    body, kind = form(b"x")
    upload = ask(page, "/library/images", "POST", body, Content_Type=kind, Cookie=page.cookie, Origin=origin)
    assert upload.status == 403
    assert upload.error["code"] == "unauthorized"
    assert ask(page, POLLING, Cookie=page.cookie, Origin=origin).status == 403
    if origin:  # the client sends its own instead of an empty one
        own = f"localhost:{page.port}"
        assert dial(page, host=own, origin=origin, cookie=page.cookie) == 403
        assert dial(page, host=own, origin=origin, header=[f"Authorization: {page.bearer}"]) == 403


def test_the_own_origin_is_accepted(page: RunningAgent) -> None:
    own = f"localhost:{page.port}"
    body, kind = form(b"x")
    upload = ask(
        page,
        "/library/images",
        "POST",
        body,
        Content_Type=kind,
        Cookie=page.cookie,
        Origin=page.url,
        Sec_Fetch_Site="same-origin",
    )
    assert upload.status == 201
    assert dial(page, host=own, origin=page.url, cookie=page.cookie) == 101


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_another_page_may_do_no_more_than_link_here(page: RunningAgent, site: str) -> None:
    body, kind = form(b"x")
    sent = {"Cookie": page.cookie, "Sec_Fetch_Site": site}
    assert ask(page, "/library/images", "POST", body, Content_Type=kind, **sent).status == 403
    assert ask(page, "/static/main.js", **sent).status == 403
    assert ask(page, POLLING, **sent).status == 403
    visit = {**sent, "Sec_Fetch_Mode": "navigate"}
    assert ask(page, "/", **visit, Sec_Fetch_Dest="document").status == 200
    assert ask(page, "/", **visit, Sec_Fetch_Dest="iframe").status == 403
    assert ask(page, "/", "POST", b"", **visit, Sec_Fetch_Dest="document").status == 403


def test_a_websocket_without_origin_needs_the_token(page: RunningAgent) -> None:
    own = f"localhost:{page.port}"
    assert dial(page, host=own, suppress_origin=True, cookie=page.cookie) == 403
    bearer = [f"Authorization: {page.bearer}"]
    assert dial(page, host=own, suppress_origin=True, header=bearer) == 101


def test_every_answer_says_how_little_the_page_needs(page: RunningAgent) -> None:
    for path in ("/", "/static/main.js", "/nothing", POLLING):
        headers = ask(page, path, Authorization=page.bearer).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert f"ws://localhost:{page.port}" in policy
        assert not re.search(r"unsafe|\*", policy)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_an_allowed_host_and_its_origin_are_accepted() -> None:
    allowed = ("example.org:8080", "pages.test:443")

    def inner(_environ: object, start: Any) -> list[bytes]:
        start("204 Empty", [])
        return []

    guard = Guard(inner, 5050, allowed, Access("t"))

    def status(host: str, origin: str) -> str:
        heard: list[str] = []
        sent = {"Host": host, "Origin": origin, "Authorization": "Bearer t"}
        environ = EnvironBuilder("/x", headers=list(sent.items())).get_environ()

        def start(status: str, _headers: object, *_: object) -> Any:
            heard.append(status)

        guard(environ, start)
        return heard[0][:3]

    assert status("example.org:8080", "http://example.org:8080") == "204"
    assert status("pages.test", "https://pages.test") == "204"
    assert status("example.org", "http://example.org") == "403"
    assert status("pages.test", "http://pages.test") == "403"
    assert status("localhost:5050", "https://pages.test:443") == "204"


def test_a_code_is_good_once_and_for_half_a_minute() -> None:
    now = 100.0
    access = Access("t", clock=lambda: now)
    code = access.new_code()
    assert not access.use_code("other")
    assert access.use_code(code)
    assert not access.use_code(code)
    late = access.new_code()
    now = 131.0
    assert not access.use_code(late)


def test_the_session_value_outlives_a_restart_and_is_bound_to_the_token() -> None:
    assert Access("t").session == Access("t").session
    assert Access("t").session != Access("u").session
    assert not Access("t").is_session("t")
    assert not Access("t").is_token("\ud800")
