"""A person as the rendezvous describes one, read with suspicion. Used by `directory.py`; the value
goes to everyone.

The rendezvous is not trusted to be well-formed or honest: what cannot be checked by its form or by
its signature is not believed. That a key is the right one for a name is for the pins to say, and
for the person.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from rendezvous.contract import identity
from rendezvous.contract.encoding import from_text
from rendezvous.contract.names import canonical
from rendezvous.contract.statement import Statement, read_statement

_LATEST: Final = 2**53
_LONGEST_RELAY: Final = 300
_MOST_WORDS: Final = 12
_LONGEST_WORD: Final = 24

Words = dict[str, str | bool]


@dataclass(frozen=True, slots=True)
class Person:
    """Someone in the directory; None where it does not say. `last_seen` in Unix seconds.

    Where `box_key` is given, `key` has signed it for this name. A page of the list has neither `box_key` nor an address
    nor a `statement`, the rendezvous' signed word; where there is one, it is about the same keys, and its signature is
    still to be checked. Without a `key`: nobody, or nobody for us. There is a `host` for who is `direct` alone: has
    chosen that whoever sees them may see their address. `relay` is where their agent can be sent to, HOST:PORT;
    `same_network`: the rendezvous sees them at our own address. `lan`: announced in this local network; `unchecked`:
    only there, no rendezvous has said that the name is theirs.
    """

    name: str
    key: bytes | None
    box_key: bytes | None
    box_signature: bytes | None
    online: bool
    host: str | None
    port: int | None
    last_seen: int | None
    statement: Statement | None = None
    direct: bool = False
    relay: str | None = None
    reach: Words | None = None
    same_network: bool = False
    lan: bool = False
    unchecked: bool = False

    @property
    def fingerprint(self) -> str | None:
        """Name the key for people; None for someone who signed up without one."""
        return None if self.key is None else identity.fingerprint(self.key)


def read_person(value: object) -> Person:
    """Read one person from JSON; ValueError, with a sentence, for what does not hold."""
    if not isinstance(value, Mapping):
        raise ValueError("a person is not an object")
    name = value.get("username")
    if not isinstance(name, str) or canonical(name) != name:
        raise ValueError("a name is not in its canonical form")
    online = value.get("online")
    if not isinstance(online, bool):
        raise ValueError(f"{name} is neither online nor offline")
    key = _bytes(value, "key", 32)
    box_key = _bytes(value, "box_key", 32)
    box_signature = _bytes(value, "box_signature", 64)
    if box_key is not None:
        message = identity.box_message(name, box_key)
        if key is None or box_signature is None or not identity.verify(key, box_signature, message):
            raise ValueError(f"the keys that it gives for {name} are not signed by that person")
    return Person(
        name=name,
        key=key,
        box_key=box_key,
        box_signature=box_signature,
        online=online,
        host=_host(value),
        port=_integer(value, "port", 1, 65535),
        last_seen=_integer(value, "last_seen", 0, _LATEST),
        statement=_statement(value, name, key, box_key),
        direct=value.get("direct") is True,
        relay=_relay(value),
        reach=_reach(value.get("reach")),
        same_network=value.get("same_network") is True,
    )


def _statement(value: Mapping[object, object], name: str, key: bytes | None, box_key: bytes | None) -> Statement | None:
    given = value.get("statement")
    if given is None:
        return None
    statement = read_statement(given)
    if (statement.name, statement.key, statement.box_key, statement.released) != (name, key, box_key, False):
        raise ValueError(f"what it has signed about {name} is something else than what it says")
    return statement


def _relay(value: Mapping[object, object]) -> str | None:
    relay = value.get("relay")
    return relay if isinstance(relay, str) and 0 < len(relay) <= _LONGEST_RELAY and relay.isprintable() else None


def _reach(value: object) -> Words | None:
    """Read the words that an agent says of itself through the rendezvous; `forecast.py` knows what they mean."""
    if not isinstance(value, Mapping) or len(value) > _MOST_WORDS:
        return None
    return {str(name)[:_LONGEST_WORD]: word for name, word in value.items() if _is_word(word)}


def _is_word(word: object) -> bool:
    return isinstance(word, bool) or (isinstance(word, str) and word.isascii() and len(word) <= _LONGEST_WORD)


def _bytes(value: Mapping[object, object], field: str, length: int) -> bytes | None:
    text = value.get(field)
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(f"{field} is not a text")
    return from_text(text, length)


def _host(value: Mapping[object, object]) -> str | None:
    host = value.get("host")
    if host is None:
        return None
    if not isinstance(host, str):
        raise ValueError("host is not a text")
    return str(ip_address(host))


def _integer(value: Mapping[object, object], field: str, low: int, high: int) -> int | None:
    number = value.get(field)
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise ValueError(f"{field} is out of range")
    return number
