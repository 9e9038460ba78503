"""Packet keys: what opens, what does not, and that no nonce is ever used twice under one key."""

import struct
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.errors import Drop
from agent.protocol.keys import EPOCH_SHIFT, PACKET_NUMBER_LIMIT, NeedsHandshake, PacketKeys

SECRET = sha256(b"a secret").digest()
CONNECTION = 0x01020304050607
EPOCH = 1 << EPOCH_SHIFT


def header(number: int, connection: int = CONNECTION) -> bytes:
    return struct.pack(">QI", 0xE4 << 56 | connection, number)


def seal(keys: PacketKeys, number: int, plaintext: bytes = b"frames") -> bytes:
    out = bytearray(len(plaintext) + 16)
    assert keys.seal_into(header(number), plaintext, out) == len(out)
    return bytes(out)


def open_packet(keys: PacketKeys, head: bytes, sealed: bytes) -> bytes | Drop:
    out = bytearray(max(0, len(sealed) - 16))
    result = keys.open_into(head, sealed, out)
    return result if isinstance(result, Drop) else bytes(out[:result])


def at_epoch(epoch: int, secret: bytes = SECRET) -> PacketKeys:
    keys = PacketKeys(secret)
    for step in range(epoch):
        keys.commit(step + 1)
    return keys


def sealed_at(number: int, plaintext: bytes = b"frames") -> bytes:
    return seal(at_epoch(number >> EPOCH_SHIFT), number, plaintext)


def test_what_one_side_seals_the_other_opens() -> None:
    send, receive = PacketKeys(SECRET), PacketKeys(SECRET)
    for number in (0, 1, 2, 77, EPOCH - 1):
        assert open_packet(receive, header(number), seal(send, number)) == b"frames"


def test_memoryviews_of_one_buffer_are_enough() -> None:
    datagram = memoryview(bytearray(header(5) + b"frames" + bytes(16)))
    PacketKeys(SECRET).seal_into(datagram[:12], bytes(datagram[12:18]), datagram[12:])
    plain = memoryview(bytearray(6))
    assert PacketKeys(SECRET).open_into(datagram[:12], datagram[12:], plain) == 6
    assert bytes(plain) == b"frames"


def test_a_packet_with_any_bit_changed_does_not_open() -> None:
    packet = header(9) + seal(PacketKeys(SECRET), 9)
    keys = PacketKeys(SECRET)
    for bit in range(len(packet) * 8):
        forged = bytearray(packet)
        forged[bit // 8] ^= 1 << bit % 8
        assert isinstance(open_packet(keys, bytes(forged[:12]), bytes(forged[12:])), Drop)
    assert open_packet(keys, packet[:12], packet[12:]) == b"frames"
    assert keys.epoch == 0


def test_a_packet_of_another_length_does_not_open() -> None:
    sealed = seal(PacketKeys(SECRET), 9)
    keys = PacketKeys(SECRET)
    for length in range(16):
        assert open_packet(keys, header(9), sealed[:length]) is Drop.SHORT
    for other in (*(sealed[:length] for length in range(16, len(sealed))), sealed + b"\0"):
        assert open_packet(keys, header(9), other) is Drop.NOT_AUTHENTIC


def test_a_header_of_another_length_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="header"):
        PacketKeys(SECRET).seal_into(bytes(11), b"", bytearray(16))


def test_keys_change_at_the_first_packet_of_an_epoch() -> None:
    send, receive = PacketKeys(SECRET), PacketKeys(SECRET)
    for number in (EPOCH - 1, EPOCH, EPOCH + 1, 2 * EPOCH, 3 * EPOCH - 1, 3 * EPOCH):
        assert open_packet(receive, header(number), seal(send, number)) == b"frames"
        assert send.epoch == receive.epoch == number >> EPOCH_SHIFT


def test_late_packets_of_the_previous_epoch_open_and_older_ones_do_not() -> None:
    receive = at_epoch(2)
    assert open_packet(receive, header(2 * EPOCH - 1), sealed_at(2 * EPOCH - 1)) == b"frames"
    assert open_packet(receive, header(7), sealed_at(7)) is Drop.NOT_AUTHENTIC
    assert receive.epoch == 2


def test_an_epoch_further_ahead_than_the_next_does_not_open() -> None:
    receive = PacketKeys(SECRET)
    assert open_packet(receive, header(2 * EPOCH), sealed_at(2 * EPOCH)) is Drop.NOT_AUTHENTIC
    assert receive.epoch == 0


def test_forged_packets_of_the_next_epoch_move_nothing() -> None:
    receive = PacketKeys(SECRET)
    for number in range(EPOCH, EPOCH + 50):
        assert open_packet(receive, header(number), bytes(40)) is Drop.NOT_AUTHENTIC
    assert receive.epoch == 0
    assert open_packet(receive, header(3), sealed_at(3)) == b"frames"
    assert open_packet(receive, header(EPOCH), sealed_at(EPOCH)) == b"frames"
    assert receive.epoch == 1


def test_only_three_ciphers_are_held() -> None:
    keys = at_epoch(5)
    assert [epoch for epoch in range(12) if keys.cipher(epoch)] == [4, 5, 6]
    assert keys.cipher(5) is keys.cipher(5)
    assert keys.cipher(6) is keys.cipher(6)


def test_a_cipher_taken_for_a_loop_seals_what_seal_into_seals() -> None:
    cipher = PacketKeys(SECRET).cipher(0)
    assert cipher is not None
    out = bytearray(22)
    cipher.encrypt_into(header(4), b"frames", header(4), out)
    assert out == seal(PacketKeys(SECRET), 4)


def test_an_epoch_that_does_not_follow_is_not_committed() -> None:
    keys = PacketKeys(SECRET)
    with pytest.raises(ValueError, match="follow"):
        keys.commit(2)
    keys.commit(1)
    keys.commit(0)
    assert keys.epoch == 1


def test_a_number_is_never_sealed_twice() -> None:
    keys = PacketKeys(SECRET)
    seal(keys, 10)
    for number in (10, 9, 0):
        with pytest.raises(ValueError, match="used"):
            seal(keys, number)
    seal(keys, 11)


def test_passing_over_a_whole_epoch_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="epoch"):
        seal(PacketKeys(SECRET), 2 * EPOCH)


def test_a_packet_that_could_not_be_sealed_moves_nothing() -> None:
    keys = PacketKeys(SECRET)
    with pytest.raises(ValueError, match="buffer"):
        keys.seal_into(header(EPOCH), b"frames", bytearray(3))
    assert keys.epoch == 0
    seal(keys, 0)


def test_numbers_end_before_the_limit() -> None:
    last = PACKET_NUMBER_LIMIT - 1
    keys = at_epoch(last >> EPOCH_SHIFT)
    seal(keys, last)
    with pytest.raises(NeedsHandshake):
        seal(keys, PACKET_NUMBER_LIMIT)
    assert keys.cipher(PACKET_NUMBER_LIMIT >> EPOCH_SHIFT) is None
    received = open_packet(keys, header(PACKET_NUMBER_LIMIT), bytes(40))
    assert received is Drop.NOT_AUTHENTIC


def test_every_epoch_has_another_key() -> None:
    keys, seen = PacketKeys(SECRET), set()
    for epoch in range(PACKET_NUMBER_LIMIT >> EPOCH_SHIFT):
        cipher = keys.cipher(epoch)
        assert cipher is not None
        seen.add(cipher.encrypt(bytes(12), b"the same each time", b""))
        keys.commit(epoch)
    assert len(seen) == PACKET_NUMBER_LIMIT >> EPOCH_SHIFT


numbers = st.lists(
    st.one_of(
        st.integers(0, 40),
        st.integers(EPOCH - 20, EPOCH + 20),
        st.integers(2 * EPOCH - 20, 2 * EPOCH + 20),
    ),
    max_size=60,
)
connections = st.integers(0, 3)


@given(numbers, st.lists(connections, min_size=60, max_size=60))
def test_no_nonce_is_used_twice_under_one_key(tried: list[int], ids: list[int]) -> None:
    """Whatever numbers are tried, over rekeys, and even if a path changed the connection id."""
    keys = PacketKeys(SECRET)
    used: set[tuple[bytes, bytes]] = set()
    for number, connection in zip(tried, ids, strict=False):
        head, out = header(number, connection), bytearray(16)
        try:
            keys.seal_into(head, b"", out)
        except ValueError:
            continue
        cipher = keys.cipher(number >> EPOCH_SHIFT)
        assert cipher is not None
        key_name = cipher.encrypt(bytes(12), b"which key", b"")
        assert (key_name, head[8:]) not in used  # the number alone tells nonces apart
        used.add((key_name, head[8:]))
    assert len({number for _, number in used}) == len(used)


@given(st.lists(st.integers(0, 3 * EPOCH + 5), max_size=30))
def test_no_order_of_arrival_moves_the_epoch_by_what_is_not_authentic(arrivals: list[int]) -> None:
    """What opens is of the highest epoch so far, of the one before or of the one behind it."""
    receive, highest = PacketKeys(SECRET), 0
    for number in arrivals:
        epoch = number >> EPOCH_SHIFT
        opened = open_packet(receive, header(number), sealed_at(number))
        assert (opened == b"frames") == (abs(epoch - highest) <= 1)
        if opened == b"frames":
            highest = max(highest, epoch)
        assert receive.epoch == highest
