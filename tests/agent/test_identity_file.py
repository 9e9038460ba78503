"""The identity file: made once, kept private, and never replaced by a new person in silence."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.datafolder import IDENTITY_FILE
from agent.identity import load_or_make_identity
from agent.settings import StartError
from rendezvous.contract.identity import box_message, fingerprint


def refused(folder: Path) -> str:
    """Say why loading is refused; the folder must be as it was before."""
    before = {path.name: path.is_file() and path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StartError) as refusal:
        load_or_make_identity(folder)
    after = {path.name: path.is_file() and path.read_bytes() for path in folder.iterdir()}
    assert before == after
    return str(refusal.value)


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    made = load_or_make_identity(tmp_path)
    loaded = load_or_make_identity(tmp_path)
    assert (loaded.key, loaded.box_key) == (made.key, made.box_key)
    assert len(made.key) == len(made.box_key) == 32
    assert made.fingerprint == fingerprint(made.key)
    assert [path.name for path in tmp_path.iterdir()] == [IDENTITY_FILE]
    assert stat.S_IMODE((tmp_path / IDENTITY_FILE).stat().st_mode) == 0o600


def test_two_folders_are_two_people(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, other = (load_or_make_identity(tmp_path / name) for name in ("a", "b"))
    assert one.key != other.key
    assert one.box_key != other.box_key


def test_what_an_identity_signs_can_be_checked(tmp_path: Path) -> None:
    identity = load_or_make_identity(tmp_path)
    public = Ed25519PublicKey.from_public_bytes(identity.key)
    public.verify(identity.sign(b"data"), b"data")
    public.verify(identity.box_signature("alice"), box_message("alice", identity.box_key))


def test_the_private_keys_do_not_show_in_what_python_prints(tmp_path: Path) -> None:
    assert "Private" not in repr(load_or_make_identity(tmp_path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644])
def test_a_file_that_others_can_read_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    load_or_make_identity(tmp_path)
    (tmp_path / IDENTITY_FILE).chmod(mode)
    assert "chmod 600" in refused(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, b"")
    assert "is empty" in refused(tmp_path)


def test_every_shortened_file_is_refused(tmp_path: Path) -> None:
    load_or_make_identity(tmp_path)
    whole = (tmp_path / IDENTITY_FILE).read_bytes()
    for length in range(1, len(whole.rstrip())):
        write(tmp_path, whole[:length])
        assert "is damaged" in refused(tmp_path)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    made = load_or_make_identity(tmp_path)
    whole = (tmp_path / IDENTITY_FILE).read_bytes().rstrip()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 7
        write(tmp_path, bytes(changed))
        try:
            same = load_or_make_identity(tmp_path).key == made.key
        except StartError:
            continue
        assert same  # one kind of white space for another


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 100, b"tmge-identity-v1", b"\0" * 64, b"tmge-identity-v1 AAAA AAAA", b"x" * 100_000],
)
def test_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, data)
    assert "is damaged" in refused(tmp_path)


def test_a_missing_file_among_somebodys_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"years")
    assert "put identity.key back" in refused(tmp_path)


def test_a_link_to_nowhere_is_no_reason_for_a_new_person(tmp_path: Path) -> None:
    (tmp_path / IDENTITY_FILE).symlink_to(tmp_path / "elsewhere")
    assert "put identity.key back" in refused(tmp_path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / IDENTITY_FILE, 0o600)
    assert "is not a file" in refused(tmp_path)


def test_what_a_crash_left_is_no_data(tmp_path: Path) -> None:
    (tmp_path / ".new-identity.key-0").write_bytes(b"half")
    (tmp_path / "lock").touch()
    (tmp_path / "lost+found").mkdir()
    assert load_or_make_identity(tmp_path).key


def write(folder: Path, data: bytes) -> None:
    """Put these bytes into the identity file."""
    path = folder / IDENTITY_FILE
    path.write_bytes(data)
    path.chmod(0o600)
