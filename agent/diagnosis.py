"""What people read about a connection: both networks in plain words, each try in a sentence, and what would help.

Pure. Used by `doctor`, which knows the facts, and by the command `agent doctor`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from agent.forecast import Forecast, Obstacle, Reach, Side, side_of
from agent.protocol.candidates import RELAY_UDP, RELAY_WS, Candidate, Filtering, Found, Mapping, PathKind
from agent.protocol.packet import Address
from agent.protocol.report import Outcome, Tried

PATIENCE: Final = 15.0
"""Seconds in which a direct path is found, if there is one."""
LOSSY: Final = 0.05
_FOUND: Final = {Found.HOST: "", Found.REFLEXIVE: ", as seen from outside", Found.MAPPED: ", opened by the router"}
_OUTCOMES: Final = {
    Outcome.NO_ANSWER: "no answer",
    Outcome.REFUSED: "refused: nothing listens there",
    Outcome.UNREACHABLE: "there is no way to it",
    Outcome.WRONG_KEY: "somebody else answers there",
    Outcome.TRYING: "being tried",
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of the connection with one person. `lasts`: seconds that the path has been in use."""

    name: str
    mine: Reach
    theirs: Reach
    forecast: Forecast
    port: int
    kind: PathKind | None = None
    lasts: float = 0.0
    loss: float = 0.0
    here: Sequence[Tried] = ()
    there: Sequence[Tried] = ()


def network(reach: Reach) -> str:
    """Say in plain words what stands between one side and the internet."""
    said = _translation(reach)
    if reach.ipv6:
        said += " IPv6 works."
    return said + " The router has opened a port." if reach.mapped else said


def _translation(reach: Reach) -> str:
    mapping, strict = reach.nat.mapping, reach.nat.filtering is not Filtering.OPEN
    if reach.udp is False or mapping is Mapping.BLOCKED:
        return "No UDP comes through."
    if mapping is Mapping.NONE:
        return "No address translation, " + ("but answers alone are let in." if strict else "and everybody is let in.")
    if mapping is Mapping.INDEPENDENT:
        return "A NAT that keeps one port for everybody, " + (
            "but lets in answers only." if strict else "and lets them in."
        )
    if mapping is Mapping.DEPENDENT:
        return "A NAT that takes another port for each destination (symmetric)."
    return "UDP comes through; how it is translated is not known yet." if reach.udp else "Not known yet."


def written(address: Address) -> str:
    """Write an address as people do."""
    host, port = address
    if host in (RELAY_UDP, RELAY_WS):
        return "the relay" if host == RELAY_UDP else "the relay over the web"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: Address) -> bool:
    """Tell whether an address is one that every machine has for itself."""
    return address[0] not in (RELAY_UDP, RELAY_WS) and ip_address(address[0]).is_loopback


def sentence(tried: Tried, name: str, ours: Sequence[Candidate], *, here: bool) -> str:
    """Say which address was tried from which side, and what came of it."""
    what = written(tried.address)
    if tried.address[0] not in (RELAY_UDP, RELAY_WS):
        what = f"{'their' if here else 'your'} {what}{_FOUND[tried.found]}"
    who = _from(tried.address, ours) if here else name
    if tried.outcome is Outcome.ANSWERED:
        came = "answered" if tried.rtt is None else f"answered in {milliseconds(tried.rtt):g} ms"
    elif tried.outcome is Outcome.BLOCKED:
        came = f"a firewall on {'this' if here else 'their'} machine forbids it"
    else:
        came = _OUTCOMES[tried.outcome]
    return f"{who} → {what}: {came}"


def milliseconds(seconds: float) -> float:
    """Round a time for people."""
    return round(seconds * 1000, 1 if seconds < 0.02 else None)


def _from(address: Address, ours: Sequence[Candidate]) -> str:
    """Name our end where there is one address that it can be."""
    if address[0] in (RELAY_UDP, RELAY_WS):
        return "You"
    family = ":" in address[0]
    named = [one.address for one in ours if one.found is Found.HOST and not is_loopback(one.address)]
    hosts = [address for address in named if (":" in address[0]) == family]
    return f"Your {written(hosts[0])}" if len(hosts) == 1 else "You"


def advise(case: Case) -> str:
    """Say in one sentence what would help, or that nothing has to be done."""
    if case.kind is None:
        return _before(case)
    if case.loss >= LOSSY:
        lost = f"{case.loss:.0%} of the packets are lost on the way"
        return f"{lost}: a cable instead of a radio link, or another network, may help."
    return _relayed(case) if case.kind.relayed else "Nothing has to be done: the connection is direct."


def _before(case: Case) -> str:
    if case.forecast.path == "direct":
        return "Nothing has to be done: a direct path is looked for as soon as there is a connection."
    if case.forecast.path == "relayed":
        return _relayed(case)
    match case.forecast.obstacle:
        case Obstacle.OFFLINE:
            return f"Ask {case.name} to start their agent; this page shows when it is there."
        case Obstacle.RELAY:
            if Side.BLOCKED not in (side_of(case.mine), side_of(case.theirs)):
                return "Whoever runs the rendezvous can repair its relay."
            return f"{_relayed(case)} Whoever runs the rendezvous can repair its relay."
        case Obstacle.KEY:
            return f"{case.name} would have to sign up with an agent that makes a key."
        case _:
            return "Look whether this machine is on the internet, and whether the address of the rendezvous is right."


def _relayed(case: Case) -> str:
    """Say what would make a direct path of a relayed one; the nearest cause first."""
    if any(tried.outcome is Outcome.BLOCKED for tried in case.here):
        return f"A firewall on this machine stops the agent: let it send and receive UDP on port {case.port}."
    if any(tried.outcome is Outcome.BLOCKED for tried in case.there):
        return f"A firewall on the machine of {case.name} stops their agent: they would have to let it use UDP."
    ours, other = side_of(case.mine), side_of(case.theirs)
    if ours is Side.BLOCKED:
        return f"Let UDP port {case.port} through the firewall of your network, or use another network."
    if other is Side.BLOCKED:
        return f"{case.name} would have to let UDP through the firewall of their network, or use another network."
    if case.forecast.path == "direct":
        return _unexpected(case)
    if Side.SYMMETRIC in (ours, other):
        where = "your router" if other is not Side.SYMMETRIC else "one of your two routers"
        if ours is not Side.SYMMETRIC:
            where = f"the router of {case.name}, or yours,"
        return f"IPv6 on both sides, or a port that {where} opens for UDP (UPnP, or by hand), would make it direct."
    return "Wait a little: how the networks treat UDP is still being found out."


def _unexpected(case: Case) -> str:
    if case.lasts < PATIENCE:
        return "Wait a moment: a direct path is being looked for."
    return (
        f"No direct address answered, though both networks should allow it: look whether a firewall on either machine "
        f"stops UDP (yours is port {case.port}). It is tried again by itself."
    )
