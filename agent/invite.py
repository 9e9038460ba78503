"""Invite links: rendezvous, name and fingerprint in one text that a person sends to another by any way they trust.

A link is `RENDEZVOUS/invite#name=NAME&fp=FINGERPRINT`, and `&look=SECRET` where the inviter is not listed. Whoever
opens it in a browser sees how to go on; what stands behind `#` never leaves the browser, so the rendezvous does not
learn who was invited. `look` lets its holder look the inviter up. Used by `member.py` and the command `agent invite`.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from rendezvous.contract.encoding import from_text, to_text
from rendezvous.contract.names import canonical
from rendezvous.contract.presence import LOOK_SIZE

MAX_LINK: Final = 600
_FINGERPRINT: Final = re.compile(r"[a-z2-7]{4}(-[a-z2-7]{4}){7}")
_HOST: Final = re.compile(r"[\w.:%-]+")


@dataclass(frozen=True, slots=True)
class Invite:
    """Who invites, and where; `look` is empty or the secret by which they can be looked up."""

    rendezvous: str
    name: str
    fingerprint: str
    look: bytes = b""

    def link(self) -> str:
        """Return the link."""
        look = f"&look={to_text(self.look)}" if self.look else ""
        return f"{self.rendezvous}/invite#name={quote(self.name, safe='')}&fp={self.fingerprint}{look}"


def read_invite(text: str) -> Invite:
    """Read a link; ValueError with a sentence for the person where it is none."""
    text = text.strip()
    if len(text) > MAX_LINK:
        raise ValueError("This is too long for an invite link.")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _none() from None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host or "") or "@" in parts.netloc:
        raise _none()
    if parts.path != "/invite" or parts.query:
        raise _none()
    fields = parse_qs(parts.fragment)
    name, fingerprint, look = (fields.get(field, [""])[0] for field in ("name", "fp", "look"))
    try:
        name = canonical(name)
        secret = from_text(look, LOOK_SIZE) if look else b""
    except ValueError:
        raise _none() from None
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ValueError("This invite link is not complete: copy the whole of it.")
    return Invite(f"{parts.scheme}://{parts.netloc.lower()}", name, fingerprint, secret)


def _none() -> ValueError:
    return ValueError("This is no invite link: it looks like http://HOST:8000/invite#name=NAME&fp=….")
