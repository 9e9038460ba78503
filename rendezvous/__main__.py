"""The program `rendezvous`: flags, sockets, processes, signals. The only file here that imports
eventlet and patches.

One process serves everything, or with `--processes` this one keeps the store and the UDP port, and
workers serve HTTP. Exit status: 0 stopped, 2 wrong usage, 1 anything else, each with one sentence
on stderr.
"""

# ruff: noqa: E402  (patched first, or what these import would block the loop)
import os
import warnings

# Its own resolver takes long to load; the system's is asked instead, in threads.
os.environ["EVENTLET_NO_GREENDNS"] = "yes"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # eventlet says at each import that it is in maintenance
    import eventlet
    import eventlet.tpool
eventlet.monkey_patch()

import contextlib
import functools
import logging
import resource
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from flask import Flask

from rendezvous import logs, metrics, stun, udp
from rendezvous.app import Settings, create_app
from rendezvous.authority import Authority
from rendezvous.embedded import EmbeddedError, EmbeddedServer
from rendezvous.flags import DEFAULT_UDP_PORT, MAX_PROCESSES, Flags, for_workers, parse
from rendezvous.relay import Relay
from rendezvous.relay_budget import Rules as Budgets
from rendezvous.relay_check import check_udp, check_websocket
from rendezvous.relay_socket import RelaySockets
from rendezvous.serving import Server
from rendezvous.store import Store, Unavailable
from rendezvous.throttle import throttled
from rendezvous.workers import READY, Workers

_SPARE_FILES: Final = 256
_STORE_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 5.0
"""What a worker may take to stop, above the time that it is given for its connections."""

log = logging.getLogger("rendezvous")


class CannotStart(Exception):
    """The program cannot start; the text is one sentence for the person who started it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; return the exit status."""
    flags = parse(arguments)
    if flags.leash is None:
        os.environ.update(for_workers(arguments))
    logs.configure(flags.log_level, flags.log_format)
    told_to_stop = _signals()
    _allow_many_files()
    look_up = eventlet.patcher.original("socket").getaddrinfo
    socket.getaddrinfo = eventlet.green.socket.getaddrinfo = functools.partial(eventlet.tpool.execute, look_up)
    try:
        with contextlib.ExitStack() as running:
            if flags.leash is not None:
                leash = running.enter_context(socket.socket(fileno=flags.leash))
                _start_worker(flags, running)
                leash.sendall(READY)
                select.select([told_to_stop, leash], [], [])
            else:
                _start(flags, running)
                told_to_stop.recv(1)
    except (CannotStart, EmbeddedError) as error:
        print(f"rendezvous: {error}", file=sys.stderr)
        return 1
    return 0


def _start(flags: Flags, running: contextlib.ExitStack) -> None:
    """Start everything; what must be stopped at the end goes on `running`."""
    several = flags.processes > 1
    if several:  # a shared port may be bound twice, so look first whether somebody has it
        _bind(flags.host, flags.port, reuse_port=False).close()
    listener = running.enter_context(_bind(flags.host, flags.port, reuse_port=several))
    port = listener.getsockname()[1]
    url = flags.redis or _start_embedded(flags.data_for(port), running)
    store = _open_store(url)
    stun_ports, flags = _start_udp(flags, store)
    if several:
        common = ["--host", flags.host, "--port", str(port), "--stun-ports", ",".join(map(str, stun_ports))]
        common += ["--relay-address", flags.relay_address]
        workers = Workers(flags.processes, common, url, flags.drain_delay + flags.drain_seconds + _STOP_SECONDS)
        running.callback(workers.stop)
        if not workers.start():
            raise CannotStart("A worker process does not start.")
    else:
        _serve_http(listener, store, replace(flags, stun_ports=stun_ports), running, shared=False)
    if flags.metrics_port is not None:
        _serve_metrics(flags.metrics_host, [flags.metrics_port], store)
    print(f"rendezvous on http://{_shown(flags.host)}:{port}", flush=True)
    if flags.relay_address and not flags.no_relay:
        url = f"http://{_shown(_local(flags.host))}:{port}"
        eventlet.spawn(_check_relay, Authority(store, flags.relay_address), _local(flags.host), url)


def _start_worker(flags: Flags, running: contextlib.ExitStack) -> None:
    """Serve HTTP on a port that is shared with other workers."""
    listener = _bind(flags.host, flags.port, reuse_port=True)
    store = _open_store(flags.redis or "")
    _serve_http(listener, store, flags, running, shared=True)
    if flags.metrics_port is not None:
        first = flags.metrics_port + 1
        _serve_metrics(flags.metrics_host, range(first, first + MAX_PROCESSES), store)


def _bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """Return a TCP socket bound to an address that nobody else has (workers of ours excepted)."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotStart(f"Cannot listen on {_shown(host)}:{port}: {reason}.") from None
    return listener


def _serve_http(
    listener: socket.socket, store: Store, flags: Flags, running: contextlib.ExitStack, *, shared: bool
) -> None:
    """Listen, and serve in the background; at the end, everyone is sent elsewhere first."""
    settings = Settings(
        websocket_only=shared,
        rules=flags.limit,
        trusted_proxies=flags.trusted_proxy,
        signup_code=flags.signup_code,
        show_people=flags.show_people,
        udp_host=_local(flags.host),
        stun_ports=flags.stun_ports,
        relay_address=flags.relay_address,
        relays=not flags.no_relay,
        budgets=flags.budgets,
    )
    app = create_app(settings, store)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = Server(listener, app, max(64, min(flags.max_connections, files - _SPARE_FILES)))
    try:
        server.start()
    except OSError as error:  # somebody else bound and listened since
        raise CannotStart(f"Cannot listen: {error.strerror}.") from None
    running.callback(_drain, app, server, flags)


def _drain(app: Flask, server: Server, flags: Flags) -> None:
    """Say that we are not ready, stop listening, send everyone elsewhere, and let them go: `drain_delay` and then
    `drain_seconds` at most.
    """
    log.info("Stopping: %d connections are sent elsewhere.", server.connections)
    app.extensions["health"].draining = True
    metrics.DRAINING.set(1)
    time.sleep(flags.drain_delay)
    with contextlib.suppress(eventlet.Timeout), eventlet.Timeout(max(1, flags.drain_seconds)):
        server.stop_listening()
        app.extensions["live"].move_all()
        app.extensions["relay_websockets"].close_all()
        server.until_idle(flags.drain_seconds)
    log.info("Stopped with %d connections left.", server.connections)


def _serve_metrics(host: str, ports: Iterable[int], store: Store) -> None:
    """Serve metrics on the first of these ports that is free."""
    trouble: CannotStart | None = None
    for port in ports:
        try:
            listener = _bind(host, port, reuse_port=False)
            Server(listener, metrics.application(store), 64, counted=False).start()
            return
        except CannotStart as error:
            trouble = error
        except OSError as error:
            trouble = CannotStart(f"Cannot serve metrics on port {port}: {error.strerror}.")
    if trouble is not None:
        raise trouble


def _start_embedded(data: Path, running: contextlib.ExitStack) -> str:
    server = EmbeddedServer(data)
    running.callback(server.stop)
    server.start()
    return server.url


def _open_store(url: str) -> Store:
    """Return the store once it answers; a server that is still starting is given a moment."""
    try:
        store = Store(url)
    except ValueError as error:
        raise CannotStart(f"The Redis URL is not valid: {error}.") from None
    deadline = time.monotonic() + _STORE_SECONDS
    while True:
        try:
            store.identity()
            return store
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise CannotStart(f"The Redis server does not answer: {str(error).rstrip('.')}.") from None
            time.sleep(0.2)


def _start_udp(flags: Flags, store: Store) -> tuple[tuple[int, ...], Flags]:
    """Serve STUN and the relay; return STUN's ports, and the flags with the address that tickets name. Only a port
    that was asked for must be free.

    Without a second port there is STUN still, but no discovery of a NAT's behaviour.
    """
    port = DEFAULT_UDP_PORT if flags.udp_port is None else flags.udp_port
    first = _bind_udp(flags.host, port, flags.udp_port is not None)
    if not first:
        return (), flags
    port = first[0].getsockname()[1]
    second = _bind_udp(flags.host, flags.udp_port_2 or port + 1, flags.udp_port_2 is not None)
    others = {sock.family: sock for sock in second}
    answer = metrics.counted(throttled(functools.partial(stun.answer, second_port=bool(second))))
    address = flags.relay_address or f":{port}"
    forward = None if flags.no_relay else _relay(address, first, store, flags.budgets)
    for sock in first:
        eventlet.spawn(udp.serve, sock, others.get(sock.family), answer, forward)
    for sock in second:
        eventlet.spawn(udp.serve, sock, sock, answer)
    return ((port, second[0].getsockname()[1]) if second else (port,)), replace(flags, relay_address=address)


def _relay(address: str, sockets: Sequence[socket.socket], store: Store, budgets: Budgets) -> udp.Forward:
    authority = Authority(store, address)
    metrics.RELAY.relay = Relay(address, authority.key, authority.secret_of, secrets.token_bytes, budgets)
    return RelaySockets(metrics.RELAY.relay, sockets).take


def _check_relay(authority: Authority, local: str, url: str) -> None:
    """Say in one line whether the relay works where tickets say that it is, over UDP and over our WebSocket."""
    try:
        check_udp(authority, authority.relay, local)
    except (OSError, Unavailable) as error:
        log.warning(
            "The relay does not work at %s, as seen from here: %s. Let UDP through, or say with --relay-address where"
            " agents reach it.",
            authority.relay,
            error,
        )
        return
    try:
        check_websocket(authority, url)
    except (OSError, Unavailable) as error:
        log.warning(
            "The relay works at %s, but not over the WebSocket of %s: %s. Agents without UDP cannot be relayed.",
            authority.relay,
            url,
            error,
        )
        return
    metrics.RELAY_WORKS.set(1)
    print(f"The relay works at {authority.relay}, over UDP and WebSocket.", flush=True)


def _bind_udp(host: str, port: int, asked_for: bool) -> list[socket.socket]:
    try:
        return udp.bind(host, port)
    except (OSError, OverflowError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else "there is no such port"
        message = f"Cannot use UDP port {port} for STUN and the relay: {reason}."
        if asked_for:
            raise CannotStart(message) from None
        log.warning("%s Going on without it.", message)
        return []


def _signals() -> socket.socket:
    """Return a socket that becomes readable at SIGTERM or SIGINT: a green loop wakes up for
    nothing less.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return ours


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: each agent is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _local(host: str) -> str:
    """Return where a socket that listens on `host` is reached from this machine."""
    return {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    sys.exit(main())
