"""What is counted for operators, in the format of Prometheus. Used by whoever has something to count, and by the entry
point, which serves it on a port of its own.

Owns the names. No label holds a name, an address or a key of anybody.

Each process counts for itself and is asked by itself (workers at the next free ports): so a process that is slow shows,
and nothing is shared between them.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Flask, Response, g, request
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, make_wsgi_app

from rendezvous.proxies import Wsgi
from rendezvous.store import Store, Unavailable
from rendezvous.stun import Reply

disable_created_metrics()  # type: ignore[no-untyped-call]

HTTP: Final = Counter("tmge_http_requests", "HTTP requests answered", ["route", "method", "status"])
HTTP_SECONDS: Final = Histogram(
    "tmge_http_seconds",
    "Seconds until an HTTP request was answered",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
CONNECTIONS: Final = Gauge("tmge_connections", "Open connections, of HTTP and live ones")
LIVE: Final = Gauge("tmge_live_connections", "Agents that are connected to this process")
EVENTS: Final = Counter("tmge_live_events", "Events of live connections", ["event", "outcome"])
REFUSED: Final = Counter(
    "tmge_refused", "What was refused to protect others: limit, busy, too_slow, too_large", ["reason"]
)
STUN: Final = Counter("tmge_stun", "STUN datagrams: answered, dropped", ["outcome"])
PEOPLE: Final = Gauge("tmge_people", "Names that are listed, in the whole store")
ONLINE: Final = Gauge("tmge_people_online", "People who are online, in the whole store")
DRAINING: Final = Gauge("tmge_draining", "1 while this process is about to stop")

_ANSWERED = STUN.labels("answered")
_DROPPED = STUN.labels("dropped")


def register(app: Flask) -> None:
    """Let an application count what it answers."""

    def begin() -> None:
        g.began = time.perf_counter()

    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else "none"
        method = request.method if request.method in ("GET", "POST") else "other"
        HTTP.labels(route, method, str(response.status_code)).inc()
        if "began" in g:
            HTTP_SECONDS.labels(route).observe(time.perf_counter() - g.began)
        return response

    app.before_request(begin)
    app.after_request(end)


def application(store: Store) -> Wsgi:
    """Return a WSGI application that serves what has been counted, and how many people there are."""
    serve: Wsgi = make_wsgi_app()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with contextlib.suppress(Unavailable):
            online, listed = store.count()
            ONLINE.set(online)
            PEOPLE.set(listed)
        return serve(environ, start_response)

    return answer


def counted(answer: Callable[..., Reply | None]) -> Callable[..., Reply | None]:
    """Count what is answered to datagrams."""

    def count(datagram: bytes, host: str, port: int) -> Reply | None:
        reply = answer(datagram, host, port)
        (_DROPPED if reply is None else _ANSWERED).inc()
        return reply

    return count
