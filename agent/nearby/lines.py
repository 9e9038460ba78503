"""What the agent and its child tell each other: values, and their lines of JSON. Used by both sides.

The agent says a wish, each one instead of the one before; the child says what is mapped, who has come and who is gone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.protocol.card import Card
from rendezvous.contract.encoding import from_text, to_text

LONGEST: Final = 16 * 1024
"""Bytes of a line."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A router, and where it listens to PCP and NAT-PMP, and to SSDP."""

    host: str
    pcp_port: int = 5351
    ssdp_port: int = 1900


@dataclass(frozen=True, slots=True)
class Wish:
    """What to do about the peer port `port`.

    `mapping`: have it opened by routers. `card`: tell the LAN who is here, and look who else is; None: neither.
    `without`: networks (CIDR) that are left out. `gateways`: instead of the routing table's; `loopback`: this machine
    counts as a LAN (both for tests).
    """

    port: int
    mapping: bool = True
    card: Card | None = None
    without: tuple[str, ...] = ()
    gateways: tuple[Gateway, ...] | None = None
    loopback: bool = False

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to do."""
        return not self.mapping and self.card is None


@dataclass(frozen=True, slots=True)
class Mapping:
    """The peer port's address at one gateway. `world`: the gateway has no other NAT in front of it."""

    host: str
    port: int
    gateway: str
    by: str
    world: bool


@dataclass(frozen=True, slots=True)
class LanPerson:
    """Somebody whom the LAN announces: the keys fit together, that the name is theirs nobody has said."""

    name: str
    key: bytes
    box_key: bytes
    box_signature: bytes
    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Mapped:
    """All mappings that stand now, and a sentence for each router that opens nothing."""

    mappings: tuple[Mapping, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gone:
    """The LAN does not announce somebody any more."""

    name: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """Something failed that should not have; one sentence."""

    message: str


Said = Mapped | LanPerson | Gone | Fault


def write_wish(wish: Wish) -> bytes:
    """Write what the agent says."""
    gateways = None if wish.gateways is None else [[g.host, g.pcp_port, g.ssdp_port] for g in wish.gateways]
    value = {
        "port": wish.port,
        "mapping": wish.mapping,
        "card": None if wish.card is None else _keys(wish.card),
        "without": wish.without,
        "gateways": gateways,
        "loopback": wish.loopback,
    }
    return _line(value)


def read_wish(line: bytes) -> Wish:
    """Read what the agent says."""
    value = json.loads(line)
    gateways = value["gateways"]
    return Wish(
        port=int(value["port"]),
        mapping=bool(value["mapping"]),
        card=None if value["card"] is None else Card(*_read_keys(value["card"])),
        without=tuple(value["without"]),
        gateways=None if gateways is None else tuple(Gateway(*gateway) for gateway in gateways),
        loopback=bool(value["loopback"]),
    )


def write_said(said: Said) -> bytes:
    """Write what the child says."""
    match said:
        case Mapped(mappings, notes):
            fields = ("host", "port", "gateway", "by", "world")
            return _line({"mapped": [[getattr(one, field) for field in fields] for one in mappings], "notes": notes})
        case LanPerson():
            return _line({"person": _keys(said) | {"addresses": said.addresses, "port": said.port}})
        case Gone(name, key):
            return _line({"gone": {"name": name, "key": to_text(key)}})
        case Fault(message):
            return _line({"fault": message})


def read_said(line: bytes) -> Said:
    """Read what the child says; ValueError, KeyError or TypeError for anything else."""
    value = json.loads(line)
    if "mapped" in value:
        return Mapped(tuple(Mapping(*one) for one in value["mapped"]), tuple(value["notes"]))
    if "person" in value:
        person = value["person"]
        return LanPerson(*_read_keys(person), addresses=tuple(person["addresses"]), port=int(person["port"]))
    if "gone" in value:
        return Gone(str(value["gone"]["name"]), from_text(value["gone"]["key"], 32))
    return Fault(str(value["fault"]))


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _keys(who: Card | LanPerson) -> dict[str, Any]:
    keys = {field: to_text(getattr(who, field)) for field in ("key", "box_key", "box_signature")}
    return {"name": who.name, **keys}


def _read_keys(value: dict[str, Any]) -> tuple[str, bytes, bytes, bytes]:
    sizes: Sequence[tuple[str, int]] = (("key", 32), ("box_key", 32), ("box_signature", 64))
    key, box_key, signature = (from_text(value[field], size) for field, size in sizes)
    return str(value["name"]), key, box_key, signature
