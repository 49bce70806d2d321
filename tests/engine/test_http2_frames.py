"""The frames of one read: one piece of data for each stream, in order, and nothing else moved; and what is too much."""

import pytest
from h2.config import H2Configuration
from h2.events import DataReceived, Event, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import FrameTooLargeError
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from proxy import limits
from proxy.engine.http2_frames import Exhausted, Frames, _merged

ENDS = (StreamEnded, StreamReset, TrailersReceived)


def data(stream: int, content: bytes) -> DataReceived:
    event = DataReceived(stream_id=stream)
    event.data, event.flow_controlled_length, event.stream_ended = content, len(content) + 1, None
    return event


@st.composite
def reads(draw: st.DrawFn) -> list[Event]:
    """Data of a few streams in any order, some of which end."""
    events: list[Event] = []
    ended: set[int] = set()
    for stream, content in draw(st.lists(st.tuples(st.integers(1, 4), st.none() | st.binary(max_size=3)))):
        if stream in ended:
            continue
        if content is None:
            ended.add(stream)
            events.append(draw(st.sampled_from(ENDS))(stream_id=stream))
        else:
            events.append(data(stream, content))
    return events


def of(events: list[Event], stream: int) -> tuple[bytes, int, list[type[Event]]]:
    """All data of a stream, the window that it took, and what else came, in order."""
    mine = [event for event in events if getattr(event, "stream_id", None) == stream]
    pieces = [event for event in mine if isinstance(event, DataReceived)]
    kinds = [type(event) for event in mine if not isinstance(event, DataReceived)]
    if pieces and kinds:
        assert isinstance(mine[-1], ENDS), "what ends a stream stays behind its data"
    return b"".join(event.data for event in pieces), sum(event.flow_controlled_length for event in pieces), kinds


@given(reads())
def test_each_stream_reads_the_same_and_has_one_piece_of_data(events: list[Event]) -> None:
    before = {stream: of(events, stream) for stream in range(1, 5)}
    others = [event for event in events if not isinstance(event, DataReceived)]
    merged = _merged(events)
    assert {stream: of(merged, stream) for stream in range(1, 5)} == before
    assert [event for event in merged if not isinstance(event, DataReceived)] == others
    for stream in range(1, 5):
        assert sum(isinstance(event, DataReceived) and event.stream_id == stream for event in merged) <= 1


# --- bounds ---

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST = [(":method", "POST"), (":scheme", "https"), (":authority", "h2.example"), (":path", "/")]


def frames_of(*, client: bool = False) -> Frames:
    """A connection as the proxy has it, with its client (or with its upstream) greeted."""
    frames = Frames(H2Configuration(client_side=client, header_encoding=False))
    frames.initiate_connection()
    frames.receive_data((b"" if client else PREFACE) + SettingsFrame(0).serialize())
    return frames


def request(stream: int, *, flags: tuple[str, ...] = ("END_HEADERS",)) -> bytes:
    return HeadersFrame(stream, Encoder().encode(REQUEST), flags=list(flags)).serialize()


@pytest.mark.parametrize("client", [False, True])
def test_a_frame_that_is_too_large_is_refused_from_its_head(client: bool) -> None:
    length = limits.MAX_HTTP2_FRAME + 1
    with pytest.raises(FrameTooLargeError):
        frames_of(client=client).receive_data(length.to_bytes(3) + b"\0\0\0\0\0\1")
    assert frames_of().receive_data(limits.MAX_HTTP2_FRAME.to_bytes(3) + b"\0\0\0\0\0\1") == []


def test_a_head_in_pieces_is_no_larger_than_one() -> None:
    piece = ContinuationFrame(1, bytes(limits.MAX_HEAD // 4)).serialize()
    frames = frames_of()
    frames.receive_data(request(1, flags=()) + piece * 3)
    with pytest.raises(FrameTooLargeError):
        frames.receive_data(piece)


IDLE = {
    "unknown": b"\0\0\0\xbb\0\0\0\0\0",
    "window": WindowUpdateFrame(0, window_increment=1).serialize(),
    "window of a stream": WindowUpdateFrame(1, window_increment=1).serialize(),
    "settings": SettingsFrame(0, settings={5: 16384}).serialize(),
    "settings ack": SettingsFrame(0, flags=["ACK"]).serialize(),
    "ping": PingFrame(0, b"12345678").serialize(),
    "ping ack": PingFrame(0, b"12345678", flags=["ACK"]).serialize(),
    "priority": PriorityFrame(3, depends_on=1).serialize(),
    "empty data": DataFrame(1, b"").serialize(),
    "padding": DataFrame(1, b"", flags=["PADDED"], pad_length=9).serialize(),
    "reset of nothing": RstStreamFrame(1001, error_code=8).serialize(),
}


@pytest.mark.parametrize("frame", IDLE.values(), ids=IDLE.keys())
def test_frames_that_carry_nothing_have_a_budget(frame: bytes) -> None:
    frames = frames_of()
    frames.receive_data(request(1))
    frames.receive_data(frame * (limits.MAX_HTTP2_IDLE - 1))
    with pytest.raises(Exhausted, match="carry nothing"):
        frames.receive_data(frame * 2)


def test_an_upstream_has_the_same_budget_and_leaves_once() -> None:
    frames = frames_of(client=True)
    with pytest.raises(Exhausted, match="carry nothing"):
        frames.receive_data(GoAwayFrame(0, last_stream_id=1).serialize() * (limits.MAX_HTTP2_IDLE + 1))


def test_what_answers_our_data_and_what_carries_some_is_free() -> None:
    frames = frames_of()
    frames.receive_data(request(1))
    frames.send_headers(1, [(":status", "200")])
    window = WindowUpdateFrame(0, window_increment=8).serialize() + WindowUpdateFrame(1, window_increment=8).serialize()
    for _ in range(limits.MAX_HTTP2_IDLE):
        frames.send_data(1, b"eight...")
        frames.receive_data(window * 2)
    frames.receive_data(DataFrame(1, b"x").serialize() * (limits.MAX_HTTP2_IDLE + 1))


def test_answers_before_the_final_one_are_counted_for_each_request() -> None:
    frames = frames_of(client=True)
    interim, final = [Encoder().encode([(":status", status)]) for status in ("103", "200")]
    for stream in (1, 3):
        frames.send_headers(stream, REQUEST, end_stream=True)
        frames.receive_data(HeadersFrame(stream, interim, flags=["END_HEADERS"]).serialize() * limits.MAX_INTERIM)
    frames.receive_data(HeadersFrame(1, final, flags=["END_HEADERS"]).serialize())
    with pytest.raises(Exhausted, match="interim"):
        frames.receive_data(HeadersFrame(3, interim, flags=["END_HEADERS"]).serialize())


@pytest.mark.parametrize(
    "fault",
    [
        RstStreamFrame(1, error_code=8),
        WindowUpdateFrame(1, window_increment=2**31 - 1),
    ],
    ids=lambda fault: fault.__class__.__name__,
)
def test_streams_that_a_client_resets_or_makes_us_reset_have_a_budget(fault: Frame) -> None:
    frames = frames_of()

    def begin_and_fail(number: int) -> None:
        fault.stream_id = 2 * number + 1
        frames.receive_data(request(fault.stream_id) + fault.serialize())

    for number in range(limits.MAX_HTTP2_RESETS):
        begin_and_fail(number)
    with pytest.raises(Exhausted, match="reset"):
        begin_and_fail(limits.MAX_HTTP2_RESETS)


@pytest.mark.parametrize("client", [False, True])
def test_a_peer_cannot_have_us_remember_more_header_fields(client: bool) -> None:
    frames = frames_of(client=client)
    frames.receive_data(SettingsFrame(0, settings={1: 2**32 - 1}).serialize())
    assert frames.encoder.header_table_size == limits.MAX_HTTP2_TABLE
    frames.receive_data(SettingsFrame(0, settings={1: 100}).serialize())
    assert frames.encoder.header_table_size == 100
