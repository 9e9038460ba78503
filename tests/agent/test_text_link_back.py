"""The text link where the giving side dials: over real sockets, as it is where only the asker can be reached."""

import logging
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Final

import pytest

from agent.sealed_stream import GIVES, SALT_SIZE, DialBack, DialledBack, Giving, LinkError, Opening
from agent.text_link import Limits, TextLink
from tests.agent.test_text_link import DELIVERED, KEY, MESSAGE, QUOTE, REQUEST, TOKEN, WAIT, Outcome, Pair, rest_of

CALM: Final = Limits(proof=WAIT, back=WAIT, patience=0.05)


@pytest.fixture
def nowhere() -> tuple[str, int]:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address: tuple[str, int] = gone.getsockname()
    return address


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A giver and a fetcher; all their threads must end."""
    before = set(threading.enumerate())
    made = Pair(getattr(request, "param", CALM))
    yield made
    made.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)
        assert not thread.is_alive()


def give_back(pair: Pair, key: bytes = KEY) -> None:
    """Let the giver dial the fetcher."""
    pair.giver.give(REQUEST, TOKEN, key, QUOTE, pair.unused.getsockname())


def test_whoever_cannot_be_dialled_dials_back(pair: Pair, nowhere: tuple[str, int]) -> None:
    outcome = pair.fetch(address=nowhere)
    give_back(pair)
    assert outcome.next() == DELIVERED
    assert outcome.ways.get(timeout=WAIT) == "tcp-back"
    assert pair.given.get(timeout=WAIT) == (REQUEST, "tcp-back")


def test_where_both_can_be_dialled_the_quote_comes_once(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "agent.text_link"):
        for number in range(20):
            outcome, name = Outcome(), bytes([number]) * 16
            pair.giver.give(name, name, KEY, QUOTE, pair.unused.getsockname())
            pair.fetcher.fetch(name, name, KEY, pair.listener.getsockname(), outcome.quote, outcome.failure)
            assert outcome.next() == DELIVERED
            assert pair.given.get(timeout=WAIT)[0] == name
            assert outcome.events.empty()
    assert not caplog.records


@pytest.mark.parametrize("pair", [Limits(proof=WAIT, back=WAIT, patience=WAIT)], indirect=True)
def test_who_dials_back_before_the_yes_is_known_is_waited_for(pair: Pair, nowhere: tuple[str, int]) -> None:
    give_back(pair)
    assert pair.fetch(address=nowhere).next() == DELIVERED


def test_who_dials_back_without_the_key_consumes_nothing(pair: Pair, nowhere: tuple[str, int]) -> None:
    outcome = pair.fetch(address=nowhere)
    forged = DialBack(TOKEN, bytes(32), bytes(SALT_SIZE), MESSAGE).opening
    with socket.create_connection(pair.unused.getsockname(), WAIT) as connection:
        connection.sendall(forged)
        assert rest_of(connection) == b""
    give_back(pair)
    assert outcome.next() == DELIVERED
    assert outcome.events.empty()


def test_a_recorded_opening_gets_nothing(pair: Pair, nowhere: tuple[str, int]) -> None:
    outcome = pair.fetch(address=nowhere)
    recorded = DialBack(TOKEN, KEY, bytes(SALT_SIZE), MESSAGE).opening
    with socket.create_connection(pair.unused.getsockname(), WAIT) as first:
        first.sendall(recorded)
        assert first.recv(1)
        with socket.create_connection(pair.unused.getsockname(), WAIT) as again:
            again.sendall(recorded)
            assert rest_of(again) == b""
    assert outcome.next()[0] == "failure"  # the first one proved the key, and broke


def test_nobody_who_dials_back_and_nobody_to_dial_is_a_failure(pair: Pair, nowhere: tuple[str, int]) -> None:
    limits = Limits(proof=WAIT, back=0.05)
    fetcher = TextLink(pair.unused, limits=limits)
    outcome = Outcome()
    fetcher.fetch(REQUEST, TOKEN, KEY, nowhere, outcome.quote, outcome.failure)
    kind, reason = outcome.next()
    assert kind == "failure"
    assert reason.endswith("connection refused.")


def test_what_was_forgotten_is_not_taken_any_more(pair: Pair, nowhere: tuple[str, int]) -> None:
    outcome = pair.fetch(address=nowhere)
    pair.fetcher.forget(REQUEST)
    link = DialBack(TOKEN, KEY, bytes(SALT_SIZE), MESSAGE)
    with socket.create_connection(pair.unused.getsockname(), WAIT) as connection:
        connection.sendall(link.opening)
        assert rest_of(connection) == b""
    assert outcome.events.empty()


def test_the_two_ends_understand_each_other_byte_by_byte() -> None:
    giving = DialBack(TOKEN, KEY, b"g" * SALT_SIZE, MESSAGE)
    listening = Giving(b"f" * SALT_SIZE)
    for byte in giving.opening:
        listening.receive(bytes([byte]))
    assert listening.opening is not None
    assert listening.opening.role == GIVES
    fetching = DialledBack(REQUEST, listening.opening, KEY, b"f" * SALT_SIZE)
    with pytest.raises(ValueError, match="nobody"):
        giving.gift()
    for byte in fetching.answer:
        assert not giving.proven
        giving.receive(bytes([byte]))
    for byte in giving.gift():
        assert fetching.quote is None
        fetching.receive(bytes([byte]))
    assert fetching.quote is not None
    assert fetching.quote.text == QUOTE.text
    giving.receive(fetching.acknowledgement())
    assert giving.acknowledged


def test_an_opening_to_fetch_cannot_be_turned_into_one_to_give() -> None:
    opening = bytearray(DialBack(TOKEN, KEY, bytes(SALT_SIZE), MESSAGE).opening)
    opening[5] = 1
    with pytest.raises(LinkError):
        Opening(bytes(opening)).check(KEY)


def test_another_quote_than_the_wished_one_is_not_taken() -> None:
    giving = DialBack(TOKEN, KEY, bytes(SALT_SIZE), MESSAGE)
    fetching = DialledBack(bytes(16), Opening(giving.opening), KEY, b"f" * SALT_SIZE)
    giving.receive(fetching.answer)
    with pytest.raises(LinkError):
        fetching.receive(giving.gift())


def test_a_link_that_proves_its_key_late_still_brings_the_quote(nowhere: tuple[str, int]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    fetcher = TextLink(listener, limits=Limits(proof=0.01, back=0.01))
    fetcher.start()
    told: queue.Queue[str] = queue.Queue()
    outcome = Outcome()
    fetcher.fetch(REQUEST, TOKEN, KEY, nowhere, outcome.quote, lambda request, reason: told.put(reason))
    assert told.get(timeout=WAIT)
    link = DialBack(TOKEN, KEY, bytes(SALT_SIZE), MESSAGE)
    with socket.create_connection(listener.getsockname(), WAIT) as connection:
        connection.sendall(link.opening)
        while not link.proven:
            link.receive(connection.recv(4096))
        connection.sendall(link.gift())
        assert outcome.next() == DELIVERED
    fetcher.stop()
    listener.close()
    assert told.empty()
