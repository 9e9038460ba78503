"""Cards: a name and its keys, read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.card import decode_card, encode_card, own_card
from agent.protocol.handshake import Card, HandshakeError, verify_card
from tests.support.handshakes import ALICE, EVE


def test_a_card_of_another_name_or_key_does_not_verify() -> None:
    card = own_card(ALICE, "alice")
    verify_card(card)
    for name, key, box_key in [
        ("alicf", ALICE.key, ALICE.box_key),
        ("alice", EVE.key, ALICE.box_key),
        ("alice", ALICE.key, EVE.box_key),
        ("alice", b"short", ALICE.box_key),
    ]:
        with pytest.raises(HandshakeError):
            verify_card(Card(name, key, box_key, card.box_signature))


def test_a_name_that_is_not_in_its_one_form_is_not_written() -> None:
    for name in ("", "a" * 33, " alice", "ﬁ"):
        with pytest.raises(ValueError):  # noqa: PT011 - the sentences are the contract's
            encode_card(own_card(ALICE, name))


names = st.text(st.characters(categories=["Ll", "Lo", "Nd"]), min_size=1, max_size=32)


@given(names, st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_a_card_reads_as_it_was_written(name: str, key: bytes, signature: bytes) -> None:
    card = Card(name, key, ALICE.box_key, signature)
    try:
        written = encode_card(card)
    except ValueError:
        return
    assert decode_card(written + b"behind", ALICE.box_key) == (card, b"behind")
    for length in range(len(written)):
        with pytest.raises(HandshakeError):
            decode_card(written[:length], ALICE.box_key)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_card_that_writes_back_or_an_error(data: bytes) -> None:
    try:
        card, rest = decode_card(data, ALICE.box_key)
    except HandshakeError:
        return
    assert encode_card(card) + rest == data
