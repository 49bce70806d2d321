"""A proxy under attack, with what it costs: the peak memory and the CPU time of its only worker."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.faulty import Faulty
from tests.support.pki import Authority
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Upstream

MIB = 1 << 20
SECRET = "canary-value-0123456789-abcdef"
POLICY = """
version: 1
name: attacked
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: key}
  - {id: free, why: w, hosts: [free.example], access: any}
  - {id: h2, why: w, hosts: [h2.example], access: any, http2: true}
  - {id: pinned, why: w, hosts: [pinned.example], inspect: false}
credentials:
  key: {from: "env:KEY", hosts: [good.example], inject: {bearer: true}}
"""


@dataclass
class World:
    proxy: Faulty
    upstream: Upstream
    h2_upstream: H2Upstream

    def worker(self) -> int:
        (pid,) = self.proxy.workers_alive()
        return pid

    def peak(self) -> int:
        """The most memory that the worker ever held, in bytes."""
        lines = Path(f"/proc/{self.worker()}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def cpu(self) -> float:
        """The CPU time of the worker, in seconds."""
        fields = Path(f"/proc/{self.worker()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def serves(self) -> bool:
        """Whether another client is served."""
        with self.proxy.tunnel("free.example:443") as client:
            return client.request("GET", "/", "free.example").status == 200


@contextmanager
def attacked(
    folder: Path,
    limits: Mapping[str, float] | None = None,
    instead: Mapping[str, socket.socket] | None = None,
    prepare: Callable[[], None] = lambda: None,
    policy: str | Mapping[str, str] = POLICY,
    also: Mapping[str, int] | None = None,
    *,
    serving: bool = True,
    lane: str = "fast",
) -> Iterator[World]:
    """A fresh proxy and its upstreams, so that its memory is that of one attack.

    `instead` are other upstreams, `also` ports of more; `prepare` is called before the proxy starts. Without `serving`
    it is not asked whether it serves a client without a token.
    """
    authority = Authority(folder)
    with Upstream(folder, authority=authority) as upstream, H2Upstream(folder, authority=authority) as h2_upstream:
        mapping = {f"{host}.example:443": upstream.port for host in ("good", "free", "pinned")}
        mapping["h2.example:443"] = h2_upstream.port
        mapping |= {name: sock.getsockname()[1] for name, sock in (instead or {}).items()}
        mapping |= also or {}
        prepare()
        (folder / "proxy").mkdir(exist_ok=True)
        proxy = Faulty(
            folder / "proxy",
            policy,
            connect_to=mapping,
            upstream_ca=(authority.ca_file,),
            environ={"KEY": SECRET},
            limits=limits or {},
            lane=lane,
        )
        with proxy:
            world = World(proxy, upstream, h2_upstream)
            assert instead or not serving or world.serves()
            yield world
