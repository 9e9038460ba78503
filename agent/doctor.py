"""The connection doctor: how this person and another are connected, what was tried, and what would help.

Puts together what the core, the relays, the directory and the forecast know; decides nothing. The sentences are
`diagnosis`'s. Used by `member` for the local contract, and by `view` and `people` for what stands beside each name.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from agent.diagnosis import Case, advise, is_loopback, milliseconds, network, sentence, written
from agent.forecast import NOTHING_TOLD, Forecast, Obstacle, Reach, forecast
from agent.protocol.candidates import Candidate, Nat
from agent.protocol.relays import RelayStatus
from agent.protocol.report import Outcome, Report

Value = dict[str, Any]
WEBSOCKET: Final = "websocket"


class Core(Protocol):
    """The core, as far as the doctor asks it."""

    def report(self, key: bytes) -> Report | None: ...
    def in_session(self, key: bytes) -> bool: ...
    def needs(self, key: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Here:
    """This agent's own situation.

    `stun`: {server, address}, what each server has seen us at; `notes`: a sentence for each router that opens no port;
    `relay`: that of the rendezvous works, as far as is known; `direct`: strangers may see our address.
    """

    reach: Reach
    candidates: tuple[Candidate, ...] = ()
    stun: tuple[Value, ...] = ()
    rendezvous: bool = True
    relay: bool = True
    port: int = 0
    notes: tuple[str, ...] = ()
    direct: bool = False


@dataclass(frozen=True, slots=True)
class There:
    """What the directory says of the other.

    `direct`: they have chosen that strangers may see their address; `stranger`: we have never been connected, and have
    not heard of each other in a local network.
    """

    name: str
    key: bytes | None
    online: bool
    reach: Reach = NOTHING_TOLD
    same_network: bool = False
    direct: bool = False
    stranger: bool = False


class Doctor:
    """Tells how people are connected."""

    def __init__(
        self,
        core: Core,
        relays: Callable[[], Sequence[RelayStatus]],
        here: Callable[[], Here],
        now: Callable[[], float],
    ) -> None:
        self._core, self._relays, self._here, self._now = core, relays, here, now

    def beside(self, there: There) -> Value:
        """Return what stands beside a name: `path`, the kind of the path in use or None, and the `forecast`."""
        report = self._report(there.key)
        path = None if report is None or report.kind is None else report.kind.value
        return {"path": path, "forecast": self._forecast(self._here(), there).as_json()}

    def examine(self, there: There) -> Value:
        """Return the value of `get_doctor`."""
        here, report = self._here(), self._report(there.key)
        last = report or (None if there.key is None else self._core.report(there.key))
        theirs = _with_nat(there.reach, last)
        told = self._forecast(here, there)
        now = self._now()
        case = Case(
            there.name, here.reach, theirs, told, here.port,
            report.kind if report else None,
            now - report.since if report and report.since is not None else 0.0,
            report.loss if report else 0.0,
            last.here if last else (),
            last.there if last else (),
        )  # fmt: skip
        return {
            "forecast": told.as_json(),
            "connection": self._connection(there.key),
            "mine": _network_value(here.reach),
            "theirs": _network_value(theirs) if theirs != NOTHING_TOLD else None,
            "path": _path(report, now),
            "tried": _tried(case, here.candidates),
            "relay": self._relay(there.key),
            "advice": advise(case),
        }

    def mine(self) -> Value:
        """Return this agent's own situation: what `reachability` says beside the rendezvous."""
        here = self._here()
        told = [one for one in here.candidates if not is_loopback(one.address)]
        found = [{"found": one.found.name.lower(), "address": written(one.address)} for one in told]
        relays = [_relay_value(one) for one in self._relays()]
        lists = {"candidates": found, "stun": list(here.stun), "notes": list(here.notes), "relays": relays}
        return {"nat": _network_value(here.reach), **lists}

    def _forecast(self, here: Here, there: There) -> Forecast:
        if there.key is None:
            because = f"{there.name} has signed up without a key: nobody can reach them safely."
            return Forecast("unreachable", because, Obstacle.KEY)
        return forecast(
            there.name,
            here.reach,
            there.reach,
            online=there.online or self._core.in_session(there.key),
            same_network=there.same_network,
            rendezvous=here.rendezvous,
            relay=here.relay,
            first_by_relay=there.stranger and not (here.direct and there.direct),
        )

    def _report(self, key: bytes | None) -> Report | None:
        """Return what is known of an open session."""
        return self._core.report(key) if key is not None and self._core.in_session(key) else None

    def _connection(self, key: bytes | None) -> str:
        if key is None:
            return "none"
        return "open" if self._core.in_session(key) else "opening" if self._core.needs(key) else "none"

    def _relay(self, key: bytes | None) -> Value | None:
        ranked = sorted((one for one in self._relays() if one.key == key), key=lambda one: not one.bound)
        return _relay_value(ranked[0]) if ranked else None


def _relay_value(status: RelayStatus) -> Value:
    server = None if status.server is None or status.server[0] == WEBSOCKET else written(status.server)
    value = {
        "kind": status.kind.value,
        "server": server,
        "left": status.left,
        "rtt": None if status.rtt is None else milliseconds(status.rtt),
        "bound": status.bound,
        "peer": status.peer,
    }
    return value | {"trouble": status.trouble} if status.trouble else value


def _network_value(reach: Reach) -> Mapping[str, object]:
    return {**reach.words(), "sentence": network(reach)}


def _with_nat(reach: Reach, report: Report | None) -> Reach:
    """Take what the peer itself has told over what the directory says."""
    if report is None or report.nat == Nat():
        return reach
    return Reach(report.nat, True if reach.udp is None else reach.udp, reach.ipv6, reach.mapped)


def _path(report: Report | None, now: float) -> Value | None:
    if report is None or report.kind is None:
        return None
    value: Value = {
        "kind": report.kind.value,
        "rtt": None if report.rtt is None else milliseconds(report.rtt),
        "loss": round(report.loss, 4),
        "since": None if report.since is None else time.time() - (now - report.since),
    }
    if report.address is None or report.kind.relayed:
        return value
    return value | {"address": written(report.address)}


def _tried(case: Case, ours: Sequence[Candidate]) -> list[Value]:
    values = []
    for side, here, several in (("here", True, case.here), ("there", False, case.there)):
        for one in several:
            if is_loopback(one.address) and one.outcome is not Outcome.ANSWERED:
                continue  # the other is on another machine: this says nothing
            value = {
                "side": side,
                "found": one.found.name.lower(),
                "address": written(one.address),
                "outcome": one.outcome.value,
                "sentence": sentence(one, case.name, ours, here=here),
            }
            values.append(value if one.rtt is None else value | {"rtt": milliseconds(one.rtt)})
    return values
