"""The commands `agent backup FILE` and `agent restore FILE`. The passphrase is typed, or read from standard input: it
never stands in arguments or the environment. Used by the entry point.
"""

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.backup import LARGEST, make_backup, restore_backup
from agent.datafolder import write_private
from agent.local_client import folder_of
from agent.settings import DEFAULT_PAGE_PORT, Parser, StartError, port_number


def main(arguments: Sequence[str]) -> int:
    """Write or read a backup; return the exit status."""
    parser = Parser(prog=f"agent {arguments[0]}", allow_abbrev=False, description=_WHAT[arguments[0]])
    add = parser.add_argument
    add("file", type=Path, metavar="FILE")
    add("--port", type=port_number, default=DEFAULT_PAGE_PORT, metavar="N", help="the page's port (5050)")
    add("--data", type=Path, metavar="DIR", help="data folder (one for each page port)")
    given = parser.parse_args(arguments[1:])
    folder = folder_of(given.port, given.data)
    try:
        print(_back_up(given, folder) if arguments[0] == "backup" else _restore(given, folder))
    except (StartError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


_WHAT = {
    "backup": "Write keys, contacts, settings and history into one file under a passphrase.",
    "restore": "Put a backup into an empty data folder: you are then the same person here.",
}


def _back_up(given: argparse.Namespace, folder: Path) -> str:
    if given.file.exists():
        raise StartError(f"{given.file} is there already: nothing was overwritten.")
    passphrase = _typed("A passphrase for the backup: ")
    if sys.stdin.isatty() and _typed("The same once more: ") != passphrase:
        raise StartError("These were two different passphrases: nothing was written.")
    write_private(given.file.absolute(), make_backup(folder, passphrase))
    return f"Written to {given.file}. Whoever has the file and the passphrase can be you: keep them apart."


def _restore(given: argparse.Namespace, folder: Path) -> str:
    if given.file.stat().st_size > LARGEST:
        raise StartError("This file is no backup of TMGE: nothing was changed.")
    restore_backup(given.file.read_bytes(), _typed("The passphrase of the backup: "), folder)
    return f"Restored into {folder}. Use it on one machine only: start the agent with --port or --data as now."


def _typed(question: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(question)
    return sys.stdin.readline().rstrip("\n")
