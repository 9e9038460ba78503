"""Sessions that are being opened: where peers can be reached, attempts under way, and what waits for them to succeed.

Used by `endpoint`, which knows what to do when one succeeds or fails.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from agent.protocol.attempt import Attempt
from agent.protocol.card import Card, HandshakeError, LocalIdentity
from agent.protocol.handshake import Initiator
from agent.protocol.messages import Message
from agent.protocol.packet import CONNECTION_ID_SIZE, Address, Datagrams
from agent.protocol.ranking import relayed
from agent.protocol.report import Outcome

START_SHIFT: Final = 32  # a handshake counter is the number of this agent's start, then a count from 0
RETRY_FIRST, RETRY_LAST = 1.0, 30.0  # seconds between tries to go on with a transfer


class Openings:
    """At most one attempt for each peer; `start` is the number of this agent's start."""

    def __init__(self, identity: LocalIdentity, start: int, random: Callable[[int], bytes]) -> None:
        self._identity = identity
        self._start = start
        self._count = 0
        self._random = random
        self._addresses: dict[bytes, tuple[Address, ...]] = {}
        self._routes: dict[bytes, list[Address]] = {}
        self._attempts: dict[bytes, Attempt] = {}  # by our connection id
        self._waiting: dict[bytes, list[tuple[Card, Message]]] = {}  # by key
        self._retries: dict[bytes, tuple[float, float]] = {}  # by key: when to try again, and the pause before that

    def meet(self, key: bytes, addresses: Sequence[Address]) -> None:
        """Learn where a peer can be reached; routes stay."""
        if self._addresses.get(key) != tuple(addresses):
            self._retries.pop(key, None)
        known, self._addresses[key] = self._addresses.get(key, ()), tuple(addresses)
        for address in addresses:
            if address not in known:
                self._try_at(key, address)

    def add_route(self, key: bytes, address: Address) -> None:
        """Learn that a peer can be reached at this address now; an attempt under way sends there too."""
        routes = self._routes.setdefault(key, [])
        if address not in routes:
            routes.append(address)
            self._retries.pop(key, None)
        self._try_at(key, address)

    def drop_route(self, key: bytes, address: Address) -> None:
        """Learn that a route is gone."""
        routes = [route for route in self._routes.pop(key, []) if route != address]
        if routes:
            self._routes[key] = routes
        for attempt in self._attempts.values():
            if attempt.key == key:
                attempt.drop(address)

    def addresses(self, key: bytes) -> tuple[Address, ...]:
        """Return all addresses at which a peer may be reached, as far as it is known."""
        return tuple(dict.fromkeys((*self._addresses.get(key, ()), *self._routes.get(key, ()))))

    def seen_at(self, key: bytes, address: Address) -> None:
        """Learn where a peer came from, unless it is known better; a binding at a relay does not last."""
        if not relayed(address):
            self._addresses.setdefault(key, (address,))

    def _try_at(self, key: bytes, address: Address) -> None:
        for attempt in self._attempts.values():
            if attempt.key == key:
                attempt.add(address)

    def trying(self, key: bytes) -> bool:
        """Tell whether an attempt is under way."""
        return self.attempt_with(key) is not None

    def begin(self, peer: Card, name: str | None, now: float) -> str | None:
        """Begin an attempt; return why that is not possible (`{name}` stands for the peer's), or None.

        Where no address is known, it waits for one: a relay may yet be found.
        """
        if name is None:
            return "You have not signed up: {name} could not know who asks."
        id = self._random(CONNECTION_ID_SIZE)
        counter = self._start << START_SHIFT | self._count
        self._count += 1
        try:
            initiator = Initiator(self._identity, name, peer.box_key, id, counter, self._random)
        except HandshakeError:
            return "The directory's key of {name} cannot be used."
        self._attempts[id] = Attempt(initiator, peer.key, self.addresses(peer.key), now)
        return None

    def reopen(self, peers: Iterable[Card], name: str | None, now: float) -> None:
        """Begin attempts for these peers, again and again with longer pauses; forget the others' pauses."""
        wanted = {card.key: card for card in peers}
        self._retries = {key: retry for key, retry in self._retries.items() if key in wanted}
        for key, card in wanted.items():
            when, pause = self._retries.get(key, (now, RETRY_FIRST))
            if when <= now and self._may_try(key):
                self._retries[key] = now + pause, min(2 * pause, RETRY_LAST)
                self.begin(card, name, now)

    def find(self, id: bytes) -> Attempt | None:
        """Return the attempt of a connection id."""
        return self._attempts.get(id)

    def end(self, id: bytes) -> None:
        """Forget an attempt: it has succeeded, or cannot."""
        self._attempts.pop(id, None)

    def expired(self, now: float) -> list[Attempt]:
        """Forget the attempts whose time is up, and return them."""
        late = {id: attempt for id, attempt in self._attempts.items() if now >= attempt.ends}
        for id in late:
            del self._attempts[id]
        return list(late.values())

    def attempt_with(self, key: bytes) -> Attempt | None:
        """Return the attempt to reach a peer that is under way, or None."""
        return next((attempt for attempt in self._attempts.values() if attempt.key == key), None)

    def unsendable(self, address: Address, outcome: Outcome) -> None:
        """Note that datagrams to this address do not go."""
        for attempt in self._attempts.values():
            attempt.note(address, outcome)

    # --- what waits ---

    def wait(self, peer: Card, message: Message) -> None:
        """Keep a message until there is a session."""
        self._waiting.setdefault(peer.key, []).append((peer, message))

    def take_waiting(self, key: bytes) -> list[tuple[Card, Message]]:
        """Return what waited, and forget it."""
        return self._waiting.pop(key, [])

    def take_back(self, key: bytes, id: bytes) -> bool:
        """Drop what waits about a request; tell whether there was something."""
        waiting = self._waiting.get(key, [])
        kept = [(peer, message) for peer, message in waiting if getattr(message, "request", b"") != id]
        self._waiting[key] = kept
        return len(kept) < len(waiting)

    # --- doors ---

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """Return the initiations of one attempt that are due."""
        for attempt in self._attempts.values():
            if out := attempt.datagrams_to_send(now):
                return out
        return []

    def timeouts(self, peers: Iterable[Card]) -> list[float]:
        """Return when something is due; `peers` are those of `reopen`."""
        pauses = [self._retries.get(card.key, (0.0, 0.0))[0] for card in peers if self._may_try(card.key)]
        return [attempt.timeout() for attempt in self._attempts.values()] + pauses

    def _may_try(self, key: bytes) -> bool:
        return bool(self.addresses(key)) and not self.trying(key)
