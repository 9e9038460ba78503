"""The page on localhost: who may speak to it, its HTTP routes and its Socket.IO events.

`create_page` puts the parts together; the entry point serves `Page.wsgi`, and the composition root
publishes through it and attaches the Exchange that carries out what the page calls.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.page.events import Events
from agent.page.exchange import Exchange
from agent.page.guard import Guard
from agent.page.routes import create_app
from agent.page.token import Access

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

WEB_FOLDER: Final = Path(__file__).resolve().parents[2] / "web"


class Page:
    """The page's server side, without the sockets: serve `wsgi` once `attach` was called."""

    exchange: Exchange
    wsgi: "WSGIApplication"

    def __init__(self, access: Access, port: int, allow_hosts: Sequence[str], async_mode: str, web: Path) -> None:
        app = create_app(self, access, port, web)
        self._events = Events(app, access, async_mode)
        self.wsgi = Guard(app, port, allow_hosts, access)

    def attach(self, exchange: Exchange) -> None:
        """Say who carries out what the page calls."""
        self.exchange = self._events.exchange = exchange

    def publish(self, event: str, value: object) -> None:
        """Tell every open page one event of the contract."""
        self._events.publish(event, value)


def create_page(
    access: Access,
    port: int,
    allow_hosts: Sequence[str] = (),
    *,
    async_mode: str,
    web: Path = WEB_FOLDER,
) -> Page:
    """Make the page for one port; `async_mode` is python-socketio's, chosen by who serves it."""
    return Page(access, port, allow_hosts, async_mode, web)
