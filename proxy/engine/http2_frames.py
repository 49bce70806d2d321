"""HTTP/2 frames as events: the data of one read in one piece for each stream, and a peer that leaves in peace.

Builds on `h2` 4.3.0 below mitmproxy 12.2.3 (see tests/engine/test_mirrored.py).
"""

from collections.abc import Iterable
from typing import Any

import h2.errors
from h2.events import DataReceived, Event
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection


class Leaving(Event):
    """The peer takes no more streams and finishes those up to `last_stream_id` (RFC 9113 section 6.8)."""

    def __init__(self, last_stream_id: int) -> None:
        self.last_stream_id = last_stream_id


class Frames(BufferedH2Connection):
    """The frames of one connection."""

    def receive_data(self, data: bytes) -> list[Event]:
        return _merged(super().receive_data(data))

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
        """Mirrors `H2Connection._receive_goaway_frame`, which takes nothing more: here the last answers still come."""
        if self.config.client_side and frame.error_code == h2.errors.ErrorCodes.NO_ERROR:
            return [], [Leaving(frame.last_stream_id)]
        return super()._receive_goaway_frame(frame)


def _merged(events: Iterable[Event]) -> list[Event]:
    """The events with all data of a stream where its first data was: small frames must not cost a turn each.

    What ends a stream comes after its data, and what begins it before, so nothing of one stream changes places.
    """
    merged: list[Event] = []
    pieces: dict[int, tuple[DataReceived, list[bytes]]] = {}
    for event in events:
        if not isinstance(event, DataReceived):
            merged.append(event)
        elif event.stream_id in pieces:
            first, more = pieces[event.stream_id]
            more.append(event.data)
            first.flow_controlled_length += event.flow_controlled_length
            first.stream_ended = event.stream_ended
        else:
            merged.append(event)
            pieces[event.stream_id] = event, [event.data]
    for first, more in pieces.values():
        if len(more) > 1:
            first.data = b"".join(more)
    return merged
