"""What a request gives is opened once, is what was announced, and is the same after a restart."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.gifts import Gifts
from agent.library import Library
from agent.protocol.book import ImageGift
from tests.support.disk import refused
from tests.support.pictures import telling

REQUEST = "ab" * 16


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


@pytest.mark.parametrize("kept", [False, True])
def test_a_picture_goes_on_after_a_restart_as_it_was_offered(library: Library, kept: bool) -> None:
    data = telling("PNG")
    item = library.add_image(io.BytesIO(data))
    library.describe_item(item["item"], caption="The sea")
    gift, shown = Gifts(library).offered(REQUEST, "image", item["item"], kept)
    assert isinstance(gift, ImageGift)
    assert (gift.image.caption, gift.image.alt, gift.image.stripped) == ("The sea", "", not kept)
    assert (gift.image.sha256 == hashlib.sha256(data).digest()) is kept
    assert shown["image"]["sha256"] == gift.image.sha256.hex()

    gifts = Gifts(library)
    again = gifts.again({"request": REQUEST, **shown})
    assert again.image == gift.image
    gifts.let_go(REQUEST)


def test_a_picture_that_is_another_one_now_does_not_go_on(library: Library) -> None:
    item = library.add_image(io.BytesIO(telling("PNG")))
    gifts = Gifts(library)
    _, shown = gifts.pick(REQUEST, "image", item["item"])
    gifts.let_go(REQUEST)
    shown["image"]["sha256"] = "0" * 64
    with refused("bad_request"):
        gifts.again({"request": REQUEST, **shown})
