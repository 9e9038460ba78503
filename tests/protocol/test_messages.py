"""Messages: what is written is read, and whatever else comes is refused in one way only."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import messages as m
from agent.protocol.candidates import MOST_CANDIDATES, Candidate, Found
from agent.protocol.errors import PeerError
from agent.protocol.fields import CANDIDATES, MAX_FETCH_RANGES, RANGES, TRIED
from agent.protocol.report import Outcome, Tried
from rendezvous.contract.statement import MAX_STATEMENT

U8, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 32, 64))


def text(most: int) -> st.SearchStrategy[str]:
    return st.text(max_size=min(most // 4, 60))


@st.composite
def ranges(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    edges = sorted(draw(st.sets(U64, max_size=20)))
    return tuple((edges[at], edges[at + 1]) for at in range(0, len(edges) - 1, 2))


ADDRESSES = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))
CANDIDATE = st.builds(Candidate, st.sampled_from(Found), ADDRESSES)
TRIES = st.builds(
    Tried,
    st.sampled_from(Found),
    ADDRESSES,
    st.sampled_from(Outcome),
    st.none() | st.integers(0, 4_000_000).map(lambda rtt: rtt / 1e6),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "u8": U8,
    "u32": U32,
    "u64": U64,
    "16 bytes": st.binary(min_size=16, max_size=16),
    "32 bytes": st.binary(min_size=32, max_size=32),
    f"blob, at most {m.MAX_PREVIEW}": st.binary(max_size=60),
    f"blob, at most {MAX_STATEMENT}": st.binary(max_size=60),
    RANGES.name: ranges(),
    CANDIDATES.name: st.lists(CANDIDATE, max_size=MOST_CANDIDATES).map(tuple),
    TRIED.name: st.lists(TRIES, max_size=MOST_CANDIDATES).map(tuple),
    **{
        f"text, at most {most} bytes": text(most)
        for most in (
            m.MAX_WISH,
            m.MAX_REASON,
            m.MAX_QUOTE,
            m.MAX_AUTHOR,
            m.MAX_SOURCE,
            m.MAX_CAPTION,
            m.MAX_ALT,
        )
    },
}


def messages_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(cls, *(FIELDS[field.name] for field in cls.LAYOUT))


MESSAGES = st.one_of([messages_of(cls) for cls in m.MESSAGES.values()])
ID, TOKEN, HASH = bytes(range(16)), bytes(range(16, 32)), bytes(range(32))
PICTURE = (70_000, 0, 800, 600, HASH, HASH[::-1], b"tiny", m.STRIPPED, "The sea", "Waves under a red sun.")
EXAMPLES: list[m.Message] = [
    m.ConnectTo(ID, 300, "سلام"),
    m.AskQuote(ID, 300, ""),
    m.AskImage(ID, 300, "a sunset"),
    m.OfferQuote(ID, 300, "for you", TOKEN),
    m.OfferImage(ID, 300, "for you", *PICTURE),
    m.Accept(ID),
    m.GiveQuote(ID, TOKEN),
    m.GiveImage(ID, *PICTURE),
    m.LastWord(ID, 3, ""),
    m.Cancel(ID, "no room"),
    m.Fetch(ID, 1, ((0, 64), (96, 1000))),
    m.FetchQuote(ID),
    m.Quote(ID, "من ملک بودم", "حافظ", "غزل ۳۱۷"),
    m.Disconnect(),
    m.Hello(7),
    m.Stated(b'{"name": "Alice"}'),
    m.Candidates(3, 2, 1, (Candidate(Found.HOST, ("192.0.2.1", 4001)), Candidate(Found.MAPPED, ("2001:db8::1", 4001)))),
    m.PathReport(0, (Tried(Found.REFLEXIVE, ("192.0.2.1", 1), Outcome.ANSWERED, 0.02),)),
]


def name_of(message: m.Message) -> str:
    return type(message).__name__


def body_of(message: m.Message) -> bytes:
    return m.encode(message)[4:]


def fed(stream: bytes, step: int) -> list[m.Message]:
    """What comes out of a stream that arrives in steps."""
    buffer, found = bytearray(), list[m.Message]()
    for at in range(0, len(stream), step):
        buffer += stream[at : at + step]
        found += m.split(buffer)
    return found


def test_every_kind_of_message_has_an_example_here() -> None:
    assert {type(message) for message in EXAMPLES} == set(m.MESSAGES.values())


@given(MESSAGES)
def test_what_is_written_is_read(message: m.Message) -> None:
    assert m.decode(body_of(message)) == message


@given(st.lists(MESSAGES, max_size=5), st.integers(1, 50))
def test_a_stream_in_pieces_of_any_size_gives_the_same_messages(wanted: list[m.Message], step: int) -> None:
    assert fed(b"".join(map(m.encode, wanted)), step) == wanted


def test_a_stream_byte_by_byte_gives_the_same_messages() -> None:
    assert fed(b"".join(map(m.encode, EXAMPLES)), 1) == EXAMPLES


@pytest.mark.parametrize("message", EXAMPLES, ids=name_of)
def test_a_message_that_is_cut_anywhere_is_refused(message: m.Message) -> None:
    body = body_of(message)
    for end in range(len(body)):
        with pytest.raises(PeerError):
            m.decode(body[:end])


@pytest.mark.parametrize("message", EXAMPLES, ids=name_of)
def test_an_incomplete_message_waits_for_the_rest(message: m.Message) -> None:
    whole = m.encode(message)
    for end in range(len(whole)):
        buffer = bytearray(whole[:end])
        assert list(m.split(buffer)) == []
        assert buffer == whole[:end]


@pytest.mark.parametrize("message", EXAMPLES, ids=name_of)
def test_trailing_bytes_are_refused(message: m.Message) -> None:
    with pytest.raises(PeerError, match="trailing"):
        m.decode(body_of(message) + b"\0")


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_peer_error(body: bytes) -> None:
    try:
        message = m.decode(body)
    except PeerError:
        return
    assert body_of(message) == body


@given(st.binary(max_size=400))
def test_a_random_stream_gives_messages_or_a_peer_error(stream: bytes) -> None:
    try:
        fed(stream, 7)
    except PeerError:
        return


@given(MESSAGES, st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_gives_another_message_or_a_peer_error(message: m.Message, at: int, flip: int) -> None:
    body = bytearray(body_of(message))
    body[at % len(body)] ^= flip
    try:
        assert m.decode(bytes(body)) != message
    except PeerError:
        return


@pytest.mark.parametrize("kind", [0, 19, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(PeerError, match="no known kind"):
        m.decode(bytes([kind]) + ID)


@pytest.mark.parametrize("length", [0, m.MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_refused_before_anything_is_kept_for_it(length: int) -> None:
    with pytest.raises(PeerError, match="empty or longer"):
        list(m.split(bytearray(length.to_bytes(4, "big"))))


@pytest.mark.parametrize(
    "message",
    [
        m.AskQuote(ID, 1, "x" * (m.MAX_WISH + 1)),
        m.LastWord(ID, 4, "x" * (m.MAX_REASON + 1)),
        m.Cancel(ID, "x" * (m.MAX_REASON + 1)),
        m.Quote(ID, "x" * (m.MAX_QUOTE + 1), "", ""),
        m.Quote(ID, "", "x" * (m.MAX_AUTHOR + 1), ""),
        m.Quote(ID, "", "", "x" * (m.MAX_SOURCE + 1)),
        m.GiveImage(ID, *PICTURE[:6], b"x" * (m.MAX_PREVIEW + 1), 0, "", ""),
        m.GiveImage(ID, *PICTURE[:8], "x" * (m.MAX_CAPTION + 1), ""),
        m.OfferImage(ID, 300, "", *PICTURE[:9], "x" * (m.MAX_ALT + 1)),
    ],
    ids=lambda message: name_of(message),
)
def test_a_field_that_is_too_long_is_refused(message: m.Message) -> None:
    with pytest.raises(PeerError, match="longer than it may be"):
        m.decode(body_of(message))


def test_the_longest_quote_fits() -> None:
    quote = m.Quote(ID, "x" * m.MAX_QUOTE, "x" * m.MAX_AUTHOR, "x" * m.MAX_SOURCE)
    assert fed(m.encode(quote), 1200) == [quote]


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x82"])
def test_a_text_that_is_not_utf8_is_refused(bad: bytes) -> None:
    body = body_of(m.Cancel(ID, "x" * len(bad))).replace(b"x" * len(bad), bad)
    with pytest.raises(PeerError, match="UTF-8"):
        m.decode(body)


@pytest.mark.parametrize(
    "wanted",
    [((5, 5),), ((9, 5),), ((5, 9), (0, 3)), ((0, 5), (5, 9)), ((0, 5), (4, 9))],
    ids=["empty", "backwards", "falling", "touching", "overlapping"],
)
def test_ranges_that_do_not_rise_are_refused(wanted: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(PeerError, match="not rising"):
        m.decode(body_of(m.Fetch(ID, 1, wanted)))


def test_too_many_ranges_are_refused_before_they_are_read() -> None:
    body = body_of(m.Fetch(ID, 1, ()))[:-4] + (MAX_FETCH_RANGES + 1).to_bytes(4, "big")
    with pytest.raises(PeerError, match="too many"):
        m.decode(body)
    most = tuple((2 * at, 2 * at + 1) for at in range(MAX_FETCH_RANGES))
    assert m.decode(body_of(m.Fetch(ID, 1, most))) == m.Fetch(ID, 1, most)
