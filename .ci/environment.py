"""The virtual environment in .venv: made once, and again when what it was made from changes.

Owns .venv and its stamps, and says what it does and how long it takes. Used by .ci/launch.py.
Standard library only: it runs before anything is installed.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = ROOT / ".run"
LOG = STATE / "setup.log"

# What each kind of environment is made from; `dev` holds all that `use` holds.
REQUIREMENTS = {"use": "requirements.txt", "dev": "requirements-dev.txt"}
BUILD = "requirements-build.txt"
NPM = "requirements-npm.txt"
SOURCES = ("pyproject.toml", BUILD)


class SetupError(Exception):
    """Something is missing; the message is one sentence with the command that cures it."""


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    print(line, flush=True)


def prepare(kind: str) -> None:
    """Make sure that .venv holds what `kind` (`use` or `dev`) needs; SetupError."""
    if _is_current(kind):
        return
    STATE.mkdir(exist_ok=True)
    with _one_at_a_time():
        if not _is_current(kind):
            _build(kind)


def _build(kind: str) -> None:
    began = time.monotonic()
    say("Setting up (once, and again when the requirements change); details go to .run/setup.log.")
    LOG.write_text("")
    if not _works(PYTHON):
        _make_venv()
    install = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    needed = [REQUIREMENTS[kind], BUILD]
    if kind == "dev" and shutil.which("npm") is None:
        needed.append(NPM)
    pinned = [word for name in needed for word in ("-r", name)]
    step(f"installing the packages of {', '.join(needed)}", [*install, "--require-hashes", *pinned])
    step(
        "linking this folder into .venv",
        [*install, "--no-deps", "--no-build-isolation", "--no-index", "-e", "."],
    )
    _stamp(kind).write_text(_fingerprint(kind))
    say(f"Set-up took {time.monotonic() - began:.1f} s.")


def _make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(f"Python {version} lacks venv: run `sudo apt install python3-venv`, then try again.")
    step("making .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])


def step(what: str, command: Sequence[str], hint: str = "") -> None:
    """Run one command with its output in the log; SetupError names the step and its last words."""
    print(f"  {what} … ", end="", flush=True)
    began = time.monotonic()
    with LOG.open("ab") as log:
        start = log.tell()
        code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
    if code == 0:
        say(f"{time.monotonic() - began:.1f} s")
        return
    say("failed")
    words = LOG.read_bytes()[start:].decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(words) if line.strip()), "no output")
    hint = hint or "Run the same command again once that is cured; .run/setup.log has the rest."
    raise SetupError(f"Set-up stopped while {what}: {last}\n{hint}")


def _works(python: Path) -> bool:
    """Tell whether a virtual environment's Python runs, is new enough and has pip."""
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([python, "-c", check], capture_output=True).returncode == 0
    except OSError:
        return False


def _stamp(kind: str) -> Path:
    return VENV / f".tmge-{kind}"


def _fingerprint(kind: str) -> str:
    """Digest what the environment depends on, this folder's own place included."""
    digest = hashlib.sha256(f"{ROOT}\n".encode())
    for name in (REQUIREMENTS[kind], *SOURCES):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _is_current(kind: str) -> bool:
    if not PYTHON.exists():
        return False
    kinds = ("use", "dev") if kind == "use" else ("dev",)
    for candidate in kinds:
        stamp = _stamp(candidate)
        if stamp.exists() and stamp.read_text() == _fingerprint(candidate):
            return True
    return False


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    with (STATE / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another ./run is setting up: waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
