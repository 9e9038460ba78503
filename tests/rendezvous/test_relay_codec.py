"""The relay's datagrams: each is read back, and nothing else is read."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.contract import relay
from rendezvous.contract.ticket import Side, Ticket

TICKET = Ticket(bytes(16), Side.OTHER, b"a" * 32, b"o" * 32, "relay.example:3478", 2_000, 1 << 30, b"s" * 64)
EXAMPLES: list[relay.Datagram] = [
    relay.Bind(b"transact", TICKET),
    relay.Challenge(b"transact", bytes(range(24))),
    relay.Proof(b"transact", bytes(range(24)), bytes(range(32)), TICKET),
    relay.Bound(b"transact", b"binding!", 1 << 40, 60, True),
    relay.Refused(b"transact", relay.Refusal.FULL),
    relay.Keepalive(b"binding!", b"echoecho"),
    relay.Alive(b"binding!", b"echoecho", 1 << 40),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_what_is_written_is_read_back_and_no_part_of_it_and_nothing_behind_it(example: relay.Datagram) -> None:
    datagram = example.encode()
    assert relay.decode(datagram) == example
    for end in range(len(datagram)):
        assert relay.decode(datagram[:end]) is None
    for tail in (bytes(1), bytes(8), datagram):
        assert relay.decode(datagram + tail) is None


def test_data_is_anything_from_one_byte_to_the_largest_datagram_inside() -> None:
    for size in (1, 1200, relay.LARGEST_INNER):
        data = relay.Data(b"binding!", bytes(size))
        assert relay.decode(data.encode()) == data
        assert len(data.encode()) == size + relay.HEADER_SIZE
    for size in (0, relay.LARGEST_INNER + 1):
        assert relay.decode(relay.Data(b"binding!", bytes(size)).encode()) is None
    for end in range(relay.HEADER_SIZE + 1):
        assert relay.decode(relay.Data(b"binding!", b"inner").encode()[:end]) is None


def test_first_bytes_keep_clear_of_everything_else_on_the_port() -> None:
    taken = {*range(4), *range(16, 20), *range(20, 64), *range(64, 80), *range(128, 192), *range(0xE1, 0xE5)}
    assert not taken & set(relay.FIRST_BYTES)
    assert {datagram.encode()[0] for datagram in EXAMPLES} | {relay.Kind.DATA} == set(relay.FIRST_BYTES)


def test_the_header_of_data_leaves_room_for_1200_bytes_on_any_ipv6_path() -> None:
    assert relay.HEADER_SIZE <= 16
    assert 1200 + relay.HEADER_SIZE + 8 + 40 <= 1280


def test_no_answer_is_longer_than_what_it_answers() -> None:
    shortest = Ticket(bytes(16), Side.ASKER, bytes(32), bytes(32), "", 0, 0, bytes(64))
    challenge = relay.Challenge(bytes(8), bytes(24)).encode()
    assert len(challenge) < len(relay.Bind(bytes(8), shortest).encode())
    bound = relay.Bound(bytes(8), bytes(8), 0, 0, False).encode()
    assert len(bound) < len(relay.Proof(bytes(8), bytes(24), bytes(32), shortest).encode())
    assert len(relay.Alive(bytes(8), bytes(8), 0).encode()) == len(relay.Keepalive(bytes(8), bytes(8)).encode())


def test_the_proof_is_of_one_secret_one_challenge_and_one_side_of_one_ticket() -> None:
    other_side = Ticket(TICKET.id, Side.ASKER, TICKET.asker, TICKET.other, TICKET.relay, 2_000, 1 << 30)
    other = Ticket(b"i" * 16, Side.OTHER, TICKET.asker, TICKET.other, TICKET.relay, 2_000, 1 << 30)
    proofs = {
        relay.proof_of(secret, challenge, ticket)
        for secret in (b"1" * 32, b"2" * 32)
        for challenge in (b"1" * 24, b"2" * 24)
        for ticket in (TICKET, other_side, other)
    }
    assert len(proofs) == 12


@given(st.sampled_from(list(relay.FIRST_BYTES)), st.binary(max_size=300))
def test_no_bytes_upset_the_reader(first: int, noise: bytes) -> None:
    datagram = bytes([first]) + noise
    found = relay.decode(datagram)
    assert found is None or found.encode() == datagram


def test_a_datagram_with_wrong_bits_is_read_as_what_it_says_or_not_at_all() -> None:
    chance = random.Random(3478)
    for example in EXAMPLES:
        for _ in range(500):
            datagram = bytearray(example.encode())
            datagram[chance.randrange(len(datagram))] ^= 1 << chance.randrange(8)
            found = relay.decode(bytes(datagram))
            assert found is None or found.encode() == bytes(datagram)
