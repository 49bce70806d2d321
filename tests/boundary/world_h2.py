"""An upstream of the world that speaks HTTP/2 and does by the path what a bad one does, in unchecked frames."""

import ssl
from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, RequestReceived, StreamEnded, StreamReset
from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PushPromiseFrame

type Pairs = list[tuple[str, str]]

_OK = [(":status", "200"), ("x-world", "yes")]


def serve(connection: ssl.SSLSocket, record: Callable[[str, str, Pairs], None]) -> None:
    """Answer until the other side leaves. `record` gets method, target and fields of each request."""
    h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
    h2.initiate_connection()
    connection.sendall(h2.data_to_send())
    heads: dict[int, dict[str, str]] = {}
    while data := connection.recv(65536):
        for event in h2.receive_data(data):
            if isinstance(event, RequestReceived):
                pairs = [(str(name), str(value)) for name, value in event.headers]
                heads[event.stream_id] = head = dict(pairs)
                fields = [pair for pair in pairs if not pair[0].startswith(":")]
                record(head[":method"], head[":path"], [("Host", head[":authority"]), *fields])
            elif isinstance(event, StreamEnded):
                head = heads.pop(event.stream_id)
                key = head.get("authorization", "").rpartition(" ")[2]
                connection.sendall(h2.data_to_send())
                for frame in _answer(head[":path"], key, event.stream_id):
                    connection.sendall(frame.serialize())
            elif isinstance(event, StreamReset):
                heads.pop(event.stream_id, None)
            elif isinstance(event, ConnectionTerminated):
                return
        connection.sendall(h2.data_to_send())


def _answer(path: str, key: str, stream: int) -> list[Frame]:
    head, body = _head(stream, _OK), [_data(stream, b"ok")]
    if path == "/push":
        asked = [(":method", "GET"), (":scheme", "https"), (":authority", "evil.example"), (":path", "/pushed")]
        promise = PushPromiseFrame(stream, 2, Encoder().encode(asked), flags=["END_HEADERS"])
        return [promise, _head(2, _OK), _data(2, b"pushed"), head, *body]
    if path == "/101":
        return [_head(stream, [(":status", "101"), ("x-world", "yes")]), _data(stream, b"world: switched")]
    if path == "/echo-data":
        body = [DataFrame(stream, key[at : at + 3].encode()) for at in range(0, len(key), 3)]
        return [head, *body, _data(stream, b"end")]
    return [head, *body]


def _head(stream: int, fields: Pairs) -> Frame:
    return HeadersFrame(stream, Encoder().encode(fields), flags=["END_HEADERS"])


def _data(stream: int, data: bytes) -> Frame:
    return DataFrame(stream, data, flags=["END_STREAM"])
