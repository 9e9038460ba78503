"""The pump of the TCP text link: hands over the quotes that wait here, and fetches those that wait elsewhere.

Owns the connections, the threads, every deadline and limit. What the bytes mean is sealed_stream.py's, what waits
waiting_quotes.py's; who said yes, and what happens if no link is proven in time, the core's. Used by `app`.

Both sides dial, because it may be that only one of them can be reached; the link that brings the quote first counts.
A quote waits from the yes until the other side has acknowledged it, at most a minute, and so does the wish for it; only
who proves the key gets it, and an opening that does not prove it changes nothing and gets no byte. An opening may
overtake the yes that it follows, so it is given a second before its token counts as unknown. Nothing here blocks a
caller: callbacks come from threads (in the agent, where all threads are green, that is the one thread).
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
from agent.sealed_stream import GIVES, SALT_SIZE, DialBack, DialledBack, Fetching, Giving, LinkError, Opening
from agent.waiting_quotes import LinkNotNeeded, WaitingRoom

_TICK: Final = 1.0  # seconds between looks for quotes that nobody fetched, and for `stop`
_PAUSE: Final = 0.1  # seconds after an accept that failed, as it does when no descriptor is left
_SAY_EVERY: Final = 60.0  # seconds between lines about connections that led nowhere
_log = logging.getLogger(__name__)

DIALLED: Final = "tcp"
"""The fetching side dialled."""
DIALLED_BACK: Final = "tcp-back"
"""The giving side did."""

OnQuote = Callable[[bytes, str, str, str, str], None]  # request, text, author, source, by which way
OnFailure = Callable[[bytes, str], None]  # request, reason
OnGiven = Callable[[bytes, str], None]  # request, by which way


@dataclass(frozen=True, slots=True)
class Limits:
    """What a link may take. Times are in seconds."""

    proof: float = 0.25  # from dialling until the quote is asked for inside the session
    back: float = 0.05  # that a dial that has failed waits for the other side's
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
        on_given: OnGiven = lambda request, way: None,
        log: logging.Logger = _log,
        limits: Limits = Limits(),
    ) -> None:
        self._listener = listener
        self._on_given = on_given
        self._log = log
        self._limits = limits
        self._stopping = threading.Event()
        self._waiting = WaitingRoom[bytes](limits.keep, limits.patience)  # quotes, as the messages that carry them
        self._wanted = WaitingRoom[_Wish](limits.keep, limits.patience)
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

    def give(self, request: bytes, token: bytes, key: bytes, quote: QuoteLike, address: Address | None = None) -> None:
        """Let `quote` be fetched once, by whoever knows `key`; and dial back to `address`, where there is one."""
        message = encode(Quote(request, quote.text, quote.author, quote.source))[4:]  # a record has its own length
        self._waiting.add(request, token, key, message)
        if address is not None:
            link = DialBack(token, key, os.urandom(SALT_SIZE), message)
            threading.Thread(target=self._give_back, args=(link, request, address), daemon=True).start()

    def forget(self, request: bytes) -> None:
        """Let the quote of `request` cross no link any more; it may have been, or be just leaving."""
        self._waiting.forget(request)
        self._wanted.forget(request)

    def fetch(
        self,
        request: bytes,
        token: bytes,
        key: bytes,
        address: Address,
        on_quote: OnQuote,
        on_failure: OnFailure,
    ) -> None:
        """Dial `address` for a quote, let the other side dial, and call `on_quote(request, text, author, source, way)`
        once it is here.

        `on_failure(request, reason)` is called once if no link proves its key in 250 ms, or if it ends without the
        quote. The dialling goes on after the 250 ms, so `on_quote` may still come after `on_failure`.
        """
        wish = _Wish(request, on_quote, on_failure, self._stopping, self._limits.proof)
        self._wanted.add(request, token, key, wish)
        link = Fetching(request, token, key, os.urandom(SALT_SIZE))

        def dial() -> None:
            try:
                self._come(wish, self._dial(link, address, wish.prove), DIALLED)
            except (OSError, LinkError) as problem:
                if link.proven or not wish.proven.wait(self._limits.back):
                    wish.fail(f"The quote did not come over TCP: {tcp.words(problem)}.")

        threading.Thread(target=dial, daemon=True).start()

    # --- fetching ---

    def _come(self, wish: "_Wish", quote: Quote, way: str) -> None:
        """Hand over a quote that a link has brought, unless another was faster."""
        wish.prove()
        if self._wanted.forget(wish.request):
            wish.on_quote(wish.request, quote.text, quote.author, quote.source, way)

    def _take_back(self, connection: socket.socket, opening: Opening, begun: float) -> None:
        """Take a quote from whoever has dialled to give it."""
        wanted = self._wanted.find(opening.token)
        link = DialledBack(wanted.request, opening, wanted.key, os.urandom(SALT_SIZE))
        self._wanted.use(opening.token, opening.data)
        wanted.what.prove()
        deadline = begun + self._limits.whole
        try:
            tcp.send(connection, link.answer, deadline)
            while link.quote is None:
                link.receive(tcp.receive(connection, deadline))
        except (OSError, LinkError) as problem:
            wanted.what.fail(f"The quote did not come over TCP: {tcp.words(problem)}.")
            raise
        with contextlib.suppress(OSError):  # the quote is here all the same
            tcp.send(connection, link.acknowledgement(), deadline)
        self._come(wanted.what, link.quote, DIALLED_BACK)

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
                self._wanted.forget_old()
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
                self._answer(connection)
        except LinkNotNeeded:
            pass
        except (OSError, LinkError) as problem:
            self._complain(origin, problem)
        finally:
            with self._lock:
                self._callers -= Counter([origin])  # and what is at zero goes

    def _answer(self, connection: socket.socket) -> None:
        begun = time.monotonic()
        link = Giving(os.urandom(SALT_SIZE))
        while link.opening is None:
            link.receive(tcp.receive(connection, begun + self._limits.opening))
        if link.opening.role == GIVES:
            self._take_back(connection, link.opening, begun)
        else:
            self._hand_over(connection, link, link.opening, begun)

    def _hand_over(self, connection: socket.socket, link: Giving, opening: Opening, begun: float) -> None:
        quote = self._waiting.find(opening.token)
        answer = link.answer(quote.key, quote.what)
        self._waiting.use(opening.token, opening.data)
        deadline = begun + self._limits.whole
        tcp.send(connection, answer, deadline)
        while not link.acknowledged:
            link.receive(tcp.receive(connection, deadline))
        self._given(quote.request, DIALLED)

    def _give_back(self, link: DialBack, request: bytes, address: Address) -> None:
        """Dial whoever wants a quote, and give it; that this does not work is nobody's concern."""
        deadline = time.monotonic() + self._limits.whole
        try:
            with socket.socket(tcp.family(address[0]), socket.SOCK_STREAM) as connection, self._held(connection):
                tcp.connect(connection, address, deadline)
                tcp.send(connection, link.opening, deadline)
                while not link.proven:
                    link.receive(tcp.receive(connection, deadline))
                tcp.send(connection, link.gift(), deadline)
                while not link.acknowledged:
                    link.receive(tcp.receive(connection, deadline))
        except (OSError, LinkError) as problem:
            self._log.debug("A quote was not given by dialling back: %s.", tcp.words(problem))
        else:
            self._given(request, DIALLED_BACK)

    def _given(self, request: bytes, way: str) -> None:
        if self._waiting.forget(request):
            self._on_given(request, way)

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


class _Wish:
    """A quote that is wanted, over whichever link brings it first; the clock runs until one has proved its key."""

    def __init__(
        self, request: bytes, on_quote: OnQuote, on_failure: OnFailure, stopping: threading.Event, seconds: float
    ) -> None:
        self.request, self.on_quote, self._on_failure = request, on_quote, on_failure
        self._stopping = stopping
        self._unfailed = threading.Lock()
        self.proven = threading.Event()
        self._late = threading.Timer(seconds, self.fail, ("The other agent was not reached over TCP in time.",))
        self._late.daemon = True
        self._late.start()

    def prove(self) -> None:
        """Stop the clock: a link has proved its key."""
        self._late.cancel()
        self.proven.set()

    def fail(self, reason: str) -> None:
        """Say, once, that the quote does not come this way in time."""
        self._late.cancel()
        if not self._stopping.is_set() and self._unfailed.acquire(blocking=False):
            self._on_failure(self.request, reason)
