"""How far one rendezvous is believed: as far as it has signed, with the key that it had when it was first met.

Used by `directory.py`. What it stated goes into the ledger; what cannot be true together is told. Of its servers it may
say what it likes: they see sealed packets, and addresses that it sees itself.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from agent.directory_servers import RelayTicket, Servers, read_servers, read_ticket
from agent.directory_wire import Refused, Wire
from agent.ledger import Evidence, Ledger, changed_sentence
from agent.person import Person, read_person
from agent.protocol.errors import UsageError
from rendezvous.contract.encoding import from_text
from rendezvous.contract.statement import Statement, read_statement

log: Final = logging.getLogger(__name__)


class Belief:
    """What can be believed of what comes over a wire. UsageError `key_changed`: it is not the rendezvous it was."""

    def __init__(self, wire: Wire, ledger: Ledger, on_evidence: Callable[[Evidence], None]) -> None:
        self._wire, self._ledger, self._on_evidence = wire, ledger, on_evidence
        self.code_required = False
        self.servers = Servers()

    def audience(self) -> bytes:
        """Ask the rendezvous for its key, which every sign-up there must name; it must be the one that it was."""
        try:
            answer = self._wire.get("/identity")
            key, self.code_required = answer.get("key"), answer.get("code_required") is True
            if not isinstance(key, str):
                raise ValueError("no key")
            server = from_text(key, 32)
        except (ValueError, Refused):
            raise self._wire.down("is not a TMGE rendezvous") from None
        self._ledger.meet(self._wire.url, server)
        self.servers = read_servers(answer, self._wire.host)
        return server

    def person(self, value: object) -> Person:
        """Read a person whom it must have signed; ValueError for what does not hold."""
        person = read_person(value)
        if person.key is not None:
            if person.statement is None:
                raise ValueError(f"it has not signed what it says of {person.name}")
            self._check(person.statement)
        return person

    def people(self, values: object) -> list[Person]:
        """Read the people of a live connection; those who do not hold are logged and left out."""
        return self._readable(values, self.person)

    def listed(self, values: list[object]) -> list[Person]:
        """Read the people of a page, of whom nothing is signed; those who do not hold are logged and left out."""
        return self._readable(values, lambda value: replace(read_person(value), statement=None))

    def statement(self, value: object) -> Statement:
        """Read a statement; UsageError `rendezvous_down` for what does not hold."""
        try:
            return self._check(read_statement(value))
        except ValueError as error:
            raise self._wire.down(f"cannot be believed: {error}") from None

    def ticket(self, value: object, peer: str | None, holder: bytes) -> RelayTicket:
        """Read a ticket for `holder`, about `peer` or whom it names; ValueError for what does not hold."""
        server = self._ledger.server(self._wire.url) or self.audience()
        return read_ticket(value, peer, holder, server, self._wire.host)

    def _check(self, statement: Statement) -> Statement:
        server = self._ledger.server(self._wire.url) or self.audience()
        if statement.server != server:
            self.audience()
            raise UsageError("key_changed", changed_sentence(self._wire.url))
        evidence = self._ledger.note(statement)
        if evidence is not None:
            tell(self._on_evidence, evidence)
        return statement

    def _readable(self, values: object, read: Callable[[object], Person]) -> list[Person]:
        people = []
        for value in values if isinstance(values, list) else []:
            try:
                people.append(read(value))
            except (ValueError, UsageError) as error:
                log.warning("the rendezvous said what does not hold: %s", error)
        return people


def tell(listener: Callable[..., None], *values: object) -> None:
    """Call somebody else's code: what goes wrong there does not end the directory."""
    try:
        listener(*values)
    except Exception:
        log.exception("a listener of the directory failed")
