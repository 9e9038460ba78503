"""A picture is what a child process can decode of it; everything else is refused in a sentence."""

import hashlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from agent import images
from agent.protocol.errors import UsageError
from tests.support.pictures import gif_of, picture, png, png_chunk

Inspect = Callable[[bytes], images.ImageFacts]
ROOT = Path(__file__).resolve().parents[2]
ORIENTATION = 0x0112


@pytest.fixture
def inspect(tmp_path: Path) -> Inspect:
    """Write bytes to a file with a misleading name, and inspect it."""

    def run(data: bytes) -> images.ImageFacts:
        path = tmp_path / "picture.txt"
        path.write_bytes(data)
        return images.inspect(path)

    return run


def refusal(inspect: Inspect, data: bytes) -> UsageError:
    with pytest.raises(UsageError) as refused:
        inspect(data)
    assert refused.value.message.endswith(".")
    return refused.value


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_each_kind_is_known_by_its_content_alone(inspect: Inspect, kind: str) -> None:
    data = picture(kind, (70, 40))
    facts = inspect(data)
    assert (facts.format, facts.width, facts.height, facts.frames) == (kind, 70, 40, 1)
    assert facts.size == len(data)


def test_the_hashes_are_those_of_the_file_and_of_each_64_kib_chunk(inspect: Inspect) -> None:
    data = picture("PNG", (300, 200))
    facts = inspect(data)
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    assert len(chunks) > 2
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.digests == b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_all_frames_of_an_animation_are_counted_and_decoded(inspect: Inspect, kind: str) -> None:
    assert inspect(picture(kind, (30, 20), frames=5)).frames == 5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_preview_is_tiny_whatever_the_colours_are_stored_as(inspect: Inspect, mode: str) -> None:
    out = io.BytesIO()
    Image.radial_gradient("L").convert("L" if mode == "I;16" else mode).convert(mode).resize((400, 300)).save(
        out, "PNG"
    )
    preview = inspect(out.getvalue()).preview
    assert 0 < len(preview) <= images.PREVIEW_BYTES
    with Image.open(io.BytesIO(preview)) as small:
        assert (small.format, small.size) == ("WEBP", (32, 24))


def test_the_worst_noise_still_makes_a_preview_below_the_limit(inspect: Inspect) -> None:
    chance = random.Random(1)
    out = io.BytesIO()
    Image.frombytes("RGBA", (32, 32), chance.randbytes(4096)).save(out, "PNG")
    assert len(inspect(out.getvalue()).preview) <= images.PREVIEW_BYTES


def test_width_and_height_are_as_the_picture_is_shown(inspect: Inspect) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    facts = inspect(picture("JPEG", (64, 32), exif=exif))
    assert (facts.width, facts.height) == (32, 64)
    with Image.open(io.BytesIO(facts.preview)) as small:
        assert small.size == (16, 32)


def test_odd_metadata_does_not_cost_an_honest_picture(inspect: Inspect) -> None:
    broken = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\3\0\1\0\0\0"
    assert inspect(picture("JPEG", exif=broken)).format == "JPEG"


def test_a_jpeg_with_a_second_picture_behind_it_is_the_jpeg_in_front(inspect: Inspect) -> None:
    facts = inspect(picture("MPO", (50, 40), frames=2))
    assert (facts.format, facts.frames) == ("JPEG", 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("missing", [20, 2000])
def test_a_picture_that_is_cut_off_is_refused(inspect: Inspect, kind: str, missing: int) -> None:
    data = picture(kind, (120, 90), quality=90)
    assert refusal(inspect, data[:-missing]).code == "unsupported_image"


def test_a_png_with_one_flipped_bit_is_refused(inspect: Inspect) -> None:
    data = bytearray(picture("PNG"))
    data[len(data) // 2] ^= 4
    assert refusal(inspect, bytes(data)).code == "unsupported_image"


def test_a_preview_of_a_peer_is_a_tiny_webp_or_none(inspect: Inspect) -> None:
    preview = inspect(picture("WEBP")).preview
    assert images.is_preview(preview)
    for other in (picture("WEBP"), picture("PNG", (9, 9)), b"<svg/>", preview[:20], b""):
        assert not images.is_preview(other)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO", "PDF"])
def test_other_kinds_of_picture_are_refused(inspect: Inspect, kind: str) -> None:
    assert refusal(inspect, picture(kind)).code == "unsupported_image"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<!doctype html><script>alert(1)</script>",
        b"GIF89a<script>",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        bytes(range(256)) * 100,
    ],
)
def test_what_is_no_picture_is_refused(inspect: Inspect, data: bytes) -> None:
    assert refusal(inspect, data).code == "unsupported_image"


BOMBS = {
    "81 megapixels in 10 KB": (png(9000, 9000, bits=1), "too_large"),
    "a header of two thousand million squared": (png(2 * 10**9, 2 * 10**9), "too_large"),
    "an animation of 10,000 frames": (gif_of(10_000), "too_large"),
    "text that unpacks to two gigabytes": (
        png(9, 9, png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 50_000_000, 9)) * 40),
        "unsupported_image",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once_and_costs_the_agent_nothing(inspect: Inspect, name: str) -> None:
    data, code = BOMBS[name]
    inspect(picture())
    before_cpu, before_memory = children_seconds(), resident_bytes()
    assert refusal(inspect, data).code == code
    assert children_seconds() - before_cpu < 2
    assert resident_bytes() - before_memory < 10_000_000


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * resource.getpagesize()


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, images.MAX_BYTES + 1)
    with pytest.raises(UsageError) as refused:
        images.inspect(path)
    assert refused.value.code == "too_large"


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(picture())
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="symbolic"):
        images.inspect(tmp_path / "link")


def test_a_child_that_never_ends_is_ended(inspect: Inspect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / "stuck.py"
    stuck.write_text("print('{}', flush=True)\nwhile True: pass\n")
    monkeypatch.setattr(images, "_WORKER", stuck)
    monkeypatch.setattr(images, "_SECONDS", 0)
    assert refusal(inspect, picture()).code == "too_large"


def test_a_picture_that_takes_more_memory_than_allowed_is_refused(
    inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_MEMORY", 128 << 20)
    assert inspect(png(1000, 1000)).format == "PNG"
    assert refusal(inspect, png(10_000, 6000, bits=16)).code == "too_large"


def test_a_child_that_is_killed_refuses_the_picture(
    inspect: Inspect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setattr(images, "_WORKER", dying)
    assert refusal(inspect, picture()).code == "unsupported_image"


def test_once_pillow_is_loaded_the_child_can_open_nothing(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(picture("WEBP"))
    script = """
        import os, sys, socket
        from agent import image_worker
        copy = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
        image_worker.main()
        for attempt in (lambda: open("/etc/hosts"), socket.socket, lambda: os.write(copy, b"x")):
            try:
                attempt()
            except OSError:
                continue
            sys.exit("something could be opened")
    """
    bounds = {"pixels": 9999, "frames": 9, "seconds": 9, "memory": 1 << 30, "chunk": 65536, "written": 9999}
    limits = json.dumps({"formats": list(images.MIME), **bounds})
    with (tmp_path / "picture").open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), limits, str(tmp_path / "copy")],
            stdin=stdin,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert '"format": "WEBP"' in done.stdout


def test_pillow_is_never_loaded_into_the_agent() -> None:
    script = "import sys, agent.library, agent.history; assert not [m for m in sys.modules if m.startswith('PIL')]"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_other_green_threads_go_on_while_a_large_picture_is_inspected(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.radial_gradient("L").resize((4000, 3000)).convert("RGB").save(path, "JPEG")
    script = f"""
        import warnings
        warnings.simplefilter("ignore")
        import eventlet
        eventlet.monkey_patch()
        from pathlib import Path
        from agent import images
        turns = []
        def others():
            while True:
                turns.append(1)
                eventlet.sleep(0.001)
        eventlet.spawn(others)
        eventlet.sleep(0)
        before = len(turns)
        facts = images.inspect(Path({str(path)!r}))
        print(facts.width, len(turns) - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    width, turns = done.stdout.split()
    assert width == "4000"
    assert int(turns) > 20
