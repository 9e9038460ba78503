"""The pump of the text link, over real sockets: what it delivers, what it refuses, and that it always ends."""

import logging
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest

from agent import tcp
from agent.protocol import messages as m
from agent.protocol.book import QuoteGift
from agent.sealed_stream import SALT_SIZE, Fetching, Giving
from agent.text_link import Limits, TextLink

REQUEST, TOKEN, KEY = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 64))
QUOTE = QuoteGift("بنی آدم اعضای یک پیکرند", "سعدی", "گلستان")
WAIT: Final = 10.0  # seconds until a test gives up
CALM: Final = Limits(proof=WAIT, patience=0.05)  # a busy machine makes nothing late
HASTE: Final = Limits(proof=WAIT, opening=0.3, whole=0.6)


@dataclass
class Outcome:
    """What a fetch has led to, in order."""

    events: queue.Queue[tuple[str, ...]] = field(default_factory=queue.Queue)
    ways: queue.Queue[str] = field(default_factory=queue.Queue)

    def quote(self, request: bytes, text: str, author: str, source: str, way: str) -> None:
        self.events.put(("quote", text, author, source))
        self.ways.put(way)

    def failure(self, request: bytes, reason: str) -> None:
        self.events.put(("failure", reason))

    def next(self) -> tuple[str, ...]:
        return self.events.get(timeout=WAIT)


DELIVERED: Final = ("quote", QUOTE.text, QUOTE.author, QUOTE.source)


class Pair:
    """A giving and a fetching agent, and the socket that the first one listens on."""

    def __init__(self, limits: Limits) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.unused = socket.create_server(("127.0.0.1", 0))
        self.given: queue.Queue[tuple[bytes, str]] = queue.Queue()
        self.giver = TextLink(self.listener, on_given=lambda *told: self.given.put(told), limits=limits)
        self.fetcher = TextLink(self.unused, limits=limits)
        self.giver.start()
        self.fetcher.start()

    def give(self) -> None:
        self.giver.give(REQUEST, TOKEN, KEY, QUOTE)

    def fetch(self, key: bytes = KEY, address: tuple[str, int] | None = None) -> Outcome:
        outcome = Outcome()
        where = address or self.listener.getsockname()
        self.fetcher.fetch(REQUEST, TOKEN, key, where, outcome.quote, outcome.failure)
        return outcome

    def dial(self) -> socket.socket:
        connection = socket.create_connection(self.listener.getsockname(), WAIT)
        connection.settimeout(WAIT)
        return connection

    def stop(self) -> None:
        for link, listener in ((self.giver, self.listener), (self.fetcher, self.unused)):
            link.stop()
            listener.close()


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A pair that is CALM, or under the limits that the test is marked with; all its threads must end."""
    before = set(threading.enumerate())
    made = Pair(getattr(request, "param", CALM))
    yield made
    made.stop()
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in left)


def under(limits: Limits) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pair", [limits], indirect=True, ids=["limits"])


def rest_of(connection: socket.socket) -> bytes:
    """Return what still comes until the other side ends the connection, softly or not."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionError:
        return data
    return data


def opening(salt: bytes = b"s" * SALT_SIZE) -> Fetching:
    return Fetching(REQUEST, TOKEN, KEY, salt)


def test_a_quote_is_delivered_once_and_both_sides_are_told(pair: Pair) -> None:
    pair.give()
    assert pair.fetch().next() == DELIVERED
    assert pair.given.get(timeout=WAIT) == (REQUEST, "tcp")
    assert pair.fetch().next()[0] == "failure"
    assert pair.given.empty()


def test_the_largest_quote_is_delivered(pair: Pair) -> None:
    largest = QuoteGift("🙂" * (m.MAX_QUOTE // 4), "a" * m.MAX_AUTHOR, "")
    pair.giver.give(REQUEST, TOKEN, KEY, largest)
    assert pair.fetch().next() == ("quote", largest.text, largest.author, "")


def test_many_quotes_cross_at_once(pair: Pair) -> None:
    outcome = Outcome()
    for number in range(8):
        name = bytes([number]) * 16
        pair.giver.give(name, name, KEY, QuoteGift(str(number), "", ""))
        pair.fetcher.fetch(name, name, KEY, pair.listener.getsockname(), outcome.quote, outcome.failure)
    assert {outcome.next() for _ in range(8)} == {("quote", str(number), "", "") for number in range(8)}


@under(Limits(patience=WAIT))
def test_an_opening_that_overtakes_the_yes_waits_for_it(pair: Pair) -> None:
    outcome = pair.fetch()
    assert outcome.next()[0] == "failure"  # 250 ms have passed without a proof
    pair.give()
    assert outcome.next() == DELIVERED


def test_without_the_key_nothing_comes_and_the_quote_stays(pair: Pair) -> None:
    pair.give()
    assert pair.fetch(key=bytes(32)).next()[0] == "failure"
    with pair.dial() as connection:
        forged = bytearray(opening().opening)
        forged[-1] ^= 1
        connection.sendall(forged)
        assert rest_of(connection) == b""
    assert pair.fetch().next() == DELIVERED


def test_a_quote_that_was_taken_back_is_not_given(pair: Pair) -> None:
    pair.give()
    pair.giver.forget(REQUEST)
    assert pair.fetch().next()[0] == "failure"


@under(Limits(proof=WAIT, keep=0.0, patience=0.0))
def test_a_quote_that_waited_too_long_is_not_given(pair: Pair) -> None:
    pair.give()
    assert pair.fetch().next()[0] == "failure"


def test_a_recorded_opening_gets_nothing_and_the_quote_stays(pair: Pair) -> None:
    pair.give()
    recorded = opening().opening
    with pair.dial() as connection:
        connection.sendall(recorded)
        assert connection.recv(1)
    with pair.dial() as connection:
        connection.sendall(recorded)
        assert rest_of(connection) == b""
    assert pair.fetch().next() == DELIVERED


def test_a_reset_in_the_middle_leaves_the_quote_to_be_fetched_again(pair: Pair) -> None:
    pair.give()
    with pair.dial() as connection:
        connection.sendall(opening().opening)
        assert connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close resets
    assert pair.fetch().next() == DELIVERED


def test_half_a_connection_is_enough_for_nothing(pair: Pair) -> None:
    with pair.dial() as connection:
        connection.sendall(opening().opening[:30])
        connection.shutdown(socket.SHUT_WR)
        assert rest_of(connection) == b""


@pytest.mark.parametrize("after", [b"\xff\xff\xff\xff", b"\0\0\0\x10" + bytes(16)], ids=["4 GB", "forged"])
def test_a_bad_record_ends_the_connection_and_the_quote_stays(pair: Pair, after: bytes) -> None:
    pair.give()
    with pair.dial() as connection:
        connection.sendall(opening().opening)
        assert connection.recv(1)
        connection.sendall(after)
        rest_of(connection)
    assert pair.fetch().next() == DELIVERED


@under(HASTE)
def test_who_speaks_slowly_is_cut_off_by_the_deadline(pair: Pair) -> None:
    with pair.dial() as silent, pair.dial() as slow:
        connection_ended = threading.Event()

        def drip() -> None:
            data = iter(opening().opening)
            while not connection_ended.wait(0.04):  # ten bytes or so before the deadline; each one in time by itself
                try:
                    slow.send(bytes([next(data)]))
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert rest_of(slow) == rest_of(silent) == b""
        connection_ended.set()
        dripping.join(WAIT)


@under(HASTE)
def test_who_never_acknowledges_is_cut_off_by_the_deadline(pair: Pair) -> None:
    pair.give()
    with pair.dial() as connection:
        connection.sendall(opening().opening)
        assert len(rest_of(connection)) > SALT_SIZE


@under(Limits(proof=WAIT, opening=6 * WAIT, per_address=4))
def test_two_hundred_slow_connections_hold_four_places_and_give_them_back(pair: Pair) -> None:
    pair.give()
    before = threading.active_count()
    slow = [pair.dial() for _ in range(200)]
    for connection in slow[4:]:
        assert rest_of(connection) == b""
    assert threading.active_count() <= before + 4
    assert pair.fetch().next()[0] == "failure"  # at once: the quote goes inside the session
    for connection in slow:
        connection.close()
    outcome = pair.fetch()
    while outcome.next() != DELIVERED:
        outcome = pair.fetch()


@under(Limits(opening=6 * WAIT, connections=3))
def test_no_more_connections_are_open_than_may_be(pair: Pair) -> None:
    held = [pair.dial() for _ in range(3)]
    with pair.dial() as one_more:
        assert rest_of(one_more) == b""
    for connection in held:
        connection.close()


def test_a_port_where_nobody_listens_fails_at_once(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    kind, reason = pair.fetch(address=address).next()
    assert kind == "failure"
    assert reason.endswith("connection refused.")


def accepted(listener: socket.socket) -> tuple[socket.socket, Giving]:
    """Accept a link by hand, up to its opening."""
    listener.settimeout(WAIT)
    connection, _ = listener.accept()
    connection.settimeout(WAIT)
    link = Giving(b"g" * SALT_SIZE)
    while link.opening is None:
        link.receive(connection.recv(4096))
    return connection, link


MESSAGE: Final = m.encode(m.Quote(REQUEST, QUOTE.text, QUOTE.author, QUOTE.source))[4:]


@under(Limits())
def test_a_link_not_proven_in_250_ms_fails_once_and_its_quote_is_still_taken(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = pair.fetch(address=listener.getsockname())
        assert outcome.next() == ("failure", "The other agent was not reached over TCP in time.")
        connection, link = accepted(listener)
        with connection:
            connection.sendall(link.answer(KEY, MESSAGE))
            assert outcome.next() == DELIVERED
            while not link.acknowledged:
                link.receive(connection.recv(4096))


@pytest.mark.parametrize("sent", [b"", bytes(16), bytes(16) + b"\xff\xff\xff\xff", bytes(100)])
def test_a_giver_that_does_not_prove_its_key_fails_once(pair: Pair, sent: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = pair.fetch(address=listener.getsockname())
        connection, _ = accepted(listener)
        with connection:
            connection.sendall(sent)
        assert outcome.next()[0] == "failure"
    pair.stop()
    assert outcome.events.empty()


@under(Limits())
def test_a_link_that_is_late_and_then_breaks_fails_once(pair: Pair) -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = pair.fetch(address=listener.getsockname())
        assert outcome.next()[0] == "failure"
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)
    assert outcome.events.empty()


@under(Limits(proof=WAIT, whole=0.5))
def test_a_link_that_is_proven_and_then_falls_silent_fails_at_its_deadline(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = pair.fetch(address=listener.getsockname())
        connection, link = accepted(listener)
        with connection:
            connection.sendall(link.answer(KEY, MESSAGE)[: SALT_SIZE + 20])
            assert outcome.next() == ("failure", "The quote did not come over TCP: it took too long.")
    assert outcome.events.empty()


def test_a_quote_that_is_not_utf8_is_a_failure(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = pair.fetch(address=listener.getsockname())
        connection, link = accepted(listener)
        with connection:
            connection.sendall(link.answer(KEY, MESSAGE.replace("سعدی".encode(), b"\xff" * 8)))
            assert outcome.next() == ("failure", "The quote did not come over TCP: a text is not UTF-8.")


def test_stopping_ends_every_link_and_says_nothing_more(pair: Pair) -> None:
    with pair.dial() as waiting, socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = pair.fetch(address=listener.getsockname())
        connection, _ = accepted(listener)
        pair.stop()
        with connection:
            assert rest_of(connection) == b""
        assert rest_of(waiting) == b""
    assert outcome.events.empty()


def test_connections_that_lead_nowhere_are_one_line(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "agent.text_link"):
        for _ in range(20):
            with pair.dial() as connection:
                connection.sendall(b"GET /\x1b[31m HTTP/1.1\r\n\r\n")
                rest_of(connection)
    assert [record.getMessage() for record in caplog.records] == [
        "Connections to the peer port that led nowhere: 1. The last, from 127.0.0.1: it does not open a text link."
    ]


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_one_place_is_an_ipv4_address_or_an_ipv6_network(host: str, place: str) -> None:
    assert tcp.origin(host) == place
