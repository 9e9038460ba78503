"""Write the requirements files from pyproject.toml: exact versions and hashes, no registry named.

Run by `./run pin`. Needs uv, on the PATH or in .venv.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from vendor import NODE_REQUIREMENT

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = [
    "--generate-hashes",
    "--universal",
    "--python-version",
    "3.11",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-header",
    "--no-annotate",
    "--quiet",
    "--upgrade",
]


def main() -> int:
    """Compile each file; return the exit status."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        print("Pinning needs uv: run `.venv/bin/pip install uv`.", file=sys.stderr)
        return 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    build = "\n".join(project["build-system"]["requires"])
    compile_one = [uv, "pip", "compile", *OPTIONS]
    for source, arguments, target in (
        ("", ["pyproject.toml"], "requirements.txt"),
        ("", ["pyproject.toml", "--group", "dev"], "requirements-dev.txt"),
        (build, ["-"], "requirements-build.txt"),
        (NODE_REQUIREMENT, ["-"], "requirements-npm.txt"),
    ):
        command = [*compile_one, *arguments, "--output-file", target]
        code = subprocess.run(command, cwd=ROOT, input=source, text=True).returncode
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
