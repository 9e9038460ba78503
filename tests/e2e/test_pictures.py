"""Pictures between real agents: what goes with them and what does not, and what is shown of them on their way."""

import contextlib
import http.client
import io
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.support.local_client import LocalClient, clients, connect
from tests.support.pictures import PLACE, SECRET, picture, telling
from tests.support.programs import PATIENCE, Agent, Programs, Rendezvous

CHUNK = 65536
LARGE = (3650, 3650)  # 40 MB: long enough on its way to be stopped there


@dataclass
class Scene:
    """Two connected people, one of whom offers a large picture."""

    asker: Agent
    giver: Agent
    sent: bytes
    item: str
    sha256: str


@pytest.fixture(scope="module")
def scene(programs: Programs, rendezvous: Rendezvous) -> Scene:
    asker, giver = programs.agents(rendezvous.url, "alice", "bob")
    sent = picture("PNG", LARGE, seed=4, compress_level=0)
    with clients(asker.page_url, giver.page_url) as (alice, bob):
        for person in (alice, bob):
            person.until(lambda person=person: person.me, "a name")  # type: ignore[misc]
        connect(alice, bob)
        added = bob.upload(sent)
    return Scene(asker, giver, sent, added["item"], added["sha256"])


def until_begun(bitmap: Path) -> None:
    """Wait until the first chunk is verified: without a pause, because the last one is tens of milliseconds away."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if bitmap.read_bytes()[32:33] >= b"\x80":
                return
    raise AssertionError("no chunk has arrived")


@contextlib.contextmanager
def halted(scene: Scene, alice: LocalClient) -> Iterator[tuple[str, http.client.HTTPResponse]]:
    """Have the picture on its way, the giver's process standing still, and somebody looking; with the request."""
    url = urlsplit(alice.base)
    with contextlib.ExitStack() as left:
        bob = left.enter_context(contextlib.closing(LocalClient(scene.giver.page_url)))
        left.callback(scene.giver.send, signal.SIGCONT)  # before he leaves
        request = alice.ask("ask_image", "bob")
        bob.accept(request, item=scene.item)
        until_begun(scene.asker.data / "library" / "incoming" / f"{request}.bitmap")
        scene.giver.send(signal.SIGSTOP)
        alice.until_phase(request, "transferring")
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=PATIENCE)
        left.callback(connection.close)
        connection.request("GET", f"/media/partial/{request}", headers={"Authorization": f"Bearer {alice.token}"})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Type")) == (200, "image/png")
        assert answer.read(CHUNK) == scene.sent[:CHUNK]
        assert alice.phases(request)[-1] == "transferring", "the picture was faster than the signal"
        yield request, answer


def pixels(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return image.mode, image.size, image.tobytes()


@pytest.mark.parametrize("kept", [False, True], ids=["by default", "kept"])
@pytest.mark.parametrize("verb", ["ask", "offer"])
def test_where_a_picture_was_taken_does_not_arrive_unless_its_owner_wants_that(
    scene: Scene, verb: str, kept: bool
) -> None:
    data = telling("JPEG", 6, seed=7)
    with clients(scene.asker.page_url, scene.giver.page_url) as (alice, bob):
        added = bob.upload(data)
        assert added["reveals"]["place"] == PLACE
        bob.call("describe_item", item=added["item"], caption="دریا", alt="A red sun.")
        choice = {"keep_metadata": True} if kept else {}
        if verb == "ask":
            request = alice.ask("ask_image", "bob")
            bob.accept(request, item=added["item"], **choice)
        else:
            request = bob.ask("offer_image", "alice", item=added["item"], **choice)
            offered = alice.until_phase(request, "waiting")["image"]
            assert (offered["caption"], offered["alt"], offered["stripped"]) == ("دریا", "A red sun.", not kept)
            alice.accept(request)
        image = alice.until_phase(request, "done")["image"]
        assert (image["caption"], image["alt"], image["stripped"]) == ("دریا", "A red sun.", not kept)
        assert image["reveals"] == (added["reveals"] if kept else {})
        assert bob.until_phase(request, "done")["image"]["stripped"] is not kept
        arrived = alice.get(image["url"])[2]
        assert pixels(arrived) == pixels(data)
        assert (arrived == data) is kept
        assert (SECRET.encode() in arrived) is kept
        status, headers, preview = alice.get(image["preview"])
        assert (status, headers["Content-Type"]) == (200, "image/webp")
        assert pixels(preview)[1] == (21, 32)


@pytest.mark.parametrize("killed", [False, True], ids=["halted", "killed"])
def test_it_goes_on_where_it_was_and_is_whole_in_the_end(scene: Scene, killed: bool) -> None:
    with clients(scene.asker.page_url) as (alice,), halted(scene, alice) as (request, answer):
        if killed:
            scene.giver.kill()
            scene.giver.start()
            scene.giver.wait_until_ready()
        else:
            scene.giver.send(signal.SIGCONT)
        assert answer.read() == scene.sent[CHUNK:]
        entry = alice.until_phase(request, "done")
        assert entry["image"]["sha256"] == scene.sha256
        assert entry["image"]["reveals"] == {}


def test_who_cancels_sees_no_more_of_it(scene: Scene) -> None:
    with clients(scene.asker.page_url) as (alice,), halted(scene, alice) as (request, answer):
        alice.call("cancel", request=request)
        with pytest.raises(http.client.HTTPException):
            answer.read()
        assert alice.get(f"/media/partial/{request}")[0] == 404


def test_nothing_is_shown_from_the_first_wrong_byte_on(scene: Scene) -> None:
    wrong = len(scene.sent) // CHUNK - 2
    stored = scene.giver.data / "library" / "images" / scene.sha256
    with stored.open("r+b") as file:  # the list of digests was made before
        file.seek(wrong * CHUNK + 1000)
        file.write(b"forged")
    with clients(scene.asker.page_url) as (alice,), halted(scene, alice) as (request, answer):
        scene.giver.send(signal.SIGCONT)
        with pytest.raises(http.client.IncompleteRead) as broken:
            answer.read()
        shown = broken.value.partial
        assert scene.sent[CHUNK:].startswith(shown)
        assert len(shown) <= (wrong - 1) * CHUNK
        assert "digests" in alice.until_phase(request, "failed")["reason"]
