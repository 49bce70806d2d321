"""One worker process: mitmproxy's master with our parts, from the listening socket to the last drained exchange."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog
import uvloop
from mitmproxy import options

import addons
from proxy import limits, logs
from proxy.engine.accepting import Load
from proxy.engine.control import follow
from proxy.engine.handler import Handler
from proxy.engine.lean import Master, Proxyserver
from proxy.engine.listener import Listener, enforce_deadlines
from proxy.engine.sandboxes import Opened, Sandboxes
from proxy.engine.state import Services
from proxy.engine.watchdog import Pulse, beat
from proxy.fastlane.lane import Lane
from proxy.metrics.board import Board
from proxy.metrics.counters import MAX_NAMES
from proxy.serving import Serving

log = structlog.get_logger("worker")


@dataclass(frozen=True, slots=True)
class Ties:
    """What ties a worker to its supervisor. It writes a byte to the pipe `ready` when connections are really accepted;
    the end of the pipe `parent` means that the supervisor is gone, and stops it; new policies come over `control`;
    `opened` are the sandboxes that it starts with, and what becomes of these and others comes over `sandboxes`; `pulse`
    beats as long as it turns; `load` is what it tells the other workers; on `board` it writes what it counts, where
    somebody reads that.
    """

    ready: int
    parent: int
    control: socket.socket
    sandboxes: socket.socket
    opened: Sequence[Opened]
    pulse: Pulse
    load: Load
    board: Board | None = None


def run(services: Services, listening: socket.socket | None, ties: Ties) -> None:
    """Serve until SIGTERM, then drain."""
    asyncio.run(_until_signal(services, listening, ties), loop_factory=uvloop.new_event_loop)


async def _until_signal(services: Services, listening: socket.socket | None, ties: Ties) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(services, listening, ties, stop)


async def serve(
    services: Services, listening: socket.socket | None, ties: Ties, stop: asyncio.Event | None = None
) -> None:
    """Serve until `stop` is set or the supervisor is gone, then drain."""
    logs.configure()
    stop = stop or asyncio.Event()
    asyncio.get_running_loop().add_reader(ties.parent, stop.set)
    Listener.services, Listener.socket, Listener.load = services, listening, ties.load
    manager = _make_master()
    await manager.setup_servers()
    if listening is not None and not all(server.is_running for server in manager.servers):
        raise RuntimeError("the listener did not start")
    sandboxes = Sandboxes(manager)
    lane = next(each for each in manager.servers if isinstance(each, Listener)).lane
    tasks = [
        asyncio.create_task(beat(ties.pulse)),
        asyncio.create_task(enforce_deadlines(manager, lane)),
        asyncio.create_task(sandboxes.follow(ties.sandboxes, ties.opened)),
        asyncio.create_task(follow(ties.control, lambda serving: _put(serving, services, manager, lane))),
    ]
    if ties.board is not None:
        tasks.append(asyncio.create_task(tell(ties.board, services, manager, lane)))
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())
    # What was imported lives as long as the process: the collector need not look at it again and again.
    gc.freeze()
    os.write(ties.ready, b"+")
    await stop.wait()
    ties.load.end()
    sandboxes.close()
    await _drain(manager, lane)
    for task in tasks:
        task.cancel()
    if ties.board is not None:
        ties.board.put(_values(services, manager, lane))


def _put(serving: Serving, services: Services, manager: Proxyserver, lane: Lane) -> None:
    """Judge by this from the next request on, and cut what asks no more and would be refused now."""
    services.gate.serving = serving.after(services.gate.serving)
    for handler in list(manager.connections.values()):
        if isinstance(handler, Handler) and services.gate.cut_outgrown(handler.session):
            handler.abort()
    for client in list(lane.clients):
        if services.gate.cut_outgrown(client.session):
            client.cut()


async def tell(board: Board, services: Services, manager: Proxyserver, lane: Lane) -> None:
    """Write now and then what was counted to where others read it, and what waits to the audit log."""
    while True:
        services.gate.audit.try_again()
        board.put(_values(services, manager, lane))
        await asyncio.sleep(limits.TELL_TIME)


def _values(services: Services, manager: Proxyserver, lane: Lane) -> dict[str, Any]:
    gate = services.gate
    sessions = [handler.session for handler in manager.connections.values() if isinstance(handler, Handler)]
    sessions += [client.session for client in lane.clients]
    return {
        **gate.counters.values(),
        "at": time.time(),
        "connections": len(sessions),
        "open": sum(len(session.open) for session in sessions),
        "waiting": gate.audit.waiting,
        "lag": round(gate.audit.lag, 3),
        "policies": {name: policy.digest for name, policy in islice(gate.serving.policies.items(), MAX_NAMES)},
    }


def _make_master() -> Proxyserver:
    """mitmproxy without its user interfaces, scripts, commands and defaults: the server and our addons alone."""
    main = Master(options.Options(), asyncio.get_running_loop())
    # It would copy mitmproxy's log into an event bus; there is nobody to read it, and it quotes requests.
    main._legacy_log_events.uninstall()
    server = Proxyserver()
    main.addons.add(server, *addons.build())
    main.options.update(
        mode=["outgate"],
        connection_strategy="lazy",
        upstream_cert=False,
        rawtcp=False,
        http2=True,  # what a client is offered is decided by its rule
        http3=False,
        websocket=True,
        validate_inbound_headers=True,
        ssl_insecure=False,
        tcp_timeout=limits.IDLE_TIME,
    )
    return server


async def _drain(manager: Proxyserver, lane: Lane) -> None:
    """Stop accepting, let what is in flight end, then cut the rest."""
    for server in list(manager.servers):
        if server.is_running:
            await server.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.DRAIN_TIME):
            while any(map(_busy, manager.connections.values())) or not all(each.session.quiet for each in lane.clients):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    handlers = [handler for handler in manager.connections.values() if isinstance(handler, Handler)]
    for handler in handlers:
        handler.abort()
    for client in list(lane.clients):
        client.cut()
    lane.pool.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            while manager.connections or lane.clients:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def _busy(handler: object) -> bool:
    return isinstance(handler, Handler) and not handler.session.quiet
