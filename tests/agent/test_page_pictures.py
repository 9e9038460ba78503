"""Pictures in and out over HTTP, to a real agent: uploads, finished pictures, growing ones."""

import contextlib
import hashlib
import http.client
import json
import secrets
import socket
import threading

import pytest

from agent.page.routes import IMAGE_BYTES
from tests.support.page_server import PNG, RunningAgent, ask, form, growing

SHA256 = hashlib.sha256(PNG).hexdigest()
PATIENCE = 15


@pytest.fixture(scope="module")
def stored(page: RunningAgent) -> RunningAgent:
    """An agent that has one finished picture."""
    folder = page.data / "pictures"
    folder.mkdir()
    (folder / SHA256).write_bytes(PNG)
    return page


def upload(agent: RunningAgent, data: bytes, filename: str | None = "a.png") -> tuple[int, bytes]:
    """Upload one picture; the status and body of the answer."""
    body, kind = form(data, filename)
    answer = ask(agent, "/library/images", "POST", body, Authorization=agent.bearer, Content_Type=kind)
    return answer.status, answer.body


@pytest.mark.parametrize("size", [0, 1, 600_000, 5_000_000])
def test_an_upload_reaches_the_library_whole(page: RunningAgent, size: int) -> None:
    data = hashlib.shake_256(b"picture").digest(size)
    status, body = upload(page, data)
    assert status == 201
    assert json.loads(body)["sha256"] == hashlib.sha256(data).hexdigest()
    assert json.loads(body)["bytes"] == size


def test_what_the_library_refuses_is_a_sentence(page: RunningAgent) -> None:
    body, kind = form(b"<svg/>", "picture.svg")
    answer = ask(page, "/library/images", "POST", body, Authorization=page.bearer, Content_Type=kind)
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_image"


def test_several_pictures_are_taken_or_refused_each_by_its_name(page: RunningAgent) -> None:
    parts = (("a.png", b"one"), ("holiday/picture.svg", b"<svg/>"), ("picture.svg", b"<svg/>"), ("b.png", b"two"))
    body = b"".join(form(data, name)[0].removesuffix(b"--sea--\r\n") for name, data in parts) + b"--sea--\r\n"
    kind = "multipart/form-data; boundary=sea"
    answer = ask(page, "/library/images", "POST", body, Authorization=page.bearer, Content_Type=kind)
    assert answer.status == 200
    said = json.loads(answer.body)
    assert [item["name"] for item in said["items"]] == ["a.png", "holiday/picture.svg", "b.png"]
    assert said["refused"] == [
        {"name": "picture.svg", "code": "unsupported_image", "message": "This is not a picture."}
    ]


@pytest.mark.parametrize(
    ("text", "status", "added", "lines"), [("Yes. — A\n\nNobody.\n\nNo. — B", 201, 2, [3]), ("Nobody.", 200, 0, [1])]
)
def test_a_file_of_quotes_is_answered_line_by_line(
    page: RunningAgent, text: str, status: int, added: int, lines: list[int]
) -> None:
    body, kind = form(text.encode(), "quotes.txt", "quotes")
    answer = ask(page, "/library/quotes", "POST", body, Authorization=page.bearer, Content_Type=kind)
    said = json.loads(answer.body)
    assert (answer.status, said["added"]) == (status, added)
    assert [one["line"] for one in said["refused"]] == lines


def test_what_is_no_file_of_quotes_is_refused_with_a_sentence(page: RunningAgent) -> None:
    for body, kind in (form(b"\0", "x.bin", "quotes"), form(b"Yes. -- A"), (b"Yes. -- A", "text/plain")):
        answer = ask(page, "/library/quotes", "POST", body, Authorization=page.bearer, Content_Type=kind)
        assert answer.status == 400
        assert answer.error["code"] == "bad_request"


def test_a_preview_is_a_webp_or_nothing(page: RunningAgent) -> None:
    found = ask(page, "/media/preview/" + "e" * 32, Authorization=page.bearer)
    assert (found.status, found.headers["content-type"], found.body) == (200, "image/webp", b"RIFF")
    assert found.headers["x-content-type-options"] == "nosniff"
    for name in ("0" * 32, "x", "..%2ftoken"):
        assert ask(page, f"/media/preview/{name}", Authorization=page.bearer).status == 404


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ""),
        (b"{}", "application/json"),
        (PNG, "image/png"),
        form(b"x", field="other"),
        form(b"x", filename=None),
        (form(b"x")[0], "multipart/form-data"),
        (form(b"x")[0][:-12], "multipart/form-data; boundary=sea"),
        (b"--sea\r\n" * 2000 + b"--sea--", "multipart/form-data; boundary=sea"),
        (b"\r\n" * 5000, "multipart/form-data; boundary=" + "s" * 300),
    ],
)
def test_a_form_without_a_picture_is_refused(page: RunningAgent, body: bytes, kind: str) -> None:
    answer = ask(page, "/library/images", "POST", body, Authorization=page.bearer, Content_Type=kind)
    assert answer.status in (400, 413)
    assert answer.error["code"] in ("bad_request", "too_large")


def test_a_file_that_is_too_large_is_answered_and_the_connection_goes_on(
    page: RunningAgent,
) -> None:
    body, kind = form(bytes(IMAGE_BYTES + 200_000))
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE)
    headers = {"Host": f"localhost:{page.port}", "Authorization": page.bearer}
    with contextlib.closing(connection):
        for path, more, status in (
            ("/library/images", {"Content-Type": kind}, 413),
            ("/", {}, 200),
        ):
            method, sent = ("POST", body) if more else ("GET", None)
            connection.request(method, path, sent, headers | more)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == status
            if status == 413:
                assert json.loads(said)["error"]["code"] == "too_large"


def test_others_have_their_turn_while_a_large_file_comes_in(page: RunningAgent) -> None:
    body, kind = form(bytes(IMAGE_BYTES))
    done = threading.Event()

    def send() -> None:
        ask(page, "/library/images", "POST", body, Authorization=page.bearer, Content_Type=kind)
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    meanwhile = 0
    while not done.is_set():
        assert ask(page, "/", Authorization=page.bearer).status == 200
        meanwhile += not done.is_set()
    sender.join(PATIENCE)
    assert meanwhile > 0


def test_an_upload_of_unknown_length_is_refused(page: RunningAgent) -> None:
    answer = ask(
        page,
        "/library/images",
        "POST",
        b"3\r\nabc\r\n0\r\n\r\n",
        Authorization=page.bearer,
        Transfer_Encoding="chunked",
        Content_Type="multipart/form-data; boundary=sea",
    )
    assert answer.status in (400, 411)
    assert ask(page, "/", Authorization=page.bearer).status == 200


def test_an_upload_that_breaks_off_hurts_nobody(page: RunningAgent) -> None:
    with socket.create_connection(("127.0.0.1", page.port), PATIENCE) as broken:
        broken.sendall(
            f"POST /library/images HTTP/1.1\r\nHost: localhost:{page.port}\r\n"
            f"Authorization: {page.bearer}\r\nContent-Length: 1000\r\n"
            "Content-Type: multipart/form-data; boundary=sea\r\n\r\n--sea\r\n".encode()
        )
    assert ask(page, "/", Authorization=page.bearer).status == 200


def test_a_finished_picture_is_served_as_what_it_is(stored: RunningAgent) -> None:
    answer = ask(stored, f"/media/{SHA256}", Authorization=stored.bearer)
    assert answer.status == 200
    assert answer.body == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(PNG))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == f'inline; filename="{SHA256[:16]}.png"'
    again = {"If_None_Match": answer.headers["etag"], "Authorization": stored.bearer}
    assert ask(stored, f"/media/{SHA256}", **again).status == 304


def test_a_picture_can_be_saved_under_a_safe_name(stored: RunningAgent) -> None:
    answer = ask(stored, f"/media/{SHA256}?download=../../x", Authorization=stored.bearer)
    assert answer.headers["content-disposition"] == f'attachment; filename="{SHA256[:16]}.png"'
    assert answer.body == PNG


@pytest.mark.parametrize(
    "path",
    [
        "/media/" + "0" * 64,
        "/media/" + SHA256.upper(),
        "/media/" + SHA256[:-1],
        "/media/",
        "/media/..%2ftoken",
        "/media/%2e%2e/token",
        "/media/../token",
        "/media/..\\token",
        "/media/%00",
        "/media/partial/" + "0" * 32,
        "/media/partial/x",
        "/static/../templates/index.html",
        "/static/..%2ftemplates%2findex.html",
        "/static/%2fetc%2fpasswd",
        "/static/",
        "/templates/index.html",
    ],
)
def test_there_is_nothing_beside_pictures_and_files_of_the_page(stored: RunningAgent, path: str) -> None:
    answer = ask(stored, path, Authorization=stored.bearer)
    assert answer.status == 404
    assert answer.error["message"] == "There is nothing at this address."


def test_a_wrong_method_is_answered_with_json(page: RunningAgent) -> None:
    for method, path in (("DELETE", "/"), ("GET", "/library/images"), ("TRACE", "/")):
        answer = ask(page, path, method, Authorization=page.bearer)
        assert answer.status == 405
        assert answer.error["code"] == "bad_request"


def test_a_picture_that_arrives_is_shown_as_it_grows(stored: RunningAgent) -> None:
    request = "c" * 32
    with growing(stored, request) as answer:
        assert answer.status == 200
        assert answer.getheader("Content-Type") == "image/png"
        assert answer.getheader("Cache-Control") == "no-store"
        assert answer.read(4096) == PNG[:4096]  # while the rest is still to come
        (stored.data / f"go-{request}").touch()
        assert answer.read() == PNG[4096:]


def test_a_picture_that_will_never_be_whole_breaks_the_connection(stored: RunningAgent) -> None:
    with growing(stored, "b" * 32) as answer, pytest.raises(http.client.HTTPException):
        answer.read()


def test_two_pictures_at_once_grow_and_a_third_is_refused(stored: RunningAgent) -> None:
    names = ["c1" * 16, "c2" * 16]
    with growing(stored, names[0]) as one, growing(stored, names[1]) as two:
        with growing(stored, "c3" * 16) as three:
            assert three.status == 429
            assert json.loads(three.read())["error"]["code"] == "limit"
        for name, answer in zip(names, (one, two), strict=True):
            (stored.data / f"go-{name}").touch()
            assert answer.read() == PNG
    with growing(stored, "a" * 32) as again:
        assert again.read() == PNG


def test_a_token_is_in_no_answer(page: RunningAgent) -> None:
    for path in ("/", f"/{secrets.token_hex(4)}", "/static/main.js"):
        assert page.token.encode() not in ask(page, path, Authorization=page.bearer).body
