"""One binding at a relay: how it is made, kept, noticed to be gone, and made again. Used by `relays`.

A *round* tries to bind: BIND to all addresses of the relay, PROOF to the first that challenges. Over UDP first; over
the WebSocket of the rendezvous as well where UDP stays silent. Whatever carries it, it is one binding that moves.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from agent.protocol.candidates import PathKind
from agent.protocol.keepalive import Interval
from agent.protocol.packet import Address, Datagrams
from rendezvous.contract import relay
from rendezvous.contract.relay import Refusal
from rendezvous.contract.ticket import Ticket

WEBSOCKET: Final = "websocket"
"""The host that stands for the WebSocket of the rendezvous; its port is the number of the binding."""
INTERVALS: Final = (0.2, 0.4, 0.8)  # seconds between tries; the last one repeats
WEBSOCKET_AFTER: Final = 0.7  # seconds without an answer over UDP
PROOFS: Final = 3  # without an answer, then from BIND
GIVE_UP: Final = 10.0  # seconds of one round
TRIAL: Final = 3.0  # seconds of a round that only tries whether UDP works again
LOST_AFTER: Final = 3.0  # seconds of a round until what was bound counts as gone
PAUSES: Final = (5.0, 15.0, 60.0)  # seconds between rounds; the last one repeats
PATIENCE: Final = 0.4  # seconds without a word from the relay, while we send, before it is asked whether it is there
PATIENCE_MOST: Final = 6.4  # likewise, if it was there each time and it is the peer that is silent
WAIT: Final = 0.25  # seconds for the answer to a keepalive, or two round trips
UNANSWERED: Final = 2  # keepalives, then it is bound anew
TROUBLE: Final = 5.0  # seconds that what a budget has stopped is shown
SMALLEST_PAUSE: Final = 1.0  # seconds before a WebSocket that failed twice is used again; doubles
LARGEST_PAUSE: Final = 32.0

NO_ANSWER: Final = "The relay does not answer."
SENTENCES: Final = {
    Refusal.EXPIRED: "The permission to use the relay has expired.",
    Refusal.BAD_PROOF: "The relay does not accept the permission that the rendezvous has given.",
    Refusal.WRONG_RELAY: "The relay goes by another address than the rendezvous says.",
    Refusal.STALE: "The relay asks to begin anew.",
    Refusal.TICKET_BUDGET: "The relay has forwarded as much between you two as it was permitted to.",
    Refusal.PERSON_BUDGET: "One of you has used up what the relay forwards within an hour.",
    Refusal.TOO_FAST: "The relay forwards no faster than this.",
    Refusal.TOO_MANY: "One of you uses the relay for too many people at once.",
    Refusal.FULL: "The relay is full.",
}
FINAL: Final = (Refusal.EXPIRED, Refusal.BAD_PROOF, Refusal.WRONG_RELAY, Refusal.TICKET_BUDGET)
"""What no other try with the same ticket can change."""


@dataclass(slots=True)
class _Round:
    transaction: bytes
    began: float
    next: float
    websocket_from: float
    trial: bool
    tries: int = 0
    sent: float = 0.0
    prover: Address | None = None
    proof: bytes = b""
    dead: frozenset[Address] = frozenset()  # servers that nothing leaves for

    def pace(self, now: float) -> None:
        self.next = now + INTERVALS[min(self.tries, len(INTERVALS) - 1)]
        self.tries += 1
        self.sent = now


class Binding:
    """Our side of one ticket. `server` is where it is bound, or None; `over` why it can never be again."""

    def __init__(
        self,
        number: int,
        ticket: Ticket,
        secret: bytes,
        servers: Sequence[Address],
        random: Callable[[int], bytes],
        now: float,
        blocked: bool,
        out: deque[Datagrams],
    ) -> None:
        self.number, self.ticket = number, ticket
        self.server: Address | None = None
        self.id = b""
        self.left = ticket.budget
        self.rtt: float | None = None
        self.peer = False
        self.trouble, self._troubled = "", now
        self.over: Refusal | None = None
        self._secret, self._random, self._out = secret, random, out
        self._udp = tuple(server for server in servers if server[0] != WEBSOCKET)
        self._websocket = (WEBSOCKET, number) if len(self._udp) < len(servers) else None
        self.servers = frozenset(self._udp if self._websocket is None else (*self._udp, self._websocket))
        self._websocket_pause, self._websocket_after = 0.0, now
        self._blocked = blocked
        self._bound_in = b""  # the transaction that bound it
        self._interval = Interval()
        self._sent = now
        self._unheard: float | None = None  # since when we send and hear nothing
        self._gap = 0.0  # seconds of silence before that
        self._patience = PATIENCE
        self._echo, self._asked, self._unanswered = b"", now, 0
        self._again, self._pause = inf, 0
        self._round: _Round | None = None
        self.bind(now)

    @property
    def kind(self) -> PathKind:
        """Return the kind of its paths, while it is bound."""
        return PathKind.RELAY_WS if self.server == self._websocket else PathKind.RELAY_UDP

    # --- verbs ---

    def bind(self, now: float) -> None:
        """Bind, or bind anew: our address may have changed, or the relay has forgotten us."""
        self._unanswered, self._unheard = 0, None
        self._again = inf
        self._begin(now, trial=False)

    def try_udp(self, now: float) -> None:
        """Try UDP again where the WebSocket is in use."""
        if self.server is not None and self.server[0] == WEBSOCKET and self._udp and self._round is None:
            self._begin(now, trial=True)

    def set_blocked(self, blocked: bool, now: float) -> None:
        """Learn whether any UDP at all comes back."""
        changed, self._blocked = blocked != self._blocked, blocked
        if not changed:
            return
        if not blocked and self.server is None and self._round is None:
            self.bind(now)
        elif not blocked:
            self.try_udp(now)
        elif self._round is not None and not self._round.trial:
            self._hurry(self._round, now)

    def unsendable(self, server: Address, now: float) -> None:
        """Learn that datagrams to one of its servers do not leave."""
        if server == self._websocket:
            self._websocket_after = now + self._websocket_pause
            self._websocket_pause = min(max(SMALLEST_PAUSE, 2 * self._websocket_pause), LARGEST_PAUSE)
            if self._round is not None and self._round.prover == server:
                self._round.prover = None
            if self.server == server and (self._round is None or self._round.trial):
                self.bind(now)
        elif server in self._udp and self._round is not None:
            self._round.dead |= {server}
            if self._round.dead.issuperset(self._udp) and not self._round.trial:
                self._hurry(self._round, now)
        elif server == self.server:
            self.bind(now)  # which takes nothing away from who only pretends it

    def end(self, code: Refusal) -> None:
        """Bind never again."""
        self.over, self.trouble = code, SENTENCES[code]
        self.server = self._round = None

    def sent(self, size: int, now: float) -> None:
        """Note what leaves through it."""
        self.left = max(0, self.left - size)
        if self._unheard is None:
            self._unheard, self._gap = now, now - self._sent
        self._sent = now

    def heard(self, size: int) -> None:
        """Note what came through it."""
        self.left = max(0, self.left - size)
        self._unheard, self._patience = None, PATIENCE
        self._unanswered = 0

    # --- what the relay says ---

    def receive(self, said: relay.Datagram | None, source: Address, now: float) -> None:
        """Take what is not DATA. Whatever does not come from where it was awaited has no effect."""
        match said:
            case relay.Challenge(transaction, challenge) if self._awaits(transaction, source):
                self._prove(source, challenge, now)
            case relay.Bound(transaction, id, left, idle, peer):
                self._receive_bound(transaction, id, source, (left, idle, peer), now)
            case relay.Refused(about, code):
                self._refused(about, code, source, now)
            case relay.Alive(id, echo, left) if (id, source) == (self.id, self.server):
                self._alive(echo, left, now)

    def _awaits(self, transaction: bytes, source: Address) -> bool:
        """Tell whether a challenge is answered: the first one, and one over UDP after one over the WebSocket."""
        round = self._round
        if round is None or round.transaction != transaction:
            return False
        if source == self._websocket:
            return round.prover is None
        return source in self._udp and (round.prover is None or round.prover == self._websocket)

    def _prove(self, source: Address, challenge: bytes, now: float) -> None:
        round = self._round
        assert round is not None
        if round.tries == 1:
            self._measured(now - round.sent)
        mac = relay.proof_of(self._secret, challenge, self.ticket)
        round.proof = relay.Proof(round.transaction, challenge, mac, self.ticket).encode()
        round.prover, round.tries, round.next = source, 0, now

    def _receive_bound(
        self, transaction: bytes, id: bytes, source: Address, said: tuple[int, int, bool], now: float
    ) -> None:
        round = self._round
        if round is not None and (transaction, source) == (round.transaction, round.prover):
            if round.tries == 1:
                self._measured(now - round.sent)
            self._round = None
            self.server, self.id, self._bound_in = source, id, transaction
            self.trouble, self._again, self._pause, self._unanswered = "", inf, 0, 0
            self._unheard, self._patience, self._sent = None, PATIENCE, now
            if source == self._websocket:
                self._websocket_pause = 0.0
                self._wait(now)  # for UDP
        elif (transaction, id, source) != (self._bound_in, self.id, self.server):
            return
        self.left, idle, self.peer = said
        self._interval.limit(0.75 * idle)

    def _refused(self, about: bytes, code: Refusal, source: Address, now: float) -> None:
        round = self._round
        if round is not None and about == round.transaction and source in self.servers:
            if code is Refusal.STALE:
                round.prover, round.tries, round.next = None, 0, max(now, round.sent + INTERVALS[0])
                return
            self._round = None
            self._wait(now)
            if not round.trial:
                self.server = None
        elif (about, source) != (self.id, self.server):
            return
        self.trouble, self._troubled = SENTENCES[code], now
        if code in FINAL:
            self.end(code)

    def _alive(self, echo: bytes, left: int, now: float) -> None:
        self.left = left
        if now >= self._troubled + TROUBLE:
            self.trouble, self._troubled = "", now
        if echo != self._echo or not self._unanswered:
            return
        if self._unanswered == 1:
            self._measured(now - self._asked)
            if self._unheard is None:
                self._interval.held()
        if self._unheard is not None:  # the relay is there; it is the other side that says nothing
            self._patience = min(2 * self._patience, PATIENCE_MOST)
        self._unanswered, self._unheard = 0, None

    def _measured(self, rtt: float) -> None:
        self.rtt = rtt if self.rtt is None else self.rtt + (rtt - self.rtt) / 4

    # --- timers ---

    def timeout(self) -> float:
        """Return when `handle_timeout` must be called at the latest."""
        if self.over is not None:
            return inf
        round = self._round
        times = [self._again if round is None else min(round.next, self._ends(round))]
        if self.server is not None and (round is None or round.trial):
            times.append(self._ask_at())
        return min(times)

    def handle_timeout(self, now: float) -> None:
        """Act on what is due: another try, a keepalive, the end of patience."""
        if self.over is not None:
            return
        if self._round is None and now >= self._again:
            self._begin(now, trial=self.server is not None)
        if self._round is not None:
            self._go_on(self._round, now)
        if self.server is not None and (self._round is None or self._round.trial) and now >= self._ask_at():
            self._ask(now)

    def _begin(self, now: float, trial: bool) -> None:
        self._round = _Round(self._random(relay.TRANSACTION_SIZE), now, now, inf, trial)
        if self._websocket is not None and not trial:
            at_once = self._blocked or not self._udp or self.server == self._websocket
            self._round.websocket_from = now if at_once else now + WEBSOCKET_AFTER
        self._go_on(self._round, now)

    def _hurry(self, round: _Round, now: float) -> None:
        """Do not wait for UDP any more."""
        if self._websocket is not None and round.websocket_from > now:
            round.websocket_from = round.next = now

    def _ends(self, round: _Round) -> float:
        if round.trial:
            return round.began + TRIAL
        return round.began + (LOST_AFTER if self.server is not None else GIVE_UP)

    def _go_on(self, round: _Round, now: float) -> None:
        """Send what a round has to send, or end it."""
        if now >= self._ends(round):
            if round.trial or self.server is None:
                self._round = None
                self._wait(now)
            if not round.trial:
                self.server, self.trouble = None, NO_ANSWER
        elif now >= round.next:
            if round.prover is not None and round.tries >= PROOFS:
                round.prover, round.tries = None, 0
            self._send(round, now)

    def _send(self, round: _Round, now: float) -> None:
        if round.prover is not None:
            self._put(round.prover, round.proof)
        else:
            bind = relay.Bind(round.transaction, self.ticket).encode()
            for server in self._udp:
                self._put(server, bind)
            if self._websocket is not None and now >= max(round.websocket_from, self._websocket_after):
                self._put(self._websocket, bind)
        round.pace(now)
        if round.prover is None and now < round.websocket_from < round.next:
            round.next = round.websocket_from

    def _wait(self, now: float) -> None:
        """Try again later."""
        self._again = now + PAUSES[min(self._pause, len(PAUSES) - 1)]
        self._pause += 1

    def _ask_at(self) -> float:
        """Return when the relay is asked whether it is there, unless it is heard before."""
        if self._unanswered:
            return self._asked + max(WAIT, 2 * (self.rtt or 0.0))
        routine = max(self._sent, self._asked) + self._interval.seconds
        if self._unheard is None:
            return routine
        return min(routine, max(self._unheard, self._asked) + max(self._patience, 2 * (self.rtt or 0.0)))

    def _ask(self, now: float) -> None:
        assert self.server is not None
        if self._unanswered >= UNANSWERED:
            silence = self._gap if self._unheard is not None else self._interval.seconds
            if silence >= self._interval.seconds:
                self._interval.broke()
            self.bind(now)
            return
        self._echo = self._random(8)
        self._asked = now
        self._unanswered += 1
        self._put(self.server, relay.Keepalive(self.id, self._echo).encode())

    def _put(self, server: Address, data: bytes) -> None:
        self._out.append(Datagrams(server, data, len(data)))
