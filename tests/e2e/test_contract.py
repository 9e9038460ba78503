"""The local contract between real agents, without a browser: what scripts may call, and what they are told."""

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import socketio

from tests.support.local_client import LocalClient, Refused, Value, clients, connect
from tests.support.pictures import picture, png
from tests.support.programs import Agent, Programs, Rendezvous, furnished

MIXED = "Σοφία — خِرَد — חכמה — 智慧 — बुद्धि — 👩‍🔬 e\u0301 <b>&amp;</b>\n"


@pytest.fixture(scope="module")
def agents(programs: Programs, rendezvous: Rendezvous) -> list[Agent]:
    return programs.agents(rendezvous.url, "Alice", "Bob", "Carol")


@pytest.fixture(scope="module")
def people(agents: list[Agent]) -> Iterator[list[LocalClient]]:
    with clients(*(agent.page_url for agent in agents)) as people:
        for client in people:
            client.until(lambda client=client: client.me, "a name")  # type: ignore[misc]
        connect(people[0], people[1])
        yield people


@pytest.fixture(scope="module", autouse=True)
def short_lived(people: list[LocalClient]) -> str:
    """A question of Alice's that Bob leaves alone for its 5 seconds, from before the first test on."""
    return people[0].ask("ask_quote", "Bob", lifetime=5)


@pytest.fixture
def alice(people: list[LocalClient]) -> LocalClient:
    """Connected with Bob."""
    return people[0]


@pytest.fixture
def bob(people: list[LocalClient]) -> LocalClient:
    return people[1]


@pytest.fixture
def carol(people: list[LocalClient]) -> LocalClient:
    """Connected with nobody, until a test changes that."""
    return people[2]


@pytest.fixture(scope="module")
def large() -> bytes:
    """A picture of 20 MB that nothing makes smaller."""
    data = picture("PNG", (2600, 2600), seed=20, compress_level=0)
    assert len(data) > 20_000_000
    return data


def test_a_picture_of_20_mb_arrives_as_it_left_and_its_progress_is_told_at_most_20_times_a_second(
    alice: LocalClient, bob: LocalClient, large: bytes
) -> None:
    digest = hashlib.sha256(large).hexdigest()
    added = bob.upload(large, "noise.png")
    assert added == {
        "item": digest[:32],
        "sha256": digest,
        "width": 2600,
        "height": 2600,
        "bytes": len(large),
        "stripped": False,
        "reveals": {},
    }

    request = alice.ask("ask_image", "Bob", wish="something large")
    bob.accept(request, item=added["item"])
    entry = alice.until_phase(request, "done")
    bob.until_phase(request, "done")

    facts: Value = {"width": 2600, "height": 2600, "format": "PNG", "bytes": len(large), "sha256": digest}
    facts["url"] = f"/media/{digest}"
    assert facts.items() <= entry["image"].items()
    told = alice.until_told("image", lambda value: value["request"] == request)
    assert {"request": request, "peer": "Bob", **facts}.items() <= told.items()
    status, headers, body = alice.get(facts["url"])
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert hashlib.sha256(body).hexdigest() == digest
    for side in (alice, bob):
        assert side.phases(request) == ["waiting", "accepted", "transferring", "done"]
        check_progress(side, request, len(large))


def check_progress(side: LocalClient, request: str, size: int) -> None:
    """See that each report is whole, goes forward, and that there are not more than the contract allows."""
    reports = [value for _, event, value in side.events if event == "image_progress" and value["request"] == request]
    times = side.times("image_progress", request)
    assert len(times) <= 20 * (times[-1] - times[0] + 1) if times else True
    assert all(set(report) >= {"request", "bytes", "total", "rate", "rtt", "loss", "path"} for report in reports)
    moved = [report["bytes"] for report in reports]
    assert moved == sorted(moved)
    assert all(report["total"] == size and report["path"] in ("relay-udp", "loopback") for report in reports)


def test_a_quote_is_asked_for_and_the_one_that_the_owner_chose_is_given(alice: LocalClient, bob: LocalClient) -> None:
    quote = {"text": "هر سخن وقتی و هر نکته مکانی دارد", "author": "حافظ", "source": "دیوان"}
    item = bob.call("add_quote", **quote)["item"]
    request = alice.ask("ask_quote", "Bob", wish="Persian")
    bob.accept(request, item=item)
    entry = alice.until_phase(request, "done")
    assert entry["quote"] == quote
    assert bob.until_phase(request, "done")["quote"] == quote
    told = alice.until_told("quote", lambda value: value["request"] == request)
    assert told == {"request": request, "peer": "Bob", **quote}
    for side, direction, peer in ((alice, "out", "Bob"), (bob, "in", "Alice")):
        assert side.phases(request) == ["waiting", "accepted", "done"]
        entry = side.requests[request]
        assert (entry["kind"], entry["verb"], entry["direction"], entry["peer"]) == ("quote", "ask", direction, peer)
        assert entry["wish"] == "Persian"
        assert entry["expires_at"] - entry["created_at"] == pytest.approx(300)


def test_without_an_item_one_is_picked_at_random(alice: LocalClient, bob: LocalClient) -> None:
    offered = {item["text"] for item in bob.library if item["kind"] == "quote"}
    request = alice.ask("ask_quote", "Bob")
    bob.accept(request)
    given = alice.until_phase(request, "done")["quote"]["text"]
    assert given[:280] in offered


@pytest.mark.parametrize("reply", [None, "not_now"])
def test_a_no_is_told_and_is_final(alice: LocalClient, bob: LocalClient, reply: str | None) -> None:
    request = alice.ask("ask_quote", "Bob")
    bob.reject(request, **({"reply": reply} if reply else {}))
    for side in (alice, bob):
        entry = side.until_phase(request, "rejected")
        assert side.phases(request) == ["waiting", "rejected"]
        assert "quote" not in entry
    assert bool(alice.requests[request].get("reason")) == (reply is not None)


def test_a_quote_is_offered_from_the_collection_or_typed(alice: LocalClient, bob: LocalClient) -> None:
    item = bob.call("add_quote", text="Know thyself.", author="Delphi")["item"]
    chosen = bob.ask("offer_quote", "Alice", item=item)
    typed = bob.ask("offer_quote", "Alice", text="Nothing in excess.", author="Solon")
    for request, text in ((chosen, "Know thyself."), (typed, "Nothing in excess.")):
        alice.accept(request)
        assert alice.until_phase(request, "done")["quote"]["text"] == text
        bob.until_phase(request, "done")
        for side in (alice, bob):
            assert side.requests[request]["verb"] == "offer"
            assert side.phases(request) == ["waiting", "accepted", "done"]


def test_a_picture_is_offered_and_either_taken_or_not(alice: LocalClient, bob: LocalClient) -> None:
    data = picture("JPEG", (640, 400), seed=2, quality=90)
    item = alice.upload(data, "small.jpg")["item"]
    refused = alice.ask("offer_image", "Bob", item=item)
    entry = bob.until_phase(refused, "waiting")
    assert {name: entry["image"].get(name) for name in ("width", "height", "format", "url")} == {
        "width": 640,
        "height": 400,
        "format": "JPEG",
        "url": None,
    }
    bob.reject(refused)
    assert alice.until_ended(refused)["phase"] == "rejected"
    assert bob.get(f"/media/{hashlib.sha256(data).hexdigest()}")[0] == 404

    taken = alice.ask("offer_image", "Bob", item=item)
    bob.accept(taken)
    url = bob.until_phase(taken, "done")["image"]["url"]
    assert bob.get(url)[2] == data
    alice.until_phase(taken, "done")
    for side in (alice, bob):
        assert side.phases(taken) == ["waiting", "accepted", "transferring", "done"]


def test_a_quote_of_64_kb_in_many_scripts_is_cut_in_events_and_whole_in_the_timeline(
    alice: LocalClient, bob: LocalClient
) -> None:
    text = (MIXED * 1000).encode()[: 64 * 1024].decode(errors="ignore").strip()
    request = alice.ask("offer_quote", "Bob", text=text, author="Everyone")
    bob.accept(request)
    for side in (alice, bob):
        shown = side.until_phase(request, "done")["quote"]
        assert shown == {"text": text[:1000], "author": "Everyone", "cut": True}
        entries = side.call("get_timeline", limit=5)["entries"]
        kept = next(entry for entry in entries if entry["request"] == request)
        assert kept["quote"] == {"text": text, "author": "Everyone"}


def test_the_asker_takes_a_request_back_on_both_sides(alice: LocalClient, bob: LocalClient) -> None:
    request = alice.ask("ask_image", "Bob")
    bob.until_phase(request, "waiting")
    alice.call("cancel", request=request)
    for side in (alice, bob):
        side.until_phase(request, "cancelled")
        assert side.phases(request) == ["waiting", "cancelled"]
    assert_refused("already_final", lambda: bob.accept(request))


def test_a_request_that_nobody_answers_expires_on_both_sides(
    alice: LocalClient, bob: LocalClient, short_lived: str
) -> None:
    for side in (alice, bob):
        entry = side.until_phase(short_lived, "expired")
        assert entry["reason"] == "Nobody answered in time."
        assert side.phases(short_lived) == ["waiting", "expired"]
        times = side.times("request", short_lived)
        assert times[-1] - times[0] >= 4.5


def test_two_who_ask_each_other_to_connect_are_connected_and_one_who_leaves_ends_it(
    alice: LocalClient, carol: LocalClient
) -> None:
    before = len(alice.events)
    hers = carol.ask("connect_to", "Alice", wish="We met")
    alice.until_phase(hers, "waiting")
    alice.ask("connect_to", "Carol")
    for side, other in ((alice, "Carol"), (carol, "Alice")):
        assert side.until_ended(hers)["phase"] == "done"
        side.until_person(other, connected=True)
        assert side.phases(hers) == ["waiting", "done"]

    carol.call("disconnect_from", peer="Alice")
    for side, other in ((alice, "Carol"), (carol, "Alice")):
        side.until_person(other, connected=False)
        assert_refused("not_connected", lambda side=side, other=other: side.ask("ask_quote", other))  # type: ignore[misc]
    said = alice.until_told("notice", lambda notice: "Carol" in notice["message"], before)
    assert set(said) == {"level", "code", "message"}


def test_never_is_kept_and_answers_for_the_person_from_then_on(bob: LocalClient, carol: LocalClient) -> None:
    connect(carol, bob)
    first = carol.ask("ask_quote", "Bob")
    bob.reject(first, reply="never")
    assert carol.until_ended(first)["phase"] == "rejected"
    again = carol.ask("ask_quote", "Bob")
    assert carol.until_ended(again)["phase"] == "rejected"
    assert again not in bob.requests


def test_more_requests_than_can_wait_are_refused_and_the_state_stays_small(
    alice: LocalClient, bob: LocalClient
) -> None:
    asked = [alice.ask("ask_quote", "Bob", wish="متن" * 90) for _ in range(64)]
    assert_refused("limit", lambda: alice.ask("ask_quote", "Bob"))
    for request in asked:
        bob.until_phase(request, "waiting")
    for side in (alice, bob):
        state = side.call("get_state")
        assert len(json.dumps(state, ensure_ascii=False).encode()) < 256 * 1024
        assert {entry["request"] for entry in state["requests"]} >= set(asked)
    for request in asked:
        alice.call("cancel", request=request)
    for request in asked:
        assert bob.until_ended(request)["phase"] == "cancelled"


def test_the_state_has_the_shape_of_the_contract(alice: LocalClient, agents: list[Agent]) -> None:
    state = alice.call("get_state")
    assert state.pop("ok") is True
    assert set(state) == {"me", "people", "requests", "library", "settings", "reachability"}
    assert {"name", "fingerprint", "signed_up"} <= set(state["me"])
    assert (state["me"]["name"], state["me"]["signed_up"]) == ("Alice", True)
    bob = next(person for person in state["people"] if person["name"] == "Bob")
    assert {"name", "fingerprint", "online", "connected"} <= set(bob)
    assert (bob["online"], bob["connected"]) == (True, True)
    assert state["settings"]["page_port"] == agents[0].port
    assert state["settings"]["limits"].keys() == {"quote_bytes", "image_bytes", "image_pixels"}
    assert (state["reachability"]["rendezvous"], bool(state["reachability"]["message"])) == ("up", True)
    quotes = [item for item in state["library"] if item["kind"] == "quote"]
    assert len(quotes) >= 60
    assert all({"item", "text", "author"} <= set(quote) and len(quote["text"]) <= 280 for quote in quotes)
    for entry in state["requests"]:
        needed = {"request", "kind", "verb", "direction", "peer", "phase", "created_at", "expires_at"}
        assert needed <= set(entry), entry


def test_the_timeline_comes_in_pages_and_for_one_person(alice: LocalClient, bob: LocalClient) -> None:
    mine = [alice.ask("ask_quote", "Bob", wish=str(number)) for number in range(3)]
    for request in mine:
        bob.reject(request)
        alice.until_ended(request)
    first = alice.call("get_timeline", peer="Bob", limit=2)
    second = alice.call("get_timeline", peer="Bob", limit=2, before=first["next"])
    found = [entry["request"] for entry in first["entries"] + second["entries"]]
    assert found[:3] == mine[::-1]
    assert alice.call("get_timeline", peer="Nobody")["entries"] == []


def test_people_are_listed_searched_and_looked_up(alice: LocalClient) -> None:
    listed = {person["name"]: person for person in alice.call("list_people")["people"]}
    assert set(listed) >= {"Bob", "Carol"}
    assert "Alice" not in listed
    assert listed["Bob"]["online"] is True
    assert [person["name"] for person in alice.call("list_people", query="car")["people"]] == ["Carol"]
    person = alice.call("get_person", name="Carol")["person"]
    assert (person["name"], person["online"]) == ("Carol", True)
    assert len(person["fingerprint"]) == 39


def test_what_one_offers_can_be_taken_back(carol: LocalClient) -> None:
    quote = carol.call("add_quote", text="Soon gone.", author="Carol")["item"]
    image = carol.upload(picture("WEBP", (50, 40), seed=3), "gone.webp")
    both = {quote, image["item"]}
    carol.until(lambda: both <= {item["item"] for item in carol.library}, "the items")
    for item in both:
        carol.call("remove_item", item=item)
    carol.until(lambda: not both & {item["item"] for item in carol.library}, "that they are gone")
    assert carol.get(f"/media/{image['sha256']}")[0] == 404


def test_every_mistake_has_its_code_and_a_sentence(
    programs: Programs, rendezvous: Rendezvous, people: list[LocalClient]
) -> None:
    alice, bob, _ = people
    stranger = programs.run(Agent("Stranger", furnished(programs.folder / "Stranger"), rendezvous.url, signs_up=False))
    done = next(entry["request"] for entry in bob.requests.values() if entry["phase"] == "done")
    open_request = alice.ask("ask_quote", "Bob")
    nothing = "0" * 32
    with clients(stranger.page_url) as (nobody,):
        mistakes: list[tuple[str, LocalClient, str, Value]] = [
            ("not_signed_up", nobody, "connect_to", {"peer": "Alice"}),
            ("not_signed_up", nobody, "ask_quote", {"peer": "Alice"}),
            ("name_taken", nobody, "sign_up", {"name": "Alice"}),
            ("name_taken", nobody, "sign_up", {"name": "ALICE"}),
            ("bad_request", nobody, "sign_up", {"name": " "}),
            ("bad_request", alice, "sign_up", {"name": "Somebody else"}),
            ("unknown_person", alice, "connect_to", {"peer": "Nobody"}),
            ("unknown_person", alice, "get_person", {"name": "Nobody"}),
            ("bad_request", alice, "connect_to", {"peer": "Alice"}),
            ("bad_request", alice, "connect_to", {"peer": "Bob"}),
            ("not_connected", alice, "ask_quote", {"peer": "Nobody"}),
            ("not_connected", alice, "disconnect_from", {"peer": "Nobody"}),
            ("bad_request", alice, "ask_quote", {"peer": "Bob", "lifetime": 4}),
            ("bad_request", alice, "ask_quote", {"peer": "Bob", "lifetime": 86_401}),
            ("bad_request", alice, "ask_quote", {"peer": "Bob", "wish": "x" * 281}),
            ("bad_request", alice, "offer_quote", {"peer": "Bob"}),
            ("bad_request", alice, "offer_image", {"peer": "Bob", "item": nothing}),
            ("unknown_request", alice, "answer", {"request": nothing, "accept": True}),
            ("unknown_request", alice, "cancel", {"request": "no number at all"}),
            ("already_final", bob, "answer", {"request": done, "accept": True}),
            ("already_final", bob, "cancel", {"request": done}),
            ("bad_request", alice, "answer", {"request": open_request, "accept": True}),
            ("bad_request", bob, "answer", {"request": bob.until_asked("Alice", "quote"), "accept": 1}),
            ("bad_request", bob, "answer", {"request": open_request, "accept": False, "reply": "perhaps"}),
            ("bad_request", bob, "answer", {"request": open_request, "accept": True, "item": nothing}),
            ("bad_request", alice, "remove_item", {"item": nothing}),
            ("bad_request", alice, "add_quote", {"text": "", "author": "x"}),
            ("too_large", alice, "add_quote", {"text": "é" * (32 * 1024 + 1), "author": "x"}),
            ("bad_request", alice, "list_people", {"query": 7}),
            ("bad_request", alice, "get_state", {"more": True}),
            ("bad_request", alice, "no_such_call", {}),
        ]
        for code, client, verb, arguments in mistakes:
            assert_refused(code, lambda client=client, verb=verb, values=arguments: client.call(verb, **values))  # type: ignore[misc]
    assert_refused("bad_request", lambda: alice.send("get_state", [1]))
    assert_refused("unsupported_image", lambda: alice.upload(b"no picture at all", "picture.png"))
    assert_refused("too_large", lambda: alice.upload(png(9000, 9000), "bomb.png"))
    bob.reject(open_request)
    assert alice.until_ended(open_request)["phase"] == "rejected"


def assert_refused(code: str, call: Callable[[], object]) -> None:
    """See that a call is refused with this code, in a sentence that a person can read."""
    with pytest.raises(Refused) as refusal:
        call()
    assert (refusal.value.code, refusal.value.message[-1:]) == (code, "."), refusal.value


def test_nobody_gets_in_without_the_token(alice: LocalClient) -> None:
    for path in ("/", "/media/" + "0" * 64, "/library/images"):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(alice.base + path)
        assert refusal.value.code == 401
        refusal.value.close()
    client = socketio.Client(reconnection=False, handle_sigint=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(alice.base, auth={"token": "wrong"}, transports=["websocket"])
