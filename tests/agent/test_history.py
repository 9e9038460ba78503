"""What happened is kept in order, whom one knows stays pinned, and counters never go back."""

import json
import multiprocessing
import os
import signal
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.history import Contact, DamagedHistory, History
from agent.protocol.errors import UsageError

KEY, OTHER_KEY, BOX_KEY, SIGNATURE = b"k" * 32, b"o" * 32, b"b" * 32, b"s" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    opened = History(path)
    yield opened
    opened.close()


def entry(number: int, peer: str = "bob", phase: str = "waiting", **more: Any) -> dict[str, Any]:
    return {
        "request": f"{number:032x}",
        "kind": "quote",
        "verb": "ask",
        "direction": "in",
        "peer": peer,
        "phase": phase,
        "wish": "something about the sea",
        "created_at": 1_700_000_000 + number,
        "expires_at": 1_700_000_300 + number,
    } | more


def test_a_request_is_kept_as_it_last_was(history: History) -> None:
    first = entry(1)
    history.save_request(first | {"progress": {"bytes": 1}})
    assert history.request(first["request"]) == first
    assert history.open_requests() == [first]
    done = first | {"phase": "done", "quote": {"text": "نه", "author": "A"}}
    history.save_request(done)
    assert history.request(first["request"]) == done
    assert history.open_requests() == []
    assert history.request("0" * 32) is None


def test_the_timeline_is_in_the_order_in_which_requests_began(history: History) -> None:
    for number in (1, 2, 3):
        history.save_request(entry(number))
    history.save_request(entry(1, phase="done"))
    assert [kept["request"] for kept in history.recent()] == [entry(number)["request"] for number in (3, 2, 1)]
    assert len(history.recent(2)) == 2


def test_pages_of_a_timeline_join_without_gap_or_overlap_while_more_is_added(history: History) -> None:
    for number in range(25):
        history.save_request(entry(number, "bob" if number % 2 else "eve"))
    seen, before = [], None
    while True:
        page, before = history.timeline("bob", before, limit=5)
        seen += [kept["created_at"] - 1_700_000_000 for kept in page]
        history.save_request(entry(100 + len(seen)))
        if before is None:
            break
    assert seen == list(range(23, 0, -2))


def test_a_page_has_at_least_one_entry_and_else_stays_below_its_bytes(history: History) -> None:
    for number in range(4):
        history.save_request(entry(number, phase="done", quote={"text": "é" * 1000, "author": "A"}))
    page, before = history.timeline(max_bytes=5000)
    assert len(page) == 2
    assert before is not None
    page, before = history.timeline(before=before, max_bytes=10)
    assert len(page) == 1
    assert before is not None
    page, before = history.timeline(before=before)
    assert len(page) == 1
    assert before is None
    assert history.timeline("nobody") == ([], None)


def test_long_texts_are_cut_only_where_asked(history: History) -> None:
    long = entry(1, phase="done", quote={"text": "a" * 3000, "author": "A"})
    history.save_request(long)
    assert history.recent(cut=1000)[0]["quote"] == {"text": "a" * 1000, "author": "A", "cut": True}
    assert history.recent()[0] == history.timeline()[0][0] == long


def test_what_was_open_gets_its_last_word_once(history: History) -> None:
    history.save_request(entry(1, phase="done"))
    history.save_request(entry(2))
    history.save_request(entry(3, phase="transferring"))
    closed = history.close_open("The agent was stopped.", "unreachable")
    assert [(kept["request"][-1], kept["phase"], kept["reason"]) for kept in closed] == [
        ("2", "unreachable", "The agent was stopped."),
        ("3", "unreachable", "The agent was stopped."),
    ]
    assert history.request(entry(3)["request"]) == closed[1]
    assert history.open_requests() == history.close_open("again") == []
    with pytest.raises(ValueError, match="last word"):
        history.close_open("x", "waiting")


def test_a_pin_is_kept_and_another_key_changes_nothing(history: History) -> None:
    history.pin("bob", KEY, BOX_KEY, SIGNATURE, 5.0)
    history.pin("bob", KEY, b"c" * 32, SIGNATURE, 6.0)
    pinned = history.contact("bob")
    assert pinned is not None
    assert (pinned.key, pinned.box_key, pinned.connected, pinned.last_seen) == (KEY, b"c" * 32, True, 6.0)
    history.check_pin("bob", KEY)
    history.check_pin("eve", OTHER_KEY)
    with pytest.raises(UsageError) as refused:
        history.pin("bob", OTHER_KEY, BOX_KEY, SIGNATURE, 7.0)
    assert refused.value.code == "key_changed"
    assert history.contact("bob") == pinned
    assert history.contact("eve") is None


def test_a_decision_for_another_key_begins_from_nothing(history: History) -> None:
    history.pin("bob", KEY, BOX_KEY, SIGNATURE, 5.0)
    history.set_verified("bob", True)
    history.take_handshake_counter("bob", 7)
    history.note_other_key("bob", OTHER_KEY)
    pinned = history.contact("bob")
    assert pinned is not None
    assert (pinned.key, pinned.verified, pinned.other_key, pinned.other_refused) == (KEY, True, OTHER_KEY, False)
    history.replace_pin("bob", OTHER_KEY, b"c" * 32, b"t" * 64)
    assert history.contact("bob") == Contact(
        "bob", OTHER_KEY, b"c" * 32, b"t" * 64, False, None, -1, verified=False, other_key=None, other_refused=False
    )


def test_where_a_contact_was_reached_is_kept_until_the_connection_ends(path: Path) -> None:
    history = History(path)
    history.pin("bob", KEY, BOX_KEY, SIGNATURE, 5.0)
    for number in (1, 2, 3, 4, 5, 3):
        history.reached("bob", ("192.0.2.1", number))
    history.reached("nobody", ("192.0.2.9", 9))
    history.close()
    history = History(path)
    known = history.contact("bob")
    assert known is not None
    assert known.addresses == tuple(("192.0.2.1", number) for number in (3, 5, 4, 2))
    history.set_connected("bob", False)
    history.reached("bob", ("192.0.2.1", 6))
    assert [one.addresses for one in history.contacts()] == [()]
    history.close()


def test_a_decision_against_another_key_holds_until_there_is_yet_another(history: History) -> None:
    history.pin("bob", KEY, BOX_KEY, SIGNATURE, 5.0)
    history.refuse_other_key("bob")
    history.note_other_key("bob", OTHER_KEY)
    history.refuse_other_key("bob")
    refused = [(one.other_key, one.other_refused) for one in history.contacts()]
    history.note_other_key("bob", b"y" * 32)
    yet_another = [(one.other_key, one.other_refused) for one in history.contacts()]
    assert [*refused, *yet_another] == [(OTHER_KEY, True), (b"y" * 32, False)]


def test_contacts_of_an_older_file_are_kept_and_not_compared(path: Path) -> None:
    history = History(path)
    history.pin("bob", KEY, BOX_KEY, SIGNATURE, 5.0)
    history.close()
    with sqlite3.connect(path) as older:
        for column in ("verified", "other_key", "other_refused", "addresses"):
            older.execute(f"ALTER TABLE contacts DROP COLUMN {column}")
        older.execute("PRAGMA user_version = 1")
    older.close()
    history = History(path)
    kept = history.contact("bob")
    assert kept is not None
    assert (kept.key, kept.connected, kept.verified, kept.other_key) == (KEY, True, False, None)
    history.close()


def test_whoever_is_disconnected_stays_pinned(history: History) -> None:
    history.pin("zoe", KEY, BOX_KEY, SIGNATURE, 5.0)
    history.pin("bob", OTHER_KEY, BOX_KEY, SIGNATURE, 5.0)
    history.set_connected("zoe", False)
    history.seen("zoe", 9)
    assert [(one.name, one.connected, one.last_seen) for one in history.contacts()] == [
        ("bob", True, 5.0),
        ("zoe", False, 9.0),
    ]


def test_a_handshake_counter_is_taken_once_and_only_upwards(history: History) -> None:
    history.pin("bob", KEY, BOX_KEY, SIGNATURE, 5.0)
    taken = [history.take_handshake_counter("bob", counter) for counter in (0, 0, 7, 3, 7, 8)]
    assert taken == [True, False, True, False, False, True]
    assert not history.take_handshake_counter("stranger", 1)


def test_settings_are_any_json_value(history: History) -> None:
    assert history.setting("port", 7) == 7
    history.set_setting("port", 8)
    history.set_setting("who", {"name": "ب", "yes": True})
    assert history.setting("port") == 8
    assert history.setting("who") == {"name": "ب", "yes": True}


def test_counters_go_on_after_a_restart(path: Path) -> None:
    history = History(path)
    assert [history.next_seq(), history.next_seq(), history.next_epoch()] == [1, 2, 1]
    history.close()
    history = History(path)
    assert [history.next_seq(), history.next_epoch()] == [3, 2]
    history.close()


def count_and_die(path: Path) -> None:
    """Change things in every way, say so, and be killed with the file open."""
    history = History(path)
    history.save_request(entry(history.next_seq()))
    history.pin("bob", KEY, BOX_KEY, SIGNATURE, 5.0)
    os.kill(os.getpid(), signal.SIGKILL)


def test_nothing_that_was_said_is_lost_to_a_kill(path: Path) -> None:
    for number in (1, 2, 3):
        child = multiprocessing.get_context("spawn").Process(target=count_and_die, args=(path,))
        child.start()
        child.join()
        assert child.exitcode == -9
        history = History(path)
        assert len(history.recent()) == number
        assert history.contact("bob") is not None
        history.close()


def test_the_files_are_for_their_owner_alone(history: History, path: Path) -> None:
    history.set_setting("a", 1)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["history.db", "history.db-wal", "history.db-shm"], 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", ["no database", "torn pages", "newer"])
def test_a_file_that_cannot_be_understood_is_left_as_it_is(path: Path, damage: str) -> None:
    history = History(path)
    for number in range(200):
        history.save_request(entry(number, wish="x" * 500))
    history.close()
    if damage == "newer":
        with sqlite3.connect(path) as newer:
            newer.execute("PRAGMA user_version = 99")
        newer.close()
    elif damage == "no database":
        path.write_bytes(b"not a database, but a diary\n" * 500)
    else:
        data = bytearray(path.read_bytes())
        data[8192 : len(data) - 4096] = b"\xa5" * (len(data) - 4096 - 8192)
        path.write_bytes(data)
    before = path.read_bytes()
    with pytest.raises(DamagedHistory, match=str(path)) as found:
        History(path)
    assert str(found.value).endswith(".")
    assert path.read_bytes() == before


def test_a_full_disk_is_said_in_a_sentence_and_nothing_is_half_done(history: History) -> None:
    history.save_request(entry(1))
    history._db._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(UsageError, match="disk is full") as full:
        fill(history)
    assert full.value.code == "limit"
    history._db._connection.execute("PRAGMA max_page_count = 1000000")
    kept = len(history.recent(1000))
    history.save_request(entry(1000))
    assert len(history.recent(1000)) == kept + 1


def fill(history: History) -> None:
    for number in range(2, 500):
        history.save_request(entry(number, wish="x" * 500))


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used") as refused:
        History(tmp_path / "file" / "history.db")
    assert refused.value.code == "limit"


def test_what_cannot_be_stored_is_a_bad_request(history: History) -> None:
    with pytest.raises(UsageError) as refused:
        history.save_request(entry(1, wish="\ud800"))
    assert refused.value.code == "bad_request"
    with pytest.raises(UsageError):
        history.timeline(before=2**70)
    assert history.recent() == []


def test_a_call_after_the_end_is_said_in_a_sentence(path: Path) -> None:
    history = History(path)
    history.close()
    history.close()
    with pytest.raises(UsageError, match="stopping"):
        history.save_request(entry(1))
    with pytest.raises(UsageError, match="stopping"):
        history.recent()


def test_an_entry_is_plain_json_on_disk(history: History, path: Path) -> None:
    history.save_request(entry(1))
    with sqlite3.connect(path) as reader:
        (text,) = reader.execute("SELECT entry FROM requests").fetchone()
    reader.close()
    assert json.loads(text) == entry(1)
