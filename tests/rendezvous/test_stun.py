"""STUN: the codec against RFC 5769's vectors, and what the server answers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.contract import stun
from rendezvous.stun import answer

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "80220010 5354554e207465737420636c69656e74"
    "002400046e0001ff 80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004e57a3bcf"
)
RESPONSE_V4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220 002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96"
)
RESPONSE_V6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220 002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41 80280004c8fb0b4c"
)
LONG_TERM_REQUEST = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382af e382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341"
    "0014000b6578616d706c652e6f7267 00"
    "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)
PLAIN = stun.HEADER.pack(stun.BINDING_REQUEST, 0, stun.MAGIC_COOKIE, TRANSACTION)


def the_answer(datagram: bytes, host: str = "192.0.2.1", port: int = 32853) -> stun.Message:
    reply = answer(datagram, host, port)
    assert reply is not None
    assert not reply.from_second_port
    message = stun.decode(reply.datagram)
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("datagram", "address"),
    [
        (RESPONSE_V4, ("192.0.2.1", 32853)),
        (RESPONSE_V6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
)
def test_the_vectors_of_rfc_5769_read_and_write_the_same_address(datagram: bytes, address: tuple[str, int]) -> None:
    message = stun.decode(datagram)
    assert message is not None
    value = message.get(stun.XOR_MAPPED_ADDRESS)
    assert value is not None
    assert stun.unpack_address(value, TRANSACTION) == address
    assert stun.pack_address(*address, TRANSACTION) == value


def test_the_request_vector_is_read_and_its_fingerprint_counts() -> None:
    message = stun.decode(REQUEST)
    assert message is not None
    assert message.kind == stun.BINDING_REQUEST
    assert message.get(0x0024) == bytes.fromhex("6e0001ff")
    assert stun.decode(REQUEST[:-1] + b"\xce") is None


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::7", "::ffff:192.0.2.1", "fe80::1%eth0"])
def test_a_binding_request_gets_the_address_it_came_from(host: str) -> None:
    value = the_answer(PLAIN, host).get(stun.XOR_MAPPED_ADDRESS)
    assert value is not None
    expected = host.removeprefix("::ffff:").partition("%")[0]
    assert stun.unpack_address(value, TRANSACTION) == (expected, 32853)


def test_an_answer_holds_the_address_and_a_fingerprint_and_no_more() -> None:
    for host, size in (("192.0.2.1", 20 + 12 + 8), ("2001:db8::7", stun.LARGEST_SUCCESS)):
        reply = answer(PLAIN, host, 1, second_port=True)
        assert reply is not None
        assert len(reply.datagram) == size


def test_unknown_attributes_that_must_be_understood_are_answered_420() -> None:
    reply = the_answer(REQUEST)
    assert reply.kind == stun.BINDING_ERROR
    assert reply.get(stun.ERROR_CODE) == bytes([0, 0, 4, 20])
    assert reply.get(stun.UNKNOWN_ATTRIBUTES) == bytes([0x00, 0x24])
    assert len(stun.encode(reply)) <= len(REQUEST)


def test_what_is_not_a_binding_request_gets_no_answer() -> None:
    for kind in (stun.BINDING_INDICATION, stun.BINDING_SUCCESS, stun.BINDING_ERROR, 0x0003):
        assert answer(stun.encode(stun.Message(kind, TRANSACTION)), "192.0.2.1", 1) is None
    assert answer(b"", "192.0.2.1", 1) is None
    assert answer(bytes(2000), "192.0.2.1", 1) is None


def test_a_message_cut_short_or_with_trailing_bytes_is_dropped() -> None:
    for datagram in (REQUEST, RESPONSE_V4, RESPONSE_V6, PLAIN):
        for end in range(len(datagram)):
            assert stun.decode(datagram[:end]) is None
        assert stun.decode(datagram + bytes(1)) is None
        assert stun.decode(datagram + bytes(4)) is None


@given(st.binary(max_size=200), st.integers(0, len(REQUEST)))
def test_no_bytes_upset_the_reader(noise: bytes, cut: int) -> None:
    for datagram in (noise, REQUEST[:cut] + noise, PLAIN[:2] + noise):
        reply = answer(datagram, "192.0.2.1", 1)
        assert reply is None or stun.decode(reply.datagram) is not None


def test_what_is_written_is_read_back() -> None:
    message = stun.Message(stun.BINDING_REQUEST, TRANSACTION, ((0x8022, b"abc"), (0x0006, b"")))
    assert stun.decode(stun.encode(message)) == message


def test_credentials_are_ignored_where_there_are_none() -> None:
    message = stun.decode(LONG_TERM_REQUEST)
    assert message is not None
    assert message.get(0x0006) == "マトリックス".encode()
    assert the_answer(LONG_TERM_REQUEST).kind == stun.BINDING_SUCCESS


def change(flags: int, *, size: int = 200, value: bytes | None = None) -> bytes:
    """Return a Binding request with CHANGE-REQUEST, `size` bytes long."""
    attributes = [(stun.CHANGE_REQUEST, flags.to_bytes(4, "big") if value is None else value)]
    room = size - len(stun.encode(stun.Message(stun.BINDING_REQUEST, TRANSACTION, tuple(attributes))))
    if room:
        attributes.append((stun.SOFTWARE, bytes([0x20]) * (room - 4)))
    return stun.encode(stun.Message(stun.BINDING_REQUEST, TRANSACTION, tuple(attributes)))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::7"])
def test_a_request_to_change_the_port_is_answered_from_the_second_one(host: str) -> None:
    request = stun.change_request(TRANSACTION)
    assert len(request) == stun.LARGEST_SUCCESS
    reply = answer(request, host, 7, second_port=True)
    assert reply is not None
    assert reply.from_second_port
    message = stun.decode(reply.datagram)
    assert message is not None
    assert stun.unpack_address(message.get(stun.XOR_MAPPED_ADDRESS) or b"", TRANSACTION) == (host, 7)


def test_a_request_to_change_is_never_answered_with_more_than_it_brought() -> None:
    for host, size in (("192.0.2.1", 40), ("2001:db8::7", 52)):
        for flags in (0, stun.CHANGE_PORT):
            assert answer(change(flags, size=size - 4), host, 7, second_port=True) is None
            assert answer(change(flags, size=size), host, 7, second_port=True) is not None
    for size in range(36, 100, 4):
        for flags in range(8):
            for second_port in (False, True):
                reply = answer(change(flags, size=size), "192.0.2.1", 7, second_port=second_port)
                assert reply is None or len(reply.datagram) <= size


@pytest.mark.parametrize(
    ("flags", "second_port"),
    [(stun.CHANGE_IP, True), (stun.CHANGE_IP | stun.CHANGE_PORT, True), (stun.CHANGE_PORT, False)],
)
def test_a_change_that_cannot_be_made_is_answered_420(flags: int, second_port: bool) -> None:
    reply = answer(change(flags), "192.0.2.1", 7, second_port=second_port)
    assert reply is not None
    assert not reply.from_second_port
    message = stun.decode(reply.datagram)
    assert message is not None
    assert message.kind == stun.BINDING_ERROR
    assert message.get(stun.UNKNOWN_ATTRIBUTES) == bytes([0x00, 0x03])


def test_no_change_at_all_is_answered_as_always_and_a_malformed_one_never() -> None:
    assert the_answer(change(0)).kind == stun.BINDING_SUCCESS
    for value in (b"", bytes(3), bytes(5), bytes(8)):
        assert answer(change(0, value=value), "192.0.2.1", 7, second_port=True) is None


def test_ten_thousand_mutated_packets_get_no_answer_or_a_correct_one() -> None:
    chance = random.Random(20261122)
    seeds = [REQUEST, LONG_TERM_REQUEST, RESPONSE_V4, RESPONSE_V6, PLAIN, change(2), stun.change_request(TRANSACTION)]
    answered = 0
    for _ in range(10_000):
        datagram = mutated(chance, chance.choice(seeds))
        reply = answer(datagram, "192.0.2.1", 7, second_port=True)
        if reply is None:
            continue
        answered += 1
        message = stun.decode(reply.datagram)
        assert message is not None
        assert message.transaction == datagram[8:20]
        assert datagram[:2] == b"\0\1"
        unknown = len(message.get(stun.UNKNOWN_ATTRIBUTES) or b"")
        assert len(reply.datagram) <= (40 if message.kind == stun.BINDING_SUCCESS else 44 + unknown)
    assert 100 < answered < 9000


def mutated(chance: random.Random, seed: bytes) -> bytes:
    """Return a packet with a few bytes changed, cut, put in or doubled."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 | 1:
                data[at : at + 1] = chance.randbytes(1)
            case 2:
                del data[at : at + chance.randint(1, 8)]
            case 3:
                data[at:at] = chance.randbytes(chance.choice((1, 4, 8)))
            case _:
                data[at:at] = data[at : at + 4 * chance.randint(1, 3)]
    return bytes(data)
