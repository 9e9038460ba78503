"""What the rendezvous says, as JSON values: people and errors. Used by `routes.py` and `events.py`."""

from rendezvous.contract.encoding import to_text
from rendezvous.people import Person
from rendezvous.proxies import network_of


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
        "key": to_text(person.key),
        "online": person.online,
        "last_seen": person.last_seen,
    }


def card(person: Person, server: bytes, asker: str = "") -> dict[str, object]:
    """Return everything that may be known of one person, with the server's signed word on it, by whoever asks from an
    address.
    """
    where = {"host": person.host} if person.direct else {}
    return entry(person) | {
        "box_key": to_text(person.box_key),
        "box_signature": to_text(person.box_signature),
        "seq": person.seq,
        **where,
        "port": person.port,
        "direct": person.direct,
        "relay": person.relay or None,
        "reach": person.reach.as_json() if person.reach is not None else None,
        "same_network": same_network(person, asker),
        "statement": person.statement(server).as_json(),
    }


def same_network(person: Person, asker: str) -> bool:
    """Tell whether a person is here, and is seen from where the asker is: one address, or one /64 of IPv6. It is said
    of those alone whom everybody may find.
    """
    return bool(asker) and person.online and person.listed and network_of(person.host) == network_of(asker)


def gone(name: str) -> dict[str, object]:
    """Return what a watcher hears of somebody who is there no more, or not for them: no more than a name."""
    return {"username": name, "key": None, "online": False}
