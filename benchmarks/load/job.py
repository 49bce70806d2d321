"""What a load generator is told, and what it tells; both as JSON."""

import json
import ssl
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self


@dataclass(frozen=True)
class Target:
    """Where requests go: through the proxy at `proxy` (None: direct), which is to be trusted by `ca_file`.

    `connect` are header lines for the CONNECT, `headers` for each request; both end with CRLF. `plain`: requests go to
    the proxy itself, as for `http` URLs.
    """

    host: str
    port: int
    ca_file: str
    proxy: tuple[str, int] | None = None
    connect: str = ""
    headers: str = ""
    plain: bool = False

    def context(self, protocol: str = "http/1.1") -> ssl.SSLContext:
        """What a client of it trusts and offers."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.set_alpn_protocols([protocol])
        return context


@dataclass(frozen=True)
class Job:
    """`kind` is a module of benchmarks.load; `count` the units to do; `clients` the connections at a time.

    `path`, `body` (bytes to send) and `status` are of the requests. `rate` is requests or events in a second, `seconds`
    how long to listen. `hosts` replace the target's host, one for each connection.
    """

    kind: str
    target: Target
    count: int = 0
    clients: int = 8
    path: str = "/small"
    body: int = 0
    status: int = 200
    rate: int = 0
    seconds: float = 0.0
    hosts: tuple[str, ...] = ()

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        target = Target(**values.pop("target"))
        proxy = (str(target.proxy[0]), int(target.proxy[1])) if target.proxy else None
        return cls(**{**values, "target": replace(target, proxy=proxy), "hosts": tuple(values["hosts"])})


@dataclass
class Done:
    """What came of it: units done, and the latency of each in seconds where it was measured."""

    units: int = 0
    latencies: list[float] = field(default_factory=list)

    def add(self, latency: float) -> None:
        self.units += 1
        self.latencies.append(latency)
