"""What a person can do about the rendezvous itself: be found or not, invite, be forgotten, decide what to believe.

The rest of the local contract's calls are `exchange`'s, on which these stand. Made by the composition root.
"""

import threading
from typing import Any, Final

from agent.exchange import Answer, Exchange
from agent.invite import Invite, read_invite
from agent.ledger import Ledger
from agent.protocol.errors import UsageError
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.presence import VISIBILITIES

INVITE_IMAGE: Final = "/invite.svg"


class Member(Exchange):
    """The calls of the local contract, those about the rendezvous included. `join` before anything else."""

    def join(self, ledger: Ledger, key: bytes, pending: str | None) -> None:
        """Take what these calls need: the ledger, this person's key, and an invite link to open once it can be."""
        self._ledger, self._key = ledger, key
        self.pending = pending

    def connect_to(self, *, peer: str, wish: str | None = None, lifetime: int | None = None) -> Answer:
        """Ask someone for a connection."""
        if self._core.name is not None:
            self._people.ask(peer)
        return super().connect_to(peer=peer, wish=wish, lifetime=lifetime)

    # --- being found ---

    def set_visibility(self, *, visibility: str) -> Answer:
        """Choose who may find this person at the rendezvous."""
        if visibility not in VISIBILITIES:
            raise UsageError("bad_request", f"visibility is one of: {', '.join(VISIBILITIES)}.")
        self._history.set_setting("visibility", visibility)
        self._people.allow()
        self._directory.set_visibility(visibility)
        self._view.publish()
        return {"visibility": visibility}

    def forget_me(self) -> Answer:
        """Give the name back; what is kept on this machine stays."""
        name = self._core.name
        if name is None:
            raise UsageError("not_signed_up", "You are not signed up: there is nothing to forget.")
        statement = self._directory.forget()
        self._core.name = None
        self._history.set_setting("name", None)
        self._view.publish()
        message = f"The rendezvous has forgotten {name}: the name is free, and nobody finds you there."
        self._publish("notice", {"level": "info", "code": "forgotten", "message": message})
        return {"name": name, "statement": None if statement is None else statement.as_json()}

    def trust_rendezvous(self, *, fingerprint: str) -> Answer:
        """Go on with a rendezvous that has another key than before, or has contradicted itself."""
        if fingerprint not in self._view.servers():
            raise UsageError("bad_request", "This is not the key that the rendezvous has: look again.")
        self._ledger.trust(self._directory.url)
        self._directory.look_again()
        self._view.publish()
        return {}

    # --- invitations ---

    def invite_link(self) -> str:
        """Return the link by which others find this person, and know that it is them; UsageError `not_signed_up`."""
        self._need_name()
        listed = self._history.setting("visibility", "listed") == "listed"
        look = b"" if listed else self._people.look_secret()
        return Invite(self._directory.url, self._core.name or "", fingerprint(self._key), look).link()

    def get_invite(self) -> Answer:
        """Return the link, and where its QR code is drawn."""
        return {"link": self.invite_link(), "qr": INVITE_IMAGE}

    def open_invite(self, *, link: str, move: bool | None = None) -> Answer:
        """Find who sent an invitation: their key is then compared already.

        Where it leads to another rendezvous than the one where this person is signed up, nothing happens but the
        question, `{move: {from, to}}`, until `move` is true.
        """
        try:
            invite = read_invite(link)
        except ValueError as error:
            raise UsageError("bad_request", str(error)) from None
        if invite.fingerprint == fingerprint(self._key):
            raise UsageError("bad_request", "This is your own invitation: send it to somebody else.")
        if invite.rendezvous != self._directory.url:
            if self._core.name is not None and not move:
                return {"move": {"from": self._directory.url, "to": invite.rendezvous, "name": invite.name}}
            self._move(invite.rendezvous)
        self.pending = None
        person = self._people.invited(invite.name, invite.fingerprint, invite.look)
        self._view.publish()
        return {"person": person}

    def open_pending(self) -> None:
        """Open the invitation that the agent was started with, as far as it needs no answer of the person."""
        link = self.pending
        if link is None:
            return
        try:
            answer = self.open_invite(link=link)
        except UsageError as error:
            if error.code != "rendezvous_down":
                self.pending = None
                self._publish("notice", {"level": "error", "code": error.code, "message": error.message})
            return
        if "move" in answer:
            self.pending = None
            message = "The invitation leads to {to}, and you are signed up at {from}: open it here to move there."
            notice = {"level": "warning", "code": "invited", "message": message.format(**answer["move"])}
            self._publish("notice", notice)
        elif "person" in answer:
            name = answer["person"]["name"]
            message = f"{name} has invited you: the key is the one that the invitation names."
            self._publish("notice", {"level": "info", "code": "invited", "message": message})
            self._publish("people", [answer["person"]])

    def _move(self, url: str) -> None:
        name = self._core.name
        self._directory.move(url)
        for setting in ("rendezvous", "met_at"):
            self._history.set_setting(setting, url)
        self._view.moved(url)
        if name is not None:
            try:
                self.sign_up(name=name)
            except UsageError as error:
                if error.code == "name_taken":
                    self._core.name = None
                    self._history.set_setting("name", None)
                    self._view.publish()
                raise

    def _publish(self, event: str, value: Any) -> None:
        self._view.tell(event, value)


def open_later(member: Member) -> None:
    """Open a pending invitation without keeping whoever calls."""
    if member.pending is not None:
        threading.Thread(target=member.open_pending, daemon=True).start()
