"""Frames: what is written is read, and whatever else comes is refused in one way only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import frames as f
from agent.protocol.errors import PeerError

NUMBERS = st.integers(0, (1 << 32) - 1)


@st.composite
def ack_ranges(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Half-open ranges that do not touch, highest first."""
    edges = sorted(draw(st.sets(NUMBERS, min_size=2, max_size=2 * f.MAX_ACK_RANGES)))
    edges = edges[: len(edges) // 2 * 2]
    return [(edges[at], edges[at + 1]) for at in range(0, len(edges), 2)][::-1]


def written(frame: f.Frame) -> bytes:
    match frame:
        case f.Ping():
            return f.encode_ping()
        case f.Ack(delay, ranges):
            return f.encode_ack(delay, ranges)
        case f.Control(offset, data):
            return f.encode_control(offset, data)
        case f.Close(code, reason):
            return f.encode_close(code, reason)
        case f.PathChallenge(data):
            return f.encode_path(f.PATH_CHALLENGE, data)
        case f.PathResponse(data):
            return f.encode_path(f.PATH_RESPONSE, data)


EIGHT = st.binary(min_size=8, max_size=8)
FRAMES: st.SearchStrategy[f.Frame] = st.one_of(
    st.just(f.Ping()),
    st.builds(lambda delay, ranges: f.Ack(delay / 1e6, tuple(ranges)), NUMBERS, ack_ranges()),
    st.builds(f.Control, NUMBERS, st.binary(max_size=300)),
    st.builds(f.Close, st.integers(0, 255), st.text(max_size=f.MAX_REASON // 4)),
    st.builds(f.PathChallenge, EIGHT),
    st.builds(f.PathResponse, EIGHT),
)
EXAMPLES: list[f.Frame] = [
    f.Ping(),
    f.Ack(0.025, ((9, 12), (3, 5), (0, 1))),
    f.Control(70_000, b"some messages"),
    f.Close(1, "Alice geht offline. خداحافظ"),
    f.PathChallenge(b"12345678"),
    f.PathResponse(b"87654321"),
]


def read(data: bytes) -> list[f.Frame]:
    return list(f.parse(data))


def same(one: list[f.Frame], other: list[f.Frame]) -> bool:
    """Compare frames; delays pass through whole microseconds."""
    return [written(frame) for frame in one] == [written(frame) for frame in other]


@given(st.lists(FRAMES, max_size=5), st.integers(0, 40))
def test_what_is_written_is_read_with_padding_behind_it(wanted: list[f.Frame], padding: int) -> None:
    assert same(read(b"".join(map(written, wanted)) + bytes(padding)), wanted)


@pytest.mark.parametrize("frame", EXAMPLES, ids=lambda frame: type(frame).__name__)
def test_a_frame_that_is_cut_anywhere_is_refused(frame: f.Frame) -> None:
    whole = written(frame)
    assert read(whole) == [frame]
    for end in range(1, len(whole)):
        with pytest.raises(PeerError):
            read(whole[:end])


@pytest.mark.parametrize("frame", EXAMPLES, ids=lambda frame: type(frame).__name__)
@pytest.mark.parametrize("trailing", [b"\x04", b"\x08", b"\xff", b"\x02"])
def test_bytes_behind_a_frame_that_are_no_frame_are_refused(frame: f.Frame, trailing: bytes) -> None:
    with pytest.raises(PeerError):
        read(written(frame) + trailing)


@given(st.binary(max_size=200))
def test_random_bytes_are_frames_or_a_peer_error(data: bytes) -> None:
    try:
        found = read(data)
    except PeerError:
        return
    assert len(found) <= len(data)


@given(FRAMES, st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_gives_frames_or_a_peer_error(frame: f.Frame, at: int, flip: int) -> None:
    data = bytearray(written(frame))
    data[at % len(data)] ^= flip
    try:
        read(bytes(data))
    except PeerError:
        return


@pytest.mark.parametrize(
    "ranges",
    [[(0, 5), (9, 12)], [(5, 9), (2, 5)], [(5, 9), (5, 9)], [(5, 9), (2, 6)], [(9, 5)], [(5, 5)]],
    ids=["rising", "touching", "repeated", "overlapping", "backwards", "empty"],
)
def test_ranges_that_do_not_fall_are_refused(ranges: list[tuple[int, int]]) -> None:
    data = b"\2\0\0\0\0" + bytes([len(ranges)])
    for start, stop in ranges:
        data += start.to_bytes(4, "big") + ((stop - 1) & 0xFFFFFFFF).to_bytes(4, "big")
    with pytest.raises(PeerError, match="not descending"):
        read(data)


@pytest.mark.parametrize("count", [0, f.MAX_ACK_RANGES + 1])
def test_an_acknowledgement_of_no_or_too_many_ranges_is_refused(count: int) -> None:
    ranges = [(4 * at, 4 * at + 1) for at in range(count)][::-1]
    with pytest.raises(PeerError):
        read(f.encode_ack(0.0, ranges))


def test_a_long_reason_is_cut_when_written_and_refused_when_read() -> None:
    (close,) = read(f.encode_close(2, "é" * 1000))
    assert isinstance(close, f.Close)
    assert close.reason == "é" * (f.MAX_REASON // 2)
    length = f.MAX_REASON + 1
    with pytest.raises(PeerError, match="too long"):
        read(b"\5\2" + length.to_bytes(2, "big") + b"x" * length)


def test_a_reason_that_is_not_text_is_shown_as_well_as_it_can_be() -> None:
    assert read(b"\5\1\0\2\xffA") == [f.Close(1, "\N{REPLACEMENT CHARACTER}A")]


def test_a_delay_is_kept_in_microseconds_and_capped() -> None:
    (ack,) = read(f.encode_ack(1e9, [(0, 1)]))
    assert ack == f.Ack(4294.967295, ((0, 1),))


def test_a_piece_may_not_stand_behind_another_frame() -> None:
    piece = f.PIECE_HEADER.pack(f.piece_word(1), 0) + b"bytes of a picture"
    with pytest.raises(PeerError, match="type 4"):
        read(f.encode_ping() + piece)


def test_the_word_of_a_piece_holds_its_type_and_its_transfer() -> None:
    assert f.piece_word(f.MAX_TRANSFER - 1).to_bytes(4, "big") == b"\4\xff\xff\xff"
