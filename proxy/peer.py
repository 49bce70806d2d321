"""Whether the other side of a connection is still there."""

import select
import socket
from asyncio.trsock import TransportSocket

_ENDED = getattr(select, "POLLRDHUP", 0)  # Linux alone can tell it


def left(sock: socket.socket | TransportSocket, *, stalled: bool) -> bool:
    """Whether the other side has gone; asyncio sees that only of sockets that it reads from at the time.

    An end may stand behind bytes that are still to be read, so it counts if they are `stalled`; a reset always does.
    """
    if sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock, _ENDED)  # a reset is told in any case
    told = sum(event for _, event in poll.poll(0))
    return bool(told & (select.POLLERR | select.POLLHUP)) or (stalled and bool(told & _ENDED))
