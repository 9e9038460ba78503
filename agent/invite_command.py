"""The command `agent invite`: prints this person's invite link, and below it a QR code.

Reads the data folder of an agent, running or not, and changes nothing there. Used by the entry point.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import segno

from agent.datafolder import default_folder
from agent.identity import read_identity
from agent.invite import Invite
from agent.settings import DEFAULT_PAGE_PORT, StartError
from rendezvous.contract.identity import fingerprint

_NOBODY = "is not signed up anywhere yet: start the agent and choose a name first."


def main(arguments: Sequence[str]) -> int:
    """Print the link; return the exit status."""
    parser = argparse.ArgumentParser(prog="agent invite", description="Print a link that invites others to you.")
    parser.add_argument("--port", type=int, default=DEFAULT_PAGE_PORT, metavar="N", help="the page's port (5050)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder (one for each page port)")
    given = parser.parse_args(arguments)
    try:
        link = _link((given.data or default_folder(given.port)).absolute())
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    print(link)
    with contextlib.suppress(UnicodeEncodeError):  # where blocks cannot be written, the link is enough
        segno.make_qr(link, error="l").terminal(compact=True)
    return 0


def _link(folder: Path) -> str:
    identity = read_identity(folder)
    settings = _settings(folder / "history.db")
    name, rendezvous = settings.get("name"), settings.get("met_at")
    if identity is None or not name or not rendezvous:
        raise StartError(f"The person of {folder} {_NOBODY}")
    listed = settings.get("visibility", "listed") == "listed"
    look = b"" if listed else bytes.fromhex(settings.get("look", ""))
    return Invite(rendezvous, name, fingerprint(identity.key), look).link()


def _settings(path: Path) -> dict[str, Any]:
    """Read the settings in the history, without a lock: the agent may be running."""
    if not path.exists():
        return {}
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as history:
            return {name: json.loads(value) for name, value in history.execute("SELECT name, value FROM settings")}
    except sqlite3.Error as error:
        raise StartError(f"{path} cannot be read: {error}.") from None
