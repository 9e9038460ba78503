"""What a rendezvous signs: statements about names, tickets, and what agents send through it."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.contract.encoding import to_text
from rendezvous.contract.introduction import MAX_PAYLOAD, introduction_message, read_introduction
from rendezvous.contract.statement import MAX_STATEMENT, Statement, read_statement
from rendezvous.contract.ticket import Side, Ticket, decode_ticket
from tests.support.live_rendezvous import Someone

ALICE, MALLORY, SERVER, OTHER = Someone(1), Someone(2), Someone(7), Someone(8)
NOW = 1_800_000_000


def stated(name: str = "alice", who: Someone = ALICE, claimed: int = 100, time: int = 200, seq: int = 3) -> Statement:
    statement = Statement(name, who.key, who.box_key, seq, claimed, time, SERVER.key)
    return statement.signed(SERVER.sign(statement.message()))


def test_a_statement_comes_back_from_json_and_holds() -> None:
    for statement in (stated(), replace(stated("x" * 32), released=True)):
        again = read_statement(json.loads(json.dumps(statement.as_json())))
        assert again == statement
        assert len(json.dumps(statement.as_json())) <= MAX_STATEMENT
    assert stated().holds()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "bob"},
        {"key": MALLORY.key},
        {"box_key": MALLORY.box_key},
        {"seq": 4},
        {"claimed": 99},
        {"time": 201},
        {"server": OTHER.key},
        {"released": True},
    ],
)
def test_nothing_in_a_statement_can_be_changed(change: dict[str, object]) -> None:
    assert not replace(stated(), **change).holds()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "contradicts"),
    [
        (stated(who=MALLORY), True),  # one name, one seq, two keys
        (stated("ALICE", MALLORY), True),
        (stated(who=MALLORY, seq=9), True),
        (stated(who=MALLORY, claimed=150, time=150), True),
        (stated(who=MALLORY, claimed=200, time=900), True),
        (stated(who=MALLORY, claimed=201, time=900), False),  # released in between
        (stated(who=MALLORY, claimed=1, time=99), False),
        (stated("bob", MALLORY), False),
        (stated(seq=2, time=150), False),  # older
        (replace(stated(who=MALLORY), server=OTHER.key), False),
    ],
)
def test_two_statements_contradict_each_other_where_both_cannot_be_true(other: Statement, contradicts: bool) -> None:
    assert stated().contradicts(other) is contradicts
    assert other.contradicts(stated()) is contradicts


@pytest.mark.parametrize(
    "change",
    [
        {"name": "alice "},
        {"name": 5},
        {"key": None},
        {"key": "x"},
        {"signature": to_text(bytes(63))},
        {"seq": -1},
        {"time": True},
        {"claimed": 1.5},
        {"released": "yes"},
    ],
)
def test_what_is_no_statement_is_not_read(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_statement(stated().as_json() | change)
    with pytest.raises(ValueError, match="object"):
        read_statement([])


def ticket(side: Side = Side.ASKER) -> Ticket:
    made = Ticket(b"t" * 16, side, ALICE.key, MALLORY.key, "relay.example:3478", NOW + 60, 10**9)
    return made.signed(SERVER.sign(made.message()))


def test_a_ticket_comes_back_from_its_bytes_and_is_good_for_its_time_at_its_server() -> None:
    assert decode_ticket(ticket().encode()) == ticket()
    assert ticket().valid(SERVER.key, NOW)
    assert not ticket().valid(SERVER.key, NOW + 60)
    assert not ticket().valid(OTHER.key, NOW)
    assert (ticket().holder, ticket().peer) == (ALICE.key, MALLORY.key)
    assert (ticket(Side.OTHER).holder, ticket(Side.OTHER).peer) == (MALLORY.key, ALICE.key)


@given(at=st.integers(0, len(ticket().encode()) - 1), bit=st.integers(0, 7))
def test_a_ticket_with_a_flipped_bit_is_good_for_nothing(at: int, bit: int) -> None:
    data = bytearray(ticket().encode())
    data[at] ^= 1 << bit
    with contextlib.suppress(ValueError):
        assert not decode_ticket(bytes(data)).valid(SERVER.key, NOW)


@given(st.binary(max_size=300))
def test_no_bytes_upset_the_reader_of_tickets(noise: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_ticket(noise)


def test_a_ticket_that_is_cut_is_none() -> None:
    for cut in range(len(ticket().encode())):
        with pytest.raises(ValueError, match=r"."):
            decode_ticket(ticket().encode()[:cut])


def introduced(**changes: object) -> dict[str, object]:
    return ALICE.introduction("alice", "bob", b"hello", to_text(SERVER.key), **({"time": NOW} | changes))


def test_an_introduction_is_believed_with_its_signature_alone() -> None:
    value = introduced()
    said = read_introduction(value, SERVER.key, NOW)
    assert (said.sender, said.to, said.key, said.payload) == ("alice", "bob", ALICE.key, b"hello")
    value["signature"] = to_text(MALLORY.sign(introduction_message(value)))
    with pytest.raises(ValueError, match="signature"):
        read_introduction(value, SERVER.key, NOW)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"to": "bob "}, "space"),
        ({"from": 5}, "name"),
        ({"payload": to_text(bytes(MAX_PAYLOAD + 1))}, "at most"),
        ({"payload": None}, "payload"),
        ({"audience": to_text(OTHER.key)}, "another rendezvous"),
        ({"time": NOW - 601}, "now"),
        ({"time": True}, "now"),
        ({"key": to_text(MALLORY.key)}, "signature"),
    ],
)
def test_each_thing_that_is_wrong_with_an_introduction_is_said(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_introduction(introduced(**changes), SERVER.key, NOW)
