"""A backup brings the same person back, and says plainly what it cannot do."""

import contextlib
import io
from pathlib import Path

import pytest

from agent import backup_command
from agent.backup import make_backup, restore_backup
from agent.history import History
from agent.identity import load_or_make_identity
from agent.settings import StartError

PASSPHRASE = "راز من، correct horse"


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """Make a data folder of somebody with a name, a contact and a history."""
    folder = tmp_path / "alice"
    folder.mkdir(mode=0o700)
    load_or_make_identity(folder)
    with contextlib.closing(History(folder / "history.db")) as history:
        history.set_setting("name", "alice")
        history.pin("bob", b"k" * 32, b"b" * 32, b"s" * 64, 1.0)
        assert [history.next_seq(), history.next_seq(), history.next_epoch()] == [1, 2, 1]
        entry = {"request": "0" * 32, "peer": "bob", "phase": "done", "kind": "quote", "created_at": 1.0}
        history.save_request(entry)
    return folder


def test_a_restored_person_has_the_same_key_name_contacts_and_history(person: Path, tmp_path: Path) -> None:
    data = make_backup(person, PASSPHRASE)
    restore_backup(data, PASSPHRASE, tmp_path / "new")
    assert load_or_make_identity(tmp_path / "new").key == load_or_make_identity(person).key
    with contextlib.closing(History(tmp_path / "new" / "history.db")) as history:
        assert history.setting("name") == "alice"
        assert [contact.name for contact in history.contacts()] == ["bob"]
        assert history.request("0" * 32) is not None


def test_the_counters_of_a_restored_person_are_ahead_of_all_that_the_original_will_use(
    person: Path, tmp_path: Path
) -> None:
    restore_backup(make_backup(person, PASSPHRASE), PASSPHRASE, tmp_path / "new")
    with contextlib.closing(History(tmp_path / "new" / "history.db")) as history:
        assert history.next_seq() > 1_000_000
        assert 1_000_000 < history.next_epoch() < 2**32


def test_a_backup_is_made_while_the_agent_writes(person: Path, tmp_path: Path) -> None:
    with contextlib.closing(History(person / "history.db")) as history:
        history.set_setting("late", "yes")
        data = make_backup(person, PASSPHRASE)
    restore_backup(data, PASSPHRASE, tmp_path / "new")
    with contextlib.closing(History(tmp_path / "new" / "history.db")) as history:
        assert history.setting("late") == "yes"


def test_nothing_of_a_backup_can_be_read_or_changed_without_the_passphrase(person: Path, tmp_path: Path) -> None:
    data = make_backup(person, PASSPHRASE)
    assert b"alice" not in data
    wrong = [(data, "another passphrase"), (data[:-1], PASSPHRASE), (data[:40], PASSPHRASE), (b"", PASSPHRASE)]
    wrong += [(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], PASSPHRASE) for at in (0, 20, len(data) - 1)]
    for bytes_, passphrase in wrong:
        with pytest.raises(StartError, match="nothing was changed"):
            restore_backup(bytes_, passphrase, tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_nobody_is_overwritten(person: Path, tmp_path: Path) -> None:
    data = make_backup(person, PASSPHRASE)
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    key = load_or_make_identity(other).key
    with pytest.raises(StartError, match="holds somebody's data already"):
        restore_backup(data, PASSPHRASE, other)
    assert load_or_make_identity(other).key == key


def test_the_commands_read_the_passphrase_from_standard_input_and_overwrite_no_file(
    person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str, passphrase: str = PASSPHRASE) -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(passphrase + "\n"))
        status = backup_command.main(words)
        said = capsys.readouterr()
        return status, said.out + said.err

    file = str(tmp_path / "alice.backup")
    assert run("backup", file, "--data", str(person), passphrase="short")[0] == 1
    assert run("backup", file, "--data", str(person))[0] == 0
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert run("backup", file, "--data", str(person)) == (1, f"{file} is there already: nothing was overwritten.\n")
    assert run("restore", file, "--data", str(tmp_path / "new"), passphrase="wrong one")[0] == 1
    assert run("restore", file, "--data", str(tmp_path / "new"))[0] == 0
    assert run("restore", str(tmp_path / "none"), "--data", str(tmp_path / "x"))[0] == 1
