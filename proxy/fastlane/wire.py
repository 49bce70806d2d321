"""One socket of the fast lane: bytes with or without TLS, how much of them waits, and how it ends."""

import asyncio
import select
import socket
import ssl
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import cast

import structlog

from proxy import limits
from proxy.fastlane.tls import Tls
from proxy.turns import MOST, Portion, Share

log = structlog.get_logger("engine")


class _Shared(threading.local):
    """What every wire of a loop reads into: what was read is handled, or copied, before another one reads."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(MOST))


_shared = _Shared()


class Wire(asyncio.BufferedProtocol, ABC):
    """What both sides share. Subclasses say what becomes of what is read; whatever raises in them ends all.

    `active` is when a byte last came (`time.monotonic`). `writable` is false while the peer does not take what waits.
    `reading` is false while nobody here takes what it sends.

    No more is read at once than may be handled at once. Turns are those of `share`, which the connections of one
    sandbox have together.
    """

    transport: asyncio.Transport
    tls: Tls | None = None

    def __init__(self, share: Share | None = None) -> None:
        self.share = share or Share()
        self.writable = True
        self.closed = False
        self.reading = True
        self.active = time.monotonic()
        self._portion = Portion()
        self._room = _shared.view[: self._portion.size]
        self._held = b""  # what came though nobody reads, or out of turn
        self._end_waits = False  # the peer's last byte came while nobody reads
        self._choked = False  # TLS has more to answer than the peer takes
        self._waiting = False  # for the next turn
        self._unfinished = False  # there is more to do in it than to take what came
        self._lingering: asyncio.TimerHandle | None = None

    # --- for subclasses ---

    @abstractmethod
    def received(self, data: bytes) -> None:
        """Plain bytes came; empty ones too, when TLS has something to say of itself."""

    @abstractmethod
    def said_all(self, *, whole: bool) -> None:
        """The peer will send nothing more. `whole` says that it ended properly: with close_notify, if there is TLS."""

    @abstractmethod
    def gone(self) -> None:
        """The connection is closed."""

    def drained(self) -> None:
        """The peer has taken what waited."""

    def went_on(self) -> None:
        """Go on with what was left for this turn, see `rest_later`."""

    @abstractmethod
    def tls_failed(self, error: ssl.SSLError) -> None:
        """The handshake, or a record, is broken."""

    @abstractmethod
    def failed(self) -> None:
        """Our own code raised: nothing may pass any more."""

    # --- of asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop has set TCP_NODELAY

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name for it
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        if self.closed:
            return
        self.active = time.monotonic()
        data = self._room[:nbytes]
        if self.reading and not self._waiting and self.share.now(partial(self._take_turn, data)):
            return
        self._held += data
        if self.reading:
            self._ask_turn()
        else:
            self.transport.pause_reading()  # the loop begins to read by itself after `connection_made`

    def _take_turn(self, data: memoryview) -> None:
        """Handle what came. Where the room was full the loop reads again at once, until the share is used up."""
        started = time.monotonic()
        if self.tls is None:
            self.guarded(self.received, bytes(data))
        else:
            self.guarded(self._received_tls, self.tls, data)
        self._portion.took(time.monotonic() - started)
        if self._portion.size != len(self._room):
            self._room = _shared.view[: self._portion.size]
        if self.share.over:
            self._ask_turn()

    def _ask_turn(self) -> None:
        """Ask for another turn; nothing is read until then."""
        if not self._waiting and not self.closed:
            self._waiting = True
            self.transport.pause_reading()
            self.share.later(self._go_on)

    def _go_on(self) -> None:
        self._waiting = False
        if self._unfinished and not self.closed:
            self._unfinished = False
            self.guarded(self.went_on)
        elif self._held and self.reading and not self.closed and not self._choked:
            held, self._held = self._held, b""
            self._take_turn(memoryview(held))
        self._read_on()

    def _read_on(self) -> None:
        if not self.reading or self.closed or self._waiting or self._choked:
            return
        if self._held:
            self._ask_turn()  # not now: who asks for more may still be at what came before it
        elif self._end_waits:
            self._end_waits = False
            self.guarded(self._ended)
        else:
            self.transport.resume_reading()

    def _received_tls(self, tls: Tls, data: bytes | memoryview) -> None:
        plain = tls.feed(data)
        if answer := tls.pending():
            self.transport.write(answer)
            if not self.writable:
                self._choked = True
                self.transport.pause_reading()
        self.received(plain)
        if tls.ended and not self.closed:
            self.pause()  # for good: OpenSSL reads nothing behind a goodbye, and what came would be kept
            self.said_all(whole=True)

    def eof_received(self) -> bool:
        if not self.reading or self._waiting:
            self._end_waits = True
        elif not self.closed:
            self.guarded(self._ended)
        return not self.closed  # half of it stays open

    def _ended(self) -> None:
        self.said_all(whole=self.tls is None or self.tls.ended)

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        self._held = b""
        if self._lingering is not None:
            self._lingering.cancel()
        self.guarded(self.gone)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._choked:
            self._choked = False
            self._ask_turn()
        if not self.share.now(self._drained):
            self.share.later(self._drained)

    def _drained(self) -> None:
        if self.writable and not self.closed:
            self.guarded(self.drained)

    def guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Run a step; whatever it raises ends the connection. A cancellation that nobody sent is a fault as well."""
        try:
            try:
                step(*arguments)
            except ssl.SSLError as error:
                self.tls_failed(error)
        except (Exception, asyncio.CancelledError) as error:
            log.exception("connection failed", error=type(error).__name__)
            try:
                self.failed()
            except (Exception, asyncio.CancelledError) as another:
                log.exception("connection failed", error=type(another).__name__)
                self.abort()

    # --- for those who use it ---

    @property
    def holds(self) -> bool:
        """Whether bytes came that nobody has looked at."""
        return bool(self._held)

    def is_silent(self) -> bool:
        """Whether nothing has come since, not even an end: also nothing that the loop has not seen yet."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._held and not poll.poll(0)

    def take_held(self) -> bytes:
        """Those bytes, for another reader."""
        held, self._held = self._held, b""
        return held

    def send(self, data: bytes) -> None:
        if data and not self.closed:
            self.transport.write(data if self.tls is None else self.tls.seal(data))

    def rest_later(self) -> None:
        """Leave the rest of the work at hand for another turn (`went_on`); nothing is read until then."""
        self._unfinished = True
        self._ask_turn()

    def pause(self) -> None:
        if self.reading and not self.closed:
            self.reading = False
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.reading and not self.closed and (self.tls is None or not self.tls.ended):
            self.reading = True
            self._read_on()

    def close(self, *, whole: bool = True, goodbye: bool = True) -> None:
        """End the connection once all is sent; with a reset, if a proper end would tell that what came is whole."""
        if self.closed:
            return
        self.closed = True
        if whole and goodbye and self.tls is not None and (said := self.tls.goodbye()):
            self.transport.write(said)
        if not whole:
            self.end_with_reset()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._lingering = asyncio.get_running_loop().call_later(limits.LINGER_TIME, self.transport.abort)

    def end_with_reset(self) -> None:
        """Let the end, whenever it comes, not look like one of something whole."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def abort(self) -> None:
        self.closed = True
        self.transport.abort()

    def start_tls(self, tls: Tls, data: bytes) -> None:
        """From here on what comes is TLS; `data` has come already. Raises `ssl.SSLError`."""
        self.tls = tls
        self._received_tls(tls, data)
