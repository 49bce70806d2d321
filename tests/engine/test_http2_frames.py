"""The frames of one read: one piece of data for each stream, in order, and nothing else moved."""

from h2.events import DataReceived, Event, StreamEnded, StreamReset, TrailersReceived
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.http2_frames import _merged

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
