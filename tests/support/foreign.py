"""Programs of other projects that tests need, by Debian's names: found on this machine, or unpacked
from Debian's packages into .run/foreign (nothing is installed, and root is not needed).
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / ".run" / "foreign"
PROGRAMS = ("usr/sbin", "usr/bin")


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and the environment that it finds its libraries in."""

    path: str
    environment: dict[str, str]


def program(name: str, *packages: str) -> Program:
    """Return a program; the test is skipped, with one sentence that says why, where there is none."""
    on_path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if on_path:
        return Program(on_path, dict(os.environ))
    folder = FOLDER / packages[0]
    if not (folder / "complete").exists():
        _unpack(folder, packages)
    found = next((folder / room / name for room in PROGRAMS if (folder / room / name).exists()), None)
    if found is None:
        pytest.skip(f"{packages[0]} holds no {name}.")
    libraries = sorted({str(path.parent) for path in folder.glob("usr/lib/**/*.so*")})
    return Program(str(found), os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)})


def _unpack(folder: Path, packages: tuple[str, ...]) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip(f"This system has no {packages[0]} and no apt-get: install {packages[0]} to run this test.")
    with _one_at_a_time(), contextlib.chdir(_empty(folder)):
        if (folder / "complete").exists():
            return
        said = _download(packages)
        if said:
            pytest.skip(f"{packages[0]} cannot be fetched: {said}.")
        for package in Path().glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, "."], check=True)
            package.unlink()
        Path("complete").touch()


def _download(packages: tuple[str, ...]) -> str | None:
    """Download packages into this folder; return why not, where that is so."""
    command = ["apt-get", "download", "-q", *packages]
    for refresh in (False, True):
        if refresh and os.geteuid() == 0:
            subprocess.run(["apt-get", "update", "-q"], capture_output=True)
        tried = subprocess.run(command, capture_output=True, text=True)
        if tried.returncode == 0:
            return None
    lines = re.findall(r"^E: (.*)", tried.stderr, re.M)
    return lines[0].rstrip(".") if lines else "apt-get failed"


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
