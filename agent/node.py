"""The pump of the peer protocol: one UDP socket, one clock, one core. Loops, and no protocol rules.

Everything happens on the agent's one green loop. Datagrams go in by batches (UDP_GRO) and out by batches (UDP_SEGMENT)
where the kernel has them, one by one elsewhere. A turn is bounded, so that a busy socket leaves others their time.
"""

import contextlib
import errno
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import eventlet
from eventlet import greenthread, hubs
from eventlet.support import greenlets

from agent import socket_errors
from agent.protocol.binding import WEBSOCKET
from agent.protocol.packet import Address, Datagrams

_UDP: Final = 17  # SOL_UDP
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_PROBE: Final = 3
_TURN: Final = 2  # batches sent before others have their turn
_TURN_BYTES: Final = 65_536  # received before what follows from them is sent, and others have their turn
_TURN_DATAGRAMS: Final = 64  # likewise
_BUFFER: Final = 1 << 16
_NO_SEGMENTS: Final = (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
_MAPPED: Final = "::ffff:"

_log = logging.getLogger(__name__)


class Doors(Protocol):
    """What is pumped: the five doors, the end, and what the kernel says of datagrams that do not go."""

    def receive(self, arrivals: Sequence[Datagrams], now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> list[Datagrams]: ...
    def next_event(self) -> Any: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...
    def close(self, now: float) -> None: ...
    def unsendable(self, address: Address, reason: str, now: float) -> None: ...


class Node:
    """Runs `core` on `udp`. After a verb of the core, call `wake`; events go to `on_event`, which must not block.

    Datagrams for the host "websocket" go to `elsewhere`, which must not block either; they come in by `arrived`.
    `batches` False does without UDP_SEGMENT and UDP_GRO, as kernels that have neither.
    """

    def __init__(
        self,
        core: Doors,
        udp: socket.socket,
        on_event: Callable[[Any], None],
        *,
        batches: bool = True,
        elsewhere: Callable[[Datagrams], None] = lambda datagrams: None,
    ) -> None:
        self._core = core
        self._on_event = on_event
        self._elsewhere = elsewhere
        self._fd = udp.fileno()
        self._socket = _native(udp)
        self._dual = udp.family == socket.AF_INET6
        self._segments = batches and _takes(self._socket, _UDP_SEGMENT, 0)
        self._groups = _takes(self._socket, _UDP_GRO, int(batches)) and batches
        self._errors = socket_errors.watch(self._socket)
        _probe_sizes(self._socket)
        self._buffer = memoryview(bytearray(2 * _BUFFER))  # room for the largest datagram behind a full batch
        self._ancillary = socket.CMSG_SPACE(4)
        self._held: list[Datagrams] = []  # taken from the core, not yet taken by the socket
        self._pumping = self._again = False
        self._timer: Any = None
        self._timer_at = 0.0
        self._threads: list[Any] = []

    def now(self) -> float:
        """Return the core's clock, in seconds."""
        return time.monotonic()

    def start(self) -> None:
        """Begin to receive, in a green thread."""
        self._threads.append(eventlet.spawn(self._receive))
        self.wake()

    def stop(self) -> None:
        """Say goodbye to all peers and end."""
        self._core.close(self.now())
        self.wake()
        for thread in self._threads:
            thread.kill()
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()

    def wake(self) -> None:
        """Hand out events, send what is to be sent, and set the timer; safe to call from within `on_event`."""
        if self._pumping:
            self._again = True
            return
        self._pumping = True
        try:
            self._pump()
        finally:
            self._pumping = False

    def arrived(self, datagrams: Datagrams) -> None:
        """Take datagrams that came by another way than the UDP socket."""
        self._core.receive([datagrams], self.now())
        self.wake()

    # --- inside ---

    def _pump(self) -> None:
        for _ in range(_TURN):
            self._again = False
            while (event := self._core.next_event()) is not None:
                self._again = True
                self._on_event(event)
            self._again = self._send() or self._again
            if not self._again:
                break
        self._set_timer(self._again)

    def _receive(self) -> None:
        """Take datagrams as long as there are some, some batches at a time; wait only when there are none."""
        waited = False
        while True:
            taken = datagrams = 0
            while taken < _TURN_BYTES and datagrams < _TURN_DATAGRAMS and (size := self._receive_batch()) is not None:
                taken += size
                datagrams += 1
            if datagrams:
                waited = False
                self.wake()
                greenthread.sleep(0)
            elif waited and self._take_errors():  # woken without a datagram
                waited = False
                self.wake()
            else:
                hubs.trampoline(self._fd, read=True)
                waited = True

    def _receive_batch(self) -> int | None:
        """Hand one batch to the core and return its bytes; None where there is none."""
        if not self._groups:
            return self._receive_one_by_one()
        found = self._receive_at(0)
        if found is None:
            return None
        size, segment, source = found
        if size:
            self._core.receive([Datagrams(_plain(source), self._buffer[:size], segment)], self.now())
        return size

    def _receive_one_by_one(self) -> int | None:
        """Do what UDP_GRO does: put datagrams of one source and one size, but the last, back to back into a batch."""
        batches: list[Datagrams] = []
        begin = at = segment = 0
        sender: Any = None
        for _ in range(_TURN_DATAGRAMS):
            if at >= _BUFFER or (found := self._receive_at(at)) is None:
                break
            size, _, source = found
            if at > begin and (source != sender or size > segment or (at - begin) % segment):
                batches.append(Datagrams(_plain(sender), self._buffer[begin:at], segment))
                begin = at
            if at == begin:
                sender, segment = source, size
            at += size
        if at > begin:
            batches.append(Datagrams(_plain(sender), self._buffer[begin:at], segment))
        if batches:
            self._core.receive(batches, self.now())
        return at or None

    def _receive_at(self, at: int) -> tuple[int, int, Any] | None:
        """Receive what comes next: how many bytes, how many in each datagram, from where; None if there is nothing."""
        try:
            size, ancillary, _, source = self._socket.recvmsg_into([self._buffer[at : at + _BUFFER]], self._ancillary)
        except BlockingIOError:
            return None
        except OSError as problem:
            if problem.errno in (errno.EBADF, errno.ENOTSOCK):
                raise greenlets.GreenletExit from None  # stopped meanwhile
            self._take_errors()
            return 0, 0, None  # about something sent before
        return size, _segment(ancillary, size), source

    def _send(self) -> bool:
        """Send one round of what the core has; tell whether there was something."""
        batches = self._held or self._core.datagrams_to_send(self.now())
        self._held = []
        for index, batch in enumerate(batches):
            if not self._send_batch(batch):
                # the core's buffers are good until the next call only
                self._held = [Datagrams(b.address, bytes(b.data), b.size) for b in batches[index:]]
                self._threads = [thread for thread in self._threads if not thread.dead]
                self._threads.append(eventlet.spawn(self._wait_for_room))
                return False
        return bool(batches)

    def _send_batch(self, batch: Datagrams, again: bool = True) -> bool:
        """Give a batch to the kernel; False when its buffer is full. What it refuses counts as lost on the path."""
        if batch.address[0] == WEBSOCKET:
            self._elsewhere(batch)
            return True
        address = self._kernel_address(batch.address)
        data, size = memoryview(batch.data), batch.size
        try:
            if len(data) <= size:
                self._socket.sendto(data, address)
            elif self._segments:
                self._socket.sendmsg([data], [(_UDP, _UDP_SEGMENT, struct.pack("=H", size))], 0, address)
            else:
                for at in range(0, len(data), size):
                    self._socket.sendto(data[at : at + size], address)
        except BlockingIOError:
            return False
        except OSError as problem:
            if self._segments and len(data) > size and problem.errno in _NO_SEGMENTS:
                _log.info("The kernel does not send in batches here (%s): one by one from now on.", problem.strerror)
                self._segments = False
                return self._send_batch(batch)
            if self._take_errors() and again:  # it was about something sent before, and this has not left
                return self._send_batch(batch, False)
            if (reason := socket_errors.reason_of(problem)) is not None:
                self._core.unsendable(batch.address, reason, self.now())
        return True

    def _take_errors(self) -> bool:
        """Tell the core what ICMP says of datagrams sent before; tell whether there was something."""
        found = socket_errors.taken(self._socket) if self._errors else []
        for destination, reason in found:
            if destination and reason is not None:
                self._core.unsendable(_plain(destination), reason, self.now())
        return bool(found)

    def _wait_for_room(self) -> None:
        hubs.trampoline(self._fd, write=True)
        self.wake()

    def _set_timer(self, now: bool) -> None:
        """See to it that the core's next timeout is not missed; a timer that comes earlier may stay."""
        due = self.now() if now else self._core.next_timeout()
        if self._held or due is None or (self._timer is not None and self._timer_at <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = hubs.get_hub().schedule_call_global(max(0.0, due - self.now()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._core.handle_timeout(self.now())
        self.wake()

    def _kernel_address(self, address: Address) -> Address:
        host, port = address
        return (_MAPPED + host, port) if self._dual and ":" not in host else address


def _native(udp: socket.socket) -> Any:
    """Return an unpatched, non-blocking socket on the same port: waiting is this module's own business."""
    original = eventlet.patcher.original("socket")
    native = original.socket(udp.family, socket.SOCK_DGRAM, fileno=os.dup(udp.fileno()))
    native.setblocking(False)
    return native


def _takes(native: Any, option: int, value: int) -> bool:
    try:
        native.setsockopt(_UDP, option, value)
    except OSError:
        return False
    return True


def _probe_sizes(native: Any) -> None:
    """Have the kernel send datagrams of any size unfragmented, whatever ICMP says of the path (Linux)."""
    for level, option in ((socket.IPPROTO_IP, _IP_MTU_DISCOVER), (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)):
        with contextlib.suppress(OSError):
            native.setsockopt(level, option, _PMTUDISC_PROBE)


def _segment(ancillary: list[tuple[int, int, bytes]], size: int) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (_UDP, _UDP_GRO):
            return int(struct.unpack_from("=i", data)[0])
    return size


def _plain(source: Any) -> Address:
    host, port = source[:2]
    return (host[len(_MAPPED) :] if host.startswith(_MAPPED) else host), port
