"""What the kernel and ICMP say about datagrams that did not get through, per destination. Used by `node`.

Linux tells it on a socket's error queue (ip(7), IP_RECVERR); elsewhere there is silence. Anybody on the way can forge
an ICMP message, so this is for explaining and for trying less, never for giving up.
"""

import errno
import socket
import struct
import sys
from typing import Any, Final

_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_ERROR: Final = struct.Struct("=IBBBxII")  # struct sock_extended_err: errno, origin, type, code
_ICMP: Final = 2  # SO_EE_ORIGIN_ICMP
_ICMP6: Final = 3
_PROHIBITED: Final = (9, 10, 13)  # codes of ICMP's Destination Unreachable (RFC 1812 section 5.2.7.1)
_ROOM: Final = 512
_MOST: Final = 32

BLOCKED, UNREACHABLE, REFUSED = "blocked", "unreachable", "refused"
_REASONS: Final = {
    errno.EPERM: BLOCKED,
    errno.EACCES: BLOCKED,
    errno.ENETUNREACH: UNREACHABLE,
    errno.EHOSTUNREACH: UNREACHABLE,
    errno.ENETDOWN: UNREACHABLE,
    errno.EADDRNOTAVAIL: UNREACHABLE,
    errno.ECONNREFUSED: REFUSED,
}


def watch(native: Any) -> bool:
    """Have a UDP socket keep what ICMP says; tell whether it does. Next: `taken`, when there is an error."""
    if sys.platform != "linux":
        return False
    try:
        if native.family == socket.AF_INET6:
            native.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        native.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    except OSError:
        return False
    return True


def reason_of(error: OSError) -> str | None:
    """Return why a datagram could not be sent; None where that says nothing about its destination."""
    return _REASONS.get(error.errno or 0)


def taken(native: Any) -> list[tuple[Any, str | None]]:
    """Take what stands in the queue: to whom the datagram went, and why it did not arrive, if that is known."""
    found: list[tuple[Any, str | None]] = []
    for _ in range(_MOST):
        try:
            _, ancillary, _, destination = native.recvmsg(0, _ROOM, socket.MSG_ERRQUEUE)
        except OSError:
            break
        found.append((destination, _told(ancillary)))
    return found


def _told(ancillary: list[tuple[int, int, bytes]]) -> str | None:
    for level, kind, data in ancillary:
        if (level, kind) not in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
            continue
        if len(data) < _ERROR.size:
            continue
        number, origin, _, code, _, _ = _ERROR.unpack_from(data)
        if origin == _ICMP and number == errno.EHOSTUNREACH and code in _PROHIBITED:
            return BLOCKED
        return _REASONS.get(number) if origin in (_ICMP, _ICMP6) else None
    return None
