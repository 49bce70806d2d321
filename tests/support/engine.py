"""The engine in this process, in a thread of its own, so that a test can break one part of it and watch."""

import asyncio
import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy import ca
from proxy.audit.sink import AuditSink
from proxy.config.load import load_policy
from proxy.dial import Dialer
from proxy.engine import worker
from proxy.engine.accepting import Load, Loads
from proxy.engine.certificates import ClientContexts, UpstreamContext
from proxy.engine.state import Services
from proxy.engine.watchdog import Pulse
from proxy.fastlane.tls import LeafContexts, upstream_context
from proxy.gate import Gate
from proxy.identity import BadToken
from proxy.serving import Serving
from proxy.state import open_state


@dataclass
class Engine:
    """One running worker. `log` reads what it recorded; `supervisor` is the other end of its control socket, `pulse`
    its beat."""

    address: str
    folder: Path
    services: Services
    supervisor: socket.socket
    pulse: Pulse

    @property
    def ca_file(self) -> Path:
        return self.folder / "state" / "ca.pem"

    def log(self) -> bytes:
        return (self.folder / "state" / "audit" / "worker-0.jsonl").read_bytes()


def _nobody(_: Sequence[bytes]) -> tuple[str, str, float]:
    raise BadToken("no token")


def make_services(
    folder: Path, policy: str, connect_to: dict[tuple[str, int], int], trusted: Path, environ: dict[str, str]
) -> Services:
    """The services of a worker, as the supervisor builds them."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "policy.yaml"
    file.write_text(policy)
    loaded = load_policy(file)
    state = open_state(folder / "state")
    gate = Gate(
        serving=Serving.read([loaded], environ),
        placeholder_key=b"p" * 32,
        audit=AuditSink(state.audit, 0),
        authenticate=_nobody,
        tokens_required=False,
    )
    authority = ca.load_or_create(state)
    return Services(
        gate=gate,
        dialer=Dialer({key: ("127.0.0.1", port) for key, port in connect_to.items()}),
        client_contexts=ClientContexts(authority),
        upstream_context=UpstreamContext([trusted]),
        leaf_contexts=LeafContexts(authority),
        upstream_tls=upstream_context([trusted]),
    )


@contextlib.contextmanager
def running(folder: Path, services: Services, around: Callable[[], None] = lambda: None) -> Iterator[Engine]:
    """Run a worker until the block ends. `around` is called in its thread before it starts."""
    listening = socket.create_server(("127.0.0.1", 0))
    ready_read, ready = os.pipe()
    parent, alive = os.pipe()
    supervisor, control = socket.socketpair()
    ours, sandboxes = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pulse = Pulse()

    def serve() -> None:
        around()
        ties = worker.Ties(ready, parent, control, sandboxes, (), pulse, Load(Loads()))
        asyncio.run(worker.serve(services, listening, ties))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert select.select([ready_read], [], [], 30)[0], "the worker did not start"
        assert os.read(ready_read, 1) == b"+"
        yield Engine(f"127.0.0.1:{listening.getsockname()[1]}", folder, services, supervisor, pulse)
    finally:
        os.close(alive)
        thread.join(30)
        assert not thread.is_alive()
        for sock in (supervisor, ours, sandboxes):
            sock.close()
        for fd in (ready_read, ready, parent):
            os.close(fd)
