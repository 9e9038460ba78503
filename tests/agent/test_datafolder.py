"""The data folder: private, locked, chosen by the port, and every refusal of the disk a sentence."""

import errno
import os
import stat
from pathlib import Path

import pytest

from agent.datafolder import DataFolder, default_folder, other_person, read_private, write_private
from agent.settings import StartError


def refusal(path: Path) -> str:
    """Say why this folder cannot be used."""
    with pytest.raises(StartError) as refused:
        DataFolder(path)
    said = str(refused.value)
    assert said.endswith(".")
    assert "\n" not in said
    return said


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    DataFolder(tmp_path / "a" / "b").close()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_an_open_folder_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o777)
    DataFolder(tmp_path / "open").close()
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_a_folder_has_one_agent_at_a_time(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    assert "Another agent is using" in refusal(tmp_path)
    first.close()
    DataFolder(tmp_path).close()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir(mode=0o755)
    (photos / "a.jpg").touch()
    assert "holds files, but no identity.key" in refusal(photos)
    assert [path.name for path in photos.iterdir()] == ["a.jpg"]
    assert stat.S_IMODE(photos.stat().st_mode) == 0o755


def test_a_path_that_cannot_be_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "is not a folder" in refusal(tmp_path / "file")
    assert "is not a folder" in refusal(tmp_path / "file" / "below")
    assert "name another" in refusal(tmp_path / "loop")
    assert "name another" in refusal(Path("/proc/tmge"))
    assert "name another" in refusal(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "cannot be written"),
        (errno.EIO, "input/output error"),
    ],
)
def test_what_the_disk_refuses_is_a_sentence_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, "Input/output error")

    write_private(tmp_path / "kept", b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StartError, match=words):
        write_private(tmp_path / "kept", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert read_private(tmp_path / "kept") == b"old"


def test_what_a_crash_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    write_private(tmp_path / "identity.key", b"x")
    (tmp_path / ".new-token-12345678").write_bytes(b"half")
    DataFolder(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["identity.key", "lock"]


def test_the_peer_port_is_remembered(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.peer_port() is None
    folder.remember_peer_port(12345)
    assert folder.peer_port() == 12345
    for garbage in (b"", b"x", b"0", b"70000", b"\xff", "٣".encode(), b"9" * 5000):
        write_private(tmp_path / "peer-port", garbage)
        assert folder.peer_port() is None
    folder.close()


def test_the_address_of_the_page_comes_and_goes(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.withdraw_page_url()
    folder.publish_page_url("http://localhost:1/?token=x")
    assert (tmp_path / "page-url").read_text() == "http://localhost:1/?token=x\n"
    assert stat.S_IMODE((tmp_path / "page-url").stat().st_mode) == 0o600
    folder.withdraw_page_url()
    assert not (tmp_path / "page-url").exists()
    folder.close()


def test_each_port_has_a_folder_and_a_new_person_hears_how_to_be_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder(5050) != default_folder(5051)
    assert other_person(5050) is None
    for port in (5050, 5060):
        default_folder(port).mkdir(parents=True)
        write_private(default_folder(port) / "identity.key", b"x")
    said = other_person(5051)
    assert said is not None
    assert "This is a new person" in said
    assert "--port 5050 or" in said
    assert str(default_folder(5050)) in said
    assert other_person(5060) is not None
