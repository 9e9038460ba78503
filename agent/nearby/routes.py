"""Who routes for this machine: the gateways of the system's routing table. Used by `portmaps`."""

import contextlib
import re
import socket
import struct
import subprocess
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Final

from agent.nearby.lines import Gateway

MOST: Final = 4
_TABLE: Final = Path("/proc/net/route")
_GATEWAY: Final = 0x2
"""RTF_GATEWAY."""


def gateways() -> list[Gateway]:
    """Return the default gateways over IPv4, the preferred one first."""
    if not _TABLE.exists():
        return [Gateway(host) for host in _asked()]
    with contextlib.suppress(OSError, ValueError):
        return [Gateway(host) for host in read_table(_TABLE.read_text(encoding="ascii"))]
    return []


def read_table(text: str) -> list[str]:
    """Return the default gateways in /proc/net/route, the lowest metric first."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        destination, gateway, flags, mask = (int(fields[at], 16) for at in (1, 2, 3, 7))
        if destination == mask == 0 and flags & _GATEWAY and gateway:
            found.append((int(fields[6]), str(IPv4Address(struct.pack("=I", gateway)))))
    return list(dict.fromkeys(host for _, host in sorted(found)))[:MOST]


def local_address(gateway: Gateway) -> str | None:
    """Return the address of this machine that a gateway sees; None where there is no way to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((gateway.host, gateway.pcp_port))
        host: str = probe.getsockname()[0]
        return host
    return None


def _asked() -> list[str]:
    """Ask the command that BSD and macOS have."""
    command = ["/sbin/route", "-n", "get", "default"]
    with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
        told = subprocess.run(command, capture_output=True, text=True, timeout=2, check=False).stdout
        found = re.search(r"gateway: (\S+)", told)
        return [str(ip_address(found[1]))] if found else []
    return []
