"""HTTP/2 back-pressure, which mitmproxy 12.2.3 lacks.

It grants every peer an endless window and queues what cannot be sent. `congested` tells the handler
to stop reading from one connection while the others of the same client hold too much.
"""

from collections.abc import Iterable

from mitmproxy.connection import Connection
from mitmproxy.proxy.layers.http import Http2Client, Http2Server

from proxy import limits


def congested(connections: Iterable[Http2Server | Http2Client], reading_from: Connection | None) -> bool:
    """Whether more data must not be read from a connection now, because the others cannot send what they hold."""
    held = sum(_unsent(each) for each in connections if each.conn is not reading_from)
    return held > limits.MAX_HTTP2_BUFFER


def _unsent(connection: Http2Server | Http2Client) -> int:
    return sum(len(chunk.data) for queue in connection.h2_conn.stream_buffers.values() for chunk in queue)
