"""All paths of a session: which are tried when, which one is used, when it is left, and for which other (RFC 9000
section 9, RFC 8445 in spirit).

Each side chooses for what it sends. `ranking` says what is better; what is here makes it steady. A path is chosen only
after it has answered a challenge: a forged source address moves nothing. Used by `session`.
"""

from collections.abc import Callable
from math import inf
from typing import Final

from agent.protocol.candidates import MOST_CANDIDATES, Candidate, Found, usable
from agent.protocol.keepalive import Interval
from agent.protocol.messages import NO_PATH, PathReport
from agent.protocol.packet import Address
from agent.protocol.path import FIRST_ROUND, Path
from agent.protocol.ranking import Standing, is_loopback, kind_of, relayed
from agent.protocol.report import Outcome, Tried

PACE: Final = 0.005  # seconds between challenges (RFC 8445 section 14.2)
WINS: Final = 3  # answers in a row, each clearly faster, for which a path of the same kind is taken
FASTER, FASTER_BY = 0.8, 0.005  # of the round trip, and seconds less
RELAY_CHECK: Final = 60.0  # seconds between challenges to a relay that is not in use
PROVEN: Final = 60.0  # seconds in use after which a path that fails is tried again soon
QUIET: Final = 0.1  # seconds, or two round trips: a path that is silent so long is left when the peer has left it
MOST_PATHS: Final = 64
NAMED_MOST, NAMED_EACH_SECOND = 64.0, 1.0  # addresses that a peer may have us send to
SUSPICION: Final = 0.05  # seconds, beside two round trips, that a doubted path has to answer
REPORT_AFTER: Final = 0.3  # seconds for which results are gathered
_RESPONSES_MOST: Final = 8


class Paths:
    """`active` is the path in use. `opened`: both have said yes, so all addresses may be used."""

    def __init__(self, address: Address, random: Callable[[int], bytes], now: float) -> None:
        self._random = random
        self.ours, self.theirs = Standing(), Standing()
        self.opened = False
        self.leads = False  # this side's choice counts where the sides differ
        self._keepalives = {False: Interval(), True: Interval()}  # of direct paths, and of relays
        self.dark = False  # nothing works: whatever answers first is taken
        self.active = self._new(address, None, now)
        self.active.answered_at = self.active.heard = now
        self.active.outcome = Outcome.ANSWERED
        self._all = {address: self.active}
        self.newest = address  # where the newest packet that was no probe came from
        self._responses: list[tuple[Address, bytes, int]] = []
        self._next_probe = -inf
        self._named, self._named_at = NAMED_MOST, now
        self._told = PathReport(NO_PATH, ())
        self._tell_at: float | None = None
        self._due: float | None = None

    # --- what there is ---

    def stand(self, ours: Standing, theirs: Standing, mapped: bool, now: float) -> None:
        """Learn how both sides stand: what kinds paths are of, and what the peer has named."""
        news = [c for c in theirs.candidates if c not in self.theirs.candidates]
        self.ours, self.theirs = ours, theirs
        for path in self._all.values():
            path.place(kind_of(path.address, ours, theirs, mapped and path is self.active))
        if not self.opened:
            return
        named = {candidate.address for candidate in theirs.candidates}
        for address, path in list(self._all.items()):
            if path.found is not None and address not in named:
                path.found = None
                if path is not self.active and not path.works(now):
                    del self._all[address]
        for candidate in news:
            self.name(candidate, now)
        self._better(now)
        self._plan()

    def name(self, candidate: Candidate, now: float) -> None:
        """Try a candidate of the peer, at this machine's own address where both are one."""
        host, port = candidate.address
        same = candidate.found is Found.HOST and host in self.ours.hosts()
        if same and not is_loopback(host):
            self.name(Candidate(Found.HOST, ("::1" if ":" in host else "127.0.0.1", port)), now)
        if not usable(candidate.address) or (is_loopback(host) and not self._one_machine()):
            return
        path = self._all.get(candidate.address)
        if path is not None:
            path.found = candidate.found
            if path is not self.active and not path.works(now):
                path.begin(FIRST_ROUND, now)
        elif self._may_name(now):
            self.add(candidate.address, now, candidate.found)
        self._plan()

    def add(self, address: Address, now: float, found: Found | None = None) -> None:
        """Try another address."""
        if address in self._all:
            return
        if len(self._all) >= MOST_PATHS:
            self._forget_one(now)
        path = self._all[address] = self._new(address, found, now)
        path.begin(FIRST_ROUND, now)
        self._plan()

    def drop(self, address: Address, now: float) -> None:
        """Forget an address; where it is in use, take the next best."""
        path = self._all.get(address)
        if path is None:
            return
        path.dropped = True
        if path is self.active:
            self.silent(now)
        else:
            del self._all[address]
        self._plan()

    def renew(self, now: float) -> None:
        """Try everything anew: the network has changed."""
        self._keepalives = {False: Interval(), True: Interval()}
        for path in self._all.values():
            path.doubts = 0
            path.keepalive = self._keepalives[path.relayed]
            path.proved()
            path.begin(FIRST_ROUND, now)
        self._suspect(now)
        self._plan()

    def unsendable(self, address: Address, outcome: Outcome) -> None:
        """Note that datagrams to an address do not go."""
        if (path := self._all.get(address)) is not None:
            path.unsendable(outcome)

    # --- what comes in ---

    def admits(self, address: Address) -> bool:
        """Tell whether packets from there are taken: before the yes, a session over a relay stays there."""
        return self.opened or address in self._all or not self.active.relayed or relayed(address)

    def heard(self, address: Address, now: float, probe: bool) -> None:
        """Note where the newest authentic packet came from, if that is not the path in use."""
        path = self._all.get(address)
        if path is None:
            if not (self._may_name(now) and self.admits(address)):
                return
            self.add(address, now)
            path = self._all[address]
        path.heard = now
        if not probe:
            self.newest = address
        if not path.works(now) or path.doubts:
            path.hurry(now)
        elif not probe:
            self._follow(path, now)
        self._plan()

    def challenged(self, address: Address, data: bytes, size: int) -> None:
        """Owe a response over the path that a challenge came by, as large as that was."""
        if len(self._responses) < _RESPONSES_MOST and self.admits(address):
            self._responses.append((address, data, size))

    def responded(self, address: Address, data: bytes, now: float) -> None:
        """Take a response: the path works, and may be better than the one in use."""
        path = self._all.get(address)
        if path is None or not path.answered(data, now):
            return
        path.heard = now
        if path is self.active:
            path.doubts, self.dark = 0, False
            path.rest()
        elif self.dark:
            self._move(path, now)
        elif not path.doubts:
            self._weigh(path, now)
        self._changed(now)
        self._plan()

    # --- which one ---

    def _weigh(self, path: Path, now: float) -> None:
        """Take a path that has answered, if it is better, or the peer is there; else ask again later, if at all."""
        active = self.active
        fast = path.rank == active.rank and _clearly_faster(path.rtt, active.rtt)
        path.wins = path.wins + 1 if fast else 0
        if self._prefers(path) or (self.leads and path.wins >= WINS):
            self._move(path, now)
            return
        path.later(now, RELAY_CHECK if path.relayed else None)
        if path.address == self.newest:
            self._follow(path, now)

    def _prefers(self, path: Path) -> bool:
        """Tell whether a path is of a better kind; of two direct ones only the side that leads chooses."""
        return path.rank < self.active.rank and (self.leads or self.active.relayed)

    def _follow(self, path: Path, now: float) -> None:
        """Go where the peer is: at a new address of its own, or by its choice; doubt the path that it left."""
        active = self.active
        quiet = now - active.heard > max(QUIET, 2 * (active.rtt or 0.0))
        moved = path.appeared > active.since and path.relayed == active.relayed
        if quiet and path.relayed and not active.relayed:
            active.failed(now)  # for the peer it is dead
            self._move(path, now)
        elif moved or (not self.leads and (quiet or path.relayed == active.relayed)):
            self._move(path, now)
        elif quiet:
            self._suspect(now)

    def _suspect(self, now: float) -> None:
        """Ask the path in use, with little patience; it is left when the round ends without an answer."""
        if not self.active.probing:
            patience = SUSPICION + 2 * (self.active.rtt or SUSPICION)
            self.active.begin((patience, patience), now)

    def silent(self, now: float) -> bool:
        """Leave the path in use, which does not answer, for the next best; False where there is none that works."""
        if not self.dark:
            self.active.failed(now)
        best = min(self._working(now), key=_order, default=None)
        for path in self._all.values():
            if path is not best and not path.works(now):
                path.hurry(now)
        if best is not None:
            self._move(best, now)
        else:
            self.dark = True
        self._changed(now)
        self._plan()
        return best is not None

    def _move(self, path: Path, now: float) -> None:
        left, self.active = self.active, path
        path.since, path.doubts, path.wins, self.dark = now, 0, 0, False
        path.rest()
        if now - left.since > PROVEN:
            left.proved()
        if left.dropped:
            self._all.pop(left.address, None)
        elif left.works(now):
            left.later(now, RELAY_CHECK if left.relayed else None)
        self._changed(now)

    def _better(self, now: float) -> None:
        """Take the best path that works, if its kind is better than that of the one in use."""
        best = min(self._working(now), key=_order, default=self.active)
        if self._prefers(best):
            self._move(best, now)

    def _working(self, now: float) -> list[Path]:
        return [p for p in self._all.values() if p is not self.active and not p.doubts and p.works(now)]

    # --- what goes out, and when ---

    def take_response(self) -> tuple[Address, bytes, int] | None:
        """Return a response that is to be sent now, and its size, or None."""
        return self._responses.pop(0) if self._responses else None

    def take_challenge(self, now: float) -> tuple[Address, bytes] | None:
        """Return a challenge that is to be sent now, or None."""
        if self._due is None or now < self._due or now < self._next_probe:
            return None
        for path in sorted(self._all.values(), key=_order):
            if path.next_try is None or now < path.next_try:
                continue
            if path.put_off and not self._worth(path):
                path.rest()
                continue
            data = path.challenge(now, self._random)
            if data is not None:
                self._next_probe = now + PACE
                self._plan()
                return path.address, data
            self._changed(now)
            if path is self.active and now - path.heard > QUIET:
                self.silent(now)
        self._plan()
        return None

    def take_report(self, now: float) -> PathReport | None:
        """Return what was tried and is used, if there is something new to tell the peer."""
        if self._tell_at is None or now < self._tell_at:
            return None
        self._tell_at = None
        self._plan()
        tried = self.tried()[:MOST_CANDIDATES]
        used = [found.address for found in tried]
        report = PathReport(used.index(self.active.address) if self.active.address in used else NO_PATH, tried)
        if not self.opened or report == self._told:
            return None
        self._told = report
        return report

    def tried(self) -> tuple[Tried, ...]:
        """Return what was tried, best first."""
        return tuple(t for path in sorted(self._all.values(), key=_order) if (t := path.tried()) is not None)

    def timeout(self) -> float | None:
        """Return when `take_challenge` or `take_report` has something again."""
        return self._due

    # --- inside ---

    def _new(self, address: Address, found: Found | None, now: float) -> Path:
        kind = kind_of(address, self.ours, self.theirs)
        return Path(address, found, kind, self._keepalives[relayed(address)], now)

    def _worth(self, path: Path) -> bool:
        """Tell whether another round is of use: it might be chosen, or is what we would fall back to."""
        return path is self.active or path.relayed or self.dark or path.doubts > 0 or path.rank <= self.active.rank

    def _may_name(self, now: float) -> bool:
        """Tell whether one more address may be sent to because of the peer: it shall not aim us at others."""
        self._named = min(NAMED_MOST, self._named + (now - self._named_at) * NAMED_EACH_SECOND)
        self._named_at = now
        if self._named < 1:
            return False
        self._named -= 1
        return True

    def _one_machine(self) -> bool:
        """Tell whether both are on one machine: they share an address, or neither has any but the machine's own."""
        ours, theirs = set(self.ours.hosts()), set(self.theirs.hosts())
        shared = ours & theirs
        return bool(shared) and (not all(map(is_loopback, shared)) or all(map(is_loopback, ours | theirs)))

    def _forget_one(self, now: float) -> None:
        """Make room: what does not work goes first, then what came first."""
        others = [path for path in self._all.values() if path is not self.active and not path.relayed]
        if others:
            del self._all[min(others, key=lambda path: (path.works(now), path.appeared)).address]

    def _changed(self, now: float) -> None:
        """See to it that the peer is told of a result, with those that follow soon."""
        if self._tell_at is None:
            self._tell_at = now + REPORT_AFTER

    def _plan(self) -> None:
        tries = [path.next_try for path in self._all.values() if path.next_try is not None]
        times = [max(min(tries), self._next_probe)] if tries else []
        if self._tell_at is not None:
            times.append(self._tell_at)
        self._due = min(times, default=None)


def _order(path: Path) -> tuple[tuple[int, int], float]:
    return path.rank, inf if path.rtt is None else path.rtt


def _clearly_faster(rtt: float | None, than: float | None) -> bool:
    return rtt is not None and than is not None and rtt < FASTER * than and rtt < than - FASTER_BY
