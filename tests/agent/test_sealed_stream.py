"""The bytes of the text link: as documented, however they are cut, and nothing else."""

import contextlib
import hmac
from collections.abc import Iterator
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import messages as m
from agent.sealed_stream import OPENING_SIZE, SALT_SIZE, Fetching, Giving, LinkError, Opener, Sealer

REQUEST, TOKEN, KEY = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 64))
FETCHING_SALT, GIVING_SALT = b"f" * SALT_SIZE, b"g" * SALT_SIZE
QUOTE = m.Quote(REQUEST, "بنی آدم اعضای یک پیکرند", "سعدی", "گلستان")
PLAINTEXTS = [b"", b"a quote", b"x" * 1000]


def body(message: m.Message = QUOTE) -> bytes:
    return m.encode(message)[4:]


def fetching() -> Fetching:
    return Fetching(REQUEST, TOKEN, KEY, FETCHING_SALT)


def answer(message: bytes) -> bytes:
    """Return what a giving side sends to `fetching()`."""
    link = Giving(GIVING_SALT)
    link.receive(fetching().opening)
    return link.answer(KEY, message)


def hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, written down once more."""
    mixed, block, out = hmac.digest(salt, secret, "sha256"), b"", b""
    for number in range(1, 3):
        block = hmac.digest(mixed, block + info + bytes([number]), "sha256")
        out += block
    return out[:length]


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Yield `data` whole, and byte by byte."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]


def test_every_byte_is_as_documented() -> None:
    head = b"TMGE\x01\x01" + TOKEN + FETCHING_SALT
    opening_key = hkdf(FETCHING_SALT, KEY, b"tmge-text-opening-v1\0", 32)
    assert fetching().opening == head + AESGCM(opening_key).encrypt(bytes(12), b"", head)

    keys = hkdf(FETCHING_SALT + GIVING_SALT, KEY, b"tmge-text-records-v1\0", 64)
    proof = b"\0\0\0\x10" + AESGCM(keys[32:]).encrypt(bytes(12), b"", b"\0\0\0\x10")
    length = (len(body()) + 16).to_bytes(4, "big")
    quote = length + AESGCM(keys[32:]).encrypt(bytes(11) + b"\1", body(), length)
    assert answer(body()) == GIVING_SALT + proof + quote

    link = fetching()
    link.receive(answer(body()))
    assert link.acknowledgement() == b"\0\0\0\x10" + AESGCM(keys[:32]).encrypt(bytes(12), b"", b"\0\0\0\x10")


def test_a_quote_crosses_whole_and_byte_by_byte() -> None:
    for openings, answers, acknowledgements in zip(*map(cuts, exchange()), strict=True):
        giver, fetcher = Giving(GIVING_SALT), fetching()
        for part in openings:
            assert giver.opening is None
            giver.receive(part)
        assert giver.opening is not None
        assert giver.opening.token == TOKEN
        giver.answer(KEY, body())
        for part in answers:
            assert fetcher.quote is None
            fetcher.receive(part)
        assert fetcher.quote == QUOTE
        for part in acknowledgements:
            assert not giver.acknowledged
            giver.receive(part)
        assert giver.acknowledged


def exchange() -> tuple[bytes, bytes, bytes]:
    """Return what crosses a link: opening, answer, acknowledgement."""
    link = fetching()
    link.receive(answer(body()))
    return link.opening, answer(body()), link.acknowledgement()


def test_the_key_is_proven_before_the_quote_is_there() -> None:
    link, sent = fetching(), answer(body())
    link.receive(sent[: SALT_SIZE + 20])
    assert link.proven
    assert link.quote is None


def test_what_follows_a_quote_is_not_looked_at() -> None:
    link = fetching()
    link.receive(answer(body()) + b"\xff" * 100)
    link.receive(b"\xff" * 100)
    assert link.quote == QUOTE


@given(st.lists(st.integers(0, 1200)))
def test_records_come_out_however_the_stream_is_cut(places: list[int]) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    stream = b"".join(map(sealer.seal, PLAINTEXTS)) + b"\0\0"  # and the beginning of another
    out = []
    edges = [0, *sorted(place for place in places if place < len(stream)), len(stream)]
    for start, stop in pairwise(edges):
        opener.feed(stream[start:stop])
        while (plaintext := opener.take(1000)) is not None:
            out.append(plaintext)
    assert out == PLAINTEXTS


def test_records_come_out_byte_by_byte() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    out = []
    for byte in b"".join(map(sealer.seal, PLAINTEXTS)):
        opener.feed(bytes([byte]))
        if (plaintext := opener.take(1000)) is not None:
            out.append(plaintext)
    assert out == PLAINTEXTS


@pytest.mark.parametrize("length", [0, 15, 117, 2**31, 2**32 - 1])
def test_an_impossible_length_is_refused_before_anything_else_has_come(length: int) -> None:
    opener = Opener(KEY)
    opener.feed(length.to_bytes(4, "big"))
    with pytest.raises(LinkError):
        opener.take(100)


def test_a_record_cannot_be_repeated_left_out_or_turned_round() -> None:
    sealer = Sealer(KEY)
    first, second = sealer.seal(b"one"), sealer.seal(b"two")
    for stream in (first + first, second):
        opener = Opener(KEY)
        opener.feed(stream)
        with pytest.raises(LinkError):  # noqa: PT012  (it is the last one that fails)
            while opener.take(100) is not None:
                pass
    giver = Giving(GIVING_SALT)
    giver.receive(fetching().opening)
    sent = giver.answer(KEY, body())
    with pytest.raises(LinkError):
        giver.receive(sent[SALT_SIZE:])


def test_no_bit_of_an_opening_can_be_changed() -> None:
    for at in range(OPENING_SIZE * 8):
        forged = bytearray(fetching().opening)
        forged[at // 8] ^= 1 << at % 8
        giver = Giving(GIVING_SALT)
        with pytest.raises(LinkError):  # noqa: PT012  (the first six bytes fail at once, the others as a whole)
            giver.receive(bytes(forged))
            giver.answer(KEY, body())


def test_no_byte_of_an_answer_can_be_changed() -> None:
    sent = answer(body())
    for at in range(len(sent)):
        forged = bytearray(sent)
        forged[at] ^= 0x40
        link = fetching()
        with contextlib.suppress(LinkError):  # a length that grew waits for the rest instead
            link.receive(bytes(forged))
        assert link.quote is None


def test_only_the_key_answers_an_opening() -> None:
    giver = Giving(GIVING_SALT)
    giver.receive(fetching().opening)
    with pytest.raises(LinkError):
        giver.answer(bytes(32), body())


def test_only_the_key_reads_an_answer() -> None:
    link = Fetching(REQUEST, TOKEN, bytes(32), FETCHING_SALT)
    with pytest.raises(LinkError):
        link.receive(answer(body()))


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1", b"TMGE\x02", b"TMGE\x01\x03", b"\x16\x03\x01", b"\0" * 54])
def test_what_opens_no_text_link_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(LinkError):
        Giving(GIVING_SALT).receive(data)


def test_nothing_may_follow_an_opening() -> None:
    with pytest.raises(LinkError):
        Giving(GIVING_SALT).receive(fetching().opening + b"\0")


def test_a_recorded_acknowledgement_does_not_fit_another_link() -> None:
    opening, _, acknowledgement = exchange()
    again = Giving(b"n" * SALT_SIZE)
    again.receive(opening)
    again.answer(KEY, body())
    with pytest.raises(LinkError):
        again.receive(acknowledgement)


LONG = "x" * (m.MAX_QUOTE + 1)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        body().replace("سعدی".encode(), b"\xff" * len("سعدی".encode())),
        body() + b"\0",
        body()[:-1],
        body(m.Quote(REQUEST, LONG, "", "")),
        body(m.Quote(REQUEST, "", LONG[: m.MAX_AUTHOR + 1], "")),
        body(m.Quote(REQUEST, "", "", LONG[: m.MAX_SOURCE + 1])),
        body(m.Quote(bytes(16), "of another request", "", "")),
        body(m.FetchQuote(REQUEST)),
        bytes(m.MAX_MESSAGE + 1),
    ],
    ids="empty not_utf8 trailing cut text author source request kind size".split(),
)
def test_what_is_not_the_quote_is_refused(message: bytes) -> None:
    link = fetching()
    with pytest.raises(LinkError):
        link.receive(answer(message))
    assert link.quote is None


def test_the_largest_quote_crosses() -> None:
    largest = m.Quote(REQUEST, "x" * m.MAX_QUOTE, "a" * m.MAX_AUTHOR, "s" * m.MAX_SOURCE)
    link = fetching()
    link.receive(answer(body(largest)))
    assert link.quote == largest


@given(st.binary(max_size=200))
def test_no_bytes_break_either_side(data: bytes) -> None:
    for side in (Giving(GIVING_SALT), fetching()):
        try:
            side.receive(data)
        except LinkError:
            continue
        assert not getattr(side, "proven", False)
