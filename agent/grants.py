"""Consent given in advance, within limits: so many quotes or pictures of one person, of at most a size, until a time.

Owns which grants there are and what each has let through; kept with the settings. Who asks, and what a yes does, is
`happenings`'. A grant is bound to a key, not to a name, and ends by number, by time or by its owner. Without one, as at
first, each request is asked.
"""

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol

from agent.protocol.errors import UsageError

KINDS: Final = ("quote", "image")
VERBS: Final = ("ask", "offer")
MOST: Final = 1000  # requests of one grant
LONGEST: Final = 7 * 86_400.0  # seconds
LARGEST: Final = 100 * 1024**2  # bytes of a picture
_KEPT: Final = 50  # grants that are over, and still shown
_SETTING: Final = "grants"


class Settings(Protocol):
    """Where grants are kept."""

    def setting(self, name: str, default: Any = None) -> Any: ...
    def set_setting(self, name: str, value: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """A yes in advance. `verb` is theirs: what they `offer` arrives, or for what they `ask` something leaves.

    `most` requests until `until` (Unix seconds), each of at most `size` bytes (pictures); `used` are the requests that
    it has let through. `revoked`: its owner has ended it.
    """

    grant: str
    peer: str
    key: str  # hex
    kind: str
    verb: str
    most: int
    size: int
    until: float
    created_at: float
    used: tuple[str, ...] = ()
    revoked: bool = False

    def stands(self, now: float) -> bool:
        """Tell whether it may let something through."""
        return not self.revoked and now < self.until and len(self.used) < self.most

    def as_json(self, now: float) -> dict[str, Any]:
        """Return it as the page sees it."""
        return asdict(self) | {"used": list(self.used), "stands": self.stands(now)}


class Grants:
    """All grants of this person. `now` is the wall clock, in Unix seconds."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self._settings, self._now = settings, now
        self._grants = {
            value["grant"]: Grant(**value | {"used": tuple(value["used"])}) for value in settings.setting(_SETTING, [])
        }

    def all(self) -> list[dict[str, Any]]:
        """Return every grant, newest first, those that are over included."""
        now = self._now()
        return [grant.as_json(now) for grant in sorted(self._grants.values(), key=lambda one: -one.created_at)]

    def give(self, peer: str, key: bytes, kind: str, verb: str, most: int, size: int, seconds: int) -> str:
        """Say yes in advance; return the grant's id. UsageError `bad_request` for limits that are none."""
        if kind not in KINDS or verb not in VERBS:
            raise UsageError("bad_request", "A grant is for quotes or pictures, which somebody asks for or offers.")
        if not (0 < most <= MOST and 0 < size <= LARGEST and 0 < seconds <= LONGEST):
            sentence = f"A grant has 1 to {MOST} items of at most {LARGEST // 1024**2} MB, and ends within 7 days."
            raise UsageError("bad_request", sentence)
        now, id = self._now(), secrets.token_hex(8)
        self._keep(Grant(id, peer, key.hex(), kind, verb, most, size, now + seconds, now))
        return id

    def revoke(self, id: str) -> tuple[str, ...]:
        """End a grant; return the requests that it has let through. UsageError where there is none."""
        grant = self._grants.get(id)
        if grant is None:
            raise UsageError("bad_request", "There is no such grant.")
        self._keep(replace(grant, revoked=True))
        return grant.used

    def lets_through(self, request: str, key: bytes, kind: str, verb: str, size: int = 0) -> str | None:
        """Use up one of the first grant that fits, and return its id; None: the person must be asked.

        It is kept on disk before anybody acts on it, so a crash cannot let more through.
        """
        now, whose = self._now(), key.hex()
        for grant in sorted(self._grants.values(), key=lambda one: one.until):
            fits = (grant.key, grant.kind, grant.verb) == (whose, kind, verb) and size <= grant.size
            if fits and grant.stands(now):
                self._keep(replace(grant, used=(*grant.used, request)))
                return grant.grant
        return None

    def _keep(self, grant: Grant) -> None:
        grants = self._grants | {grant.grant: grant}
        now = self._now()
        over = sorted((one for one in grants.values() if not one.stands(now)), key=lambda one: -one.created_at)
        for one in over[_KEPT:]:
            del grants[one.grant]
        self._settings.set_setting(_SETTING, [asdict(one) | {"used": list(one.used)} for one in grants.values()])
        self._grants = grants
