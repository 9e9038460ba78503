"""What goes wrong between real programs: parts that die, ports and folders that cannot be had, disks that are full.

Each time somebody must be told in one sentence, nothing that was agreed may get lost, and whoever is left goes on.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.live_rendezvous import children
from tests.support.local_client import LocalClient, Refused, clients, connect
from tests.support.pictures import picture
from tests.support.programs import PATIENCE, Agent, Programs, Rendezvous, free_port, furnished, run_to_end

Say = Callable[[str], None]
Refusal = Future[tuple[int, str]]  # exit status, and the sentence
NO_ADDRESSES = ("nonsense", "http://127.0.0.1:99999")
LARGE = (3650, 3650)  # 40 MB: long enough on its way to be stopped there


@dataclass
class Pair:
    """Two people who are connected, and their agents; `asker` asks and `giver` gives."""

    asker: Agent
    giver: Agent
    item: str = ""  # of the large picture that `giver` offers
    size: int = 0


@pytest.fixture(scope="module")
def agents(programs: Programs, rendezvous: Rendezvous) -> list[Agent]:
    return programs.agents(rendezvous.url, "alice", "bob", "dora", "emil")


@pytest.fixture(scope="module")
def large() -> bytes:
    return picture("PNG", LARGE, seed=4, compress_level=0)


@pytest.fixture(scope="module")
def pair(agents: list[Agent], large: bytes, abandoned: object) -> Pair:
    """Alice and Bob, who offers a large picture."""
    return acquainted(Pair(agents[0], agents[1]), large)


@pytest.fixture(scope="module", autouse=True)
def abandoned(agents: list[Agent], large: bytes) -> Iterator[tuple[Pair, LocalClient, str, float]]:
    """Dora, in the middle of a picture of Emil's when his agent is killed: before all tests, because it takes a while
    until she can be sure. With her request, and the time of his end.
    """
    pair = acquainted(Pair(agents[2], agents[3]), large)
    with clients(pair.asker.page_url) as (dora,):
        with clients(pair.giver.page_url) as (emil,):
            request = amid_a_transfer(pair, dora, emil)
            pair.giver.kill()
        yield pair, dora, request, time.monotonic()


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that nobody can make, not even root."""
    file = tmp_path_factory.mktemp("blocked") / "file"
    file.write_text("in the way")
    return file / "data"


@pytest.fixture(scope="module", autouse=True)
def refused(agents: list[Agent], pair: Pair, blocked: Path) -> Iterator[dict[str, Refusal]]:
    """Starts that fail, one after the other, while other tests wait for something; with what came of each.

    Dora's port and folder are the ones that are taken: she is there all the time, and `pair` is killed now and then.
    """
    dora = agents[2]
    unused = str(blocked.parent.with_name("unused"))
    starts = {
        "port": ("--port", str(dora.port), "--data", unused),
        "folder": ("--port", str(free_port()), "--data", str(dora.data)),
        "no folder": ("--port", str(free_port()), "--data", str(blocked)),
        **{url: ("--rendezvous", url, "--data", unused) for url in NO_ADDRESSES},
    }
    with ThreadPoolExecutor(max_workers=1) as one_by_one:
        yield {name: one_by_one.submit(run_to_end, "agent", "--no-browser", *flags) for name, flags in starts.items()}
    assert not Path(unused).exists(), "who could not start has left something behind"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print a figure that was measured, whether the test passes or not."""

    def say(sentence: str) -> None:
        with capsys.disabled():
            print(f"\n  {sentence}")

    return say


def acquainted(pair: Pair, large: bytes) -> Pair:
    """Connect two people, and have one of them offer a large picture."""
    with clients(pair.asker.page_url, pair.giver.page_url) as (asker, giver):
        signed_up(asker, giver)
        connect(asker, giver)
        added = giver.upload(large)
        pair.item, pair.size = added["item"], added["bytes"]
    return pair


def signed_up(*people: LocalClient) -> None:
    """Wait until all of these are known at the rendezvous."""
    for person in people:
        person.until(lambda person=person: person.state["reachability"]["rendezvous"] == "up", "up")  # type: ignore[misc]
        person.until(lambda person=person: person.me, "a name")  # type: ignore[misc]


def amid_a_transfer(pair: Pair, asker: LocalClient, giver: LocalClient) -> str:
    """Ask for the large picture, and halt the giver's process once it is on its way; return the request."""
    assert giver.me is not None
    request = asker.ask("ask_image", giver.me)
    giver.accept(request, item=pair.item)
    for side in (asker, giver):
        side.until_phase(request, "transferring")
    pair.giver.send(signal.SIGSTOP)
    assert asker.phases(request)[-1] == "transferring", "the picture was faster than the signal"
    return request


@contextlib.contextmanager
def standing_still(agent: Agent) -> Iterator[None]:
    """Stop an agent's process for the length of the block."""
    agent.send(signal.SIGSTOP)
    try:
        yield
    finally:
        agent.send(signal.SIGCONT)


def exchange(asker: LocalClient, giver: LocalClient, item: str | None = None) -> None:
    """See that a quote, or a picture of this item, comes through."""
    assert giver.me is not None
    request = asker.ask("ask_quote" if item is None else "ask_image", giver.me)
    giver.accept(request, **({} if item is None else {"item": item}))
    for side in (asker, giver):
        side.until_phase(request, "done")


# --- the rendezvous ---


def test_agents_go_on_without_the_rendezvous_and_are_back_by_themselves(
    pair: Pair, rendezvous: Rendezvous, say: Say
) -> None:
    with clients(pair.asker.page_url, pair.giver.page_url) as (alice, bob):
        signed_up(alice, bob)
        item = bob.upload(picture("PNG", (2600, 2600), seed=6, compress_level=0))["item"]
        request = alice.ask("ask_image", "bob")
        bob.accept(request, item=item)
        alice.until_phase(request, "transferring")
        rendezvous.kill()
        for side in (alice, bob):
            side.until(lambda side=side: side.state["reachability"]["rendezvous"] == "down", "the news")  # type: ignore[misc]
            assert rendezvous.url in side.state["reachability"]["message"]
            notice = side.until_told("notice", lambda notice: notice["code"] == "rendezvous_down")
            assert notice["message"].endswith(".")
        for side in (alice, bob):
            side.until_phase(request, "done")
        exchange(alice, bob)
        with pytest.raises(Refused) as refusal:
            alice.call("list_people")
        assert refusal.value.code == "rendezvous_down"

        rendezvous.start()
        rendezvous.wait_until_ready()
        began = time.monotonic()
        signed_up(alice, bob)
        for side, other in ((alice, "bob"), (bob, "alice")):
            side.until_person(other, online=True)
        say(f"Back {time.monotonic() - began:.1f} s after the rendezvous.")
        assert [person["name"] for person in alice.call("list_people", query="b")["people"]] == ["bob"]
        exchange(alice, bob)


def test_agents_say_that_the_store_is_gone_go_on_and_are_back_by_themselves(
    pair: Pair, rendezvous: Rendezvous, say: Say
) -> None:
    with clients(pair.asker.page_url, pair.giver.page_url) as (alice, bob):
        signed_up(alice, bob)
        (store,) = (pid for pid, line in children(rendezvous.pid).items() if "valkey" in line)
        os.kill(store, signal.SIGSTOP)  # killed at once, it would be there again before anybody noticed
        exchange(alice, bob)
        for side in (alice, bob):
            side.until(lambda side=side: side.state["reachability"]["rendezvous"] == "down", "the news")  # type: ignore[misc]
            side.until_told("notice", lambda notice: notice["code"] == "rendezvous_down")
        exchange(bob, alice)

        os.kill(store, signal.SIGKILL)
        began = time.monotonic()
        signed_up(alice, bob)
        for side, other in ((alice, "bob"), (bob, "alice")):
            side.until_person(other, online=True)
        say(f"Back {time.monotonic() - began:.1f} s after the end of the store, which was started again by itself.")
        assert [person["name"] for person in bob.call("list_people", query="a")["people"]] == ["alice"]


# --- what cannot be had at the start ---


def test_a_port_that_another_agent_has_is_one_sentence(refused: dict[str, Refusal], agents: list[Agent]) -> None:
    status, sentence = refused["port"].result()
    assert status == 1
    assert sentence == f"Port {agents[2].port} is in use: stop what uses it, or choose another with --port."


def test_a_folder_that_another_agent_has_is_one_sentence(refused: dict[str, Refusal], agents: list[Agent]) -> None:
    status, sentence = refused["folder"].result()
    assert status == 1
    assert sentence.startswith(f"Another agent is using the data folder {agents[2].data}: ")


def test_a_folder_that_cannot_be_made_is_one_sentence(refused: dict[str, Refusal], blocked: Path) -> None:
    status, sentence = refused["no folder"].result()
    assert status == 1
    assert sentence == f"{blocked} is not a folder: name another one with --data."


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_a_rendezvous_address_that_is_none_is_one_sentence(refused: dict[str, Refusal], url: str) -> None:
    status, sentence = refused[url].result()
    assert status == 2
    assert f"'{url}' is not a rendezvous address" in sentence


# --- agents that end ---


def test_who_stops_says_goodbye_and_ends_with_0(pair: Pair, say: Say) -> None:
    with clients(pair.asker.page_url) as (alice,):
        signed_up(alice)
        with clients(pair.giver.page_url) as (bob,):
            signed_up(bob)
            waiting = alice.ask("ask_quote", "bob")
            bob.until_phase(waiting, "waiting")
            alice.until_person("bob", online=True)
        began = time.monotonic()
        pair.giver.send(signal.SIGTERM)
        assert alice.until_ended(waiting)["phase"] == "unreachable"
        assert alice.requests[waiting]["reason"] == "bob went offline."
        alice.until_person("bob", online=False, connected=True)
        say(f"Seen as gone {time.monotonic() - began:.1f} s after SIGTERM.")
        assert pair.giver.wait() == 0
        assert not (pair.giver.data / "page-url").exists()

        refused = alice.ask("ask_quote", "bob")
        assert alice.until_ended(refused)["reason"] == "bob is not online."

        pair.giver.start()
        pair.giver.wait_until_ready()
        alice.until_person("bob", online=True)
        with clients(pair.giver.page_url) as (bob,):
            entry = bob.requests[waiting]
            assert (entry["phase"], bool(entry["reason"])) == ("unreachable", True)
            exchange(alice, bob)


def test_a_receiver_that_is_killed_shows_nothing_half_and_goes_on_by_itself_after_its_restart(
    pair: Pair, large: bytes
) -> None:
    with clients(pair.giver.page_url) as (bob,):
        with clients(pair.asker.page_url) as (alice,):
            signed_up(alice, bob)
            request = alice.ask("ask_image", "bob")
            bob.accept(request, item=pair.item)
            for side in (alice, bob):
                side.until_phase(request, "transferring")
            with standing_still(pair.giver):
                pair.asker.kill()
                pair.asker.start()
                pair.asker.wait_until_ready()
                with clients(pair.asker.page_url) as (restarted,):
                    assert restarted.requests[request]["phase"] == "transferring"
                    nothing_half(restarted, request)
        with clients(pair.asker.page_url) as (alice,):
            came_whole(alice, bob, request, large)
            exchange(alice, bob)


def nothing_half(side: LocalClient, request: str) -> None:
    """See that nothing of a picture is shown as if it had arrived."""
    image = side.requests[request]["image"]
    assert "url" not in image
    assert side.get(f"/media/{image['sha256']}")[0] == 404


def came_whole(receiver: LocalClient, giver: LocalClient, request: str, owned: bytes) -> None:
    """See that a picture arrives in the end, and as it was."""
    url = receiver.until_phase(request, "done")["image"]["url"]
    assert receiver.get(url)[2] == owned
    giver.until_phase(request, "done")
    assert receiver.phases(request)[-2:] == ["transferring", "done"]


# --- a disk that is full ---


def small_disk(folder: Path, size: str, source: Path | None = None) -> list[str]:
    """Return what, before a command, gives it a folder on a disk of its own, which is gone when the command ends."""
    folder.mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o size={size},mode=700 tmpfs {folder}"
    fill = f" && cp -a {source}/. {folder}" if source else ""
    alone = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    wrapper = ["unshare", *alone, "sh", "-c", f'{mount}{fill} && exec "$@"', "sh"]
    try:
        subprocess.run([*wrapper, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("This system lets nobody but root mount a small disk, and we are not root.")
    return wrapper


@pytest.mark.parametrize("size", ["4k", "64k"])
def test_a_full_disk_at_the_start_is_one_sentence(
    programs: Programs, rendezvous: Rendezvous, tmp_path: Path, size: str
) -> None:
    folder = tmp_path / "disk"
    agent = programs.run(Agent("zoe", folder, rendezvous.url, wrapper=small_disk(folder, size)))
    assert agent.wait(PATIENCE) == 1
    assert "Traceback" not in agent.log
    last = agent.log.rpartition("\n")[2]
    assert "full" in last, agent.log
    assert last.endswith("."), agent.log


def test_a_disk_that_becomes_full_ends_the_transfer_with_a_reason_and_the_agent_goes_on(
    programs: Programs, rendezvous: Rendezvous, pair: Pair, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    wrapper = small_disk(folder, "90m", furnished(tmp_path / "source"))
    agent = programs.run(Agent("frida", folder, rendezvous.url, wrapper=wrapper))
    with clients(agent.page_url, pair.giver.page_url) as (frida, bob):
        signed_up(frida, bob)
        connect(frida, bob)
        request = amid_a_transfer(Pair(agent, pair.giver, pair.item), frida, bob)
        filler = Path(f"/proc/{agent.pid}/root{folder}/filler")
        with standing_still(pair.giver):
            fill_up(filler)
        reason = frida.until_ended(request)["reason"]
        assert frida.requests[request]["phase"] == "failed"
        assert reason == "The disk is full: the picture was not saved."
        assert bob.until_ended(request)["phase"] == "failed"
        filler.unlink()
        assert frida.get(f"/media/partial/{request}")[0] == 404
        assert list((filler.parent / "library" / "incoming").iterdir()) == []
        exchange(frida, bob)
        exchange(frida, bob, pair.item)


def fill_up(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65_536)
        except OSError:
            return


# --- last, because it takes longest ---


def test_a_giver_that_is_killed_is_missed_with_a_reason_and_goes_on_by_itself_after_its_restart(
    abandoned: tuple[Pair, LocalClient, str, float], large: bytes, say: Say
) -> None:
    pair, dora, request, began = abandoned
    dora.until(lambda: "reason" in dora.requests[request], "why it stands still")
    say(f"Missed {dora.times('request', request)[-1] - began:.1f} s after kill -9.")
    entry = dora.requests[request]
    assert (entry["phase"], entry["reason"]) == ("transferring", "emil does not answer any more.")
    nothing_half(dora, request)
    dora.until_person("emil", online=False)
    pair.giver.start()
    pair.giver.wait_until_ready()
    with clients(pair.giver.page_url) as (emil,):
        came_whole(dora, emil, request, large)
        exchange(dora, emil)
