"""What a sign-up must hold: each thing that can be wrong with it, and what is said about it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous import signup
from rendezvous.answers import Refused
from rendezvous.contract.encoding import to_text
from rendezvous.contract.identity import signup_message
from rendezvous.people import Claim
from tests.support.live_rendezvous import Someone

ALICE, MALLORY = Someone(1), Someone(2)
SERVER = b"S" * 32
NOW = 1_800_000_000


def read(body: bytes) -> Claim:
    return signup.read(body, "192.0.2.1", SERVER, NOW)


def signed(**changes: object) -> dict[str, object]:
    return ALICE.signup("alice", to_text(SERVER), **({"time": NOW} | changes))


def refusal(body: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        read(body)
    return caught.value


def test_a_sign_up_that_nobody_signed_is_refused_and_told_why() -> None:
    refused = refusal(b'{"username": "Zo\\u0065\xcc\x88", "port": 5001, "ip": "10.0.0.1", "x": [1.5]}')
    assert (refused.status, refused.code) == (401, "unsigned")
    assert "must be signed" in refused.message


def test_a_signed_sign_up_binds_the_name_to_the_key() -> None:
    claim = read(json.dumps(signed(seq=7, ip="10.0.0.1")).encode())
    assert (claim.key, claim.box_key, claim.seq) == (ALICE.key, ALICE.box_key, 7)
    assert claim.host == "192.0.2.1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"alice"',
        b"{",
        b"\xff",
        b"[" * 9000,
        b'{"username":"alice","port":5001}{}',
        b'{"username":"alice","username":"bob","port":5001}',
        b'{"username":"alice","port":NaN}',
        b'{"username":"alice","port":5001,"x":Infinity}',
        b'{"username":"alice","port":' + b"9" * 5000 + b"}",
        b'{"username":"alice"}',
        b'{"port":5001}',
    ],
)
def test_what_is_not_a_sign_up_at_all_is_refused(body: bytes) -> None:
    assert (refusal(body).status, refusal(body).code) == (400, "bad_request")


@pytest.mark.parametrize("port", [True, 0, -1, 65536, 5001.0, 1e400, "5001", None, [], {}])
def test_a_port_is_an_integer_that_a_port_can_be(port: object) -> None:
    body = json.dumps({"username": "alice", "port": port}).encode()
    assert refusal(body).code == "bad_request"


@pytest.mark.parametrize("name", [1, None, True, [], "", " ", "a ", "x" * 33, "a\u200b", "\ud800"])
def test_a_username_is_a_name(name: object) -> None:
    body = json.dumps({"username": name, "port": 5001}).encode()
    assert refusal(body).code == "bad_request"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"key": None}, 400, "bad_request"),
        ({"seq": None}, 400, "bad_request"),
        ({"audience": None}, 400, "bad_request"),
        ({"time": None}, 400, "bad_request"),
        ({"key": "short"}, 400, "bad_request"),
        ({"key": to_text(ALICE.key) + "="}, 400, "bad_request"),
        ({"key": 5}, 400, "bad_request"),
        ({"box_key": to_text(b"x" * 31)}, 400, "bad_request"),
        ({"seq": 0}, 400, "bad_request"),
        ({"seq": True}, 400, "bad_request"),
        ({"seq": 1.0}, 400, "bad_request"),
        ({"seq": 2**53}, 400, "bad_request"),
        ({"time": "now"}, 400, "bad_request"),
        ({"time": float(NOW)}, 400, "bad_request"),
        ({"key": to_text(MALLORY.key)}, 401, "bad_signature"),
        ({"box_key": to_text(MALLORY.box_key)}, 401, "bad_signature"),
        ({"box_signature": to_text(ALICE.box_signature("bob"))}, 401, "bad_signature"),
        ({"audience": to_text(b"T" * 32)}, 400, "wrong_audience"),
        ({"time": NOW - 601}, 400, "wrong_time"),
        ({"time": NOW + 3600}, 400, "wrong_time"),
        ({"visibility": "secret"}, 400, "bad_request"),
        ({"visibility": 1}, 400, "bad_request"),
        ({"visibility": []}, 400, "bad_request"),
    ],
)
def test_each_thing_that_is_wrong_with_a_signed_sign_up_has_its_answer(
    changes: dict[str, object], status: int, code: str
) -> None:
    refused = refusal(json.dumps(signed(**changes)).encode())
    assert (refused.status, refused.code) == (status, code)
    assert refused.message.endswith(".")


@pytest.mark.parametrize("seconds", [-599, 599])
def test_a_clock_may_be_off_by_less_than_ten_minutes(seconds: int) -> None:
    assert read(json.dumps(signed(time=NOW + seconds)).encode()).name == "alice"


def test_a_clock_that_is_off_is_told_by_how_much() -> None:
    message = refusal(json.dumps(signed(time=NOW + 3600)).encode()).message
    assert message == "The clock of the signer is 60 minutes ahead."


@pytest.mark.parametrize("field", ["username", "port", "seq", "time", "audience", "extra"])
def test_nothing_can_be_changed_after_signing(field: str) -> None:
    fields: dict[str, Any] = signed(extra="said")
    other: dict[str, object] = {"username": "bob", "port": 1, "seq": 99, "time": NOW + 1}
    fields[field] = other.get(field, to_text(b"U" * 32))
    assert refusal(json.dumps(fields).encode()).code == "bad_signature"


def test_a_signature_by_someone_else_is_refused() -> None:
    fields = signed()
    fields["signature"] = to_text(MALLORY.sign(signup_message(fields)))
    assert refusal(json.dumps(fields).encode()).status == 401


def test_text_that_is_not_unicode_cannot_be_signed() -> None:
    fields = signed() | {"extra": "\ud800"}
    assert refusal(json.dumps(fields).encode()).code == "bad_request"


@given(st.binary(max_size=300))
def test_no_bytes_upset_the_reader(noise: bytes) -> None:
    for body in (noise, b'{"username":"alice","port":5001,' + noise + b"}"):
        try:
            read(body)
        except Refused as refused:
            assert refused.status == 400  # noqa: PT017


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.sampled_from([*signed(), "username"]), JSON)
def test_no_value_in_any_field_upsets_the_reader(field: str, value: object) -> None:
    fields = signed() | {field: value}
    try:
        read(json.dumps(fields).encode())
    except Refused as refused:
        assert refused.status in (400, 401)  # noqa: PT017


def farewell(**changes: object) -> bytes:
    return json.dumps(ALICE.forget("alice", to_text(SERVER), **({"time": NOW} | changes))).encode()


def test_a_signed_wish_to_be_forgotten_is_read() -> None:
    read = signup.read_farewell(farewell(seq=9), SERVER, NOW)
    assert (read.name, read.key, read.seq) == ("alice", ALICE.key, 9)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"key": None}, 400, "bad_request"),
        ({"seq": 0}, 400, "bad_request"),
        ({"username": "a "}, 400, "bad_request"),
        ({"key": to_text(MALLORY.key)}, 401, "bad_signature"),
        ({"audience": to_text(b"T" * 32)}, 400, "wrong_audience"),
        ({"time": NOW - 3600}, 400, "wrong_time"),
    ],
)
def test_a_wish_to_be_forgotten_is_as_strict_as_a_sign_up(changes: dict[str, object], status: int, code: str) -> None:
    with pytest.raises(Refused) as caught:
        signup.read_farewell(farewell(**changes), SERVER, NOW)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_a_sign_up_is_no_wish_to_be_forgotten() -> None:
    with pytest.raises(Refused) as caught:
        signup.read_farewell(json.dumps(signed()).encode(), SERVER, NOW)
    assert (caught.value.status, caught.value.code) == (401, "bad_signature")
