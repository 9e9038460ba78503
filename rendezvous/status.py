"""The page at `/`, for people: how many are here, and how to join; for programs, the same as JSON. Used by `app.py`.

Owns the page and its numbers. It names nobody, unless the operator wishes it (`--show-people`), and then only people
who chose to be listed. No script; the one style is allowed by its hash.
"""

import base64
import hashlib
import math
import re
import time
from dataclasses import dataclass
from html import escape
from typing import Final

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from rendezvous.authority import Authority
from rendezvous.contract.encoding import to_text
from rendezvous.contract.identity import fingerprint
from rendezvous.relay_budget import Rules
from rendezvous.store import Store

CENSUS_SECONDS: Final = 5.0
"""The age that the numbers may have: a page that many reload costs the store nothing."""
SHOWN: Final = 100
_STYLE: Final = """
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);--soft:#5b6470;--mark:#17684f}
@media(prefers-color-scheme:dark){:root{--soft:#a3adb8;--mark:#7fd6b5}}
body{font:1.05rem/1.6 system-ui,sans-serif;max-width:42rem;margin:8vh auto;padding:0 1.25rem}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.2rem 0 .5rem}p{margin:.5rem 0}
dl{display:flex;gap:2.5rem;margin:1.75rem 0}dt{color:var(--soft)}dd{font-size:2.4rem;line-height:1.2;margin:0}
dl div:first-child dd{color:var(--mark)}
pre{padding:.8rem 1rem;border:1px solid var(--line);border-radius:.5rem;overflow-x:auto;margin:.75rem 0}
code{font-family:ui-monospace,monospace;font-size:.92rem}small,.soft{color:var(--soft)}
ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.4rem}
li{border:1px solid var(--line);border-radius:1rem;padding:.05rem .75rem}
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept",
}


@dataclass(frozen=True, slots=True)
class Census:
    """How many are online, how many are listed, and the names of some who are both."""

    online: int
    listed: int
    names: tuple[str, ...] = ()


class Status:
    """The page, and what stands on it. Everything raises Unavailable while the store does not answer."""

    def __init__(
        self, store: Store, authority: Authority, budgets: Rules | None, *, show_people: bool, code_required: bool
    ) -> None:
        """Take also what the relay of this machine carries, if there is one."""
        self._store, self._authority, self._budgets = store, authority, budgets
        self._show_people, self._code_required = show_people, code_required
        self._census: Census | None = None
        self._at = 0.0

    def register(self, app: Flask) -> None:
        """Give an application its front page."""
        app.extensions["status"] = self
        app.add_url_rule("/", view_func=self.index)

    def census(self) -> Census:
        """Return numbers that are a few seconds old at most."""
        now = time.monotonic()
        if self._census is None or now - self._at > CENSUS_SECONDS:
            online, listed = self._store.count()
            names = self._store.page("", "", SHOWN)[0] if self._show_people else []
            self._census = Census(online, listed, tuple(person.name for person in names if person.online))
            self._at = now
        return self._census

    def index(self) -> ResponseReturnValue:
        """Say what this is: to a browser with a page, to everything else with JSON."""
        census, key = self.census(), self._authority.key
        wants_page = request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
        if wants_page:
            return self._page(census, fingerprint(key)), 200, HEADERS | {"Content-Type": "text/html; charset=utf-8"}
        value = {
            "service": "tmge-rendezvous",
            "about": "A TMGE rendezvous: agents sign up and find each other here.",
            "key": to_text(key),
            "online": census.online,
            "listed": census.listed,
            "code_required": self._code_required,
            "relay": self._relay(),
            "api": "/openapi.json",
        }
        return jsonify(value), 200, {"Vary": "Accept"}

    def _relay(self) -> dict[str, object] | None:
        if self._budgets is None:
            return None
        return {
            "address": self._authority.relay,
            "rate": int(self._budgets.ticket_rate),
            "ticket_bytes": self._budgets.ticket_bytes,
            "person_bytes": int(self._budgets.person_bytes),
        }

    def _page(self, census: Census, print_of_key: str) -> str:
        here = request.host_url.rstrip("/")
        if not re.fullmatch(r"https?://[\w.:\[\]-]+", here):
            here = "https://this-rendezvous"
        who = "person is" if census.online == 1 else "people are"
        code = "<p>Signing up here takes an invitation code: ask whoever runs it.</p>" if self._code_required else ""
        names = "".join(f"<li>{escape(name)}</li>" for name in census.names)
        shown = f"<h2>Here now</h2><ul>{names}</ul>" if names else ""
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>TMGE rendezvous</title><style>{_STYLE}</style></head><body><main>
<h1>TMGE rendezvous</h1>
<p class="soft">Here agents find each other, so that two people who both said yes can exchange quotes and pictures.
What they exchange goes from one to the other and never through this server.</p>
<dl><div><dt>{who} online</dt><dd>{census.online}</dd></div>
<div><dt>listed by name</dt><dd>{census.listed}</dd></div></dl>
{shown}<h2>How to join</h2>
<p>Start your own agent with this address, and choose a name on the page that it opens:</p>
<pre><code>agent --rendezvous {escape(here)}</code></pre>
{code}<p>Each person decides who may find them: everybody, only those they have connected with, or nobody.</p>
<h2>Who cannot reach each other directly</h2>
<p>{_carried(self._budgets)}</p>
<h2>Is it the right one?</h2>
<p>The key of this rendezvous has the fingerprint</p>
<pre><code>{escape(print_of_key)}</code></pre>
</main></body></html>
"""


def _carried(budgets: Rules | None) -> str:
    """Say what is forwarded here, and how much."""
    if budgets is None:
        return "There is no relay here: two people whose networks do not let them reach each other cannot exchange."
    rate, ticket, person = (size(n) for n in (budgets.ticket_rate, budgets.ticket_bytes, budgets.person_bytes))
    return (
        "are helped by the relay here. It forwards their sealed packets, which it cannot read: for two people up to"
        f" {rate} a second and {ticket} an hour, for one person up to {person} an hour."
    )


def size(count: float) -> str:
    """Write a number of bytes for people."""
    power = min(4, max(0, int(math.log10(max(count, 1)) // 3)))
    return f"{count / 1000**power:.3g} {('bytes', 'KB', 'MB', 'GB', 'TB')[power]}"
