"""What a person can do about the rendezvous itself: be found or not, invite, be forgotten, decide what to believe.

The rest of the local contract's calls are `exchange`'s, on which these stand. Made by the composition root.
"""

import threading
from typing import Final

from agent.collection import Answer
from agent.doctor import Doctor
from agent.exchange import Exchange
from agent.invite import Invite, read_invite
from agent.ledger import Ledger
from agent.neighbours import Neighbours
from agent.protocol.errors import UsageError
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.presence import VISIBILITIES

INVITE_IMAGE: Final = "/invite.svg"


class Member(Exchange):
    """The calls of the local contract, those about the rendezvous included. `join` before anything else."""

    def join(self, ledger: Ledger, key: bytes, pending: str | None, doctor: Doctor, neighbours: Neighbours) -> None:
        """Take what these calls need; `pending` is an invite link to open once it can be."""
        self._ledger, self._key, self._doctor, self._neighbours = ledger, key, doctor, neighbours
        self.pending = pending

    def sign_up(self, *, name: str, code: str | None = None) -> Answer:
        """Claim a name at the rendezvous, with the code that it wants of newcomers, if it does."""
        self._directory.code = (code or "").strip()[:200]
        return super().sign_up(name=name)

    def signed_up(self, name: str) -> None:
        """Go by this name from now on, in the local network too."""
        super().signed_up(name)
        self._neighbours.refresh()

    def go_on(self) -> None:
        """Go by the name from before while the rendezvous is away: those who were met, and the LAN, are still there."""
        self._reach.begin()
        self._neighbours.refresh()
        self._view.publish()

    def connect_to(self, *, peer: str, wish: str | None = None, lifetime: int | None = None) -> Answer:
        """Ask someone for a connection."""
        if self._core.name is not None:
            self._people.ask(peer)
        self._view.invitation = {}
        return super().connect_to(peer=peer, wish=wish, lifetime=lifetime)

    def get_doctor(self, *, peer: str) -> Answer:
        """Explain how this person and another are connected, or why they are not."""
        there = self._people.there(peer)
        if there.key == self._key:
            raise UsageError("bad_request", "This is yourself: leave the name out, or open your own name on the page.")
        return self._doctor.examine(there)

    # --- being found ---

    def set_visibility(self, *, visibility: str) -> Answer:
        """Choose who may find this person at the rendezvous."""
        if visibility not in VISIBILITIES:
            raise UsageError("bad_request", f"visibility is one of: {', '.join(VISIBILITIES)}.")
        self._history.set_setting("visibility", visibility)
        self._neighbours.refresh()
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
        self._neighbours.refresh()
        self._view.publish()
        message = f"The rendezvous has forgotten {name}: the name is free, and nobody finds you there."
        self._view.tell("notice", {"level": "info", "code": "forgotten", "message": message})
        return {"name": name, "statement": None if statement is None else statement.as_json()}

    def trust_rendezvous(self, *, fingerprint: str) -> Answer:
        """Go on with a rendezvous that has another key than before, or has contradicted itself."""
        if fingerprint not in self._view.servers()[:1]:
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
        self.pending, self._view.invitation = None, {}
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
            if error.code == "rendezvous_down":
                return
            self._view.invitation = {"message": error.message}
        else:
            if "move" in answer:
                self._view.invitation = {"link": link}
            else:
                self._view.invitation = {"name": answer["person"]["name"]}
        self.pending = None
        self._view.publish()

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


def open_later(member: Member) -> None:
    """Open a pending invitation without keeping whoever calls."""
    if member.pending is not None:
        threading.Thread(target=member.open_pending, daemon=True).start()
