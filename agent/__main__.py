"""The agent's entry point: patches, opens what the agent listens on, serves the page, and stops.

Owns the order of starting and stopping, and every sentence of a failed start. The only place (with
node.py) that knows eventlet; what the agent does is put together in agent.app.
"""

# ruff: noqa: E402  (whatever is imported before the patch keeps the blocking originals)
import os
import warnings

# Its own resolver takes long to load and knows nothing of .local names and VPNs; ours is below.
os.environ["EVENTLET_NO_GREENDNS"] = "yes"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # eventlet announces its age at every start
    import eventlet
    import eventlet.tpool
    import eventlet.wsgi
eventlet.monkey_patch()

import contextlib
import functools
import gc
import logging
import signal
import socket
import subprocess
import sys
from types import TracebackType
from typing import Any, Final

from eventlet.greenio import GreenSocket

from agent import app, backup_command, commands, doctor_command, invite_command
from agent.database import DamagedDatabase
from agent.datafolder import IDENTITY_FILE, DataFolder, default_folder, other_person
from agent.identity import Identity, load_or_make_identity
from agent.logs import printable, start_logging
from agent.page import Page, create_page
from agent.page.token import Access, load_or_make_token
from agent.ports import PeerSockets, bind_page, open_peers
from agent.protocol.errors import UsageError
from agent.settings import Settings, StartError, parse_settings

_TURN: Final = 256 * 1024  # bytes that one connection of the page may move before others' turn
_CONNECTIONS: Final = 4096
_IDLE_SECONDS: Final = 75
_STALLED_SECONDS: Final = 60
_STOP_SECONDS: Final = 5
_PAUSE_SECONDS: Final = 0.1
_log = logging.getLogger("agent")


class FairSocket(GreenSocket):  # type: ignore[misc]
    """A socket that lets others have their turn: a green one never yields while it has work."""

    _moved = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept, and survive a client that is gone already or a table of files that is full."""
        while True:
            try:
                accepted: tuple[socket.socket, Any] = super().accept()
                return accepted
            except OSError as problem:
                if self.fd.fileno() < 0:
                    raise
                _log.warning("The page could not accept a connection: %s.", problem.strerror)
                eventlet.sleep(_PAUSE_SECONDS)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        data: bytes = super().recv(bufsize, flags)
        self._count(len(data))
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        moved: int = super().recv_into(buffer, nbytes, flags)
        self._count(moved)
        return moved

    def send(self, data: Any, flags: int = 0) -> int:
        moved: int = super().send(data, flags)
        self._count(moved)
        return moved

    def _count(self, moved: int) -> None:
        self._moved += moved
        if self._moved >= _TURN:
            self._moved = 0
            eventlet.sleep(0)


class StopSignals:
    """Ctrl-C and its kin, as something to wait for.

    A green thread that a signal handler starts would wait for the next event: the signal itself is
    made one, by a byte in a socket that the loop watches.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._stopped = False
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopped = True

    def wait(self) -> None:
        """Return once the agent is to stop."""
        while not self._stopped:
            self._reader.recv(1)


def main() -> int:
    """Run the agent until it is told to stop, or the command that is named; the exit status."""
    if sys.argv[1:2] == ["invite"]:
        return invite_command.main(sys.argv[2:])
    if sys.argv[1:2] == ["doctor"]:
        return doctor_command.main(sys.argv[2:])
    if sys.argv[1:] and sys.argv[1] in ("backup", "restore"):
        return backup_command.main(sys.argv[1:])
    if sys.argv[1:] and sys.argv[1] in commands.NAMES:
        return commands.main(sys.argv[1:])
    settings = parse_settings()
    start_logging(settings.log_level)
    _resolve_in_threads()
    hub = eventlet.hubs.get_hub()
    hub.squelch_exception = hub.squelch_timer_exception = _log_fault
    try:
        signals = StopSignals()
        with contextlib.ExitStack() as opened:
            _start(settings, opened)
            signals.wait()
            _log.info("Stopping.")
    except (StartError, UsageError, DamagedDatabase) as problem:
        return _fail(str(problem))
    except Exception as problem:
        _log.debug("It was raised here.", exc_info=problem)
        return _fail(f"A fault in the agent stopped it ({type(problem).__name__}: {problem}).")
    return 0


def _start(settings: Settings, opened: contextlib.ExitStack) -> None:
    """Open everything and serve; what was opened is given back by `opened`, last first."""
    # First what another agent may have: a port in use must not leave a new person behind.
    listeners = bind_page(settings.page_host, settings.page_port, FairSocket)
    folder = DataFolder(settings.data or default_folder(settings.page_port))
    opened.callback(folder.close)
    folder.withdraw_page_url()  # of an agent that was killed
    peers = _peers(settings, folder)
    opened.callback(peers.close)
    identity = _identity(settings, folder)
    folder.remember_peer_port(peers.port)
    access = Access(load_or_make_token(folder.path))
    page = create_page(access, settings.page_port, settings.allow_hosts, async_mode="eventlet")
    running = app.build(settings, folder, identity, peers, page.publish)
    page.attach(running.exchange)
    opened.callback(_stop_in_time, running.stop)
    running.start()
    for listener in listeners:
        _serve(listener, page)
    _announce(settings, folder, access, opened)
    gc.collect()
    gc.freeze()  # what is here now stays: looking through it again and again would stop everything for 50 ms each time


def _identity(settings: Settings, folder: DataFolder) -> Identity:
    new = not (folder.path / IDENTITY_FILE).exists()
    identity = load_or_make_identity(folder.path)
    if new:
        other = other_person(settings.page_port) if settings.data is None else None
        _log.info("%s", other or f"This is a new person, whose keys are in {folder.path}.")
    return identity


def _peers(settings: Settings, folder: DataFolder) -> PeerSockets:
    remembered = folder.peer_port()
    peers = open_peers(settings.peer_port, remembered, avoid=settings.page_port)
    if remembered not in (None, peers.port) and settings.peer_port is None:
        _log.warning("Peer port %d is in use; this agent now has %d.", remembered, peers.port)
    return peers


def _serve(listener: socket.socket, page: Page) -> None:
    eventlet.spawn(
        eventlet.wsgi.server,
        listener,
        page.wsgi,
        max_size=_CONNECTIONS,
        keepalive=_IDLE_SECONDS,
        socket_timeout=_STALLED_SECONDS,
        log_output=False,
        debug=False,
    )


def _announce(settings: Settings, folder: DataFolder, access: Access, opened: contextlib.ExitStack) -> None:
    """Say where the page is: on stdout, in DIR/page-url, and to a browser."""
    url = f"http://localhost:{settings.page_port}/"
    link = f"{url}?token={access.token}"
    opened.callback(folder.withdraw_page_url)
    folder.publish_page_url(link)
    with contextlib.suppress(OSError):  # nobody reads it: no reason to stop
        print(link, flush=True)
        for host in settings.allow_hosts:
            print(f"http://{host}/?token={access.token}", flush=True)
    if settings.terminal:
        eventlet.spawn(_run_terminal, folder)
    elif settings.open_browser:
        _open_browser(f"{url}?code={access.new_code()}")


def _run_terminal(folder: DataFolder) -> None:
    """Have the person use the agent in a process of its own on this terminal; with it the agent stops."""
    with contextlib.suppress(OSError):
        subprocess.Popen([sys.executable, "-m", "agent.terminal", str(folder.path)]).wait()
    signal.raise_signal(signal.SIGTERM)


def _open_browser(url: str) -> None:
    """Show the page where there is a screen; in a process of its own, which may wait."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-m", "webbrowser", url]
    with contextlib.suppress(OSError):
        subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def _resolve_in_threads() -> None:
    """Have the system look up names, in threads: a slow answer must not stop everything else."""
    look_up = eventlet.patcher.original("socket").getaddrinfo
    in_thread = functools.partial(eventlet.tpool.execute, look_up)
    socket.getaddrinfo = eventlet.green.socket.getaddrinfo = in_thread


def _stop_in_time(stop: Any) -> None:
    with eventlet.Timeout(_STOP_SECONDS, False):
        stop()


def _log_fault(_source: object, raised: tuple[type, BaseException, TracebackType]) -> None:
    """Log what ended a green thread, in the place of the traceback that eventlet would print."""
    problem = raised[1]
    gone = isinstance(problem, ConnectionError | TimeoutError)
    level = logging.DEBUG if gone else logging.ERROR
    _log.log(level, "A fault in the agent: %s: %s", type(problem).__name__, problem)
    _log.debug("It was raised here.", exc_info=problem)


def _fail(sentence: str) -> int:
    print(printable(sentence), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
