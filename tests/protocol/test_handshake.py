"""The handshake between two identities: what comes out of it, and what does not get in."""

import struct
from hmac import digest

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import noise
from agent.protocol.card import encode_card, own_card
from agent.protocol.errors import Drop
from agent.protocol.handshake import RESPONSE, Card, HandshakeError, Initiator, Responder
from agent.protocol.keys import PacketKeys
from tests.support.handshakes import (
    ALICE,
    ALICE_ID,
    BOB,
    BOB_ID,
    EVE,
    MAC,
    SOURCE,
    alice_card,
    answer,
    carries,
    chance,
    flips,
    handshake,
    initiation_with,
    initiator,
    responder,
    response_with,
    signed_for,
)


def test_both_sides_know_each_other_and_share_everything() -> None:
    at_alice, at_bob = handshake()
    assert at_alice.peer == Card("bob", BOB.key, BOB.box_key, BOB.box_signature("bob"))
    assert at_bob.peer == Card("alice", ALICE.key, ALICE.box_key, ALICE.box_signature("alice"))
    assert (at_alice.local_connection_id, at_alice.remote_connection_id) == (ALICE_ID, BOB_ID)
    assert (at_bob.local_connection_id, at_bob.remote_connection_id) == (BOB_ID, ALICE_ID)
    assert carries(at_alice.send, at_bob.receive)
    assert carries(at_bob.send, at_alice.receive)


def test_the_two_directions_have_different_keys() -> None:
    at_alice, at_bob = handshake()
    assert not carries(at_alice.send, at_bob.send)


def test_exported_keys_are_equal_and_depend_on_label_context_and_session() -> None:
    at_alice, at_bob = handshake()
    seen = set()
    for label, context in [(b"quote", b"t"), (b"quot", b"et"), (b"quote", b""), (b"", b"quotet")]:
        exported = at_alice.export(label, context, 64)
        assert exported == at_bob.export(label, context, 64)
        assert at_alice.export(label, context, 32) == exported[:32]
        seen.add(exported)
    assert len(seen) == 4
    assert handshake(seed=5)[0].export(b"quote", b"t", 64) not in seen


def test_no_two_handshakes_share_a_key_across_restarts() -> None:
    """A restarted agent has new ephemeral keys and the next counter; either would be enough."""
    sessions = [handshake(), handshake(seed=7), handshake(counter=2), handshake(seed=7, counter=2)]
    sealed = set()
    for keys in [side.send for session in sessions for side in session]:
        out = bytearray(21)
        keys.seal_into(struct.pack(">QI", 0xE4 << 56, 0), b"hello", out)
        sealed.add(bytes(out))
    assert len(sealed) == 2 * len(sessions)
    assert len({at_alice.exporter for at_alice, _ in sessions}) == len(sessions)


def test_the_counter_is_returned_whole() -> None:
    for counter in (0, 1, 2**63, 2**64 - 1):
        opening = responder().read(initiator(counter=counter).initiation(0.0))
        assert opening.counter == counter
        assert opening.connection_id == ALICE_ID


def test_sizes_are_what_the_protocol_says_and_no_answer_is_larger_than_its_question() -> None:
    initiation = initiator().initiation(0.0)
    longest = "ن" * 32
    bob = responder()
    response, _ = bob.respond(bob.read(initiation), longest, BOB_ID)
    assert len(initiation) == 1200
    assert len(answer(initiation)[0]) == 193 + len("bob")
    assert len(response) == 193 + 64
    assert len(bob.cookie_reply(initiation, SOURCE, 0.0)) == 53


def test_the_longest_name_fits() -> None:
    name = "語" * 32
    alice = Initiator(ALICE, name, BOB.box_key, ALICE_ID, 1, chance(1))
    assert responder().read(alice.initiation(0.0)).peer.name == name


def test_the_session_secrets_are_what_the_documentation_says() -> None:
    """Derived here from Noise's keys by hand, with hmac alone (RFC 5869)."""
    initiation = initiator().initiation(0.0)
    first = noise.read_first(b"TMGE 1" + initiation[:9], BOB.box_private, initiation[9:-32])
    header = struct.pack(">BB7s7s", RESPONSE, 1, BOB_ID, ALICE_ID)
    ephemeral = X25519PrivateKey.from_private_bytes(chance(2)(32))
    bob_card = encode_card(own_card(BOB, "bob"))
    message, split = first.write_second(ephemeral, header + bob_card)
    response, at_bob = answer(initiation)
    assert response[16:-MAC] == message
    extracted = digest(split.handshake_hash, split.initiator_key + split.responder_key, "sha256")
    block, blocks = b"", b""
    for index in (1, 2, 3):
        block = digest(extracted, block + b"tmge-session-v1\0" + bytes([index]), "sha256")
        blocks += block
    assert at_bob.exporter == blocks[64:]
    assert carries(PacketKeys(blocks[:32]), at_bob.receive)
    assert carries(at_bob.send, PacketKeys(blocks[32:64]))
    info = b"tmge-export-v1\0" + b"\x05quote" + b"token" + b"\x01"
    assert at_bob.export(b"quote", b"token", 32) == digest(blocks[64:], info, "sha256")


# The initiation.


def test_an_initiation_is_the_same_each_time_it_is_sent() -> None:
    alice = initiator()
    assert alice.initiation(0.0) == alice.initiation(1.0)
    assert alice.initiation(0.0) != initiator(seed=3).initiation(0.0)


def test_an_initiation_with_any_byte_changed_is_not_accepted() -> None:
    """But for mac2, which stands outside of everything and counts only under load."""
    packet, bob = initiator().initiation(0.0), responder()
    for forged in flips(packet[:-MAC]):
        assert not bob.accepts(forged + packet[-MAC:])
        with pytest.raises(HandshakeError):
            bob.read(forged + packet[-MAC:])


def test_an_initiation_with_any_byte_changed_and_a_right_mac1_is_refused() -> None:
    packet, bob = initiator().initiation(0.0), responder()
    for forged in flips(packet[: -2 * MAC]):
        with pytest.raises(HandshakeError):
            bob.read(signed_for(BOB, forged) + bytes(MAC))
    assert bob.read(packet).peer.name == "alice"


def test_an_initiation_of_another_length_is_not_accepted() -> None:
    packet, bob = initiator().initiation(0.0), responder()
    for length in range(len(packet)):
        assert not bob.accepts(packet[:length])
    assert not bob.accepts(packet + b"\0")


def test_an_initiation_for_someone_else_is_not_accepted() -> None:
    packet = initiator(peer=EVE).initiation(0.0)
    assert not responder().accepts(packet)
    with pytest.raises(HandshakeError) as refused:
        responder().read(packet)
    assert refused.value.drop is Drop.NOT_FOR_US


def test_mac1_alone_does_not_open_to_a_key_that_is_not_ours() -> None:
    packet = initiator(peer=EVE).initiation(0.0)
    with pytest.raises(HandshakeError) as refused:
        responder().read(signed_for(BOB, packet[: -2 * MAC]) + bytes(MAC))
    assert refused.value.drop is Drop.NOT_AUTHENTIC


def test_the_other_kinds_are_no_initiations() -> None:
    alice, bob = initiator(), responder()
    initiation = alice.initiation(0.0)
    assert not bob.accepts(answer(initiation)[0])
    assert not bob.accepts(bob.cookie_reply(initiation, SOURCE, 0.0))
    with pytest.raises(HandshakeError):
        alice.receive_response(initiation)
    assert not alice.receive_cookie(initiation, 0.0)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff" * 1063, id="a name without an end"),
        pytest.param(b"\x05al\x00ce" + alice_card()[6:], id="a control character in the name"),
        pytest.param(b"\x05al\xffce" + alice_card()[6:], id="a name that is not UTF-8"),
        pytest.param(b"\x05alic " + alice_card()[6:], id="a name that ends with a space"),
        pytest.param(b"\x05clara" + alice_card()[6:], id="a name that was not signed"),
        pytest.param(alice_card()[:-1] + b"\x00", id="a wrong signature"),
        pytest.param(alice_card()[:6] + bytes(96), id="a key of zeros"),
        pytest.param(alice_card() + bytes(8) + b"\x01", id="other padding than zeros"),
        pytest.param((alice_card() + bytes(8)).ljust(1062, b"\0") + b"!", id="a last byte"),
        pytest.param(encode_card(own_card(EVE, "eve")), id="a card with another box key"),
    ],
)
def test_an_authentic_initiation_with_a_bad_payload_is_refused(payload: bytes) -> None:
    packet = initiation_with(payload)
    assert responder().accepts(packet)
    with pytest.raises(HandshakeError) as refused:
        responder().read(packet)
    assert refused.value.drop is Drop.NOT_AUTHENTIC


def test_a_right_payload_in_the_same_hands_is_read() -> None:
    opening = responder().read(initiation_with(alice_card() + bytes(7) + b"\x05"))
    assert (opening.peer.name, opening.counter) == ("alice", 5)


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"short"])
def test_a_key_that_nobody_can_own_is_refused_at_once(key: bytes) -> None:
    with pytest.raises(HandshakeError):
        Initiator(ALICE, "alice", key, ALICE_ID, 1, chance(1))


def test_a_connection_id_of_another_length_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="connection id"):
        Initiator(ALICE, "alice", BOB.box_key, b"short", 1, chance(1))
    bob = responder()
    opening = bob.read(initiator().initiation(0.0))
    with pytest.raises(ValueError, match="connection id"):
        bob.respond(opening, "bob", b"much too long")


# The response.


def test_a_response_with_any_byte_changed_is_refused_and_the_attempt_lives() -> None:
    alice = initiator()
    response, at_bob = answer(alice.initiation(0.0))
    for forged in flips(response):
        with pytest.raises(HandshakeError):
            alice.receive_response(forged)
    assert carries(alice.receive_response(response).send, at_bob.receive)


def test_a_response_with_any_byte_changed_and_a_right_mac1_is_refused() -> None:
    alice = initiator()
    response, at_bob = answer(alice.initiation(0.0))
    for forged in flips(response[:-MAC]):
        with pytest.raises(HandshakeError):
            alice.receive_response(signed_for(ALICE, forged))
    assert carries(alice.receive_response(response).send, at_bob.receive)


def test_a_response_of_another_length_is_refused() -> None:
    alice = initiator()
    response, _ = answer(alice.initiation(0.0))
    others = [response[:length] for length in range(len(response))]
    others += [signed_for(ALICE, response[:length]) for length in range(len(response) - MAC)]
    for other in [*others, response + b"\0", signed_for(ALICE, response[:-MAC] + b"\0")]:
        with pytest.raises(HandshakeError):
            alice.receive_response(other)
    assert alice.receive_response(response).peer.name == "bob"


def test_a_response_to_another_attempt_is_refused() -> None:
    response, _ = answer(initiator(seed=1).initiation(0.0))
    with pytest.raises(HandshakeError) as refused:
        initiator(seed=3).receive_response(response)
    assert refused.value.drop is Drop.NOT_AUTHENTIC


def test_an_answer_by_someone_else_is_refused() -> None:
    """Eve knows every public key and sees every packet, and has a card of her own."""
    alice = initiator()
    body = alice.initiation(0.0)[: -2 * MAC]
    to_eve = Initiator(ALICE, "alice", EVE.box_key, ALICE_ID, 1, chance(1))
    eve = Responder(EVE, chance(4))
    with pytest.raises(HandshakeError):
        eve.read(signed_for(EVE, body) + bytes(MAC))
    response, _ = eve.respond(eve.read(to_eve.initiation(0.0)), "bob", BOB_ID)
    with pytest.raises(HandshakeError):
        alice.receive_response(response)


@pytest.mark.parametrize(
    ("header", "card"),
    [
        (struct.pack(">BB7s7s", RESPONSE, 1, BOB_ID, b"another"), own_card(BOB, "bob")),
        (struct.pack(">BB7s7s", RESPONSE, 1, b"another", ALICE_ID), own_card(BOB, "bob")),
        (struct.pack(">BB7s7s", RESPONSE, 1, BOB_ID, ALICE_ID), own_card(EVE, "bob")),
        (b"", own_card(BOB, "bob")),
    ],
    ids=["our id changed", "its id changed", "another's card", "no header"],
)
def test_an_authentic_response_with_a_bad_payload_is_refused(header: bytes, card: Card) -> None:
    alice = initiator()
    packet = response_with(alice.initiation(0.0), header + encode_card(card))
    with pytest.raises(HandshakeError) as refused:
        alice.receive_response(packet)
    assert refused.value.drop is Drop.NOT_AUTHENTIC


def test_bytes_behind_the_card_of_a_response_are_refused() -> None:
    alice = initiator()
    header = struct.pack(">BB7s7s", RESPONSE, 1, BOB_ID, ALICE_ID)
    card = encode_card(own_card(BOB, "bob"))
    initiation = alice.initiation(0.0)
    with pytest.raises(HandshakeError):
        alice.receive_response(response_with(initiation, header + card + b"\0"))
    assert alice.receive_response(response_with(initiation, header + card)).peer.name == "bob"


def test_an_attempt_finishes_once() -> None:
    """The same keys given out twice would use their nonces twice."""
    alice = initiator()
    response, _ = answer(alice.initiation(0.0))
    alice.receive_response(response)
    with pytest.raises(HandshakeError) as refused:
        alice.receive_response(response)
    assert refused.value.drop is Drop.DUPLICATE


@given(st.binary(max_size=1300))
def test_any_bytes_are_refused_at_every_door_without_a_trace(data: bytes) -> None:
    alice = initiator()
    assert not responder().accepts(data)
    assert not alice.receive_cookie(data, 0.0)
    with pytest.raises(HandshakeError):
        responder().read(data)
    with pytest.raises(HandshakeError):
        alice.receive_response(data)
