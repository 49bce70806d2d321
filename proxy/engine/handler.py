"""One client connection, failing closed: hooks run inline, an error in any of them refuses or cuts, never passes.

Restates methods of mitmproxy 12.2.3's `ConnectionHandler` (see tests/engine/test_mirrored.py): its own lets a
request pass when an addon raises, dials whatever a layer asks for, and reads without end.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections import deque
from dataclasses import fields
from functools import cache
from typing import Any

import structlog
from mitmproxy import connection, ctx, http
from mitmproxy.proxy import commands, events, mode_servers, server, server_hooks
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.utils import asyncio_utils

from proxy import limits
from proxy.dial import DialError, Grant
from proxy.engine import trimmed  # noqa: F401 - puts itself in place
from proxy.engine.http1 import CUT
from proxy.engine.http2 import congested
from proxy.engine.inside import Enter, inside
from proxy.engine.reading import Portions
from proxy.engine.state import Services, attach, exchange_of
from proxy.engine.stream import Pause
from proxy.peer import left
from proxy.policy.reason import Reason
from proxy.session import Session
from proxy.turns import LONG

log = structlog.get_logger("engine")

# Where an exception leaves the stream a chance to refuse; everywhere else the connection is cut.
_REFUSABLE = frozenset({"requestheaders", "http_connect", "responseheaders"})


class HookFailed(Exception):
    """A hook raised, and the layer that waits for it must never go on."""


class Handler(mode_servers.ProxyConnectionHandler):
    """Drives the layers of one client connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mode: ProxyMode,
        services: Services,
        session: Session | None = None,
    ) -> None:
        super().__init__(ctx.master, reader, writer, ctx.master.options, mode)  # type: ignore[no-untyped-call]
        self.transports[self.client].reader = Portions(reader)  # type: ignore[assignment]
        self.session = session or Session(client=_peer(self.client))
        self.services = services
        self._unsent: dict[connection.Connection, list[bytes]] = {}
        self._spent = 0.0
        self._aborted = False
        self._lingering: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._dials = 0
        self._dialled = asyncio.Event()
        self._dialled.set()
        self._pauses: dict[Pause, asyncio.Event] = {}  # set when it is over
        self.http2 = attach(self.client, self.session, services, self.run_hook)

    # --- hooks ---

    async def handle_hook(self, hook: commands.StartHook) -> None:
        with contextlib.suppress(HookFailed):
            self.run_hook(hook)

    def run_hook(self, hook: commands.StartHook) -> None:
        """Run every addon's method for the hook. Raises `HookFailed` if the layer must not go on."""
        data = getattr(hook, _argument(type(hook)))  # type: ignore[arg-type]
        try:
            for addon in self.master.addons.chain:
                method = getattr(addon, hook.name, None)
                if method is not None and method(data) is not None:
                    raise TypeError("hooks are synchronous and return nothing")
        except (Exception, asyncio.CancelledError) as error:
            # A hook waits for nothing, so nobody cancelled it: that is a fault like any other.
            log.exception("hook failed", hook=hook.name, error=type(error).__name__)
            self._fail_closed(hook.name, data)

    def _fail_closed(self, name: str, data: object) -> None:
        if name == "next_layer" and not self.session.open:
            self.session.new_exchange()  # for what the client has begun, so that its end is on record
        self._refuse_all()
        judged = exchange_of(data) if isinstance(data, http.HTTPFlow) else None
        if judged is not None:
            judged.refuse(Reason.POLICY_ERROR, "an internal error")
        if name in _REFUSABLE:
            return
        self._cut()
        raise HookFailed(name)

    def _refuse_all(self) -> None:
        self.session.bar(Reason.POLICY_ERROR, "an internal error")
        for exchange in self.session.open.values():
            exchange.refuse(Reason.POLICY_ERROR, "an internal error")

    def _cut(self) -> None:
        for exchange in self.session.open.values():
            exchange.end = exchange.end or "aborted"
        self.abort()

    def enforce_deadline(self, now: float) -> None:
        """Cut a client that is overdue, or of which that cannot be said. `now` is `time.monotonic()`."""
        try:
            self._enforce_deadline(now)
        except Exception as error:
            log.exception("deadlines could not be enforced", error=type(error).__name__)
            self._refuse_all()
            self._cut()

    def _enforce_deadline(self, now: float) -> None:
        self.services.gate.note_long(self.session, now)
        if self.session.open and self._client_left():
            self.services.gate.close(self.session)
            self.abort()
            return
        quiet = time.time() - self.timeout_watchdog.last_activity > limits.QUIET_TIME
        if (quiet and self.session.quiet) or self.services.gate.outlived(self.session):
            self.abort()
            return
        since = self.session.head_since
        if since is None or now - since < limits.HEAD_TIME:
            return
        self.session.head_since = None
        exchange = next(iter(self.session.open.values()), None) or self.session.new_exchange()
        exchange.refuse(Reason.LIMIT_EXCEEDED, "the client took too long to send a request")
        self.services.gate.finish(self.session, exchange, "aborted")
        self.abort()

    def _client_left(self) -> bool:
        io = self.transports.get(self.client)
        writer: Any = None if io is None else io.writer
        stalled = time.time() - self.timeout_watchdog.last_activity > limits.STALLED_TIME
        return writer is not None and left(writer.get_extra_info("socket"), stalled=stalled)

    def abort(self) -> None:
        """Cut every transport of this client, now."""
        self._aborted = True
        for exchange in self.session.open.values():
            if exchange.allowed:
                exchange.end = exchange.end or "aborted"
        for io in list(self.transports.values()):
            if io.writer is not None:
                io.writer.transport.abort()  # type: ignore[union-attr]
            if io.handler is not None:
                io.handler.cancel("fail closed")
        for writer in self._lingering.values():
            writer.transport.abort()

    # --- the end of a connection ---

    async def handle_connection(self, connection: connection.Connection) -> None:
        """Serve one connection to its end. What is written and not taken yet gets a while to go out, and no longer."""
        writer = self.transports[connection].writer
        assert isinstance(writer, asyncio.StreamWriter)
        try:
            await super().handle_connection(connection)
        finally:
            if _holds(writer):
                task = asyncio.Task(_linger(writer), name="linger")
                self._lingering[task] = writer
                task.add_done_callback(self._lingering.pop)

    def close_connection(self, connection: connection.Connection, half_close: bool = False) -> None:
        """Close a connection, with a reset if a proper end would tell its peer that what it got is whole."""
        writer = self.transports[connection].writer
        if connection.error == CUT and isinstance(writer, asyncio.StreamWriter):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        super().close_connection(connection, half_close)

    async def lingered(self) -> None:
        """Return once the sockets of this client are really closed, all of them."""
        self.session.head_since = None
        while self._lingering:
            await asyncio.wait(self._lingering)

    # --- events ---

    async def server_event(self, event: events.Event) -> None:
        """Mirrors `ConnectionHandler.server_event`. Hooks have run where a layer asked for them: no task, no gap."""
        if self._aborted and isinstance(event, events.DataReceived):
            return  # it was read before
        if isinstance(event, events.ConnectionClosed):
            self._note_reset(event.connection)
        async with self._server_event_lock:
            self.timeout_watchdog.register_activity()
            started = time.monotonic()
            queue = deque((event,))
            try:
                while queue:
                    for command in self.layer.handle_event(queue.popleft()):
                        self._obey(command, queue)
                self._flush()
                self._spent = time.monotonic() - started
                if isinstance(event, events.DataReceived):
                    self._note_turn(event.connection)
            except HookFailed:
                return
            except (Exception, asyncio.CancelledError) as error:
                # The layers are in an unknown state: whatever they would do next must not happen.
                log.exception("connection failed", error=type(error).__name__)
                self.session.bar(Reason.POLICY_ERROR, "an internal error")
                self.abort()

    def _note_turn(self, connection: connection.Connection) -> None:
        io = self.transports.get(connection)
        if io is not None and isinstance(io.reader, Portions):
            io.reader.took(self._spent)

    def _note_reset(self, closed: connection.Connection) -> None:
        """To mitmproxy a reset is an end like any other, but what came before it need not be all."""
        io = self.transports.get(closed)
        if io is not None and isinstance(io.reader, Portions) and io.reader.exception() is not None:
            closed.error = "reset"

    def _obey(self, command: commands.Command, queue: deque[events.Event]) -> None:
        if isinstance(command, commands.SendData):
            self._unsent.setdefault(command.connection, []).append(command.data)
        elif isinstance(command, Enter):
            self._enter()
            queue.extend((events.Start(), events.DataReceived(self.client, command.data)))
        elif isinstance(command, commands.OpenConnection):
            # A task that starts later, whatever the loop's task factory: the transport must be known before it runs.
            task = asyncio.Task(self.open_connection(command), name="upstream")
            self.transports[command.connection] = server.ConnectionIO(handler=task)
        elif isinstance(command, commands.RequestWakeup):
            if isinstance(command, Pause):
                self._pauses[command] = asyncio.Event()
            self.wakeup_timer.add(asyncio_utils.create_task(self.wakeup(command), name="wakeup", keep_ref=False))
        elif isinstance(command, commands.ConnectionCommand) and command.connection not in self.transports:
            pass
        elif isinstance(command, commands.CloseConnection):
            self._flush()
            self.close_connection(command.connection, getattr(command, "half_close", False))
        elif not isinstance(command, commands.Log):
            raise TypeError(f"unknown command: {type(command).__name__}")

    def _enter(self) -> None:
        """Put the layers inside a CONNECT in the place of those around it, with what those have open."""
        for other in [each for each in self.transports if each is not self.client]:
            self.close_connection(other)
        assert self.session.target is not None
        self.layer = inside(self.client, self.layer.context.options, self.session.target)

    def _flush(self) -> None:
        """Write what one event made, with one system call for each connection: head, body and end go out together."""
        while self._unsent:
            target, pieces = self._unsent.popitem()
            io = self.transports.get(target)
            if io is None or io.writer is None:
                continue
            if not io.writer.is_closing():
                io.writer.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            elif io.handler is not None and not target.state & connection.ConnectionState.CAN_READ:
                # A peer that had said all and only listened is gone; nobody reads from it and would notice.
                io.handler.cancel("the peer is gone")

    def log(self, _message: str, level: int = logging.INFO, exc_info: Any = None) -> None:
        """mitmproxy's own messages quote heads, paths and bytes, so none of them is kept."""
        if level >= logging.ERROR:
            log.error("connection handler failed", error=exc_info[0].__name__ if isinstance(exc_info, tuple) else "")

    # --- the dial ---

    async def open_connection(self, command: commands.OpenConnection) -> None:
        """Mirrors `ConnectionHandler.open_connection`: only what a decision granted is dialled, and only as vetted."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limits.DIAL_TIME
        self._dials += 1
        self._dialled.clear()
        try:
            opened = await self._dial(command)
        finally:
            self._dials -= 1
            if not self._dials:
                self._dialled.set()
        self.session.forget_grants()
        if not opened:
            return
        hook = server_hooks.ServerConnectionHookData(client=self.client, server=command.connection)
        greeting = loop.call_at(until, self._end_unless_greeted, command.connection)
        try:
            await self.server_event(events.OpenConnectionCompleted(command, None))
            await self.handle_connection(command.connection)
        finally:
            greeting.cancel()
            command.connection.timestamp_end = time.time()
            await self.handle_hook(server_hooks.ServerDisconnectedHook(hook))

    def _end_unless_greeted(self, target: connection.Server) -> None:
        """End a connection whose TLS handshake takes longer than a dial may; its layer says so to who waits for it."""
        io = self.transports.get(target)
        if target.tls and not target.tls_established and io is not None and io.handler is not None:
            io.handler.cancel("the TLS handshake timed out")

    async def _dial(self, command: commands.OpenConnection) -> bool:
        target = command.connection
        try:
            granted, asker = self._granted(target), self.session.asker
            reader, writer = await self.services.dialer.open(granted, asker, asyncio.open_connection, _discard)
            target.timestamp_start = target.timestamp_tcp_setup = time.time()
            target.state = connection.ConnectionState.OPEN
            target.peername = writer.get_extra_info("peername")
            target.sockname = writer.get_extra_info("sockname")
            self.transports[target] = server.ConnectionIO(asyncio.current_task(), Portions(reader), writer)  # type: ignore[arg-type]
            hook = server_hooks.ServerConnectionHookData(client=self.client, server=target)
            self.run_hook(server_hooks.ServerConnectedHook(hook))
        except DialError as error:
            await self._not_opened(command, f"{error.reason}: {error}")
        except asyncio.CancelledError:
            await self._not_opened(command, f"{Reason.UPSTREAM_UNREACHABLE}: cancelled")
            raise
        except HookFailed:
            pass
        except Exception as error:
            log.exception("dial failed", error=type(error).__name__)
            await self._not_opened(command, f"{Reason.POLICY_ERROR}: an internal error")
        else:
            return True
        return False

    def _granted(self, target: connection.Server) -> Grant:
        grant = self.session.grants.get((target.address[0], target.address[1])) if target.address else None
        if grant is None or self.session.barred is not None or target.via or target.transport_protocol != "tcp":
            raise DialError(Reason.POLICY_ERROR, "no decision allows this destination")
        return grant

    async def _not_opened(self, command: commands.OpenConnection, error: str) -> None:
        command.connection.error = error
        self.transports.pop(command.connection, None)
        await self.server_event(events.OpenConnectionCompleted(command, error))

    # --- back-pressure ---

    async def wakeup(self, request: commands.RequestWakeup) -> None:
        if not isinstance(request, Pause):
            await super().wakeup(request)
            return
        try:
            await self.drain_writers()
            await super().wakeup(request)
        finally:
            self._pauses.pop(request).set()

    async def drain_writers(self) -> None:
        """Wait before the next read: for slow writers, for a dial, for full HTTP/2 queues."""
        if self._spent > LONG:
            # A read of the smallest frames is long work for all that a client has to send: the others go first.
            await asyncio.sleep(self._spent)
        if any(io.writer is not None and _holds(io.writer) for io in self.transports.values()):
            await super().drain_writers()  # type: ignore[no-untyped-call]
        if not self._dials and not self.http2 and not self._pauses:
            return
        task = asyncio.current_task()
        reading_from = next((conn for conn, io in self.transports.items() if io.handler is task), None)
        while over := next((over for pause, over in self._pauses.items() if pause.upstream is reading_from), None):
            await over.wait()
        if reading_from is self.client:
            await self._dialled.wait()
        # hyper-h2 has no event for a window that opens, so look again: soon at first, then less and less often.
        pause, until = 0.01, time.monotonic() + limits.STALLED_TIME
        while self.http2 and congested(self.http2, reading_from) and self.client in self.transports:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
            if time.monotonic() > until:
                self.abort()


@cache
def _argument(hook: type[Any]) -> str:
    """The name of the one argument that a hook of this type has."""
    (field,) = fields(hook)
    return field.name


def _discard(made: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    made[1].transport.abort()


def _holds(writer: Any) -> bool:
    return bool(writer.transport.get_write_buffer_size())


async def _linger(writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(limits.LINGER_TIME):
            await writer.wait_closed()
    except OSError:  # of which `TimeoutError` is one
        writer.transport.abort()


def _peer(client: connection.Client) -> str:
    return f"{client.peername[0]}:{client.peername[1]}" if len(client.peername) > 1 else "local"
