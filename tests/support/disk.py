"""What tests of the disk share: refusals, a disk that fills up, and a picture as a peer announces it."""

import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import images
from agent.library import Library
from agent.parts import ImageSink
from agent.protocol.errors import UsageError
from tests.support.pictures import picture


@contextmanager
def refused(code: str) -> Iterator[None]:
    """Expect a refusal with this code and a sentence."""
    with pytest.raises(UsageError) as error:
        yield
    assert error.value.code == code
    assert error.value.message.endswith(".")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@contextmanager
def disk_that_takes(size: int) -> Iterator[None]:
    """Let the kernel refuse every byte of a file beyond `size` to this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


REQUEST = "0123456789abcdef" * 2


def receiving(library: Library, data: bytes, request: str = REQUEST, **changed: Any) -> ImageSink:
    """Begin to receive a picture as an honest peer announces it, but for what is changed."""
    return library.begin_receiving(request, **(announced(data) | changed))


def announced(data: bytes) -> dict[str, Any]:
    chunks = [data[at : at + images.CHUNK] for at in range(0, len(data), images.CHUNK)]
    digests = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    return {
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "digests_sha256": hashlib.sha256(digests).hexdigest(),
        "format": "PNG",
        "width": 300,
        "height": 200,
    }


LARGE = picture(size=(300, 200), seed=7)
CHUNKS = -(-len(LARGE) // images.CHUNK)


def write(sink: ImageSink, index: int, data: bytes = LARGE) -> None:
    """Write one chunk in small pieces, and mark it."""
    start = index * images.CHUNK
    chunk = memoryview(data)[start : start + images.CHUNK]
    sink.write_from([chunk[at : at + 40] for at in range(0, len(chunk), 40)], start)
    sink.mark_verified(index)
