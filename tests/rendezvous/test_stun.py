"""STUN: the codec against RFC 5769's vectors, and what the server answers."""

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous import udp
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
PLAIN = stun.HEADER.pack(stun.BINDING_REQUEST, 0, stun.MAGIC_COOKIE, TRANSACTION)


def the_answer(datagram: bytes, host: str = "192.0.2.1", port: int = 32853) -> stun.Message:
    reply = answer(datagram, host, port)
    assert reply is not None
    message = stun.decode(reply)
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
    assert len(answer(PLAIN, "192.0.2.1", 1) or b"") == 20 + 12 + 8


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
        assert reply is None or stun.decode(reply) is not None


def test_what_is_written_is_read_back() -> None:
    message = stun.Message(stun.BINDING_REQUEST, TRANSACTION, ((0x8022, b"abc"), (0x0006, b"")))
    assert stun.decode(stun.encode(message)) == message


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_client_on_a_real_socket_learns_its_own_address(host: str) -> None:
    server = udp.bind(host, 0)
    threading.Thread(target=udp.serve, args=(server, answer), daemon=True).start()
    with socket.socket(server.family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(server.getsockname())
        client.send(b"not STUN at all")
        client.send(PLAIN)
        message = stun.decode(client.recv(2048))
        assert message is not None
        value = message.get(stun.XOR_MAPPED_ADDRESS)
        assert value is not None
        assert stun.unpack_address(value, TRANSACTION) == client.getsockname()[:2]
