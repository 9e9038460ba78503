"""The core of an agent, sans-IO: datagrams and verbs in, datagrams and events out. Used by `agent.node`.

Five doors: `receive`, `datagrams_to_send`, `next_event`, `next_timeout`, `handle_timeout`. After any door or verb call
`datagrams_to_send` until it returns nothing, `next_event` until it returns None, and set one timer by `next_timeout`.
`now` is a monotonic clock in seconds; it may not go back. Requests are `consent`'s, packets `session`'s; what is here:
which session a datagram belongs to, how sessions begin and end, and who is known.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from agent.protocol import handshake, packet
from agent.protocol import messages as m
from agent.protocol.attempt import Attempt
from agent.protocol.candidates import Candidate, Nat
from agent.protocol.card import Card, HandshakeError, LocalIdentity
from agent.protocol.closing import CloseCode
from agent.protocol.consent import Consent
from agent.protocol.doorkeeper import Doorkeeper
from agent.protocol.errors import Drop, PeerError, UsageError
from agent.protocol.events import Event, PathChanged, SessionClosed, SessionOpened
from agent.protocol.openings import Openings
from agent.protocol.packet import Address, Datagrams
from agent.protocol.ranking import relayed
from agent.protocol.report import Outcome, Report
from agent.protocol.sealing import Opener, Sealer
from agent.protocol.session import Session
from agent.protocol.verbs import Progress, Verbs
from agent.protocol.whereabouts import Whereabouts

__all__ = ["Endpoint", "Progress"]

UNPROVEN_SECONDS: Final = 10.0
_RESPONSE_ID: Final = slice(9, 16)
_COOKIE_ID: Final = slice(2, 9)


class Endpoint(Verbs):
    """One agent's end of the peer protocol.

    `start` counts this agent's starts, and is kept on disk by the caller; `connected` are the keys of the people that
    we are connected with, `counters` the last handshake counter of each key. `direct`: strangers who dial our address
    are answered; else they must come through a relay, and whoever guesses an address learns nothing. `neighbours` are
    the keys of strangers who are answered anyway.
    """

    def __init__(
        self,
        identity: LocalIdentity,
        name: str | None,
        start: int,
        random: Callable[[int], bytes],
        connected: Iterable[bytes] = (),
        counters: Mapping[bytes, int] | None = None,
    ) -> None:
        self.name = name
        self.direct = True
        self.neighbours: set[bytes] = set()
        self._start = start
        self._random = random
        self._events: deque[Event] = deque()
        self._consent = Consent(self, set(connected), self._events, random)
        self._sealer, self._opener = Sealer(), Opener()
        self.drops = self._opener.drops
        self._doorkeeper = Doorkeeper(identity, random, self.drops, counters or {})
        self._openings = Openings(identity, start, random)
        self._sessions: dict[bytes, Session] = {}  # by our connection id
        self._of_peer: dict[bytes, list[Session]] = {}  # by key; proven, the last one is used
        self._starts: dict[bytes, int] = {}  # of peers with a session
        self._whereabouts = Whereabouts()
        self._out: deque[Datagrams] = deque()
        self._turn = 0

    # --- verbs: what a person does ---

    def meet(self, key: bytes, addresses: Sequence[Address]) -> None:
        """Learn where a peer can be reached; call it before a verb that may have to open a session."""
        self._openings.meet(key, addresses)

    def add_route(self, key: bytes, address: Address, now: float) -> None:
        """Learn that a peer can be reached at this address now: attempts send there too, sessions try it."""
        self._openings.add_route(key, address)
        for session in self._of_peer.get(key, []):
            self._whereabouts.routes(session, [address], now)

    def drop_route(self, key: bytes, address: Address, now: float) -> None:
        """Learn that a route is gone."""
        self._openings.drop_route(key, address)
        for session in self._of_peer.get(key, []):
            session.drop_path(address, now)
            self._look_after(session, now)

    def set_candidates(self, candidates: Sequence[Candidate], nat: Nat, now: float) -> None:
        """Learn where we can be reached, and what is in front of us; connected peers are told, inside sessions."""
        sessions = [session for key in self._consent.connected for session in self._of_peer.get(key, [])]
        self._whereabouts.settle(candidates, nat, sessions, now)
        for session in sessions:
            self._look_after(session, now)

    def network_changed(self, now: float) -> None:
        """Try every path anew: this machine is in another network, or was asleep."""
        for session in self._sessions.values():
            session.paths.renew(now)

    def unsendable(self, address: Address, reason: str, now: float) -> None:
        """Learn that datagrams to an address do not go: `blocked`, `unreachable` or `refused`. Ends nothing."""
        self._openings.unsendable(address, Outcome(reason))
        for session in self._sessions.values():
            session.paths.unsendable(address, Outcome(reason))

    def close(self, now: float) -> None:
        """Say goodbye to all peers: the agent stops. Next: `datagrams_to_send`, once."""
        for session in list(self._sessions.values()):
            if session.proven:
                self._out.append(session.close_packet(CloseCode.LEAVING, ""))
            self._drop_session(session, CloseCode.DONE, now)

    def tell_statement(self, key: bytes, statement: bytes, now: float) -> None:
        """Tell a peer in session what the rendezvous has signed about them, as JSON."""
        session = self.session_with(key)
        if session is not None:
            session.say(m.Stated(statement), now)

    # --- questions ---

    def in_session(self, key: bytes) -> bool:
        """Tell whether packets flow with this peer now."""
        return self.session_with(key) is not None

    def needs(self, key: bytes) -> bool:
        """Tell whether a route to this peer is of use: a session stands, is being opened, or is missed."""
        return self.in_session(key) or self._openings.trying(key) or any(card.key == key for card in self.missed())

    def missed(self) -> list[Card]:
        """Return the peers that a session should be opened with, so that a transfer can go on."""
        return [card for card in self._consent.interruption.waiting() if self.session_with(card.key) is None]

    def report(self, key: bytes) -> Report | None:
        """Tell how a peer is reached, or was at last, and what was tried; None where nothing was."""
        return self._whereabouts.report(key, self.session_with(key), self._openings.attempt_with(key))

    def doubt(self, key: bytes, now: float) -> None:
        """Ask a peer whether it is still there, because somebody says that it is not; after 4 s it counts as gone."""
        for session in self._of_peer.get(key, []):
            session.doubt(now)

    # --- the five doors ---

    def receive(self, arrivals: Sequence[Datagrams], now: float) -> None:
        """Take datagrams. Whatever is not for us is counted in `drops` and has no other effect."""
        for datagrams in arrivals:
            view, size = memoryview(datagrams.data), datagrams.size
            at = 0
            while at < len(view):
                session = self._session_of(view[at:])
                if session is not None and session.paths.admits(datagrams.address):
                    at += self._receive_sealed(session, view[at:], size, datagrams.address, now)
                else:
                    self._receive_other(bytes(view[at : at + size]), datagrams.address, now)
                    at += size

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """Return datagrams to send now, none if there are none. Their data is good until the next call."""
        if self._out:
            out, self._out = list(self._out), deque()
            return out
        if out := self._openings.datagrams_to_send(now):
            return out
        sessions = list(self._sessions.values())
        for _ in sessions:
            self._turn += 1
            session = sessions[self._turn % len(sessions)]
            if session.may_send and (out := self._session_out(session, now)):
                if session.path_changed:
                    self._look_after(session, now)
                return out
        return []

    def next_event(self) -> Event | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else None

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` must be called at the latest, or None."""
        sessions = self._sessions.values()
        times = [s.timeout() if s.may_send else s.life.heard + UNPROVEN_SECONDS for s in sessions]
        times += self._openings.timeouts(self.missed())
        if (deadline := self._consent.timeout()) is not None:
            times.append(deadline)
        return min(times, default=None)

    def handle_timeout(self, now: float) -> None:
        """Act on what is due. Too early or too often does no harm."""
        self._consent.handle_timeout(now)
        for attempt in self._openings.expired(now):
            self._whereabouts.failed(attempt)
            self._give_up(attempt.key, attempt.in_vain, now)
        self._openings.reopen(self.missed(), self.name, now)
        for session in list(self._sessions.values()):
            if self._consent.book.with_peer(session.peer.key):
                session.life.needed = now
            if session.may_send:
                session.handle_timeout(now)
            elif now >= session.life.heard + UNPROVEN_SECONDS:
                session.closed = (CloseCode.LOST, "")
            self._look_after(session, now)

    # --- what `consent` needs of us ---

    def say(self, peer: Card, message: m.Message, now: float) -> None:
        """Send a message to a peer, over its session or a new one."""
        session = self.session_with(peer.key)
        if session is not None:
            session.say(message, now)
            return
        self._openings.wait(peer, message)
        if not self._openings.trying(peer.key):
            problem = self._openings.begin(peer, self.name, now)
            if problem is not None:
                self._give_up(peer.key, problem, now)

    def session_with(self, key: bytes) -> Session | None:
        """Return the session that is used with a peer."""
        sessions = self._of_peer.get(key)
        return sessions[-1] if sessions else None

    def connected(self, key: bytes, now: float) -> None:
        """Use all addresses of a peer from now on, and tell it ours: both have said yes."""
        for session in self._of_peer.get(key, []):
            self._whereabouts.opened(session, self._openings.addresses(key), now)

    def take_back(self, key: bytes, id: bytes) -> bool:
        """Drop the question `id` that waits for a session; tell whether it was there."""
        return self._openings.take_back(key, id)

    # --- beginning a session ---

    def _give_up(self, key: bytes, reason: str, now: float) -> None:
        waiting = self._openings.take_waiting(key)
        if self.session_with(key) is None:
            name = waiting[0][0].name if waiting else "The other side"
            self._consent.interruption.lost(key, reason.format(name=name), now)

    def _session_of(self, view: memoryview) -> Session | None:
        if view[0] != packet.DATA or len(view) <= packet.HEADER_SIZE:
            return None
        return self._sessions.get(bytes(view[1 : 1 + packet.CONNECTION_ID_SIZE]))

    def _receive_other(self, data: bytes, address: Address, now: float) -> None:
        match data[0]:
            case handshake.INITIATION:
                self._receive_initiation(data, address, now)
            case handshake.RESPONSE if (attempt := self._openings.find(data[_RESPONSE_ID])) is not None:
                self._receive_response(attempt, data, address, now)
            case handshake.COOKIE if (attempt := self._openings.find(data[_COOKIE_ID])) is not None:
                attempt.receive_cookie(data, now)
            case packet.DATA:
                self.drops[Drop.UNKNOWN_CONNECTION] += 1
            case _:
                self.drops[Drop.KIND] += 1

    def _receive_initiation(self, data: bytes, address: Address, now: float) -> None:
        known = self._consent.connected
        open_to_all = self.direct or relayed(address)
        welcome = (lambda key: True) if open_to_all else lambda key: key in known or key in self.neighbours
        answer = self._doorkeeper.answer(data, address, self.name, self._sessions.keys(), now, welcome)
        if answer is None:
            return
        self._out.append(Datagrams(address, answer.response, len(answer.response)))
        if answer.established is not None:
            session = Session(answer.established, address, self._sealer, self._opener, self._random, now)
            session.counter = answer.counter
            self._sessions[answer.established.local_connection_id] = session

    def _receive_response(self, attempt: Attempt, data: bytes, address: Address, now: float) -> None:
        try:
            established, rtt = attempt.receive_response(data, address, now)
        except HandshakeError as error:
            attempt.note(address, Outcome.WRONG_KEY)
            self.drops[error.drop] += 1
            return
        self._openings.end(data[_RESPONSE_ID])
        if established.peer.key != attempt.key:
            attempt.note(address, Outcome.WRONG_KEY)
            self._whereabouts.failed(attempt)
            self._give_up(attempt.key, "Someone else answered in the place of {name}.", now)
            return
        session = Session(established, address, self._sealer, self._opener, self._random, now)
        session.initiated = True
        if rtt is not None:
            session.measured(rtt)
        self._sessions[established.local_connection_id] = session
        self._opened(session, now)

    def _opened(self, session: Session, now: float) -> None:
        key = session.peer.key
        self._of_peer.setdefault(key, []).append(session)
        self._openings.seen_at(key, session.path.address)
        session.paths.leads = session.initiated
        self._whereabouts.routes(session, self._openings.addresses(key), now)
        session.say(m.Hello(self._start), now)
        for _, message in self._openings.take_waiting(key):
            session.say(message, now)
        self._consent.interruption.resume(session, now)
        if session.counter is not None:
            self._doorkeeper.proved(key, session.counter)
        if key in self._consent.connected:
            self._whereabouts.opened(session, self._openings.addresses(key), now)
        self._events.append(SessionOpened(session.peer, session.path.address, session.counter, session.path.kind))

    # --- a session's life ---

    def _receive_sealed(self, session: Session, view: memoryview, size: int, address: Address, now: float) -> int:
        read = len(view)
        proven = session.proven
        try:
            read = session.receive(view, size, address, now)
            if session.proven and not proven and not session.initiated:
                self._opened(session, now)
            for message in session.take_messages():
                if isinstance(message, m.Hello):
                    self._hello(session, message.start, now)
                elif isinstance(message, m.Candidates | m.PathReport):
                    if session.peer.key in self._consent.connected:
                        self._whereabouts.heard(session, message, now)
                else:
                    self._consent.heard(session.peer, session, message, now)
            self._consent.progressed(session, now)
        except PeerError as error:
            session.closed = (CloseCode.BROKEN, str(error))
            self._out.append(session.close_packet(CloseCode.BROKEN, str(error)))
        except (OSError, UsageError) as error:
            self._broken_disk(session, error, now)
        self._look_after(session, now)
        return read

    def _session_out(self, session: Session, now: float) -> list[Datagrams]:
        try:
            return session.datagrams_to_send(now)
        except (OSError, UsageError) as error:
            self._broken_disk(session, error, now)
            return []

    def _broken_disk(self, session: Session, error: OSError | UsageError, now: float) -> None:
        """End the transfers of a session whose files cannot be read or written here."""
        reason = str(error) if isinstance(error, UsageError) else f"A file could not be used: {error.strerror}."
        for request in self._consent.book.with_peer(session.peer.key):
            if request.session is session:
                self._consent.fail(request.id, reason, now)

    def _hello(self, session: Session, start: int, now: float) -> None:
        """Forget what a peer was asked before its agent was started anew."""
        key = session.peer.key
        session.start = start
        known = self._starts.get(key, start)
        self._starts[key] = max(start, known)
        if start < known:  # said before the peer's agent was started anew, and late
            session.closed = (CloseCode.REPLACED, "")
        elif start > known:
            self._consent.interruption.lost(key, CloseCode.REPLACED.sentence(session.peer.name), now)
            self._consent.interruption.resume(session, now)
            for old in [old for old in self._of_peer[key] if old.start is not None and old.start < start]:
                self._drop_session(old, CloseCode.REPLACED, now)

    def _look_after(self, session: Session, now: float) -> None:
        if session.path_changed and session.may_send:
            session.path_changed = False
            path, rtt = session.path, session.rtt
            self._events.append(PathChanged(session.peer, path.kind, path.address, path.rtt or rtt))
        if session.closed is not None:
            code, reason = session.closed
            if code is CloseCode.DONE and not reason and session.proven:
                self._out.append(session.close_packet(CloseCode.DONE, ""))
            self._drop_session(session, code, now)

    def _drop_session(self, session: Session, code: CloseCode, now: float) -> None:
        key = session.peer.key
        self._sessions.pop(session.established.local_connection_id, None)
        others = [other for other in self._of_peer.get(key, []) if other is not session]
        if len(others) == len(self._of_peer.get(key, [])):
            return  # it was never proven, or is gone already
        self._of_peer[key] = others
        self._whereabouts.ended(session)
        if others:
            self._consent.interruption.session_ended(session, others[-1], now)
            return
        del self._of_peer[key]
        self._starts.pop(key, None)
        reason = code.sentence(session.peer.name)
        self._consent.interruption.lost(key, reason, now, for_good=code is CloseCode.BROKEN)
        self._events.append(SessionClosed(session.peer, reason))
