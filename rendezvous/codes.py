"""The invitation code that a rendezvous may want of everyone who is new. Used by `routes.py`.

Whoever has their name already renews it without: agents do that by themselves, for ever, and need not keep the code.
"""

import hmac
import json

from flask import current_app

from rendezvous.answers import Refused
from rendezvous.contract.presence import looker
from rendezvous.limits import Limits
from rendezvous.people import Claim
from rendezvous.proxies import network_of
from rendezvous.store import Store


class Code:
    """The code of this rendezvous; empty where none is wanted."""

    def __init__(self, code: str, store: Store, limits: Limits) -> None:
        self._code, self._store, self._limits = code, store, limits

    def check(self, body: bytes, claim: Claim) -> None:
        """Let a sign-up pass that brings the code, or that renews; Refused otherwise, Limited after many tries."""
        if not self._code:
            return
        given = json.loads(body).get("code")
        if isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), self._code.encode()):
            return
        (person,) = self._store.find_many([claim.name], looker(claim.key))
        if person is not None and person.key == claim.key:
            return
        if given is None:
            raise Refused(403, "code_required", "Signing up at this rendezvous takes an invitation code.")
        self._limits.hit("guess", network_of(claim.host))
        raise Refused(403, "wrong_code", "That is not the invitation code of this rendezvous.")


def check(body: bytes, claim: Claim) -> None:
    """Check the sign-up of this request."""
    code = current_app.extensions["code"]
    assert isinstance(code, Code)
    code.check(body, claim)
