"""The relay: which two addresses may send to each other through here, and how much. Datagram in, datagrams out; the
time comes in. Used by `relay_socket.py`.

Owns bindings and budgets, no socket and no clock. A binding is one side of one ticket at one address that has answered
a challenge; what it sends goes to the other side of that ticket, wherever that one has proved to be. No datagram names
an address. Nothing is kept for an address before it has answered: the challenge is a MAC over address, ticket and time,
so a flood of forged sources takes no memory, and each reply to one is shorter than what asked for it.

A proof carries the time at which its challenge was made; of one side only later ones move the binding, so a recorded
proof cannot move it back. Memory is bounded by `Rules`; of what is idle the longest idle goes first.
"""

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar

from rendezvous.contract import relay
from rendezvous.contract.relay import Refusal
from rendezvous.contract.ticket import Side, Ticket
from rendezvous.relay_budget import Bucket, Person, Rules

_CHALLENGE_CONTEXT: Final = b"tmge-relay-challenge-v1\0"
_STAMP_SIZE: Final = 8
Value = TypeVar("Value")
_LOOKS: Final = 32
"""Entries that are looked at, at most, to make room for one."""


class Place(NamedTuple):
    """Where a datagram came from and came in: its source, the socket (`door`), and our own address there."""

    host: str
    port: int
    scope: int = 0
    door: int = 0
    local: bytes = b""


Out = tuple[bytes, Place]


@dataclass(slots=True)
class Pair:
    """Both sides of one ticket. It outlives its bindings, so a budget that is used up stays so."""

    ticket: Ticket
    people: tuple[Person, Person]
    speed: Bucket
    used: int = 0
    sides: list["Binding | None"] = field(default_factory=lambda: [None, None])

    @property
    def left(self) -> int:
        """Return the bytes left of the ticket's budget, both directions together."""
        return max(0, self.ticket.budget - self.used)

    def room(self, size: int, now: float) -> tuple[int, Refusal | None]:
        """Return how many bytes the budgets have, and which of them so many would be too much for."""
        if now >= self.ticket.expires:
            return 0, Refusal.EXPIRED
        asker, other = self.people
        left = self.ticket.budget - self.used
        volume = min(asker.volume.fill(now), other.volume.fill(now))
        speed = min(self.speed.fill(now), asker.speed.fill(now), other.speed.fill(now))
        if left >= size and volume >= size and speed >= size:
            return size, None
        refusal = Refusal.TOO_FAST
        if left < size:
            refusal = Refusal.TICKET_BUDGET
        elif volume < size:
            refusal = Refusal.PERSON_BUDGET
        return max(0, int(min(left, volume, speed))), refusal

    def use(self, size: int) -> None:
        """Take so many bytes out of all budgets."""
        self.used += size
        self.speed.left -= size
        for person in self.people:
            person.speed.left -= size
            person.volume.left -= size

    @property
    def bound(self) -> bool:
        """Tell whether any side is bound."""
        return self.sides != [None, None]

    def is_of(self, ticket: Ticket) -> bool:
        """Tell whether a ticket is one side of this pair."""
        ours = self.ticket
        return (ours.asker, ours.other, ours.expires, ours.budget) == (
            ticket.asker,
            ticket.other,
            ticket.expires,
            ticket.budget,
        )


@dataclass(slots=True)
class Binding:
    """One side of a ticket, at a place that has proved itself at `stamp`."""

    id: bytes
    pair: Pair
    side: Side
    place: Place
    stamp: bytes
    transaction: bytes
    heard: float
    refused_at: float = 0.0


class Relay:
    """All bindings of one process. `address` is what tickets for this relay say, `key` the rendezvous' Ed25519 key."""

    def __init__(
        self,
        address: str,
        key: bytes,
        secret_of: Callable[[Ticket], bytes],
        random: Callable[[int], bytes],
        rules: Rules | None = None,
    ) -> None:
        self._address, self._key, self._secret_of, self._random = address, key, secret_of, random
        self.rules = self._rules = rules or Rules()
        self._challenge_key = random(32)
        self._bindings: OrderedDict[bytes, Binding] = OrderedDict()
        self._pairs: OrderedDict[bytes, Pair] = OrderedDict()
        self._people: OrderedDict[bytes, Person] = OrderedDict()
        self.outcomes: Counter[str] = Counter()
        self.forwarded_bytes = 0

    def __len__(self) -> int:
        """Count the bindings."""
        return len(self._bindings)

    @property
    def kept(self) -> int:
        """Count all entries that take memory."""
        return len(self._bindings) + len(self._pairs) + len(self._people)

    def receive(self, datagram: bytes, place: Place, now: float) -> list[Out]:
        """Take one datagram and return what is to be sent; `now` in Unix seconds, as tickets have it."""
        if datagram[:1] == b"\xed":
            batch = bytearray(datagram)
            used, to, others = self.forward(memoryview(batch), len(batch), place, now)
            return others if to is None else [(bytes(batch[:used]), to), *others]
        match relay.decode(datagram):
            case relay.Bind() as bind:
                return [(self._challenge(bind, place, now).encode(), place)]
            case relay.Proof() as proof:
                return self._prove(proof, place, now)
            case relay.Keepalive() as keepalive:
                return self._keep(keepalive, place, now)
        self.outcomes["malformed"] += 1
        return []

    # Binding

    def _challenge(self, bind: relay.Bind, place: Place, now: float) -> relay.Challenge | relay.Refused:
        refusal = self._unfit(bind.ticket, now)
        if refusal is not None:
            return self._refused(bind.transaction, refusal)
        self.outcomes["challenged"] += 1
        stamp = int(now * 1e6).to_bytes(_STAMP_SIZE, "big")
        return relay.Challenge(bind.transaction, stamp + self._mac(stamp, bind.ticket, place))

    def _prove(self, proof: relay.Proof, place: Place, now: float) -> list[Out]:
        """Bind, or say why not; the cheap checks come first, and a signature is checked for those alone who know the
        secret.
        """
        ticket, stamp = proof.ticket, proof.challenge[:_STAMP_SIZE]
        refusal = self._unfit(ticket, now)
        age = now - int.from_bytes(stamp, "big") / 1e6
        if refusal is None and not (
            -1.0 < age < self._rules.challenge
            and hmac.compare_digest(self._mac(stamp, ticket, place), proof.challenge[_STAMP_SIZE:])
        ):
            refusal = Refusal.STALE
        if refusal is None:
            mac = relay.proof_of(self._secret_of(ticket), proof.challenge, ticket)
            if not hmac.compare_digest(mac, proof.mac):
                refusal = Refusal.BAD_PROOF
        found = refusal if refusal is not None else self._bind(proof, stamp, place, now)
        if isinstance(found, Refusal):
            return [(self._refused(proof.transaction, found).encode(), place)]
        self.outcomes["bound"] += 1
        told = [(self._bound(found).encode(), place)]
        other = found.pair.sides[1 - found.side]
        if other is not None:
            told.append((self._bound(other).encode(), other.place))
        return told

    def _bind(self, proof: relay.Proof, stamp: bytes, place: Place, now: float) -> Binding | Refusal:
        """Make, move or confirm the binding of a side whose secret has been shown."""
        ticket = proof.ticket
        self._end_idle(now)
        pair = self._pairs.get(ticket.id)
        binding = pair.sides[ticket.side] if pair is not None else None
        if binding is not None:
            if stamp < binding.stamp or (stamp == binding.stamp and place != binding.place):
                return Refusal.STALE
        elif not ticket.valid(self._key, now):
            return Refusal.BAD_PROOF
        pair = pair or self._pair(ticket, now)
        if pair is None:
            return Refusal.FULL
        if not pair.is_of(ticket):
            return Refusal.BAD_PROOF
        if binding is None:
            refusal = self._too_many(pair, ticket, now)
            if refusal is not None:
                return refusal
            binding = Binding(self._random(relay.BINDING_SIZE), pair, ticket.side, place, stamp, b"", now)
            self._bindings[binding.id] = pair.sides[ticket.side] = binding
            pair.people[ticket.side].bindings += 1
        binding.place, binding.stamp, binding.transaction, binding.heard = place, stamp, proof.transaction, now
        self._bindings.move_to_end(binding.id)
        return binding

    def _pair(self, ticket: Ticket, now: float) -> Pair | None:
        """Begin to count for a ticket; None where there is no room."""
        rules = self._rules
        people = self._person(ticket.asker, now), self._person(ticket.other, now)
        asker, other = people
        if asker is None or other is None or not _room(self._pairs, rules.tickets, lambda pair: not pair.bound):
            return None
        pair = Pair(ticket, (asker, other), Bucket(rules.ticket_rate, rules.ticket_burst, now))
        self._pairs[ticket.id] = pair
        return pair

    def _person(self, key: bytes, now: float) -> Person | None:
        person = self._people.get(key)
        if person is None:
            if not _room(self._people, self._rules.people, lambda person: not person.bindings):
                return None
            person = self._people[key] = Person(self._rules, now)
        self._people.move_to_end(key)
        return person

    def _too_many(self, pair: Pair, ticket: Ticket, now: float) -> Refusal | None:
        if not pair.left:
            return Refusal.TICKET_BUDGET
        if pair.people[ticket.side].bindings >= self._rules.person_bindings:
            return Refusal.TOO_MANY
        if len(self._bindings) >= self._rules.bindings:
            oldest = next(iter(self._bindings.values()))
            if now - oldest.heard < self._rules.idle / 2:
                return Refusal.FULL
            self._end(oldest)
        return None

    def _unfit(self, ticket: Ticket, now: float) -> Refusal | None:
        """Say what is wrong with a ticket at first sight."""
        if now >= ticket.expires:
            return Refusal.EXPIRED
        return None if ticket.relay == self._address else Refusal.WRONG_RELAY

    def _mac(self, stamp: bytes, ticket: Ticket, place: Place) -> bytes:
        """Return the part of a challenge that only we can make, and only for this address, ticket and time."""
        where = f"{place.host}\0{place.port}\0{place.scope}\0{place.door}\0".encode() + place.local
        about = _CHALLENGE_CONTEXT + stamp + ticket.id + bytes([ticket.side]) + where
        return hmac.digest(self._challenge_key, about, sha256)[: relay.CHALLENGE_SIZE - _STAMP_SIZE]

    # Bound

    def forward(self, batch: memoryview, size: int, place: Place, now: float) -> tuple[int, Place | None, list[Out]]:
        """Take DATA of one binding: datagrams back to back in a buffer, each of `size` bytes but the last. Write the
        other side's binding into them; return how many bytes of the buffer go where, and what is to be sent besides.
        """
        binding = self._bindings.get(bytes(batch[1 : relay.HEADER_SIZE]))
        total = len(batch)
        count = -(-total // size)
        if binding is None or binding.place != place:
            self.outcomes["unbound"] += count
            return 0, None, []
        last = total - (count - 1) * size
        if not (relay.HEADER_SIZE < last <= size <= relay.HEADER_SIZE + relay.LARGEST_INNER):
            self.outcomes["malformed"] += count
            return 0, None, []
        pair, others = binding.pair, list[Out]()
        room, refusal = pair.room(total, now)
        if refusal is not None:
            others = self._stopped(binding, refusal, now)
            count = room // size
            total = count * size
            if not count or refusal is Refusal.EXPIRED:
                return 0, None, others
        binding.heard = now
        self._bindings.move_to_end(binding.id)
        peer = pair.sides[1 - binding.side]
        if peer is None or now - peer.heard > self._rules.idle:
            self.outcomes["no_peer"] += count
            return 0, None, others
        pair.use(total)
        self.outcomes["forwarded"] += count
        self.forwarded_bytes += total
        for at in range(1, total, size):
            batch[at : at + relay.BINDING_SIZE] = peer.id
        return total, peer.place, others

    def _stopped(self, binding: Binding, refusal: Refusal, now: float) -> list[Out]:
        """Say that a datagram was not forwarded, once a second; with its ticket a binding ends."""
        self.outcomes["stopped"] += 1
        if refusal is Refusal.EXPIRED:
            self._end(binding)
        if now - binding.refused_at < 1.0:
            return []
        binding.refused_at = now
        return [(self._refused(binding.id, refusal).encode(), binding.place)]

    def _keep(self, keepalive: relay.Keepalive, place: Place, now: float) -> list[Out]:
        binding = self._bindings.get(keepalive.binding)
        if binding is None or binding.place != place or now - binding.heard > self._rules.idle:
            self.outcomes["unbound"] += 1
            return []
        if now >= binding.pair.ticket.expires:
            return self._stopped(binding, Refusal.EXPIRED, now)
        binding.heard = now
        self._bindings.move_to_end(binding.id)
        self.outcomes["kept"] += 1
        return [(relay.Alive(binding.id, keepalive.echo, binding.pair.left).encode(), place)]

    def _bound(self, binding: Binding) -> relay.Bound:
        pair = binding.pair
        peer = pair.sides[1 - binding.side] is not None
        return relay.Bound(binding.transaction, binding.id, pair.left, self._rules.idle, peer)

    def _refused(self, about: bytes, code: Refusal) -> relay.Refused:
        self.outcomes[f"refused_{code.name.lower()}"] += 1
        return relay.Refused(about, code)

    # Ends

    def _end_idle(self, now: float) -> None:
        """End what has been silent too long, and forget tickets whose time has passed."""
        while self._bindings:
            oldest = next(iter(self._bindings.values()))
            if now - oldest.heard <= self._rules.idle:
                break
            self._end(oldest)
        while self._pairs:
            pair = next(iter(self._pairs.values()))
            if pair.bound or now < pair.ticket.expires:
                break
            del self._pairs[pair.ticket.id]

    def _end(self, binding: Binding) -> None:
        del self._bindings[binding.id]
        binding.pair.sides[binding.side] = None
        binding.pair.people[binding.side].bindings -= 1


def _room(table: OrderedDict[bytes, Value], most: int, idle: Callable[[Value], bool]) -> bool:
    """Make room for one more entry by dropping the oldest that is idle; False where none is found soon."""
    for _ in range(_LOOKS):
        if len(table) < most:
            return True
        key = next(iter(table))
        if idle(table[key]):
            del table[key]
        else:
            table.move_to_end(key)
    return len(table) < most
