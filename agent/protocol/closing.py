"""Why a session ended, on the wire and in words."""

from enum import Enum
from typing import Final


class CloseCode(Enum):
    """Why a session ended, as it stands in a CLOSE frame."""

    DONE = 0  # nothing more to say
    LEAVING = 1  # the agent stops
    BROKEN = 2  # the peer broke the protocol
    LOST = 3  # never sent: the peer fell silent
    REPLACED = 4  # never sent: the peer began a new session

    def sentence(self, name: str) -> str:
        """Say to a person what became of the session with `name`."""
        return _ENDED[self].format(name=name)


_ENDED: Final = {
    CloseCode.DONE: "The session was closed.",
    CloseCode.LEAVING: "{name} went offline.",
    CloseCode.BROKEN: "{name}'s agent did not understand this one.",
    CloseCode.LOST: "{name} does not answer any more.",
    CloseCode.REPLACED: "{name}'s agent was started anew.",
}
