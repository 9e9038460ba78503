"""What an agent does at a rendezvous, without the agent: sign up over HTTP, and hold a live connection."""

from typing import Any

import requests
import socketio

from tests.support.live_rendezvous import PATIENCE, Heard, Rendezvous, Someone


def audience_of(rendezvous: Rendezvous) -> str:
    """Return the rendezvous' own key, as sign-ups name it."""
    return str(requests.get(f"{rendezvous.url}/identity", timeout=PATIENCE).json()["key"])


def sign_up(rendezvous: Rendezvous, who: Someone, name: str, **changes: object) -> str:
    """Sign up over HTTP; return the session token."""
    body: Any = who.signup(name, audience_of(rendezvous), **changes)
    answer = requests.post(f"{rendezvous.url}/signup", json=body, timeout=PATIENCE)
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["token"])


class Agent:
    """A live connection, as an agent has it."""

    def __init__(self, rendezvous: Rendezvous, token: str, **options: Any) -> None:
        self.presence = Heard[dict[str, Any]]()
        self.introductions = Heard[dict[str, Any]]()
        self.tickets = Heard[dict[str, Any]]()
        self.ended = Heard[str]()
        self.client: Any = socketio.Client(reconnection=False, handle_sigint=False)
        self.client.on("presence", self.presence)
        self.client.on("introduction", self.introductions)
        self.client.on("ticket", self.tickets)
        self.client.on("disconnect", lambda *_: self.ended("ended"))
        options = {"auth": {"token": token}, "transports": ["websocket"]} | options
        self.client.connect(rendezvous.url, wait_timeout=PATIENCE, **options)

    def call(self, event: str, argument: object = None) -> Any:
        """Send an event; return its answer."""
        return self.client.call(event, argument, timeout=PATIENCE)

    def close(self) -> None:
        """Close the connection."""
        self.client.disconnect()
