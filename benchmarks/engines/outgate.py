"""Outgate as it is shipped: policy, injection, audit with its chain, address checks; one worker or as named."""

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.engines.engine import FailedError, Proxy, Site, version_of
from benchmarks.upstream import SECRET
from tests.support.outgate import OUTGATE, Outgate

_OTHER_LANE = Path(__file__).parents[2] / "tests/fastlane/launch_other.py"
_POLICY = """\
version: 1
name: bench
allow:
  - id: api
    why: what is inspected
    hosts: [localhost]
    ports: [{inspected}]
    addresses: [127.0.0.0/8, "::1/128"]
    access: any
    paths: [/small, /event, /bytes/*, /stream/*, /model/*]
    credential: key
  - id: hosts
    why: a new name for each connection
    hosts: ["*.bench.example"]
    ports: [{inspected}]
    access: any
    paths: [/small]
    credential: key
  - id: http2
    why: clients with HTTP/2
    hosts: [localhost]
    ports: [{http2}]
    addresses: [127.0.0.0/8, "::1/128"]
    http2: true
    credential: key
  - id: tunnel
    why: what is not inspected
    hosts: [localhost]
    ports: [{tunnel}]
    addresses: [127.0.0.0/8, "::1/128"]
    inspect: false
credentials:
  key: {{from: "env:KEY", hosts: [localhost, "*.bench.example"], inject: {{bearer: true}}}}
"""


@dataclass(frozen=True)
class Served:
    """`outgate serve`, started by `launcher`."""

    name: str = "outgate"
    workers: int = 1
    launcher: tuple[str, ...] = (str(OUTGATE),)

    @property
    def can(self) -> frozenset[str]:
        return frozenset({"inspect", "handshake", "tunnel", "http2", "hosts"})

    def missing(self) -> str | None:
        return None if all(Path(part).exists() for part in self.launcher) else "there is no such lane"

    def version(self) -> str:
        return version_of([str(OUTGATE), "--version"])

    @contextmanager
    def start(self, site: Site) -> Iterator[Proxy]:
        proxy = self.instance(site, _POLICY.format(**site.ports))
        try:
            proxy.start()
        except AssertionError as error:
            raise FailedError(str(error)) from None
        try:
            host, _, port = proxy.address.rpartition(":")
            yield Proxy((host, int(port)), proxy.ca_file, proxy.ready["pid"], _credentials(proxy))
        finally:
            proxy.kill()

    def instance(self, site: Site, policy: str) -> Outgate:
        """Not yet started."""
        folder = site.folder / self.name
        folder.mkdir()
        port = site.ports["inspected"]
        settings = {"connect_to": [f"{host}:{port}:127.0.0.1:{port}" for host in site.hosts]}
        (folder / "settings.yaml").write_text(json.dumps(settings))
        return _Launched(
            folder,
            policy,
            upstream_ca=(site.ca_file,),
            environ={"KEY": SECRET},
            arguments=("--config", str(folder / "settings.yaml")),
            workers=self.workers,
            launcher=self.launcher,
        )


@dataclass
class _Launched(Outgate):
    launcher: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [*self.launcher, *super().command()[1:]]


def _credentials(proxy: Outgate) -> str:
    """Each client has the token of a sandbox, as `outgate env` hands it out."""
    address = urlsplit(proxy.env("--name", "bench")["HTTPS_PROXY"])
    token = base64.b64encode(f"{address.username}:{address.password}".encode()).decode()
    return f"Proxy-Authorization: Basic {token}\r\n"


OUTGATES = (
    Served(),
    Served("outgate-2-workers", workers=2),
    # Every client on the lane that takes what the other one does not.
    Served("outgate-mitmproxy", launcher=(sys.executable, str(_OTHER_LANE))),
)
