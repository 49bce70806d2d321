"""What the guard costs, beside stock mitmdump with an equivalent addon, in one run on one machine.

CPU is that of the proxy's whole process tree, which survives a noisy machine; latency is the client's, with a direct
connection beside it. Run it with `make bench`.
"""

import argparse
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.outgate import Outgate, clean_environment
from tests.support.pki import Authority

# A name that resolves here, so that no engine needs a mapping: with one, stock mitmdump opens a connection per request.
HOST = "localhost"
SECRET = "benchmark-key-0123456789"
BODY = b"x" * 1024
POLICY = """
version: 1
name: bench
allow:
  - id: api
    why: the benchmark
    hosts: [localhost]
    ports: [UPSTREAM]
    addresses: [127.0.0.0/8, "::1/128"]
    access: any
    paths: ["/**"]
    credential: key
credentials:
  key: {from: "env:KEY", hosts: [localhost], inject: {bearer: true}}
"""
ADDON = f"""
from mitmproxy import http
class Guard:
    def request(self, flow):
        if flow.request.pretty_host != "{HOST}":
            flow.response = http.Response.make(403, b"no")
        else:
            flow.request.headers["authorization"] = "Bearer {SECRET}"
addons = [Guard()]
"""
TICK = os.sysconf("SC_CLK_TCK")


# --- the upstream: a process of its own, so that it shares no interpreter with the load ---

UPSTREAM = """
import asyncio, ssl, sys
BODY = b"HTTP/1.1 200 OK\\r\\nContent-Length: 1024\\r\\n\\r\\n" + b"x" * 1024
class Server(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport; self.buf = b""
    def data_received(self, data):
        self.buf += data
        while b"\\r\\n\\r\\n" in self.buf:
            head, self.buf = self.buf.split(b"\\r\\n\\r\\n", 1)
            if b"/stream" in head:
                self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n"
                    b"Transfer-Encoding: chunked\\r\\n\\r\\n8\\r\\ndata: x\\n\\r\\n0\\r\\n\\r\\n")
            else:
                self.transport.write(BODY)
async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH); context.load_cert_chain(sys.argv[1])
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextmanager
def upstream(authority: Authority) -> Iterator[int]:
    command = [sys.executable, "-c", UPSTREAM, str(authority.leaf(HOST))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


# --- the engines ---


@dataclass
class Engine:
    """One proxy under test: where it listens, what its clients trust, which process tree it is."""

    name: str
    address: tuple[str, int] | None
    ca_file: Path
    pid: int


@contextmanager
def outgate(folder: Path, authority: Authority, port: int) -> Iterator[Engine]:
    proxy = Outgate(
        folder / "outgate",
        POLICY.replace("UPSTREAM", str(port)),
        upstream_ca=(authority.ca_file,),
        environ={"KEY": SECRET},
    )
    with proxy:
        host, _, number = proxy.address.rpartition(":")
        yield Engine("outgate", (host, int(number)), proxy.ca_file, proxy.ready["pid"])


@contextmanager
def mitmdump(folder: Path, authority: Authority) -> Iterator[Engine]:
    home = folder / "mitmdump"
    home.mkdir()
    (home / "guard.py").write_text(ADDON)
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mitmdump")), "-s", str(home / "guard.py"), "-p", str(listen)]
    command += ["--listen-host", "127.0.0.1", "--set", f"confdir={home}", "--set", "upstream_cert=false"]
    command += ["--set", "connection_strategy=lazy"]
    command += ["--set", f"ssl_verify_upstream_trusted_ca={authority.ca_file}"]
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, env=clean_environment(home)) as process,
    ):
        _wait_for(listen)
        yield Engine("mitmdump", ("127.0.0.1", listen), home / "mitmproxy-ca-cert.pem", process.pid)
        process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the proxy does not listen")


# --- the load ---


class Client:
    """One keep-alive connection, through the proxy or direct."""

    def __init__(self, engine: Engine, context: ssl.SSLContext, port: int) -> None:
        raw = socket.create_connection(engine.address or ("127.0.0.1", port), timeout=30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if engine.address is not None:
            raw.sendall(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += raw.recv(4096)
            assert b" 200 " in answer, answer
        self.socket = context.wrap_socket(raw, server_hostname=HOST)
        self.head = f"HTTP/1.1\r\nHost: {HOST}:{port}\r\nUser-Agent: bench\r\n\r\n"

    def get(self, path: str = "/v1/x") -> bytes:
        self.socket.sendall(f"GET {path} {self.head}".encode())
        data = b""
        while _unfinished(data):
            piece = self.socket.recv(65536)
            assert piece, "the connection closed"
            data += piece
        assert data.startswith(b"HTTP/1.1 200"), data[:200]
        return data

    def first_byte(self) -> float:
        self.socket.sendall(f"GET /stream {self.head}".encode())
        start, data = time.perf_counter(), b""
        while b"data: x" not in data:
            data += self.socket.recv(65536)
        taken = time.perf_counter() - start
        while not data.endswith(b"0\r\n\r\n"):
            data += self.socket.recv(65536)
        return taken

    def close(self) -> None:
        self.socket.close()


def _unfinished(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return True
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) < int(length)


def trusting(path: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(path))


def in_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and its children, dead ones included."""
    total = 0.0
    for each in [pid, *_children(pid)]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15]) / TICK
    return total


def rss_of(pid: int) -> list[int]:
    """Resident megabytes of each child process, or of the process itself if it has none."""
    sizes = []
    for each in _children(pid) or [pid]:
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                sizes.append(int(line.split()[1]) // 1024)
    return sizes


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


# --- the measurements ---


def keep_alive(engine: Engine, port: int, requests: int) -> float:
    """CPU milliseconds per small request on kept connections, 8 at a time."""
    context = trusting(engine.ca_file)

    def work() -> None:
        client = Client(engine, context, port)
        for _ in range(requests // 8):
            client.get()
        client.close()

    before = cpu_of(engine.pid)
    in_threads(8, work)
    return (cpu_of(engine.pid) - before) / requests * 1000


def new_connections(engine: Engine, port: int, connections: int) -> float:
    """CPU milliseconds per connection with one request, 8 at a time, full handshakes."""
    context = trusting(engine.ca_file)

    def work() -> None:
        for _ in range(connections // 8):
            client = Client(engine, context, port)
            client.get()
            client.close()

    before = cpu_of(engine.pid)
    in_threads(8, work)
    return (cpu_of(engine.pid) - before) / connections * 1000


def first_bytes(engine: Engine, port: int, count: int) -> float:
    """Median milliseconds to the first byte of a stream, one at a time on one connection."""
    client = Client(engine, trusting(engine.ca_file), port)
    taken = [client.first_byte() for _ in range(count)]
    client.close()
    return statistics.median(taken) * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2400)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--soak", type=int, default=5000, help="connections before the memory is read")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder)
        with (
            upstream(authority) as port,
            outgate(folder, authority, port) as ours,
            mitmdump(folder, authority) as stock,
        ):
            direct = Engine("direct", None, authority.ca_file, os.getpid())
            for _ in range(options.rounds):
                for engine in (ours, stock):
                    found = results.setdefault(engine.name, {})
                    found.setdefault("keep-alive ms CPU", []).append(keep_alive(engine, port, options.requests))
                    found.setdefault("new connection ms CPU", []).append(
                        new_connections(engine, port, options.connections)
                    )
                for engine in (ours, stock, direct):
                    found = results.setdefault(engine.name, {})
                    found.setdefault("first byte ms", []).append(first_bytes(engine, port, 200))
            new_connections(ours, port, options.soak)
            results["outgate"]["RSS MB of the worker after the soak"] = [float(size) for size in rss_of(ours.pid)]
    report(results, as_json=options.json)


def report(results: dict[str, dict[str, list[float]]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(results, indent=2))
        return
    for name, found in results.items():
        for what, values in found.items():
            print(f"{name:10} {what:38} {statistics.median(values):8.3f}   ({min(values):.3f} to {max(values):.3f})")
    for what in ("keep-alive ms CPU", "new connection ms CPU"):
        ratios = [s / o for s, o in zip(results["mitmdump"][what], results["outgate"][what], strict=True)]
        print(f"mitmdump / outgate, {what}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
