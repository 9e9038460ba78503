"""What the program does to clients that are too many, too slow, too large, or say that they are somebody else; each on
real sockets.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from socketio.exceptions import SocketIOError

from tests.support.live_agent import Agent, sign_up
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, running

CAP = 64
BODY_SECONDS = 10.0
MAX_BODY = 64 * 1024


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    limits = ["--limit", "signup=9/minute", "--max-connections", str(CAP), "--trusted-proxy", "127.0.0.1"]
    with running(tmp_path_factory.mktemp("data"), *limits) as rendezvous:
        yield rendezvous


def connected(rendezvous: Rendezvous) -> socket.socket:
    return socket.create_connection(("127.0.0.1", rendezvous.port), timeout=PATIENCE)


def answer(sock: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Read an answer to its end, and that the connection ends with it."""
    data = bytearray()
    while piece := sock.recv(65536):
        data += piece
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)


def test_a_slow_body_is_cut_off_with_408_and_others_are_served_meanwhile(rendezvous: Rendezvous) -> None:
    with connected(rendezvous) as slow:
        slow.sendall(
            b"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{"
        )
        began, sent = time.monotonic(), 0
        slow.settimeout(0.5)
        data = b""
        while not data:
            assert time.monotonic() - began < BODY_SECONDS + PATIENCE
            with contextlib.suppress(TimeoutError):
                data = slow.recv(1, socket.MSG_PEEK)
                break
            slow.sendall(b" ")
            sent += 1
            assert requests.get(f"{rendezvous.url}/user?id=nobody", timeout=PATIENCE).status_code == 404
        slow.settimeout(PATIENCE)
        status, headers, value = answer(slow)
    assert (status, value["error"]["code"], headers["connection"]) == (408, "too_slow", "close")
    assert time.monotonic() - began >= BODY_SECONDS - 1
    assert sent >= 10


def test_a_connection_too_many_is_answered_503_and_one_that_leaves_makes_room(rendezvous: Rendezvous) -> None:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(connected(rendezvous)) for _ in range(CAP)]
        deadline = time.monotonic() + PATIENCE
        while True:  # until all are taken in
            with connected(rendezvous) as late:
                late.sendall(b"GET /identity HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                status, headers, value = answer(late)
            if status == 503:
                break
            assert time.monotonic() < deadline
        assert value["error"]["code"] == "busy"
        assert int(headers["retry-after"]) > 0
        taken[0].close()
        while requests.get(f"{rendezvous.url}/identity", timeout=PATIENCE).status_code != 200:
            assert time.monotonic() < deadline


def test_a_body_that_is_too_large_is_refused_before_it_is_read(rendezvous: Rendezvous) -> None:
    with connected(rendezvous) as sock:
        sock.sendall(b"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        status, headers, value = answer(sock)
    assert (status, value["error"]["code"], headers["connection"]) == (413, "too_large", "close")


def test_a_body_without_a_length_has_the_same_limits(rendezvous: Rendezvous) -> None:
    head = b"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunks, expected in (
        ((b"x" * 4096,) * (MAX_BODY // 4096 + 1), (413, "too_large")),
        ((b"{", b"}", b""), (400, "bad_request")),
    ):
        with connected(rendezvous) as sock:
            sock.sendall(head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks))
            sock.shutdown(socket.SHUT_WR)
            status, _, value = answer(sock)
        assert (status, value["error"]["code"]) == expected


def test_a_body_that_breaks_off_or_has_a_strange_coding_is_refused(rendezvous: Rendezvous) -> None:
    for head, expected in ((b"Content-Length: 9", 400), (b"Transfer-Encoding: gzip, chunked", 501)):
        with connected(rendezvous) as sock:
            sock.sendall(b"POST /signup HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n{}")
            sock.shutdown(socket.SHUT_WR)
            status, headers, value = answer(sock)
        assert (status, value["error"]["code"], headers["connection"]) == (expected, "bad_request", "close")


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/9.1\r\n\r\n", 505, "bad_request"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "too_large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431, "too_large"),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"\r\nX: ".join([b"y" * 4000] * 20) + b"\r\n\r\n", 431, "too_large"),
        (b"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", 400, "bad_request"),
        (b"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400, "bad_request"),
        (b"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "bad_request"),
        (
            b"POST /signup HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
    ],
    ids=range(9),
)
def test_what_is_no_request_is_answered_in_json_too(
    rendezvous: Rendezvous, request_bytes: bytes, status: int, code: str
) -> None:
    with connected(rendezvous) as sock:
        sock.sendall(request_bytes)
        answered, headers, value = answer(sock)
    assert (answered, value["error"]["code"], headers["connection"]) == (status, code, "close")
    assert value["error"]["message"].endswith(".")


def test_the_address_that_a_trusted_proxy_names_is_the_one_that_is_limited(rendezvous: Rendezvous) -> None:
    def post(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded}
        return requests.post(f"{rendezvous.url}/signup", headers=headers, timeout=PATIENCE).status_code

    statuses = [post("203.0.113.9, 192.0.2.1") for _ in range(10)]  # the first one may be invented
    assert statuses == [415] * 9 + [429]
    assert post("203.0.113.10, 192.0.2.1, 127.0.0.1") == 429
    assert post("192.0.2.2") == 415


def test_an_address_in_a_header_that_nobody_vouches_for_does_not_count(tmp_path: Path) -> None:
    with running(tmp_path, "--limit", "signup=2/minute") as rendezvous:
        statuses = [
            requests.post(
                f"{rendezvous.url}/signup", headers={"X-Forwarded-For": f"192.0.2.{number}"}, timeout=PATIENCE
            ).status_code
            for number in range(3)
        ]
        assert statuses == [415, 415, 429]


def test_a_flood_of_heartbeats_is_refused_and_in_the_end_closed(tmp_path: Path) -> None:
    with running(tmp_path) as rendezvous:
        agent = Agent(rendezvous, sign_up(rendezvous, Someone(1), "alice"))
        answers: list[Any] = [agent.call("heartbeat") for _ in range(200)]
        assert answers[0] == {"ok": True}
        refused = next(value for value in answers if not value["ok"])
        assert refused["error"]["code"] == "limit"
        assert refused["retry_after"] >= 1
        with contextlib.suppress(SocketIOError):
            while agent.client.connected:
                agent.client.call("heartbeat", timeout=2)
        agent.ended.until(lambda _: True)
