"""Stock mitmdump with an addon that does what Outgate's policy says: an allow-list, the secret, a line of JSON."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.engines.engine import DENIED, Proxy, Site, free_port, process, version_of
from benchmarks.upstream import SECRET

_PROGRAM = Path(sys.executable).with_name("mitmdump")
_ADDON = """
import json, time
from mitmproxy import http

HOSTS = frozenset({hosts!r})
MAPPED = frozenset({mapped!r})
LOG = open({log!r}, "a", buffering=1)


class Guard:
    def server_connect(self, data):
        if data.server.address[0] in MAPPED:
            data.server.address = ("127.0.0.1", data.server.address[1])

    def requestheaders(self, flow):
        flow.request.stream = True
        host, path = flow.request.host, flow.request.path
        allowed = host in HOSTS and not path.startswith({denied!r})
        if allowed:
            flow.request.headers["authorization"] = "Bearer {secret}"
        else:
            flow.response = http.Response.make(403, b"not allowed", {{"content-type": "text/plain"}})
        event = {{"time": time.time(), "host": host, "method": flow.request.method, "path": path, "allowed": allowed}}
        LOG.write(json.dumps(event) + "\\n")

    def responseheaders(self, flow):
        flow.response.stream = True


addons = [Guard()]
"""


class Mitmdump:
    """As it is installed."""

    name = "mitmdump"
    can = frozenset({"inspect", "handshake", "tunnel", "http2", "hosts"})

    def missing(self) -> str | None:
        return None if _PROGRAM.exists() else "make install"

    def version(self) -> str:
        return version_of([str(_PROGRAM), "--version"])

    @contextmanager
    def start(self, site: Site) -> Iterator[Proxy]:
        home = site.folder / self.name
        home.mkdir()
        names = {"hosts": ("localhost", *site.hosts), "mapped": site.hosts}
        addon = _ADDON.format(**names, log=str(home / "events.jsonl"), denied=DENIED, secret=SECRET)
        (home / "guard.py").write_text(addon)
        port = free_port()
        options = {
            "confdir": home,
            "ssl_verify_upstream_trusted_ca": site.ca_file,
            # As cheap as its options make it: no look at the upstream's certificate first, no word about each flow.
            "upstream_cert": "false",
            "connection_strategy": "lazy",
            "flow_detail": "0",
            "termlog_verbosity": "error",
            "ignore_hosts": f"^localhost:{site.ports['tunnel']}$",
        }
        command = [str(_PROGRAM), "-s", str(home / "guard.py"), "--listen-host", "127.0.0.1", "-p", str(port)]
        command += [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
        with process(command, port, home / "out.log") as pid:
            yield Proxy(("127.0.0.1", port), home / "mitmproxy-ca-cert.pem", pid)
