"""Who may speak to the page: a WSGI guard outside of Flask and Socket.IO alike.

Flask's own checks do not cover `/socket.io`, and Socket.IO believes the request's own Host. So
Host, Origin, Sec-Fetch-Site and credentials are judged here, before either sees a request, and
every answer gets the headers that tell a browser how little this page needs. `/` and `/socket.io/`
pass without credentials, because a token may come in the query (routes.py) or in the connect packet
(events.py).
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from werkzeug.http import parse_cookie

from agent.page.token import Access

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What the guard found, for routes.py and events.py: "token", "cookie", or absent.
CREDENTIAL: Final = "tmge.credential"
SOCKET_PATH: Final = "/socket.io/"
_DEFAULT_PORTS: Final = {"80": "http", "443": "https"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' {sockets}; font-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOGIN_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>TMGE</title>
<h1>This page is closed</h1>
<p>To open it, open the address that the agent printed when it started
(it begins with <code>http://localhost</code> and holds <code>token=</code>).</p>
<p>If you have just done that, <a href="/">go on to the page</a>.</p>
</html>
"""


class Refusal(Exception):
    """Why a request is not let in: an HTTP status, a code of the local contract and a sentence."""

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Guard:
    """Let in what may speak to the page; answer everything else with a sentence."""

    def __init__(self, inner: "WSGIApplication", port: int, allow_hosts: Iterable[str], access: Access) -> None:
        self._inner = inner
        self._access = access
        self._cookie = cookie_name(port)
        own = (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}")
        self._hosts, self._origins = _accepted((*own, *allow_hosts))

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            self._check_source(environ)
            start_response = _with_headers(start_response, environ["HTTP_HOST"].lower())
            self._check_credential(environ)
        except Refusal as refusal:
            return _answer(refusal, environ, start_response)
        return self._inner(environ, start_response)

    def _check_source(self, environ: "WSGIEnvironment") -> None:
        """Judge from where a request comes: the address it names, the page that made it."""
        if environ.get("HTTP_HOST", "").lower() not in self._hosts:
            raise _forbidden("This is not an address of this page (see --allow-host).")
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.lower() not in self._origins:
            raise _forbidden("Another site's page may not speak to this agent.")
        site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin").lower()
        if site not in ("same-origin", "none") and not _is_visit(environ):
            raise _forbidden("Another site's page may not use this agent.")

    def _check_credential(self, environ: "WSGIEnvironment") -> None:
        """Judge who makes a request, and note it for those inside."""
        credential = self._credential(environ)
        if credential == "cookie" and _is_websocket(environ) and "HTTP_ORIGIN" not in environ:
            # A browser always says where a WebSocket comes from: this is a script, without a token.
            raise _forbidden("A WebSocket without an Origin needs the token.")
        path = environ.get("PATH_INFO", "")
        if credential is None and path != "/" and not path.startswith(SOCKET_PATH):
            raise unauthorized()
        if credential is not None:
            environ[CREDENTIAL] = credential

    def _credential(self, environ: "WSGIEnvironment") -> str | None:
        scheme, _, text = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer" and self._access.is_token(text.strip()):
            return "token"
        # Others on localhost may have set a cookie of the same name: one good one is enough.
        sessions = parse_cookie(environ).getlist(self._cookie)
        return "cookie" if any(map(self._access.is_session, sessions)) else None


def cookie_name(port: int) -> str:
    """Name the cookie by the port, because cookies ignore ports."""
    return f"tmge_{port}"


def unauthorized() -> Refusal:
    """Make the refusal of someone who showed neither cookie nor token."""
    return Refusal(
        "401 Unauthorized",
        "unauthorized",
        "Open the address that the agent printed, or send its token.",
    )


def login_page() -> str:
    """Give the page that a browser without the cookie sees."""
    return _LOGIN_PAGE


def _forbidden(message: str) -> Refusal:
    return Refusal("403 Forbidden", "unauthorized", message)


def _accepted(addresses: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """List our Hosts, and their Origins; a browser leaves out the port that a scheme implies."""
    hosts: set[str] = set()
    origins: set[str] = set()
    for address in addresses:
        host, _, port = address.rpartition(":")
        hosts.add(address)
        origins.update(f"{scheme}://{address}" for scheme in ("http", "https"))
        if port in _DEFAULT_PORTS:
            hosts.add(host)
            origins.add(f"{_DEFAULT_PORTS[port]}://{host}")
    return frozenset(hosts), frozenset(origins)


def _is_visit(environ: "WSGIEnvironment") -> bool:
    """Tell whether a person followed a link to the page: all that another site may cause."""
    words = ("REQUEST_METHOD", "PATH_INFO", "HTTP_SEC_FETCH_MODE", "HTTP_SEC_FETCH_DEST")
    return tuple(map(environ.get, words)) == ("GET", "/", "navigate", "document")


def _is_websocket(environ: "WSGIEnvironment") -> bool:
    return str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket"


def _with_headers(start_response: "StartResponse", host: str) -> "StartResponse":
    """Add what every answer says to a browser, where the answer does not say it itself."""
    policy = _POLICY.format(sockets=f"ws://{host} wss://{host}")
    every = {**_HEADERS, "Content-Security-Policy": policy}

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        said = {name.lower() for name, _ in headers}
        added = [(name, value) for name, value in every.items() if name.lower() not in said]
        return start_response(status, headers + added, *more)

    return start


def _answer(refusal: Refusal, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    if "text/html" in environ.get("HTTP_ACCEPT", "") and refusal.status.startswith("401"):
        kind, body = "text/html; charset=utf-8", _LOGIN_PAGE
    else:
        error = {"error": {"code": refusal.code, "message": str(refusal)}}
        kind, body = "application/json", json.dumps(error)
    data = body.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(data)))]
    start_response(refusal.status, [*headers, ("Cache-Control", "no-store")])
    return [b""] if environ["REQUEST_METHOD"] == "HEAD" else [data]
