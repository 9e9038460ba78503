"""What is counted for operators, in the format of Prometheus. Used by whoever has something to count, and by the entry
point, which serves it on a port of its own.

Owns the names. No label holds a name, an address or a key of anybody.

Each process counts for itself and is asked by itself (workers at the next free ports): so a process that is slow shows,
and nothing is shared between them.
"""

import contextlib
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any, Final

from flask import Flask, Response, request
from prometheus_client import REGISTRY, Counter, Gauge, disable_created_metrics, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rendezvous.proxies import Wsgi
from rendezvous.relay import Relay
from rendezvous.store import Store, Unavailable
from rendezvous.stun import Reply

disable_created_metrics()  # type: ignore[no-untyped-call]

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds, in seconds."""

CONNECTIONS: Final = Gauge("tmge_connections", "Open connections, of HTTP and live ones")
LIVE: Final = Gauge("tmge_live_connections", "Agents that are connected to this process")
EVENTS: Final = Counter("tmge_live_events", "Events of live connections", ["event", "outcome"])
REFUSED: Final = Counter(
    "tmge_refused", "What was refused to protect others: limit, busy, too_slow, too_large", ["reason"]
)
STUN: Final = Counter("tmge_stun", "STUN datagrams: answered, dropped", ["outcome"])
RELAY_WORKS: Final = Gauge("tmge_relay_works", "1 where the relay has reached itself at the address in tickets")
RELAY_WEBSOCKETS: Final = Gauge("tmge_relay_websockets", "Agents that reach relays over a WebSocket of this process")
PEOPLE: Final = Gauge("tmge_people", "Names that are listed, in the whole store")
ONLINE: Final = Gauge("tmge_people_online", "People who are online, in the whole store")
DRAINING: Final = Gauge("tmge_draining", "1 while this process is about to stop")

_ANSWERED = STUN.labels("answered")
_DROPPED = STUN.labels("dropped")


class HttpCounts(Collector):
    """HTTP requests by route, method and status, and their seconds by route: plain numbers, since a lookup has no time
    for more. They become metrics when somebody asks.
    """

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, int], int] = {}
        self._slots: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def add(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (route, method, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        slots = self._slots.get(route)
        if slots is None:
            slots = self._slots[route] = [0] * (len(BUCKETS) + 1)
        slots[bisect_left(BUCKETS, seconds)] += 1
        self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def collect(self) -> Iterable[Metric]:
        """Yield what has been counted."""
        labels = ["route", "method", "status"]
        requests = CounterMetricFamily("tmge_http_requests", "HTTP requests answered", labels=labels)
        for (route, method, status), count in list(self._requests.items()):
            requests.add_metric([route, method, str(status)], count)
        yield requests
        about = "Seconds until an HTTP request was answered"
        seconds = HistogramMetricFamily("tmge_http_seconds", about, labels=["route"])
        names = [*map(str, BUCKETS), "+Inf"]
        for route, slots in list(self._slots.items()):
            seconds.add_metric([route], list(zip(names, accumulate(slots), strict=True)), self._seconds[route])
        yield seconds


class RelayCounts(Collector):
    """What a relay has counted by itself; zero in processes without one."""

    relay: Relay | None = None

    def collect(self) -> Iterable[Metric]:
        """Yield what has been counted."""
        relay = self.relay
        outcomes = CounterMetricFamily("tmge_relay", "Relay datagrams, by what became of them", labels=["outcome"])
        for outcome, count in list(relay.outcomes.items() if relay else ()):
            outcomes.add_metric([outcome], count)
        yield outcomes
        sent = relay.forwarded_bytes if relay else 0
        yield CounterMetricFamily("tmge_relay_bytes", "Bytes that the relay has forwarded", value=sent)
        budgets = GaugeMetricFamily("tmge_relay_budget", "What the relay carries at most, in bytes", labels=["budget"])
        if relay:
            budgets.add_metric(["rate"], relay.rules.ticket_rate)
            budgets.add_metric(["ticket"], relay.rules.ticket_bytes)
            budgets.add_metric(["person_hour"], relay.rules.person_bytes)
        yield budgets
        yield GaugeMetricFamily("tmge_relay_bindings", "Bindings of the relay", value=len(relay) if relay else 0)


HTTP: Final = HttpCounts()
RELAY: Final = RelayCounts()
REGISTRY.register(HTTP)
REGISTRY.register(RELAY)


def register(app: Flask) -> None:
    """Let an application count what it answers."""

    def begin() -> None:
        request.environ["tmge.began"] = time.perf_counter()

    def end(response: Response) -> Response:
        asked = request._get_current_object()  # type: ignore[attr-defined]  # once, not at each look
        route = asked.url_rule.rule if asked.url_rule is not None else "none"
        method = asked.method if asked.method in ("GET", "POST") else "other"
        now = time.perf_counter()
        HTTP.add(route, method, response.status_code, now - asked.environ.get("tmge.began", now))
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
