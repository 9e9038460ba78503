"""The handshake of two agents: Noise IK in one round trip. Owns its packets and what comes out.

Not here: when to send again or give up, whether a counter is new, what to do when both open at
once, whom a person has pinned, when there is load. `endpoint` decides these.

INITIATION, 1200 bytes, always: so an answer is never larger than what came in
    kind 1 = 0xE1 | version 1 = 1 | initiator's connection id 7               header
    | ephemeral 32 | sealed static 48 | sealed (card, counter 8, zeros) 1079  Noise message 1
    | mac1 16 | mac2 16
RESPONSE, 193 bytes and the name
    kind 1 = 0xE2 | version 1 = 1 | responder's connection id 7 | initiator's connection id 7
    | ephemeral 32 | sealed (the 16 bytes above, card)                        Noise message 2
    | mac1 16
COOKIE, 53 bytes, instead of a response under load
    kind 1 = 0xE3 | version 1 = 1 | initiator's connection id 7 | nonce 12 | sealed cookie 32

Integers are big-endian. `card` describes the card, `cookies` mac1, mac2 and the cookie. The Noise
prologue is "TMGE 1" and the initiation's header; so every header is authenticated, and Noise is
used as published (`noise`): any library that has IK can speak this. The secrets of a session are

    HKDF(salt = handshake hash, secret = initiator's key || responder's key,
         info = "tmge-session-v1\\0", 96 bytes)                               RFC 5869
    = the initiator's packet secret 32 | the responder's packet secret 32 | exporter 32

where keys and hash are those of Noise's Split.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from agent.protocol import noise
from agent.protocol.card import (
    Card,
    HandshakeError,
    LocalIdentity,
    decode_card,
    encode_card,
    own_card,
    verify_card,
)
from agent.protocol.cookies import (
    COOKIE_LIFETIME,
    MAC_BYTES,
    NONCE_BYTES,
    SEALED_COOKIE_BYTES,
    CookieJar,
    CookieSeal,
    Mac1,
    mac2_of,
)
from agent.protocol.errors import Drop
from agent.protocol.keys import PacketKeys
from agent.protocol.packet import CONNECTION_ID_SIZE, SMALLEST_DATAGRAM

__all__ = [
    "COOKIE",
    "INITIATION",
    "INITIATION_SIZE",
    "RESPONSE",
    "VERSION",
    "Card",
    "Established",
    "HandshakeError",
    "Initiator",
    "LocalIdentity",
    "Opening",
    "Responder",
    "attempt",
    "verify_card",
]

INITIATION: Final = 0xE1
RESPONSE: Final = 0xE2
COOKIE: Final = 0xE3
VERSION: Final = 1
INITIATION_SIZE: Final = SMALLEST_DATAGRAM

_HEADER: Final = struct.Struct(">BB7s")
_RESPONSE_HEADER: Final = struct.Struct(">BB7s7s")
_COOKIE: Final = struct.Struct(f">BB7s{NONCE_BYTES}s{SEALED_COOKIE_BYTES}s")
_COUNTER: Final = struct.Struct(">Q")
_MACS_AT: Final = INITIATION_SIZE - 2 * MAC_BYTES
_PAYLOAD_BYTES: Final = _MACS_AT - _HEADER.size - noise.FIRST_OVERHEAD
_PROLOGUE: Final = b"TMGE 1"

Random = Callable[[int], bytes]


@dataclass(slots=True)
class Established:
    """A finished handshake, the same on both sides but for the direction.

    The initiator knows that the responder is there. The responder knows it, and that it is not
    looking at a replay, only once `receive` has opened a first packet: until then it prompts nobody
    and changes nothing. Both compare `peer.key` with whom they mean.
    """

    peer: Card
    local_connection_id: bytes  # 7 bytes; stands in the packets that we receive
    remote_connection_id: bytes  # 7 bytes; stands in the packets that we send
    send: PacketKeys = field(repr=False)
    receive: PacketKeys = field(repr=False)
    exporter: bytes = field(repr=False)

    def export(self, label: bytes, context: bytes, length: int) -> bytes:
        """Derive key material for another use, the same on both sides (RFC 5869 section 2.3).

        The info is "tmge-export-v1\\0" | label length 1 | label | context. OverflowError above 255
        bytes of label, ValueError above 8160 of length.
        """
        info = b"tmge-export-v1\0" + len(label).to_bytes(1, "big") + label + context
        return HKDFExpand(SHA256(), length=length, info=info).derive(self.exporter)


@dataclass(frozen=True, slots=True)
class Opening:
    """An initiation that is authentic and for us, but perhaps a replay.

    `counter` must be above the last one of this peer. What is below is ignored without an answer.
    """

    peer: Card
    counter: int
    connection_id: bytes
    _first: noise.First = field(repr=False)


class Initiator:
    """Try to reach the owner of `peer_box_key`: send `initiation` until `receive_response` returns.

    `counter` must be above every one used before, restarts included: responders take the others for
    replays. Raises HandshakeError if `peer_box_key` is no usable key.
    """

    def __init__(
        self,
        identity: LocalIdentity,
        name: str,
        peer_box_key: bytes,
        connection_id: bytes,
        counter: int,
        random: Random,
    ) -> None:
        self.connection_id = connection_id
        self.peer_box_key = peer_box_key
        header = _header(INITIATION, connection_id)
        payload = (encode_card(own_card(identity, name)) + _COUNTER.pack(counter)).ljust(_PAYLOAD_BYTES, b"\0")
        try:
            self._sent = noise.write_first(
                _PROLOGUE + header, identity.box_private, _ephemeral(random), peer_box_key, payload
            )
        except noise.NoiseError as error:
            raise HandshakeError(Drop.NOT_AUTHENTIC, f"cannot open to this key: {error}") from None
        body = header + self._sent.message
        self._mac1 = Mac1(peer_box_key).of(body)
        self._signed = body + self._mac1
        self._own_mac1 = Mac1(identity.box_key)
        self._cookie_seal = CookieSeal(peer_box_key)
        self._cookie = b""
        self._cookie_from = 0.0
        self._done = False

    def initiation(self, now: float) -> bytes:
        """Return the packet to send: the same bytes each time, but for mac2 with a fresh cookie."""
        if self._cookie and now - self._cookie_from < COOKIE_LIFETIME:
            return self._signed + mac2_of(self._cookie, self._signed)
        return self._signed + bytes(MAC_BYTES)

    def receive_cookie(self, packet: bytes, now: float) -> bool:
        """Take a cookie for the next `initiation`; False if the packet is none for this attempt.

        Whoever sees our packets and knows the responder's box key can forge one. It delays us by a
        round trip: under load the responder answers a wrong cookie with a right one, and without
        load it looks at none.
        """
        if len(packet) != _COOKIE.size:
            return False
        kind, version, connection_id, nonce, sealed = _COOKIE.unpack(packet)
        if (kind, version, connection_id) != (COOKIE, VERSION, self.connection_id):
            return False
        cookie = self._cookie_seal.open(nonce, sealed, self._mac1)
        if cookie is None:
            return False
        self._cookie, self._cookie_from = cookie, now
        return True

    def receive_response(self, packet: bytes) -> Established:
        """Finish. HandshakeError for anything wrong, after which the attempt stands as before.

        It finishes once: the same keys given out twice would use their nonces twice.
        """
        header, body = packet[: _RESPONSE_HEADER.size], packet[:-MAC_BYTES]
        if len(packet) < _RESPONSE_HEADER.size + noise.SECOND_OVERHEAD + MAC_BYTES:
            raise HandshakeError(Drop.SHORT, "response too short")
        kind, version, remote_connection_id, connection_id = _RESPONSE_HEADER.unpack(header)
        if (kind, version) != (RESPONSE, VERSION):
            raise HandshakeError(Drop.KIND, "no response of this version")
        if connection_id != self.connection_id:
            raise HandshakeError(Drop.UNKNOWN_CONNECTION, "response to another attempt")
        if not self._own_mac1.holds(body, packet[-MAC_BYTES:]):
            raise HandshakeError(Drop.NOT_FOR_US, "mac1 of a response is wrong")
        if self._done:
            raise HandshakeError(Drop.DUPLICATE, "this attempt is over")
        try:
            payload, split = self._sent.read_second(body[_RESPONSE_HEADER.size :])
        except noise.NoiseError as error:
            raise HandshakeError(Drop.NOT_AUTHENTIC, f"response: {error}") from None
        if payload[: len(header)] != header:
            raise HandshakeError(Drop.NOT_AUTHENTIC, "response under a changed header")
        peer, rest = decode_card(payload[len(header) :], self.peer_box_key)
        if rest:
            raise HandshakeError(Drop.NOT_AUTHENTIC, "response with bytes behind the card")
        verify_card(peer)
        self._done = True
        ours, theirs, exporter = _session_secrets(split)
        return Established(
            peer,
            connection_id,
            remote_connection_id,
            PacketKeys(ours),
            PacketKeys(theirs),
            exporter,
        )


class Responder:
    """Answer initiations: `accepts`, `read`, check the counter, `respond`.

    Under load, `cookie_reply` instead of `read` for whatever is not `cookie_valid`. The same
    initiation comes again when its response was lost: keep the response by `attempt(packet)` and
    send it again, for a second `respond` would make other keys.
    """

    def __init__(self, identity: LocalIdentity, random: Random) -> None:
        self._identity = identity
        self._random = random
        self._mac1 = Mac1(identity.box_key)
        self._cookie_seal = CookieSeal(identity.box_key)
        self._jar = CookieJar(random)

    def accepts(self, packet: bytes) -> bool:
        """Tell, for the price of one hash, whether its sender knows our box key."""
        return (
            len(packet) == INITIATION_SIZE
            and packet[0] == INITIATION
            and packet[1] == VERSION
            and self._mac1.holds(packet[:_MACS_AT], attempt(packet))
        )

    def cookie_valid(self, packet: bytes, source: bytes, now: float) -> bool:
        """Tell whether an accepted packet comes from someone who receives what is sent to `source`.

        mac2 is outside of everything else that is authenticated, and counts for nothing when nobody
        asks here.
        """
        return self._jar.proves(source, packet[:-MAC_BYTES], packet[-MAC_BYTES:], now)

    def cookie_reply(self, packet: bytes, source: bytes, now: float) -> bytes:
        """Return the packet that asks an accepted one's sender to come again with this cookie."""
        nonce = self._random(NONCE_BYTES)
        sealed = self._cookie_seal.seal(nonce, self._jar.cookie(source, now), attempt(packet))
        return _header(COOKIE, packet[2 : _HEADER.size]) + nonce + sealed

    def read(self, packet: bytes) -> Opening:
        """Open an initiation: two X25519 results, one signature. HandshakeError unless all hold."""
        if not self.accepts(packet):
            raise HandshakeError(Drop.NOT_FOR_US, "no initiation for our key")
        header = packet[: _HEADER.size]
        try:
            first = noise.read_first(_PROLOGUE + header, self._identity.box_private, packet[_HEADER.size : _MACS_AT])
        except noise.NoiseError as error:
            raise HandshakeError(Drop.NOT_AUTHENTIC, f"initiation: {error}") from None
        peer, rest = decode_card(first.payload, first.remote_static)
        counter, padding = rest[: _COUNTER.size], rest[_COUNTER.size :]
        if any(padding):
            raise HandshakeError(Drop.NOT_AUTHENTIC, "initiation with other padding than zeros")
        verify_card(peer)
        return Opening(peer, int.from_bytes(counter, "big"), header[2:], first)

    def respond(self, opening: Opening, name: str, connection_id: bytes) -> tuple[bytes, Established]:
        """Return the response and the session, once for each opening. `connection_id` is ours."""
        header = _RESPONSE_HEADER.pack(RESPONSE, VERSION, _checked(connection_id), opening.connection_id)
        message, split = opening._first.write_second(
            _ephemeral(self._random), header + encode_card(own_card(self._identity, name))
        )
        body = header + message
        theirs, ours, exporter = _session_secrets(split)
        established = Established(
            opening.peer,
            connection_id,
            opening.connection_id,
            PacketKeys(ours),
            PacketKeys(theirs),
            exporter,
        )
        return body + Mac1(opening.peer.box_key).of(body), established


def attempt(initiation: bytes) -> bytes:
    """Name an initiation by its mac1: the same each time it is sent, with a cookie or without."""
    return initiation[_MACS_AT : _MACS_AT + MAC_BYTES]


def _header(kind: int, connection_id: bytes) -> bytes:
    return _HEADER.pack(kind, VERSION, _checked(connection_id))


def _checked(connection_id: bytes) -> bytes:
    if len(connection_id) != CONNECTION_ID_SIZE:
        raise ValueError(f"a connection id has {CONNECTION_ID_SIZE} bytes")
    return connection_id


def _ephemeral(random: Random) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(random(noise.KEY_BYTES))


def _session_secrets(split: noise.Split) -> tuple[bytes, bytes, bytes]:
    """Derive the packet secrets of initiator and responder, and the exporter."""
    okm = HKDF(SHA256(), length=96, salt=split.handshake_hash, info=b"tmge-session-v1\0").derive(
        split.initiator_key + split.responder_key
    )
    return okm[:32], okm[32:64], okm[64:]
