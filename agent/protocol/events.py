"""What the core tells the agent: values that come out of `Endpoint.next_event`."""

from dataclasses import dataclass

from agent.protocol.candidates import PathKind
from agent.protocol.card import Card
from agent.protocol.packet import Address
from agent.protocol.request import Kind, Phase, Verb
from agent.protocol.transfer import Image


@dataclass(frozen=True, slots=True)
class RequestMade:
    """A request exists: ours, or a peer's that a person must answer. `lifetime` is in seconds from now."""

    request: bytes
    kind: Kind
    verb: Verb
    peer: Card
    made_here: bool
    lifetime: float
    wish: str
    image: Image | None = None  # what is offered


@dataclass(frozen=True, slots=True)
class RequestChanged:
    """A request is in another phase; `reason` is a sentence or empty."""

    request: bytes
    phase: Phase
    reason: str


@dataclass(frozen=True, slots=True)
class QuoteAccepted:
    """A quote is to cross the text link under `token` and `key`; next `quote_arrived` or `quote_inside`.

    The receiver dials `address`. At the giver, `receives` is False and the link waits for the token.
    """

    request: bytes
    peer: Card
    token: bytes
    key: bytes
    address: Address
    receives: bool


@dataclass(frozen=True, slots=True)
class QuoteArrived:
    """A quote came inside the session; next: `quote_arrived`."""

    request: bytes
    text: str
    author: str
    source: str


@dataclass(frozen=True, slots=True)
class ImageAccepted:
    """A picture may be fetched; next: `fetch_image` with a sink, or `fail`."""

    request: bytes
    peer: Card
    image: Image


@dataclass(frozen=True, slots=True)
class ImageArrived:
    """Every chunk and the whole hash are right; next: `image_kept`, or `fail`."""

    request: bytes


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """Packets flow with this peer. `counter` is that of its handshake, to be kept; None when we began."""

    peer: Card
    address: Address
    counter: int | None
    kind: PathKind


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Packets to this peer take another path now, or what is known of its kind has changed. `rtt` in seconds."""

    peer: Card
    kind: PathKind
    address: Address
    rtt: float


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """No packets flow with this peer any more."""

    peer: Card
    reason: str


@dataclass(frozen=True, slots=True)
class Connected:
    """Both said yes: this peer may ask us from now on, and we it."""

    peer: Card


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The peer ended the connection, or says that there is none."""

    peer: Card


@dataclass(frozen=True, slots=True)
class StatementTold:
    """The peer says what the rendezvous has signed about us, as JSON; one in a session is enough."""

    peer: Card
    statement: bytes


Event = (
    RequestMade
    | RequestChanged
    | QuoteAccepted
    | QuoteArrived
    | ImageAccepted
    | ImageArrived
    | SessionOpened
    | PathChanged
    | SessionClosed
    | Connected
    | Disconnected
    | StatementTold
)
