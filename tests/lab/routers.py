"""What the lab's routers do to packets, as nft rules: one text for each behaviour, and nothing that runs them.

`v0` is always the interface towards the wide network. TCP is masqueraded by all of them alike; the behaviours are about
UDP, in the words of RFC 4787 (mapping, filtering) and of RFC 3489 before it (cone, symmetric). topology.py builds the
routers that follow these rules.
"""

from enum import StrEnum
from typing import Final

TABLE: Final = "lab"
HTTP_PORT: Final = 8000
"""The rendezvous' port for HTTP: the only one that passes through HTTP_ONLY."""


class Behind(StrEnum):
    """What is between an agent and the wide network."""

    NONE = "none"
    FULL_CONE = "full-cone"
    """Mapping and filtering independent of the endpoint."""
    ADDRESS = "address-restricted"
    """Mapping independent; lets in what comes from an address that was sent to."""
    PORT = "port-restricted"
    """Mapping independent; lets in what comes from an address and port that was sent to."""
    SYMMETRIC = "symmetric"
    """Another port for each endpoint, and only that one is let in."""
    DOUBLE = "double-nat"
    """A port-restricted router behind a provider's port-restricted one (carrier-grade)."""
    UDP_BLOCKED = "udp-blocked"
    HTTP_ONLY = "http-only"
    """Everything is blocked but TCP to the rendezvous' HTTP port."""


_MASQUERADE: Final = {
    Behind.SYMMETRIC: """oifname "v0" meta l4proto udp masquerade fully-random""",
}
_MAPS: Final = """
    map cone { type inet_service : ipv4_addr; flags dynamic,timeout; size 65535; timeout 60s; }
    set seen { type ipv4_addr . inet_service; flags dynamic,timeout; size 65535; timeout 60s; }
    chain learn {
        type filter hook postrouting priority 90;
        oifname "v0" meta nfproto ipv4 meta l4proto udp update @cone { udp sport : ip saddr }
        oifname "v0" meta nfproto ipv4 meta l4proto udp update @seen { ip daddr . udp sport }
    }"""
_FORWARD: Final = {
    Behind.UDP_BLOCKED: "meta l4proto udp drop",
    Behind.HTTP_ONLY: f"ct state established accept\n        tcp dport {HTTP_PORT} accept\n        drop",
}


def rules(behind: Behind, public: str, *, hairpin: bool = False, other_port: int | None = None) -> str:
    """Return the rules of a router that translates to the address `public`.

    `hairpin`: what is sent from inside to a mapping of its own comes back in, from the public address (RFC 4787
    section 6); only where the mapping lets in whoever sends. These rules take the place of any before. `other_port`:
    this inside port, which is mapped to itself where nothing is in its way, is mapped to another.
    """
    maps = _MAPS if behind in (Behind.FULL_CONE, Behind.ADDRESS) else ""
    comes_in = f"ip daddr {public}" if hairpin else 'iifname "v0"'
    seen = "ip saddr . udp dport @seen " if behind is Behind.ADDRESS else ""
    let_in = f"{comes_in} meta l4proto udp {seen}dnat ip to udp dport map @cone" if maps else ""
    turned = f'oifname != "v0" ct status dnat iifname != "v0" snat ip to {public}' if hairpin else ""
    other = f'oifname "v0" udp sport {other_port} snat ip to {public}:{other_port + 1000}' if other_port else ""
    return f"""
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{{maps}
    chain arrive {{
        type nat hook prerouting priority -100;
        {let_in}
    }}
    chain leave {{
        type nat hook postrouting priority 100;
        {turned}
        meta nfproto ipv6 accept
        {other}
        {_MASQUERADE.get(behind, "")}
        oifname "v0" masquerade
    }}
    chain own {{
        type filter hook input priority 0;
        iifname "v0" meta l4proto udp drop
    }}
    chain through {{
        type filter hook forward priority 0;
        {_FORWARD.get(behind, "")}
        iifname "v0" meta nfproto ipv6 meta l4proto != ipv6-icmp ct state new drop
    }}
}}"""
