"""Who is let in: answers the initiations of others, each once, and none that is a replay. Used by `endpoint`."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from agent.protocol.card import HandshakeError, LocalIdentity
from agent.protocol.errors import Drop
from agent.protocol.handshake import Established, Responder, attempt
from agent.protocol.packet import CONNECTION_ID_SIZE, Address

READS_PER_SECOND: Final = 50.0  # initiations opened before their senders must show a cookie: about 5 % of one core
ANSWERED_MOST: Final = 256  # initiations whose response is kept, to be sent again


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back, and the new session if it is the first time. It is unproven: it may yet be a replay."""

    response: bytes
    established: Established | None
    counter: int


class Doorkeeper:
    """`counters` are the highest proven handshake counters by identity key; what is not above them is a replay."""

    def __init__(
        self,
        identity: LocalIdentity,
        random: Callable[[int], bytes],
        drops: Counter[Drop],
        counters: Mapping[bytes, int],
    ) -> None:
        self._responder = Responder(identity, random)
        self._random = random
        self._drops = drops
        self._counters = dict(counters)
        self._reads = READS_PER_SECOND  # that may still be done now
        self._read_at = 0.0
        self._answered: OrderedDict[bytes, tuple[bytes, bytes, bytes]] = OrderedDict()  # by attempt: response, id, key

    def answer(
        self,
        packet: bytes,
        address: Address,
        name: str | None,
        sessions: Collection[bytes],
        now: float,
        welcome: Callable[[bytes], bool] = lambda key: True,
    ) -> Answer | None:
        """Answer an initiation, or nothing. `sessions` are the connection ids that are still alive.

        `welcome` tells whether the owner of a key may learn that somebody is here: others get no answer at all.
        Under load, whoever has not shown a cookie gets one, and nothing else is done (WireGuard, section 5.4.7).
        """
        if name is None or not self._responder.accepts(packet):
            self._drops[Drop.NOT_FOR_US] += 1
            return None
        known = self._answered.get(attempt(packet))
        if known is not None:
            response, id, key = known
            return Answer(response, None, 0) if id in sessions and welcome(key) else None
        source = repr(address).encode()
        if not self._may_read(now) and not self._responder.cookie_valid(packet, source, now):
            self._drops[Drop.BUSY] += 1
            return Answer(self._responder.cookie_reply(packet, source, now), None, 0)
        try:
            opening = self._responder.read(packet)
        except HandshakeError as error:
            self._drops[error.drop] += 1
            return None
        if not welcome(opening.peer.key):
            self._drops[Drop.NOT_FOR_US] += 1
            return None
        if opening.counter <= self._counters.get(opening.peer.key, -1):
            self._drops[Drop.REPLAYED] += 1
            return None
        id = self._random(CONNECTION_ID_SIZE)
        response, established = self._responder.respond(opening, name, id)
        self._answered[attempt(packet)] = response, id, opening.peer.key
        if len(self._answered) > ANSWERED_MOST:
            self._answered.popitem(last=False)
        return Answer(response, established, opening.counter)

    def _may_read(self, now: float) -> bool:
        """Tell whether there is time for another read; what is read with a cookie counts too."""
        self._reads = min(READS_PER_SECOND, self._reads + (now - self._read_at) * READS_PER_SECOND)
        self._read_at = now
        self._reads = max(self._reads - 1, -1.0)
        return self._reads >= 0

    def proved(self, key: bytes, counter: int) -> None:
        """Refuse initiations of `key` up to this counter from now on: its session has shown that it is fresh."""
        self._counters[key] = max(counter, self._counters.get(key, -1))
