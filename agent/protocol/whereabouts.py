"""Where we can be reached, what peers are told of that, and what the connection doctor is told of them.

Peers are told inside sessions, and only those that are connected; what others say about candidates is not even read.
Used by `endpoint`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from agent.protocol import messages as m
from agent.protocol.attempt import Attempt
from agent.protocol.candidates import MOST_CANDIDATES, Candidate, Filtering, Found, Mapping, Nat
from agent.protocol.packet import Address
from agent.protocol.ranking import Standing, relayed
from agent.protocol.report import Report, in_vain
from agent.protocol.session import Session

REPORTS_KEPT: Final = 256


class Whereabouts:
    """`ours` is None until it is known what there is to tell."""

    def __init__(self) -> None:
        self._ours: Standing | None = None
        self._round = 0
        self._reports: dict[bytes, Report] = {}  # by key, of the last session or attempt

    # --- ours ---

    def settle(self, candidates: Sequence[Candidate], nat: Nat, sessions: Iterable[Session], now: float) -> None:
        """Learn where we can be reached, and tell the connected peers of these sessions, if it is news."""
        ours = Standing(nat, tuple(dict.fromkeys(candidates))[:MOST_CANDIDATES])
        if ours == self._ours:
            return
        self._ours, self._round = ours, self._round + 1
        for session in sessions:
            self._tell(session, now)

    def opened(self, session: Session, addresses: Iterable[Address], now: float) -> None:
        """Let a session use all addresses of a peer, relayed or not, that is connected; and tell it ours."""
        if not session.paths.opened:
            session.paths.opened = True
            self.routes(session, addresses, now)
            self._tell(session, now)

    def routes(self, session: Session, addresses: Iterable[Address], now: float) -> None:
        """Let a session use these addresses, as far as it may."""
        for address in addresses:
            if session.paths.opened or relayed(address):
                session.paths.add(address, now)

    def _tell(self, session: Session, now: float) -> None:
        ours = self._ours
        if ours is None:
            return
        told = m.Candidates(self._round, ours.nat.mapping, ours.nat.filtering, ours.candidates)
        session.control.queue(told)
        self._stand(session, session.paths.theirs, now)

    # --- theirs ---

    def heard(self, session: Session, message: m.Candidates | m.PathReport, now: float) -> None:
        """Take what a connected peer says of its whereabouts."""
        theirs = session.paths.theirs
        if isinstance(message, m.PathReport):
            session.there = message
        else:
            mapping = Mapping(message.mapping) if message.mapping in tuple(Mapping) else Mapping.UNKNOWN
            filtering = Filtering(message.filtering) if message.filtering in tuple(Filtering) else Filtering.UNKNOWN
            nat = Nat(mapping, filtering)
            theirs = Standing(nat, message.candidates)
        self._stand(session, theirs, now)

    def _stand(self, session: Session, theirs: Standing, now: float) -> None:
        there = session.there
        mapped = there.used < len(there.tried) and there.tried[there.used].found is Found.MAPPED
        session.stand(self._ours or Standing(), theirs, mapped, now)

    # --- the doctor ---

    def ended(self, session: Session) -> None:
        """Keep what was tried in a session that has ended."""
        self._remember(session.peer.key, session.report())

    def failed(self, attempt: Attempt) -> None:
        """Keep what was tried by an attempt that has failed."""
        self._remember(attempt.key, in_vain(attempt.tried(over=True), self._reports.get(attempt.key)))

    def report(self, key: bytes, session: Session | None, attempt: Attempt | None) -> Report | None:
        """Tell how a peer is reached, or was at last, and what was tried."""
        known = self._reports.get(key)
        if session is not None:
            return session.report()
        return known if attempt is None else in_vain(attempt.tried(over=False), known)

    def _remember(self, key: bytes, report: Report) -> None:
        self._reports.pop(key, None)
        self._reports[key] = report
        if len(self._reports) > REPORTS_KEPT:
            del self._reports[next(iter(self._reports))]
