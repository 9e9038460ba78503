"""Which way each room may look, read from the imports; and how long a file may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 400
SOURCE = {".py", ".js", ".css", ".html", ".sh"}

# What would make the sans-IO core touch the world.
IMPURE = set(
    "socket ssl select selectors asyncio subprocess threading multiprocessing signal queue sched"
    " concurrent time datetime random secrets uuid logging os io pathlib shutil tempfile glob"
    " sqlite3 http urllib ctypes mmap fcntl resource platform getpass tkinter webbrowser".split()
)
UNPICKLERS = {"pickle", "cPickle", "dill", "shelve", "marshal", "cloudpickle"}
AGENT_ROOT = {"agent.app", "agent.__main__"}
PUMPS = "node text_link directory images library history database identity".split()
MAY_SPEAK_REDIS = {"rendezvous.redis_client", "rendezvous.redis_line"}
# What runs in a child process shares values with the agent, and no code that patches, serves or stores.
NEARBY_MAY_SEE = ("agent.nearby", "agent.protocol.card", "rendezvous.contract")
MAY_PATCH = {"agent.__main__", "agent.node", "rendezvous.__main__", "rendezvous.serving"}


@dataclass(frozen=True, slots=True)
class Import:
    """One import: who looks, and at what (dotted; for `from a import b`, a.b)."""

    by: str
    of: str
    line: int


def imports_of(module: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Yield every import in a module, those inside functions and TYPE_CHECKING too."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield Import(module, f"{base}.{alias.name}", node.lineno)


def within(name: str, *rooms: str) -> bool:
    """Tell whether a dotted name is one of these, or inside one."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def objection(found: Import) -> str | None:
    """Say why an import is not allowed, or None if it is."""
    by, of = found.by, found.of
    top = of.split(".")[0]
    standard = top in sys.stdlib_module_names
    if top in UNPICKLERS:
        return "nothing is ever unpickled"
    if top == "eventlet" and by not in MAY_PATCH:
        return "eventlet belongs to the entry points, to agent.node and to rendezvous.serving"
    if within(by, "agent.nearby"):
        return None if standard or within(of, "ifaddr", "zeroconf", *NEARBY_MAY_SEE) else "the child knows no agent"
    if within(of, "agent.nearby") and within(by, "agent") and not within(of, "agent.nearby.lines"):
        return "what speaks with routers and the LAN runs in a process of its own"
    if within(by, "rendezvous") and within(of, "agent"):
        return "the rendezvous does not know the agent"
    if within(by, "agent") and within(of, "rendezvous") and not within(of, "rendezvous.contract"):
        return "the agent and the rendezvous share the contract alone"
    if within(by, "rendezvous.contract"):
        return _core_objection(of, standard, top, "rendezvous.contract")
    if within(by, "agent.protocol"):
        return _core_objection(of, standard, top, "agent.protocol", "rendezvous.contract")
    if within(of, "agent.metadata") and not within(by, "agent.metadata", "agent.image_worker"):
        return "the bytes of a picture are read in the child process alone"
    if within(by, "rendezvous") and top == "redis" and by not in MAY_SPEAK_REDIS:
        return "only the client of Redis imports redis"
    if within(by, "agent.page") and within(of, *(f"agent.{name}" for name in PUMPS)):
        return "the page is given what it needs; it imports no pump and no store"
    if within(of, *AGENT_ROOT) and by != "agent.__main__":
        return "nobody looks up at the composition root"
    return None


def _core_objection(of: str, standard: bool, top: str, *rooms: str) -> str | None:
    if within(of, "cryptography", *rooms):
        return None
    if not standard:
        return "the core knows the standard library, cryptography and the contract"
    if top in IMPURE:
        return "the core has no socket, clock, file, thread, log or chance of its own"
    return None


def modules() -> list[Path]:
    """List the Python files of both programs."""
    return [path for room in ("agent", "rendezvous") for path in sorted((ROOT / room).rglob("*.py"))]


def source_files() -> list[Path]:
    """List the files that people write: what git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def dotted(path: Path) -> str:
    """Return a file's module name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_room_looks_where_it_may_not() -> None:
    wrong = []
    for path in modules():
        text = path.read_text(encoding="utf-8")
        for found in imports_of(dotted(path), text, path.name == "__init__.py"):
            why = objection(found)
            if why:
                wrong.append(f"{path.relative_to(ROOT)}:{found.line} imports {found.of}: {why}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("agent.protocol.session", "import socket"),
        ("agent.protocol.session", "from time import monotonic"),
        ("agent.protocol.session", "import eventlet"),
        ("agent.protocol.session", "from agent.node import Node"),
        ("agent.protocol.session", "from ..library import Library"),
        ("agent.protocol.session", "from .. import node"),
        ("agent.protocol.session", "def later():\n    import random"),
        ("agent.protocol.session", "from rendezvous import store"),
        ("rendezvous.contract.names", "import flask"),
        ("rendezvous.contract.names", "import os.path"),
        ("rendezvous.routes", "import redis"),
        ("rendezvous.store", "import redis"),
        ("rendezvous.routes", "from agent.protocol.errors import UsageError"),
        ("rendezvous.app", "import eventlet.wsgi"),
        ("agent.directory", "from rendezvous.store import Store"),
        ("agent.page.routes", "from agent import library"),
        ("agent.page.events", "from ..node import Node"),
        ("agent.node", "from .app import Agent"),
        ("agent.history", "import pickle"),
        ("agent.nearby.lan", "from agent.node import Node"),
        ("agent.neighbourhood", "from agent.nearby.lan import Lan"),
        ("agent.images", "from agent import metadata"),
    ],
)
def test_a_wrong_arrow_is_caught(module: str, line: str) -> None:
    assert any(objection(found) for found in imports_of(module, line))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("agent.protocol.session", "from .packet import Packet"),
        ("agent.protocol.session", "from rendezvous.contract.names import fingerprint"),
        ("agent.protocol.keys", "from cryptography.hazmat.primitives.ciphers.aead import AESGCM"),
        ("agent.protocol.session", "import struct"),
        ("rendezvous.redis_line", "import redis"),
        ("rendezvous.__main__", "import eventlet"),
        ("agent.__main__", "from agent.app import build"),
        ("agent.app", "from agent.node import Node"),
        ("agent.nearby.lan", "import zeroconf"),
        ("agent.neighbourhood", "from agent.nearby.lines import Wish"),
        ("agent.image_worker", "from agent.metadata import Survey"),
        ("agent.page.routes", "from agent.protocol.errors import UsageError"),
    ],
)
def test_a_right_arrow_is_left_alone(module: str, line: str) -> None:
    assert not [objection(found) for found in imports_of(module, line) if objection(found)]


def test_no_file_is_longer_than_it_should_be() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in source_files()
        if path.suffix in SOURCE or path.name in ("run", "lab")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert not long, f"find the seam of: {long}"


def test_nothing_is_left_open_or_done_the_dangerous_way() -> None:
    dangerous = re.compile(
        r"\bTO" r"DO\b|\bFIX" r"ME\b|inner" r"HTML|debug\s*=\s*Tr" r"ue"
        r"""|cors_allowed_origins\s*=\s*["']\*|except:\s*pa""" r"ss|[^_.\w]ev" r"al\("
    )  # fmt: skip
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in source_files()
        if path.suffix in SOURCE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if dangerous.search(line)
    ]
    assert not found, "\n".join(found)
