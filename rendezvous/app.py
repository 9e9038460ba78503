"""Composition: Flask for the HTTP API, Socket.IO for what is live, one store for both. Used by
the entry point and tests.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from flask import Flask

from rendezvous import limits, metrics, openapi, routes
from rendezvous.authority import Authority
from rendezvous.codes import Code
from rendezvous.events import Live
from rendezvous.health import Health
from rendezvous.limits import Limits, Rules
from rendezvous.live_limits import LimitedSocketIO
from rendezvous.proxies import BehindProxies, Network
from rendezvous.relay_budget import Rules as Budgets
from rendezvous.relay_websocket import Place, RelayWebSockets
from rendezvous.routes import observed_host
from rendezvous.status import Status
from rendezvous.store import Store

PING_SECONDS: Final = 15
"""Between two pings to an agent, and for its answer: a connection that died silently is noticed
in 30 s.
"""
MAX_MESSAGE: Final = 64 * 1024
"""Bytes of one message on a live connection."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between deployments."""

    async_mode: Literal["eventlet", "threading"] = "eventlet"
    relay_address: str = ""
    """HOST:PORT at which agents reach the UDP port; a host that is empty is that of the rendezvous."""
    websocket_only: bool = False
    """With several processes behind one address, polling would reach another process each time."""
    rules: Rules = field(default_factory=Rules)
    trusted_proxies: tuple[Network, ...] = ()
    signup_code: str = ""
    """What a new sign-up must bring, where it is not empty."""
    show_people: bool = False
    relays: bool = True
    """Whether there is a relay at that address; STUN there is."""
    budgets: Budgets = field(default_factory=Budgets)
    udp_host: str = "127.0.0.1"
    """The address at which this machine's own UDP ports are reached from here."""
    stun_ports: tuple[int, ...] = ()
    """UDP ports of this machine that answer STUN, the first one and the second."""


def create_app(settings: Settings, store: Store) -> Flask:
    """Return the application, its background tasks running. Sockets must be patched before,
    where eventlet is used.
    """
    app = Flask(__name__, static_folder=None)
    counts = Limits(settings.rules, store.client)
    metrics.register(app)
    limits.register(app, counts, observed_host)
    Health(store).register(app)
    openapi.register(app)
    relay = settings.relay_address if settings.relays else ""
    authority = Authority(store, relay, settings.budgets.ticket_bytes)
    routes.register(app, store, authority)
    code_required = bool(settings.signup_code)
    app.extensions["code"] = Code(settings.signup_code, store, counts)
    app.config["TMGE_ABOUT"] = {"code_required": code_required, **_places(settings)}
    shown = settings.budgets if relay and settings.stun_ports else None
    Status(store, authority, shown, show_people=settings.show_people, code_required=code_required).register(app)
    # No allowed origins are named: a page from anywhere else is refused.
    socketio = LimitedSocketIO(
        counts,
        observed_host,
        app,
        async_mode=settings.async_mode,
        transports=["websocket"] if settings.websocket_only else ["websocket", "polling"],
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
        max_http_buffer_size=MAX_MESSAGE,
    )
    app.extensions["live"] = socketio
    Live(socketio, store, authority).start()
    socketio.start_background_task(counts.share_for_ever, socketio.sleep)
    ports = settings.stun_ports
    here = Place(relay, settings.udp_host, ports[0]) if relay and ports else None
    RelayWebSockets(lambda: authority.key, counts, here).register(app)
    app.wsgi_app = BehindProxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    return app


def _places(settings: Settings) -> dict[str, object]:
    """Return where STUN and the relay of this machine are, HOST:PORT; an empty host is the rendezvous' own."""
    ports, address = settings.stun_ports, settings.relay_address
    stun = (
        [{"address": address or f":{ports[0]}", "second_port": ports[1] if len(ports) > 1 else None}] if ports else []
    )
    return {"stun_ports": ports, "stun": stun, "relay": [address] if address and settings.relays else []}
