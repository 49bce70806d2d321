"""No proxy: what the upstream and the load generator do by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.engines.engine import Proxy, Site


class Direct:
    """The upstream itself."""

    name = "direct"
    can = frozenset({"inspect", "handshake", "tunnel", "http2", "hosts", "end-to-end"})

    def missing(self) -> None:
        return None

    def version(self) -> str:
        return "no proxy"

    @contextmanager
    def start(self, site: Site) -> Iterator[Proxy]:
        yield Proxy(None, site.ca_file, None)
