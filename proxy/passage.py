"""What passes a tunnel or a WebSocket, in no engine's terms: counted, scrubbed, metered, its TLS hellos judged.

A client has no longer for its first bytes than for a head, unless its server speaks first.
"""

import time
from collections.abc import Iterator

from proxy.credentials.scrub import Mask, Scrubber
from proxy.exchange import Exchange
from proxy.gate import Gate
from proxy.hello import BadHello, Hello, judge_hello
from proxy.hellos import Hellos
from proxy.policy.reason import Reason
from proxy.session import Session


class Passage:
    """Both directions of one exchange whose bytes are relayed. The hellos in a tunnel must name the tunnel's host."""

    def __init__(self, gate: Gate, session: Session, exchange: Exchange, mask: Mask | None = None) -> None:
        self._gate, self._session, self._exchange = gate, session, exchange
        self._scrubber = None if mask is None else Scrubber(mask)
        self._hellos = Hellos(self._judge) if exchange.tunnel else None
        if self._hellos is not None:
            session.head_since = time.monotonic()

    @property
    def may_half_close(self) -> bool:
        """Whether one side may go on when the other has said all: in a tunnel, unless a hello is cut short."""
        return self._hellos is not None and not self._hellos.held

    def to_server(self, data: bytes) -> bytes | None:
        """What may go on of the client's bytes; None if nothing may any more, and the exchange is refused."""
        if self._hellos is not None:
            session = self._session
            if not self._hellos.begun:
                session.head_since = session.head_since or time.monotonic()
            try:
                data = self._hellos.from_client(data)
            except BadHello as error:
                session.bar(Reason.PROTOCOL_NOT_ALLOWED, str(error))
            if session.barred is not None:
                self._exchange.refuse(*session.barred)
                return None
            if self._hellos.begun:
                session.head_since = None
        self._exchange.bytes_out += len(data)
        return data

    def to_client(self, data: bytes) -> Iterator[bytes]:
        """The server's bytes as the client gets them, in pieces."""
        exchange, hellos = self._exchange, self._hellos
        exchange.bytes_in += len(data)
        if hellos is not None:
            hellos.from_server(data)
            if not hellos.begun and not hellos.held:
                self._session.head_since = None
        for piece in [data] if self._scrubber is None else self._scrubber.feed(data):
            if exchange.meter is not None:
                exchange.meter.feed(piece)
            yield piece

    def rest(self) -> list[bytes]:
        """What was held back of the server's bytes."""
        return [] if self._scrubber is None else self._scrubber.flush()

    def _judge(self, hello: Hello) -> None:
        judge_hello(self._gate, self._session, hello)
