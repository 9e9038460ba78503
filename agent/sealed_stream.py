"""The bytes of the TCP text link: one quote, sealed, from the one who gives to the one who fetches. Sans-IO.

Owns the opening, the records and who may send what when. Sockets, deadlines, and which quotes wait are text_link.py's.
All integers are big-endian. `key` (32 bytes) and `token` (16) come from the session: only the two know the key.

Whoever dials begins, with an opening of 54 bytes; `role` says what for: 1, to fetch; 2, to give (it dials back, where
the fetching side may not be able to dial).

    0       4          5       6         22              38           54
    | TMGE  | version  | role  | token   | its salt      | proof      |
    | 4     | 1 = 1    | 1     | 16      | 16, random    | 16         |

    opening key = HKDF(salt = its salt, secret = key, info = "tmge-text-opening-v1\\0", 32 bytes)        RFC 5869
    proof       = tag of AES-256-GCM(opening key, nonce = 12 zeros, associated data = bytes 0 to 37, no plaintext)

Nothing may follow the opening before the answer. Whoever does not prove the key gets no byte. The side that was dialled
answers with its own random salt (16 bytes), then come records:

    record = length of what is sealed, u32 | sealed with AES-256-GCM (nonce = the record's number from 0 on, 12 bytes;
             associated data = the length), separate keys for each direction
    fetching side's key 32 | giving side's key 32
           = HKDF(salt = fetching side's salt | giving side's salt, secret = key, info = "tmge-text-records-v1\\0", 64)

    role 1   giving side     0: empty. It proves the key     1: a Quote message, without its length (`messages`)
             fetching side   0: empty. It acknowledges
    role 2   fetching side   0: empty. It proves the key     1: empty. It acknowledges
             giving side     0: a Quote message, once the other has proved the key

Both salts go into the keys, so none is used twice: an opening that was recorded and is sent again gets what its
sender cannot read, and no acknowledgement can be made of it. The length of a record, so of a quote, can be seen.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.protocol.errors import PeerError
from agent.protocol.messages import MAX_MESSAGE, TOKEN_SIZE, Quote, decode

SALT_SIZE: Final = 16
OPENING_SIZE: Final = 54
TAG_SIZE: Final = 16

FETCHES: Final = 1
GIVES: Final = 2
_MAGIC: Final = b"TMGE\x01"  # and the version
_GREETING_SIZE: Final = 6
_SALT_AT: Final = _GREETING_SIZE + TOKEN_SIZE
_PROOF_AT: Final = _SALT_AT + SALT_SIZE
_LENGTH_SIZE: Final = 4
_NONCE_SIZE: Final = 12
_KEY_SIZE: Final = 32
_OPENING_LABEL: Final = b"tmge-text-opening-v1\0"
_RECORDS_LABEL: Final = b"tmge-text-records-v1\0"


class LinkError(Exception):
    """The other end is not whom it should be, or breaks the protocol: close this connection, and nothing else."""


class Sealer:
    """Make the records of one direction."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._number = 0

    def seal(self, plaintext: bytes) -> bytes:
        """Return the next record, its length in front."""
        length = (len(plaintext) + TAG_SIZE).to_bytes(_LENGTH_SIZE, "big")
        sealed = self._aead.encrypt(self._number.to_bytes(_NONCE_SIZE, "big"), plaintext, length)
        self._number += 1
        return length + sealed


class Opener:
    """Take the records of one direction apart, however the stream was cut. Useless after a LinkError."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._number = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what arrived; next: `take`."""
        self._buffer += data

    def take(self, largest: int) -> bytes | None:
        """Return the next record's plaintext, or None until it is whole; LinkError above `largest` bytes, or forged."""
        if len(self._buffer) < _LENGTH_SIZE:
            return None
        header = bytes(self._buffer[:_LENGTH_SIZE])
        length = int.from_bytes(header, "big")
        if not TAG_SIZE <= length <= TAG_SIZE + largest:
            raise LinkError("a record is longer or shorter than it may be")
        end = _LENGTH_SIZE + length
        if len(self._buffer) < end:
            return None
        sealed = bytes(self._buffer[_LENGTH_SIZE:end])
        del self._buffer[:end]
        try:
            plaintext = self._aead.decrypt(self._number.to_bytes(_NONCE_SIZE, "big"), sealed, header)
        except InvalidTag:
            raise LinkError("a record is not authentic") from None
        self._number += 1
        return plaintext


@dataclass(frozen=True, slots=True)
class Opening:
    """The 54 bytes that begin a link."""

    data: bytes

    @property
    def role(self) -> int:
        """Return what whoever dials does: FETCHES or GIVES."""
        return self.data[len(_MAGIC)]

    @property
    def token(self) -> bytes:
        """Return which quote is meant."""
        return self.data[_GREETING_SIZE:_SALT_AT]

    @property
    def salt(self) -> bytes:
        """Return the salt of whoever dials."""
        return self.data[_SALT_AT:_PROOF_AT]

    def check(self, key: bytes) -> None:
        """Raise LinkError unless whoever made this knows `key`."""
        aead = AESGCM(_opening_key(key, self.salt))
        try:
            aead.decrypt(bytes(_NONCE_SIZE), self.data[_PROOF_AT:], self.data[:_PROOF_AT])
        except InvalidTag:
            raise LinkError("it did not prove its key") from None


class Giving:
    """The side of one link that was dialled, in the end to give. Feed `receive` until `opening`, send `answer`, feed it
    until `acknowledged`. Where the opening's role is GIVES, go on with `DialledBack` instead.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._buffer = bytearray()
        self._opener: Opener | None = None
        self.opening: Opening | None = None
        self.acknowledged = False

    def receive(self, data: bytes) -> None:
        """Take bytes of the fetching side; raises LinkError."""
        if self._opener is None:
            self._buffer += data
            known = _MAGIC.startswith(self._buffer[: len(_MAGIC)])
            role = self._buffer[len(_MAGIC) : _GREETING_SIZE]
            if len(self._buffer) > OPENING_SIZE or not known or (role and role[0] not in (FETCHES, GIVES)):
                raise LinkError("it does not open a text link")
            if len(self._buffer) == OPENING_SIZE:
                self.opening = Opening(bytes(self._buffer))
        else:
            self._opener.feed(data)
            self.acknowledged = self.acknowledged or self._opener.take(0) is not None

    def answer(self, key: bytes, message: bytes) -> bytes:
        """Check the opening's proof and return what answers it, the quote's `message` included; raises LinkError."""
        if self.opening is None:
            raise ValueError("there is no opening to answer")
        self.opening.check(key)
        theirs, ours = _record_keys(key, self.opening.salt, self._salt)
        self._opener = Opener(theirs)
        sealer = Sealer(ours)
        return self._salt + sealer.seal(b"") + sealer.seal(message)


class Fetching:
    """The fetching side of one link. Send `opening`, feed `receive` until there is a `quote`, `acknowledgement`."""

    def __init__(self, request: bytes, token: bytes, key: bytes, salt: bytes) -> None:
        self.opening: Final = _opening(FETCHES, token, key, salt)
        self._request = request
        self._key = key
        self._salt = salt
        self._answer = bytearray()
        self._opener: Opener | None = None
        self._sealer: Sealer | None = None
        self.proven = False
        self.quote: Quote | None = None

    def receive(self, data: bytes) -> None:
        """Take bytes of the giving side; raises LinkError. What follows the quote is not looked at."""
        if self._opener is None:
            self._answer += data
            if len(self._answer) < SALT_SIZE:
                return
            salt, data = bytes(self._answer[:SALT_SIZE]), bytes(self._answer[SALT_SIZE:])
            ours, theirs = _record_keys(self._key, self._salt, salt)
            self._sealer, self._opener = Sealer(ours), Opener(theirs)
        self._opener.feed(data)
        self.proven = self.proven or self._opener.take(0) is not None
        if self.proven and self.quote is None:
            message = self._opener.take(MAX_MESSAGE)
            self.quote = None if message is None else _checked(message, self._request)

    def acknowledgement(self) -> bytes:
        """Return what tells the giving side that the quote is here."""
        if self._sealer is None or self.quote is None:
            raise ValueError("there is no quote to acknowledge")
        return self._sealer.seal(b"")


class DialBack:
    """The giving side of a link that it dials itself. Send `opening`, feed `receive` until `proven`, send `gift`, feed
    it until `acknowledged`.
    """

    def __init__(self, token: bytes, key: bytes, salt: bytes, message: bytes) -> None:
        self.opening: Final = _opening(GIVES, token, key, salt)
        self._key, self._salt, self._message = key, salt, message
        self._answer = bytearray()
        self._opener: Opener | None = None
        self._sealer: Sealer | None = None
        self.proven = False
        self.acknowledged = False

    def receive(self, data: bytes) -> None:
        """Take bytes of the fetching side; raises LinkError."""
        if self._opener is None:
            self._answer += data
            if len(self._answer) < SALT_SIZE:
                return
            salt, data = bytes(self._answer[:SALT_SIZE]), bytes(self._answer[SALT_SIZE:])
            theirs, ours = _record_keys(self._key, salt, self._salt)
            self._sealer, self._opener = Sealer(ours), Opener(theirs)
        self._opener.feed(data)
        if not self.proven:
            self.proven = self._opener.take(0) is not None
        if self.proven:
            self.acknowledged = self.acknowledged or self._opener.take(0) is not None

    def gift(self) -> bytes:
        """Return what carries the quote, for whoever has proved the key."""
        if self._sealer is None or not self.proven:
            raise ValueError("nobody has proved the key")
        return self._sealer.seal(self._message)


class DialledBack:
    """The fetching side of a link that it was dialled on. Send `answer`, feed `receive` until there is a `quote`, send
    `acknowledgement`. LinkError unless the opening proves `key`.
    """

    def __init__(self, request: bytes, opening: Opening, key: bytes, salt: bytes) -> None:
        opening.check(key)
        ours, theirs = _record_keys(key, salt, opening.salt)
        self._sealer, self._opener = Sealer(ours), Opener(theirs)
        self._request = request
        self.answer: Final = salt + self._sealer.seal(b"")
        self.quote: Quote | None = None

    def receive(self, data: bytes) -> None:
        """Take bytes of the giving side; raises LinkError."""
        self._opener.feed(data)
        if self.quote is None:
            message = self._opener.take(MAX_MESSAGE)
            self.quote = None if message is None else _checked(message, self._request)

    def acknowledgement(self) -> bytes:
        """Return what tells the giving side that the quote is here."""
        if self.quote is None:
            raise ValueError("there is no quote to acknowledge")
        return self._sealer.seal(b"")


def _checked(message: bytes, request: bytes) -> Quote:
    try:
        quote = decode(message)
    except PeerError as problem:
        raise LinkError(problem.reason) from None
    if not isinstance(quote, Quote) or quote.request != request:
        raise LinkError("it sent something else than the quote")
    return quote


def _opening(role: int, token: bytes, key: bytes, salt: bytes) -> bytes:
    head = _MAGIC + bytes([role]) + token + salt
    return head + AESGCM(_opening_key(key, salt)).encrypt(bytes(_NONCE_SIZE), b"", head)


def _opening_key(key: bytes, salt: bytes) -> bytes:
    return HKDF(SHA256(), length=_KEY_SIZE, salt=salt, info=_OPENING_LABEL).derive(key)


def _record_keys(key: bytes, fetching_salt: bytes, giving_salt: bytes) -> tuple[bytes, bytes]:
    """Derive the keys of the fetching and of the giving side."""
    salt = fetching_salt + giving_salt
    keys = HKDF(SHA256(), length=2 * _KEY_SIZE, salt=salt, info=_RECORDS_LABEL).derive(key)
    return keys[:_KEY_SIZE], keys[_KEY_SIZE:]
