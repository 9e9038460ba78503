"""The pump of the TCP text link: hands over the quotes that wait here, and fetches those that wait elsewhere.

Owns the connections, the threads, every deadline and limit. What the bytes mean is sealed_stream.py's, which quotes
wait waiting_quotes.py's; who said yes, and what happens if no link is proven in time, the core's. Used by `app`.

A quote waits from the yes until the other side has acknowledged it, at most a minute; only who proves the key gets
it, and an opening that does not prove it changes nothing and gets no byte. An opening may overtake the yes that it
follows, so it is given a second before its token counts as unknown. Nothing here blocks a caller: `fetch` dials in the
background, and the callbacks come from there (in the agent, where all threads are green, that is the one thread).
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from agent import tcp
from agent.protocol.messages import Quote, encode
from agent.protocol.packet import Address
from agent.sealed_stream import SALT_SIZE, Fetching, Giving, LinkError
from agent.waiting_quotes import WaitingQuotes

_TICK: Final = 1.0  # seconds between looks for quotes that nobody fetched, and for `stop`
_PAUSE: Final = 0.1  # seconds after an accept that failed, as it does when no descriptor is left
_SAY_EVERY: Final = 60.0  # seconds between lines about connections that led nowhere
_log = logging.getLogger(__name__)

OnQuote = Callable[[bytes, str, str, str], None]  # request, text, author, source
OnFailure = Callable[[bytes, str], None]  # request, reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What a link may take. Times are in seconds."""

    proof: float = 0.25  # from dialling until the quote is asked for inside the session
    opening: float = 5.0
    whole: float = 20.0
    patience: float = 1.0  # for a yes that the opening has overtaken
    keep: float = 60.0
    connections: int = 64  # accepted and open
    per_address: int = 8  # of these


class QuoteLike(Protocol):
    """A quote that may leave."""

    @property
    def text(self) -> str: ...
    @property
    def author(self) -> str: ...
    @property
    def source(self) -> str: ...


class TextLink:
    """Quotes over TCP. `listener` listens on the peer port, and stays its maker's to close, after `stop`."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        on_given: Callable[[bytes], None] = lambda request: None,
        log: logging.Logger = _log,
        limits: Limits = Limits(),
    ) -> None:
        self._listener = listener
        self._on_given = on_given
        self._log = log
        self._limits = limits
        self._stopping = threading.Event()
        self._waiting = WaitingQuotes(limits.keep, limits.patience)
        self._lock = threading.Lock()  # guards the rest
        self._open: set[socket.socket] = set()
        self._callers: Counter[str] = Counter()
        self._useless = 0  # connections that led nowhere and were not spoken of
        self._silent_until = 0.0
        self._accepting = threading.Thread(target=self._accept_all, name="text-link", daemon=True)

    def start(self) -> None:
        """Accept connections from now on."""
        self._accepting.start()

    def stop(self) -> None:
        """End every link. No `on_failure` is called from now on."""
        self._stopping.set()
        with self._lock:
            for one in (self._listener, *self._open):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)  # unlike close, wakes a green thread that waits for it
        if self._accepting.is_alive():
            self._accepting.join(_TICK)

    def give(self, request: bytes, token: bytes, key: bytes, quote: QuoteLike) -> None:
        """Let `quote` be fetched once, by whoever knows `key`."""
        message = encode(Quote(request, quote.text, quote.author, quote.source))[4:]  # a record has its own length
        self._waiting.add(request, token, key, message)

    def forget(self, request: bytes) -> None:
        """Let the quote of `request` not be fetched any more; it may have been, or be just leaving."""
        self._waiting.forget(request)

    def fetch(
        self,
        request: bytes,
        token: bytes,
        key: bytes,
        address: Address,
        on_quote: OnQuote,
        on_failure: OnFailure,
    ) -> None:
        """Dial `address` for a quote, and call `on_quote(request, text, author, source)` once it is here.

        `on_failure(request, reason)` is called once if no link proves its key in 250 ms, or if it ends without the
        quote. The dialling goes on after the 250 ms, so `on_quote` may still come after `on_failure`.
        """
        unfailed = threading.Lock()

        def fail(reason: str) -> None:
            if not self._stopping.is_set() and unfailed.acquire(blocking=False):
                on_failure(request, reason)

        late = threading.Timer(self._limits.proof, fail, ("The other agent was not reached over TCP in time.",))
        late.daemon = True
        link = Fetching(request, token, key, os.urandom(SALT_SIZE))

        def dial() -> None:
            try:
                quote = self._dial(link, address, late.cancel)
            except (OSError, LinkError) as problem:
                late.cancel()
                fail(f"The quote did not come over TCP: {tcp.words(problem)}.")
            else:
                on_quote(request, quote.text, quote.author, quote.source)

        late.start()
        threading.Thread(target=dial, daemon=True).start()

    # --- fetching ---

    def _dial(self, link: Fetching, address: Address, proven: Callable[[], None]) -> Quote:
        deadline = time.monotonic() + self._limits.whole
        with socket.socket(tcp.family(address[0]), socket.SOCK_STREAM) as connection, self._held(connection):
            tcp.connect(connection, address, deadline)
            tcp.send(connection, link.opening, deadline)
            while link.quote is None:
                link.receive(tcp.receive(connection, deadline))
                if link.proven:
                    proven()
            with contextlib.suppress(OSError):  # the quote is here all the same
                tcp.send(connection, link.acknowledgement(), deadline)
            return link.quote

    @contextlib.contextmanager
    def _held(self, connection: socket.socket) -> Iterator[None]:
        """Let `stop` end this connection."""
        with self._lock:
            if self._stopping.is_set():
                raise LinkError("this agent stops")
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)

    # --- giving ---

    def _accept_all(self) -> None:
        self._listener.settimeout(_TICK)
        while not self._stopping.is_set():
            try:
                connection, address = self._listener.accept()
                self._admit(connection, tcp.origin(address[0]))
                time.sleep(0)  # a green accept gives nobody a turn while connections wait
            except TimeoutError:
                self._waiting.forget_old()
            except OSError as problem:
                if not self._stopping.is_set():
                    self._complain("somewhere", problem)
                    self._stopping.wait(_PAUSE)

    def _admit(self, connection: socket.socket, origin: str) -> None:
        with self._lock:
            full = (
                self._callers.total() >= self._limits.connections or self._callers[origin] >= self._limits.per_address
            )
            if not full:
                self._callers[origin] += 1
        if full:
            connection.close()
            self._complain(origin, LinkError("too many are open"))
        else:
            threading.Thread(target=self._serve, args=(connection, origin), daemon=True).start()

    def _serve(self, connection: socket.socket, origin: str) -> None:
        try:
            with connection, self._held(connection):
                self._hand_over(connection)
        except (OSError, LinkError) as problem:
            self._complain(origin, problem)
        finally:
            with self._lock:
                self._callers -= Counter([origin])  # and what is at zero goes

    def _hand_over(self, connection: socket.socket) -> None:
        begun = time.monotonic()
        link = Giving(os.urandom(SALT_SIZE))
        while link.opening is None:
            link.receive(tcp.receive(connection, begun + self._limits.opening))
        quote = self._waiting.find(link.opening.token)
        answer = link.answer(quote.key, quote.message)
        self._waiting.use(link.opening.token, link.opening.data)
        deadline = begun + self._limits.whole
        tcp.send(connection, answer, deadline)
        while not link.acknowledged:
            link.receive(tcp.receive(connection, deadline))
        if self._waiting.forget(quote.request):
            self._on_given(quote.request)

    def _complain(self, origin: str, problem: Exception) -> None:
        """Say that a connection led nowhere, or count it when that was said less than a minute ago."""
        with self._lock:
            self._useless += 1
            now = time.monotonic()
            if now < self._silent_until:
                return
            count, self._useless = self._useless, 0
            self._silent_until = now + _SAY_EVERY
        self._log.info(
            "Connections to the peer port that led nowhere: %d. The last, from %s: %s.",
            count,
            origin,
            tcp.words(problem),
        )
