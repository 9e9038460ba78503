"""Alice and Bob, who shake hands, Eve, who tries to, and packets that no agent would write."""

import random
import struct
from collections.abc import Callable
from hashlib import blake2s, sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.identity import Identity
from agent.protocol import noise
from agent.protocol.card import encode_card, own_card
from agent.protocol.handshake import INITIATION, RESPONSE, Established, Initiator, Responder
from agent.protocol.keys import PacketKeys

ALICE_ID, BOB_ID = b"alice->", b"bob-->-"
SOURCE = b"192.0.2.1:4000"
MAC = 16


def identity(seed: bytes) -> Identity:
    return Identity(
        Ed25519PrivateKey.from_private_bytes(sha256(b"sign" + seed).digest()),
        X25519PrivateKey.from_private_bytes(sha256(b"box" + seed).digest()),
    )


ALICE, BOB, EVE = identity(b"alice"), identity(b"bob"), identity(b"eve")


def chance(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def initiator(seed: int = 1, counter: int = 1, peer: Identity = BOB) -> Initiator:
    return Initiator(ALICE, "alice", peer.box_key, ALICE_ID, counter, chance(seed))


def responder(seed: int = 2) -> Responder:
    return Responder(BOB, chance(seed))


def answer(initiation: bytes, seed: int = 2) -> tuple[bytes, Established]:
    bob = responder(seed)
    return bob.respond(bob.read(initiation), "bob", BOB_ID)


def handshake(seed: int = 1, counter: int = 1) -> tuple[Established, Established]:
    alice = initiator(seed, counter)
    response, at_bob = answer(alice.initiation(0.0), seed + 1000)
    return alice.receive_response(response), at_bob


def carries(send: PacketKeys, receive: PacketKeys) -> bool:
    header, sealed, plain = struct.pack(">QI", 0xE4 << 56, 0), bytearray(21), bytearray(5)
    send.seal_into(header, b"hello", sealed)
    return receive.open_into(header, sealed, plain) == 5 and plain == b"hello"


def mac1_key(owner: Identity) -> bytes:
    return sha256(b"tmge-mac1-v1\0" + owner.box_key).digest()


def signed_for(owner: Identity, body: bytes) -> bytes:
    """Put a right mac1 behind `body`, as anyone can who knows the box key."""
    return body + blake2s(body, key=mac1_key(owner), digest_size=MAC).digest()


def flips(message: bytes) -> list[bytes]:
    return [message[:at] + bytes([byte ^ 1 << at % 8]) + message[at + 1 :] for at, byte in enumerate(message)]


def initiation_with(payload: bytes, sender: Identity = ALICE) -> bytes:
    """An initiation whose Noise part is right, whatever its payload is."""
    header = struct.pack(">BB7s", INITIATION, 1, ALICE_ID)
    ephemeral = X25519PrivateKey.from_private_bytes(chance(9)(32))
    sent = noise.write_first(b"TMGE 1" + header, sender.box_private, ephemeral, BOB.box_key, payload.ljust(1063, b"\0"))
    return signed_for(BOB, header + sent.message) + bytes(MAC)


def response_with(initiation: bytes, payload: bytes) -> bytes:
    """A response by the right responder, with whatever payload."""
    header = struct.pack(">BB7s7s", RESPONSE, 1, BOB_ID, ALICE_ID)
    first = noise.read_first(b"TMGE 1" + initiation[:9], BOB.box_private, initiation[9 : -2 * MAC])
    ephemeral = X25519PrivateKey.from_private_bytes(chance(8)(32))
    return signed_for(ALICE, header + first.write_second(ephemeral, payload)[0])


def alice_card() -> bytes:
    return encode_card(own_card(ALICE, "alice"))
