"""Noise IK against the published vector, an independent implementation, and forgers."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

from agent.protocol import noise

PROTOCOL = b"Noise_IK_25519_AESGCM_SHA256"

# From the vectors of cacophony (Noise in Haskell), which other implementations check too.
PROLOGUE = b"John Galt"
INITIATOR = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"
INITIATOR_EPHEMERAL = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"
RESPONDER = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"
RESPONDER_EPHEMERAL = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"
HANDSHAKE_HASH = "669c8640d9e42a3cda2f232f78597ceefb01daa6e3df81181ccce6fc6b5026bf"
FIRST = (
    b"Ludwig von Mises",
    "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
    "4e417bc55c7a8166c993356c1be41ef67818a292426f301556c7f26b21d25ddb"
    "097153891a9a956cff47b83e63ad8d70"
    "1c1342c209cff1ca5ecd43402762ac249e3bd3a4c0a145fe07cb5dae28ea13a3",
)
SECOND = (
    b"Murray Rothbard",
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
    "af2ccf9972e22afc67aeafcd25162f7f98c363b7762e3e4cb7d272e39f27a5",
)
TRANSPORT = [
    ("462e20412e20486179656b", "66acfc92e3197de166809e6d4d5d003dcc819a84bc3522ca53c9d9"),
    ("4361726c204d656e676572", "71f89aa6533a6de70b0826864dd75f60806ee40170c16290189eb3"),
    (
        "4a65616e2d426170746973746520536179",
        "4795a3423550c8bf00386bd496a3e2c76c10669d2a75ab8f79b5094c5412a25705",
    ),
    (
        "457567656e2042f6686d20766f6e2042617765726b",
        "aa0bb39097555c918e40be82abc2b909eb79d9eb87adb07e268fc37323a6cf904fd01fb391",
    ),
]

LOW_ORDER = [bytes(32), (1).to_bytes(32, "little"), (2**255 - 20).to_bytes(32, "little")]


def private(text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(text))


def public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def first_of_the_vector() -> noise.Sent:
    return noise.write_first(
        PROLOGUE,
        private(INITIATOR),
        private(INITIATOR_EPHEMERAL),
        public(private(RESPONDER)),
        FIRST[0],
    )


def second_of_the_vector() -> tuple[bytes, noise.Split]:
    first = noise.read_first(PROLOGUE, private(RESPONDER), bytes.fromhex(FIRST[1]))
    return first.write_second(private(RESPONDER_EPHEMERAL), SECOND[0])


def flips(message: bytes) -> list[bytes]:
    return [message[:at] + bytes([byte ^ 1 << at % 8]) + message[at + 1 :] for at, byte in enumerate(message)]


def their(role: str, prologue: bytes, **keys: bytes) -> Any:
    """One side of the handshake in the independent implementation."""
    connection: Any = NoiseConnection.from_name(PROTOCOL)
    getattr(connection, f"set_as_{role}")()
    connection.set_prologue(prologue)
    for kind, key in keys.items():
        if kind == "REMOTE_STATIC":
            connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, key)
        else:
            connection.set_keypair_from_private_bytes(Keypair[kind], key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a given ephemeral key is for tests only
        connection.start_handshake()
    return connection


def seeded_keys(seed: int) -> Callable[[], bytes]:
    source = random.Random(seed)
    return lambda: source.randbytes(32)


def test_the_published_vector_comes_out_of_both_sides() -> None:
    sent = first_of_the_vector()
    assert sent.message.hex() == FIRST[1]
    first = noise.read_first(PROLOGUE, private(RESPONDER), sent.message)
    assert first.payload == FIRST[0]
    assert first.remote_static == public(private(INITIATOR))
    second, theirs = first.write_second(private(RESPONDER_EPHEMERAL), SECOND[0])
    assert second.hex() == SECOND[1]
    payload, ours = sent.read_second(second)
    assert payload == SECOND[0]
    assert ours == theirs
    assert ours.handshake_hash.hex() == HANDSHAKE_HASH


def test_the_vectors_transport_messages_come_out_of_the_two_keys() -> None:
    _, split = second_of_the_vector()
    for index, (plaintext, ciphertext) in enumerate(TRANSPORT):
        cipher = AESGCM((split.initiator_key, split.responder_key)[index % 2])
        nonce = bytes(4) + (index // 2).to_bytes(8, "big")
        assert cipher.encrypt(nonce, bytes.fromhex(plaintext), b"").hex() == ciphertext


@pytest.mark.parametrize("seed", range(4))
def test_another_implementation_answers_us(seed: int) -> None:
    keys = seeded_keys(seed)
    static, ephemeral, remote, remote_ephemeral = keys(), keys(), keys(), keys()
    remote_static = public(X25519PrivateKey.from_private_bytes(remote))
    peer = their("responder", b"prologue", STATIC=remote, EPHEMERAL=remote_ephemeral)
    sent = noise.write_first(b"prologue", private(static.hex()), private(ephemeral.hex()), remote_static, b"question")
    assert peer.read_message(sent.message) == b"question"
    payload, split = sent.read_second(bytes(peer.write_message(b"answer")))
    assert payload == b"answer"
    assert split.handshake_hash == peer.get_handshake_hash()
    sealed = AESGCM(split.initiator_key).encrypt(bytes(12), b"to you", b"")
    assert peer.decrypt(sealed) == b"to you"
    assert AESGCM(split.responder_key).decrypt(bytes(12), peer.encrypt(b"to me"), b"") == b"to me"


@pytest.mark.parametrize("seed", range(4))
def test_we_answer_another_implementation(seed: int) -> None:
    keys = seeded_keys(seed)
    static, remote, remote_ephemeral = private(keys().hex()), keys(), keys()
    peer = their(
        "initiator",
        b"prologue",
        STATIC=remote,
        EPHEMERAL=remote_ephemeral,
        REMOTE_STATIC=public(static),
    )
    first = noise.read_first(b"prologue", static, bytes(peer.write_message(b"question")))
    assert first.payload == b"question"
    assert first.remote_static == public(private(remote.hex()))
    message, split = first.write_second(private(keys().hex()), b"answer")
    assert peer.read_message(message) == b"answer"
    assert split.handshake_hash == peer.get_handshake_hash()
    assert AESGCM(split.initiator_key).decrypt(bytes(12), peer.encrypt(b"hello"), b"") == b"hello"


def test_a_first_message_with_any_byte_changed_is_refused() -> None:
    for message in flips(bytes.fromhex(FIRST[1])):
        with pytest.raises(noise.NoiseError):
            noise.read_first(PROLOGUE, private(RESPONDER), message)


def test_a_second_message_with_any_byte_changed_is_refused_and_spoils_nothing() -> None:
    sent, second = first_of_the_vector(), bytes.fromhex(SECOND[1])
    for message in flips(second):
        with pytest.raises(noise.NoiseError):
            sent.read_second(message)
    assert sent.read_second(second) == (SECOND[0], second_of_the_vector()[1])


def test_a_message_of_another_length_is_refused() -> None:
    first, second = bytes.fromhex(FIRST[1]), bytes.fromhex(SECOND[1])
    for length in range(len(first)):
        with pytest.raises(noise.NoiseError):
            noise.read_first(PROLOGUE, private(RESPONDER), first[:length])
    with pytest.raises(noise.NoiseError):
        noise.read_first(PROLOGUE, private(RESPONDER), first + b"\0")
    for length in range(len(second)):
        with pytest.raises(noise.NoiseError):
            first_of_the_vector().read_second(second[:length])
    with pytest.raises(noise.NoiseError):
        first_of_the_vector().read_second(second + b"\0")


def test_another_prologue_is_refused() -> None:
    with pytest.raises(noise.NoiseError):
        noise.read_first(b"John Doe", private(RESPONDER), bytes.fromhex(FIRST[1]))


def test_a_message_for_another_key_is_refused() -> None:
    with pytest.raises(noise.NoiseError):
        noise.read_first(PROLOGUE, private(INITIATOR), bytes.fromhex(FIRST[1]))


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_key_of_low_order_is_refused_wherever_it_comes(point: bytes) -> None:
    with pytest.raises(noise.NoiseError):
        noise.write_first(PROLOGUE, private(INITIATOR), private(INITIATOR_EPHEMERAL), point, b"")
    with pytest.raises(noise.NoiseError):
        noise.read_first(PROLOGUE, private(RESPONDER), point + bytes.fromhex(FIRST[1])[32:])
    with pytest.raises(noise.NoiseError):
        first_of_the_vector().read_second(point + bytes.fromhex(SECOND[1])[32:])


def test_no_secret_is_shown_by_repr() -> None:
    sent, (_, split) = first_of_the_vector(), second_of_the_vector()
    shown = repr(sent) + repr(split)
    for secret in (split.initiator_key, split.responder_key):
        assert repr(secret) not in shown
    assert "PrivateKey" not in shown
