"""What two agents say to each other on a session's control stream, and its bytes.

A message is `length u32 | kind u8 | fields`, all integers big-endian. A text or blob field is a u32 length and its
bytes. `LAYOUT` of each class gives its fields in order; PROTOCOL.md's table is made from it. Parsing is strict:
unknown kinds, trailing bytes, over-long fields and bad UTF-8 raise PeerError.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any, ClassVar, Final

from agent.protocol.candidates import Candidate
from agent.protocol.errors import PeerError
from agent.protocol.fields import CANDIDATES, RANGES, TRIED, U8, U32, U64, blob, fixed, text
from agent.protocol.report import Tried
from rendezvous.contract.statement import MAX_STATEMENT

REQUEST_SIZE: Final = 16
TOKEN_SIZE: Final = 16
MAX_WISH: Final = 600  # bytes
MAX_REASON: Final = 400  # bytes
MAX_QUOTE: Final = 64 * 1024  # bytes of UTF-8
MAX_AUTHOR: Final = 800  # bytes
MAX_SOURCE: Final = 1600  # bytes
MAX_PREVIEW: Final = 2048  # bytes
MAX_CAPTION: Final = 1200  # bytes
MAX_ALT: Final = 4000  # bytes
STRIPPED: Final = 1  # of `about`: metadata was removed from the picture
NO_PATH: Final = 255
MAX_MESSAGE: Final = MAX_QUOTE + MAX_AUTHOR + MAX_SOURCE + 1024

_U32 = Struct(">I")


REQUEST: Final = fixed(REQUEST_SIZE)
TOKEN: Final = fixed(TOKEN_SIZE)
DIGEST: Final = fixed(32)
WISH: Final = text(MAX_WISH)
IMAGE: Final = (U64, U8, U32, U32, DIGEST, DIGEST, blob(MAX_PREVIEW), U8, text(MAX_CAPTION), text(MAX_ALT))


@dataclass(frozen=True, slots=True)
class ConnectTo:
    """May I exchange with you from now on?"""

    KIND: ClassVar = 1
    LAYOUT: ClassVar = (REQUEST, U32, WISH)
    request: bytes
    lifetime: int
    wish: str


@dataclass(frozen=True, slots=True)
class AskQuote:
    """May I have a quote?"""

    KIND: ClassVar = 2
    LAYOUT: ClassVar = (REQUEST, U32, WISH)
    request: bytes
    lifetime: int
    wish: str


@dataclass(frozen=True, slots=True)
class AskImage:
    """May I have a picture?"""

    KIND: ClassVar = 3
    LAYOUT: ClassVar = (REQUEST, U32, WISH)
    request: bytes
    lifetime: int
    wish: str


@dataclass(frozen=True, slots=True)
class OfferQuote:
    """Would you like a quote? Taken with Accept; `token` names the exchange on the text link."""

    KIND: ClassVar = 4
    LAYOUT: ClassVar = (REQUEST, U32, WISH, TOKEN)
    request: bytes
    lifetime: int
    wish: str
    token: bytes


@dataclass(frozen=True, slots=True)
class OfferImage:
    """Would you like this picture? Taken with Accept, then Fetch."""

    KIND: ClassVar = 5
    LAYOUT: ClassVar = (REQUEST, U32, WISH, *IMAGE)
    request: bytes
    lifetime: int
    wish: str
    size: int
    format: int
    width: int
    height: int
    sha256: bytes
    digests_sha256: bytes
    preview: bytes
    about: int
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class Accept:
    """Yes, to a connection or an offer."""

    KIND: ClassVar = 6
    LAYOUT: ClassVar = (REQUEST,)
    request: bytes


@dataclass(frozen=True, slots=True)
class GiveQuote:
    """Yes, to AskQuote: fetch it over the text link under this token."""

    KIND: ClassVar = 7
    LAYOUT: ClassVar = (REQUEST, TOKEN)
    request: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class GiveImage:
    """Yes, to AskImage: this is the picture; Fetch it."""

    KIND: ClassVar = 8
    LAYOUT: ClassVar = (REQUEST, *IMAGE)
    request: bytes
    size: int
    format: int
    width: int
    height: int
    sha256: bytes
    digests_sha256: bytes
    preview: bytes
    about: int
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class LastWord:
    """The last word on a request, from the side that has it."""

    KIND: ClassVar = 9
    LAYOUT: ClassVar = (REQUEST, U8, text(MAX_REASON))
    request: bytes
    phase: int
    reason: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Please end this request: said to the side that has the last word; a reason means that something failed."""

    KIND: ClassVar = 10
    LAYOUT: ClassVar = (REQUEST, text(MAX_REASON))
    request: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Send these byte ranges of the picture's transfer (digest list first, then the file)."""

    KIND: ClassVar = 11
    LAYOUT: ClassVar = (REQUEST, U32, RANGES)
    request: bytes
    transfer: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class FetchQuote:
    """The text link does not work: send the quote inside the session."""

    KIND: ClassVar = 12
    LAYOUT: ClassVar = (REQUEST,)
    request: bytes


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote, inside the session."""

    KIND: ClassVar = 13
    LAYOUT: ClassVar = (REQUEST, text(MAX_QUOTE), text(MAX_AUTHOR), text(MAX_SOURCE))
    request: bytes
    text: str
    author: str
    source: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """We are no longer connected: ask anew before asking for anything."""

    KIND: ClassVar = 14
    LAYOUT: ClassVar = ()


@dataclass(frozen=True, slots=True)
class Hello:
    """First on each session: how often this agent has started. Another number: earlier requests are forgotten."""

    KIND: ClassVar = 15
    LAYOUT: ClassVar = (U32,)
    start: int


@dataclass(frozen=True, slots=True)
class Stated:
    """What the rendezvous has signed about you, as JSON: see whether it is what it tells you."""

    KIND: ClassVar = 16
    LAYOUT: ClassVar = (blob(MAX_STATEMENT),)
    statement: bytes


@dataclass(frozen=True, slots=True)
class Candidates:
    """Here I may be reached, once we are connected; a later round replaces an earlier one."""

    KIND: ClassVar = 17
    LAYOUT: ClassVar = (U32, U8, U8, CANDIDATES)
    round: int
    mapping: int
    filtering: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class PathReport:
    """This is what I have tried towards you; `used` is the index of what I send to now, 255 for a relay."""

    KIND: ClassVar = 18
    LAYOUT: ClassVar = (U8, TRIED)
    used: int
    tried: tuple[Tried, ...]


Message = (
    ConnectTo
    | AskQuote
    | AskImage
    | OfferQuote
    | OfferImage
    | Accept
    | GiveQuote
    | GiveImage
    | LastWord
    | Cancel
    | Fetch
    | FetchQuote
    | Quote
    | Disconnect
    | Hello
    | Stated
    | Candidates
    | PathReport
)

MESSAGES: Final[dict[int, type[Any]]] = {cls.KIND: cls for cls in Message.__args__}


def encode(message: Message) -> bytes:
    """Encode a message with its length in front."""
    values = (getattr(message, name) for name in message.__slots__)
    fields = zip(message.LAYOUT, values, strict=True)
    body = bytes([message.KIND]) + b"".join(field.write(value) for field, value in fields)
    return _U32.pack(len(body)) + body


def decode(body: bytes) -> Message:
    """Decode a message without its length; raises PeerError."""
    cls = MESSAGES.get(body[0]) if body else None
    if cls is None:
        raise PeerError("message", "a message is of no known kind")
    at = 1
    values = []
    for field in cls.LAYOUT:
        value, at = field.read(body, at)
        values.append(value)
    if at != len(body):
        raise PeerError("message", "a message has trailing bytes")
    message: Message = cls(*values)
    return message


def split(stream: bytearray) -> Iterator[Message]:
    """Take the complete messages off the front of `stream`; raises PeerError."""
    while len(stream) >= 4:
        (length,) = _U32.unpack_from(stream)
        if not 0 < length <= MAX_MESSAGE:
            raise PeerError("message", "a message is empty or longer than it may be")
        if len(stream) < 4 + length:
            return
        body = bytes(stream[4 : 4 + length])
        del stream[: 4 + length]
        yield decode(body)
