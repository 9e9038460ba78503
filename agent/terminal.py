"""The agent in a terminal: the same as on the page, in a text menu that offers what can be done now and nothing else.

A process of its own beside the agent (`agent --terminal` starts it), so that waiting for a key stops nothing; it speaks
the local contract as the page does, and ends with its input.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.local_client import LocalClient
from agent.menus import home
from agent.plain import in_one_line
from agent.prompt import Leave, Terminal
from agent.protocol.errors import UsageError
from agent.settings import StartError


def run(terminal: Terminal) -> None:
    """Offer the first menu until the person leaves or the agent stops."""
    with contextlib.suppress(Leave):
        while not terminal.client.closed and terminal.menu(*home(terminal), back="Stop the agent"):
            pass
    terminal.say("The agent has stopped." if terminal.client.closed else "Stopping.")


def main(arguments: Sequence[str]) -> int:
    """Run the menu for the agent of one data folder; return the exit status."""
    try:
        with LocalClient(Path(arguments[0])) as client:
            run(Terminal(client))
    except (StartError, UsageError) as error:
        print(in_one_line(str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
