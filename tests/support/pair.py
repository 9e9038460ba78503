"""Two agents' cores on a simulated network, with people who say yes, and pictures in memory."""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from agent.identity import Identity
from agent.protocol.book import Gift, ImageGift, QuoteGift
from agent.protocol.card import Card, own_card
from agent.protocol.endpoint import Endpoint
from agent.protocol.events import (
    ImageAccepted,
    ImageArrived,
    QuoteAccepted,
    QuoteArrived,
    RequestChanged,
    RequestMade,
)
from agent.protocol.packet import Address, Datagrams
from agent.protocol.request import Kind, Phase
from agent.protocol.transfer import CHUNK, Image
from tests.support.handshakes import ALICE, BOB
from tests.support.network import Host, Network

ADDRESSES = {"alice": ("10.0.0.1", 4001), "bob": ("10.0.0.2", 4002), "carol": ("10.0.0.3", 4003)}
QUOTE = QuoteGift("من ملک بودم و فردوس برین جایم بود", "حافظ", "غزل ۳۱۷")


class Memory:
    """A file in memory: a source to send from, or a sink to receive into."""

    def __init__(self, data: bytes | int) -> None:
        self.data = bytearray(data)
        self.verified: set[int] = set()

    def read_into(self, views: Sequence[memoryview], offset: int) -> None:
        for view in views:
            view[:] = self.data[offset : offset + len(view)]
            offset += len(view)

    def write_from(self, views: Sequence[memoryview], offset: int) -> None:
        for view in views:
            assert not self.verified & set(range(offset // CHUNK, (offset + len(view) - 1) // CHUNK + 1))
            self.data[offset : offset + len(view)] = view
            offset += len(view)

    def mark_verified(self, index: int) -> None:
        self.verified.add(index)


def picture(size: int, seed: int = 1) -> ImageGift:
    """Make a picture of random bytes: the core does not look into it."""
    data = random.Random(seed).randbytes(size)
    digests = b"".join(hashlib.sha256(data[at : at + CHUNK]).digest() for at in range(0, size, CHUNK))
    sha256, list_sha256 = hashlib.sha256(data).digest(), hashlib.sha256(digests).digest()
    return ImageGift(Image(size, "JPEG", 800, 600, sha256, list_sha256, b"tiny"), Memory(data), digests)


class Person:
    """One agent's core, its host, and somebody who answers as the test says."""

    def __init__(
        self,
        network: Network,
        name: str,
        identity: Identity,
        peers: Sequence[bytes],
        where: Address | None = None,
        **host: Any,
    ) -> None:
        self.network, self.name, self.identity = network, name, identity
        self.card: Card = own_card(identity, name)
        self.where: Address = where or ADDRESSES[name]
        self.notices: Callable[[Any], None] = lambda event: None
        self.dials = True  # and does not wait to be given a route
        self.start = 1
        self.connected = tuple(peers)
        self.phases: dict[bytes, list[Phase]] = {}
        self.reasons: dict[bytes, str] = {}
        self.asked: list[RequestMade] = []
        self.sinks: dict[bytes, Memory] = {}
        self.quotes: list[QuoteArrived] = []
        self.links: list[QuoteAccepted] = []
        self.events: list[Any] = []
        self.says: Callable[[RequestMade], Gift | bool | None] = lambda asked: None
        self.core = self._new_core()
        self.host = self._new_host(**host)

    def _new_core(self) -> Endpoint:
        chance = random.Random(f"{self.name}{self.start}{self.network.random.random()}").randbytes
        return Endpoint(self.identity, self.name, self.start, chance, self.connected)

    def _new_host(self, **host: Any) -> Host:
        return Host(self.network, self.where, self.core, on_event=self._on_event, datagrams=Datagrams, **host)

    def restart(self) -> None:
        """Vanish without a word and start anew, with the same keys and contacts."""
        self.host.stop()
        self.start += 1
        self.core = self._new_core()
        self.host = self._new_host()

    def ask(self, kind: Kind, other: "Person", lifetime: int = 300, offer: Gift | None = None) -> bytes:
        """Ask the other person; return the request's id."""
        id = self.network.random.randbytes(16)
        if self.dials:
            self.core.meet(other.card.key, [other.where])
        self.core.ask(id, kind, other.card, lifetime, "", self.network.now, offer)
        self.host.wake()
        return id

    def answer(self, id: bytes, accept: bool, gift: Gift | None = None) -> None:
        self.core.answer(id, accept, gift, "", self.network.now)
        self.host.wake()

    def cancel(self, id: bytes) -> None:
        self.core.cancel(id, self.network.now)
        self.host.wake()

    def phase(self, id: bytes) -> Phase | None:
        return self.phases.get(id, [None])[-1]

    def _on_event(self, event: Any) -> None:
        now = self.network.now
        self.events.append(event)
        self.notices(event)
        match event:
            case RequestMade(id, made_here=True):
                self.phases[id] = [Phase.WAITING]
            case RequestMade(id):
                self.phases[id] = [Phase.WAITING]
                self.asked.append(event)
                said = self.says(event)
                if said is not None:
                    self.core.answer(id, said is not False, None if isinstance(said, bool) else said, "", now)
            case RequestChanged(id, phase, reason):
                self.phases[id].append(phase)
                self.reasons[id] = reason
            case ImageAccepted(id, _, image):
                self.sinks[id] = Memory(image.size)
                self.core.fetch_image(id, self.sinks[id], (), now)
            case ImageArrived(id):
                self.core.image_kept(id, now)
            case QuoteAccepted(id, receives=receives):
                self.links.append(event)
                if receives:
                    self.core.quote_inside(id, now)
            case QuoteArrived(id):
                self.quotes.append(event)
                self.core.quote_arrived(id, now)


class Pair:
    """Alice and Bob, on links with the given path; connected unless the test says otherwise."""

    def __init__(self, seed: int = 1, connected: bool = True, turn: float = 0.0, **path: Any) -> None:
        self.network = Network(seed)
        there, back = ADDRESSES["alice"][0], ADDRESSES["bob"][0]
        self.links = self.network.join(there, back, **({"delay": 0.01} | path))
        self.alice = Person(self.network, "alice", ALICE, [BOB.key] if connected else [], turn=turn)
        self.bob = Person(self.network, "bob", BOB, [ALICE.key] if connected else [], turn=turn)

    def until(self, id: bytes, phase: Phase, seconds: float = 60) -> bool:
        """Run until both sides are in this phase; False when the time is up."""
        people = (self.alice, self.bob)
        return self.network.run_until(
            lambda: all(person.phase(id) is phase for person in people), self.network.now + seconds
        )
