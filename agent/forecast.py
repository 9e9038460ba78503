"""Whether two people will be connected directly or through a relay, and why: told before the first attempt.

Pure: from how both networks treat UDP, as their agents have found out, and from what else is there. What networks do to
UDP is RFC 4787's; which pairs then meet is the table below. Used by `doctor` and `view`.
"""

from collections.abc import Mapping as Values
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Self

from agent.protocol.candidates import Filtering, Mapping, Nat

Path = Literal["direct", "relayed", "unreachable"]
NOT_KNOWN: Final = Nat()


@dataclass(frozen=True, slots=True)
class Reach:
    """How one side can be reached: its NAT, whether UDP comes through at all (None: not known yet), whether IPv6 does,
    and whether a router has opened a port for it.
    """

    nat: Nat = NOT_KNOWN
    udp: bool | None = None
    ipv6: bool = False
    mapped: bool = False

    @classmethod
    def read(cls, words: Values[str, object]) -> Self:
        """Read the words that agents tell each other by the rendezvous; what is none of them is not known."""
        udp = words.get("udp")
        return cls(
            Nat(
                Mapping.__members__.get(_word(words, "mapping"), Mapping.UNKNOWN),
                Filtering.__members__.get(_word(words, "filtering"), Filtering.UNKNOWN),
            ),
            udp if isinstance(udp, bool) else None,
            words.get("ipv6") is True,
            words.get("mapped") is True,
        )

    def words(self) -> dict[str, object]:
        """Return the words for it."""
        mapping, filtering = self.nat.mapping.name.lower(), self.nat.filtering.name.lower()
        return {"mapping": mapping, "filtering": filtering, "udp": self.udp, "ipv6": self.ipv6, "mapped": self.mapped}


NOTHING_TOLD: Final = Reach()


class Obstacle(Enum):
    """Why somebody cannot be reached at all."""

    RENDEZVOUS = "ours does not reach the rendezvous"
    OFFLINE = "they are not online"
    RELAY = "only a relay could help, and it does not work"
    KEY = "they have no key"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will be, and a sentence why."""

    path: Path
    because: str
    obstacle: Obstacle | None = None

    def as_json(self) -> dict[str, str]:
        """Return the value of the local contract."""
        return {"path": self.path, "because": self.because}


class Side(Enum):
    """What matters of one network for a direct path."""

    OPEN = "lets in whoever was sent to from any port, or everybody"
    CONE = "has one port for all destinations, and lets in exactly those that were sent to"
    SYMMETRIC = "has another port for each destination"
    UNKNOWN = "is not known"
    BLOCKED = "lets no UDP through"


_ROWS: Final[dict[Side, tuple[Path, ...]]] = {
    # with one that is:  open       cone       symmetric  unknown    blocked
    Side.OPEN:         ("direct",  "direct",  "direct",  "direct",  "relayed"),
    Side.CONE:         ("direct",  "direct",  "relayed", "relayed", "relayed"),
    Side.SYMMETRIC:    ("direct",  "relayed", "relayed", "relayed", "relayed"),
    Side.UNKNOWN:      ("direct",  "relayed", "relayed", "relayed", "relayed"),
    Side.BLOCKED:      ("relayed", "relayed", "relayed", "relayed", "relayed"),
}  # fmt: skip
TABLE: Final = {(one, other): path for one, row in _ROWS.items() for other, path in zip(Side, row, strict=True)}
"""Who meets whom. One side that lets in any port of an address that it has sent to finds a symmetric one; a side that
wants the exact port does not, as nobody can tell it that port before.
"""


def side_of(reach: Reach) -> Side:
    """Tell what matters of how one side can be reached."""
    mapping, filtering = reach.nat.mapping, reach.nat.filtering
    if reach.udp is False or mapping is Mapping.BLOCKED:
        return Side.BLOCKED
    if reach.mapped:
        return Side.OPEN
    if mapping is Mapping.DEPENDENT:
        return Side.SYMMETRIC
    if mapping in (Mapping.NONE, Mapping.INDEPENDENT):
        return Side.OPEN if filtering is Filtering.OPEN else Side.CONE
    return Side.UNKNOWN


def forecast(
    name: str,
    mine: Reach,
    theirs: Reach,
    *,
    online: bool = True,
    same_network: bool = False,
    rendezvous: bool = True,
    relay: bool = True,
    first_by_relay: bool = False,
) -> Forecast:
    """Say how `name` will be reached.

    `same_network`: both come from one address, or were seen in one LAN; `rendezvous`: it is in reach of ours, by UDP or
    its WebSocket; `relay`: its relay works; `first_by_relay`: a stranger, who is asked through the relay alone.
    """
    if first_by_relay and rendezvous and online and not relay:
        because = "Who has never been connected meets at the relay, and that of the rendezvous does not work."
        return Forecast("unreachable", because, Obstacle.RELAY)
    if same_network and (online or not rendezvous):
        return Forecast("direct", f"You and {name} are in the same network.")
    if not rendezvous:
        because = "Your agent does not reach the rendezvous, which is where people meet."
        return Forecast("unreachable", because, Obstacle.RENDEZVOUS)
    if not online:
        return Forecast("unreachable", f"{name} is not online.", Obstacle.OFFLINE)
    ours, other = side_of(mine), side_of(theirs)
    if mine.ipv6 and theirs.ipv6 and Side.BLOCKED not in (ours, other):
        return Forecast("direct", "Both of you have IPv6, which needs no address translation.")
    path = TABLE[ours, other]
    because = _direct(ours, other, name) if path == "direct" else _relayed(ours, other, name)
    if path == "relayed" and not relay:
        because += " Only a relay could help, and that of the rendezvous does not work."
        return Forecast("unreachable", because, Obstacle.RELAY)
    return Forecast(path, because)


def _direct(ours: Side, other: Side, name: str) -> str:
    if ours is other is Side.CONE:
        return "Both networks keep to one port, so that each side can open the way for the other."
    if ours is other:
        return "Both networks let each other in."
    return f"Your network lets {name} in." if ours is Side.OPEN else f"The network of {name} lets you in."


def _relayed(ours: Side, other: Side, name: str) -> str:
    mine, theirs = "your network", f"the network of {name}"
    pair = {other: theirs, ours: mine}
    both = ours is other
    if Side.BLOCKED in pair:
        who = "neither network lets UDP" if both else f"{pair[Side.BLOCKED]} lets no UDP"
        return _sentence(f"{who} through, which a direct path needs.")
    if Side.UNKNOWN in pair:
        who = "both networks treat" if both else f"{pair[Side.UNKNOWN]} treats"
        return f"How {who} UDP is not known yet; a direct path is tried all the same."
    if both:
        return "Both networks use another port for each destination, so neither side can tell the other where to send."
    strict = "yours" if ours is Side.CONE else f"that of {name}"
    who = pair[Side.SYMMETRIC]
    return _sentence(f"{who} uses another port for each destination, and {strict} lets in only ports that it knows.")


def _word(words: Values[str, object], name: str) -> str:
    word = words.get(name)
    return word.upper() if isinstance(word, str) else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
