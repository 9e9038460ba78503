"""What the rendezvous says, as JSON values: people and errors. Used by `routes.py` and
`events.py`.
"""

from rendezvous.contract.encoding import to_text
from rendezvous.store import Person


class Refused(Exception):
    """A call that is not carried out: an HTTP status, a code for programs, a sentence for
    people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def error(code: str, message: str) -> dict[str, object]:
    """Return an error as every answer carries it."""
    return {"error": {"code": code, "message": message}}


def entry(person: Person) -> dict[str, object]:
    """Return what a page of the list says of one person."""
    return {
        "username": person.name,
        "key": _bytes(person.key),
        "online": person.online,
        "last_seen": person.last_seen,
    }


def card(person: Person) -> dict[str, object]:
    """Return everything that anyone may know of one person. Bytes that were never given are
    null.
    """
    return entry(person) | {
        "box_key": _bytes(person.box_key),
        "box_signature": _bytes(person.box_signature),
        "seq": person.seq,
        "host": person.host,
        "port": person.port,
    }


def _bytes(data: bytes) -> str | None:
    return to_text(data) if data else None
