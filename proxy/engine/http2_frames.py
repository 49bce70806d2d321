"""HTTP/2 frames as events: the data of one read in one piece for each stream, a peer that leaves in peace, and bounds.

Builds on `h2` 4.3.0 below mitmproxy 12.2.3 (see tests/engine/test_mirrored.py).
"""

from collections.abc import Iterable
from typing import Any

import h2.config
import h2.errors
from h2.events import (
    AlternativeServiceAvailable,
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    ResponseReceived,
    SettingsAcknowledged,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from proxy import limits
from proxy.budget import Budget

_FRAME_HEAD = 9  # RFC 9113 section 4.1
_DATA = 0  # section 6.1
# What a peer may answer to one piece of data of ours: a window for the stream and one for the connection, as each of a
# few small reads makes them, and a ping. Envoy's `max_inbound_window_update_frames_per_data_frame_sent` is as many.
_PER_DATA = 10


class Leaving(Event):
    """The peer takes no more streams and finishes those up to `last_stream_id` (RFC 9113 section 6.8)."""

    def __init__(self, last_stream_id: int) -> None:
        self.last_stream_id = last_stream_id


class Exhausted(ProtocolError):
    """The peer did something too often. The text says what."""

    error_code = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


# Frames that make one of these, or no event at all, carry nothing of a request or an answer.
_IDLE = frozenset(
    (
        WindowUpdated,
        RemoteSettingsChanged,
        SettingsAcknowledged,
        PingReceived,
        PingAckReceived,
        PriorityUpdated,
        UnknownFrameReceived,
        InformationalResponseReceived,
        AlternativeServiceAvailable,
        Leaving,
    )
)


class _Incoming(FrameBuffer):
    """Refuses what is too long as soon as it says so; `FrameBuffer` gathers it first."""

    def __next__(self) -> Any:
        if len(self._data) >= _FRAME_HEAD:
            self._validate_frame_length(int.from_bytes(self._data[:3]))
        return super().__next__()

    def _update_header_buffer(self, f: Any) -> Any:
        whole = super()._update_header_buffer(f)
        if self._headers_buffer and sum(len(each.data) for each in self._headers_buffer) > limits.MAX_HEAD:
            raise FrameTooLargeError("the head is too large")
        return whole


class Frames(BufferedH2Connection):
    """The frames of one connection. Raises `Exhausted` for a peer that keeps us busy with nothing.

    `resets` counts streams that end before their time, on whichever side: a peer can make us reset them, too
    (CVE-2023-44487, CVE-2025-8671).
    """

    def __init__(self, config: h2.config.H2Configuration) -> None:
        super().__init__(config)
        self.local_settings.max_frame_size = self.max_inbound_frame_size = limits.MAX_HTTP2_FRAME
        self.local_settings.acknowledge()
        self.incoming_buffer = _Incoming(server=not config.client_side)
        self.idle = Budget(limits.MAX_HTTP2_IDLE, limits.RESET_TIME)
        self.resets = Budget(limits.MAX_HTTP2_RESETS, limits.RESET_TIME)
        self.interim: dict[int, int] = {}  # by stream, answers before the final one

    @property
    def begun(self) -> bool:
        """Whether the peer is inside a frame, a head or the preface."""
        incoming = self.incoming_buffer
        return bool(incoming._preamble_len or incoming._data or incoming._headers_buffer)

    def receive_data(self, data: bytes) -> list[Event]:
        return _merged(super().receive_data(data))

    def note_reset(self) -> None:
        """Count a stream that we reset for a fault of the peer. Raises `Exhausted`."""
        if not self.config.client_side and not self.resets.spend():
            raise Exhausted("too many streams were reset")

    def _receive_frame(self, frame: Any) -> list[Event]:
        """Counts what the frame brought, before the next one of the same read is parsed."""
        events: list[Event] = super()._receive_frame(frame)
        first = events[0] if events else None
        kind = type(first)
        if frame.type == _DATA:
            # Data on a stream that was reset is what was on its way already.
            idle = not frame.data and "END_STREAM" not in frame.flags
        else:
            idle = first is None or kind in _IDLE
        if idle and not self.idle.spend():
            raise Exhausted("too many frames that carry nothing")
        if kind is StreamReset:
            self.note_reset()
        elif kind is InformationalResponseReceived:
            self._note_interim(frame.stream_id)
        elif kind is ResponseReceived:
            self.interim.pop(frame.stream_id, None)
        return events

    def _note_interim(self, stream_id: int) -> None:
        self.interim[stream_id] = self.interim.get(stream_id, 0) + 1
        if self.interim[stream_id] > limits.MAX_INTERIM:
            raise Exhausted("too many interim answers")

    def _prepare_for_sending(self, frames: list[Any]) -> None:
        super()._prepare_for_sending(frames)
        if frames and frames[0].type == _DATA:
            self.idle.earn(_PER_DATA)

    def _receive_settings_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
        """Without the wish for a larger table of header fields than everybody has: it would be kept here."""
        wanted = frame.settings.get(SettingCodes.HEADER_TABLE_SIZE, 0)
        if wanted > limits.MAX_HTTP2_TABLE:
            frame.settings[SettingCodes.HEADER_TABLE_SIZE] = limits.MAX_HTTP2_TABLE
        return super()._receive_settings_frame(frame)

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[Event]]:
        """Mirrors `H2Connection._receive_goaway_frame`, which takes nothing more: here the last answers still come."""
        if self.config.client_side and frame.error_code == h2.errors.ErrorCodes.NO_ERROR:
            return [], [Leaving(frame.last_stream_id)]
        return super()._receive_goaway_frame(frame)


def length_of(headers: Iterable[Any] | None) -> int:
    """The body's length as a head says it; 0 if it does not. A number that is none is for others to refuse."""
    lengths = [value for name, value in headers or () if name == b"content-length"]
    return int(lengths[0]) if len(lengths) == 1 and lengths[0].isdigit() else 0


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
