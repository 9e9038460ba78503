"""How a key is written for people who compare two of them: as words, to be read aloud, and as digits.

Both come from SHA-256 of the Ed25519 key, as the fingerprint in the contract does. The list is part of what people
compare: a word that changes its place changes everybody's words, so the list stays as it is.
"""

import hashlib
from typing import Final

from rendezvous.contract.identity import fingerprint

WORD_COUNT: Final = 16
"""One word a byte: 128 bits."""
DIGIT_GROUPS: Final = 8
"""Of five digits: 132 bits."""

WORDS: Final = tuple(
    """
    acorn actor adult agent album amber angle ankle apple april arena armor arrow artist atlas autumn
    bacon badge baker bamboo banjo barrel basket beach beetle bell bicycle bishop blanket bottle bridge broom
    bucket bus butter cabin cactus camel candle carpet castle cedar cello chair cherry chimney circle clock
    cloud coat cobra coffee comet copper coral cotton cousin crab cricket crown cup curtain dagger daisy
    dancer desert diamond dinner doctor dolphin donkey door dragon dream drum duck dust eagle earth east
    echo eclipse elbow elm emerald engine evening fabric falcon farmer feather fence fiddle finger fire flag
    flute forest fossil fox friday frog fruit galaxy garden garlic ghost giant ginger giraffe glass glove
    gold goose grape guitar hammer harbor harp hat hazel helmet hermit hill honey hornet hotel house
    humble ice igloo index ink iron island ivory jacket jaguar jar jelly jewel jigsaw jungle kettle
    kiosk kitten knife koala ladder lake lamp lantern laser leather lemon lettuce library lily lion lizard
    lobster lunch magnet mango maple market meadow melon metal mirror monkey moon motor mouse museum music
    napkin needle nest nickel north novel nutmeg oak oasis ocean office olive onion opera orange orchid
    otter oven owl oxygen oyster paddle palace panda paper parrot pencil pepper piano pigeon pillow pirate
    planet plum pocket pony potato prince pumpkin puzzle queen quiver rabbit radio rainbow ribbon river robot
    rocket rope ruby saddle salmon sandal scarf school shadow silver sister spider spoon square summer sunset
    table teapot temple thunder tiger tomato tunnel turtle uncle valley velvet violin walnut window winter zebra
    """.split()
)


def words(key: bytes) -> str:
    """Name a key by sixteen words with spaces between them: the first 128 bits of its SHA-256."""
    return " ".join(WORDS[byte] for byte in hashlib.sha256(key).digest()[:WORD_COUNT])


def digits(key: bytes) -> str:
    """Name a key by eight groups of five digits with spaces between them: its SHA-256 modulo 10^40."""
    number = int.from_bytes(hashlib.sha256(key).digest(), "big") % 10 ** (5 * DIGIT_GROUPS)
    text = f"{number:0{5 * DIGIT_GROUPS}}"
    return " ".join(text[start : start + 5] for start in range(0, len(text), 5))


def written(key: bytes) -> dict[str, str]:
    """Return the three ways in which people see a key."""
    return {"fingerprint": fingerprint(key), "words": words(key), "digits": digits(key)}


def key_text(name: str | None, key: bytes) -> str:
    """Say what the QR code of a key holds: the name, where there is one, and the words, as any scanner shows them."""
    return f"{name}\n{words(key)}" if name else words(key)
