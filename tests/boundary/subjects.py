"""The proxies that the suite can be run against. Another one needs a class like these, and a line in `SUBJECTS`."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

from tests.boundary.scenery import SECRETS, SHARED
from tests.fastlane.lanes import OtherLane as OtherLaneProcess
from tests.support.outgate import Outgate as Process
from tests.support.outgate import clean_environment

START = 30.0
_PAUSE = 0.02
_LOADED = b"Loading script"
HOSTS = (
    "good.example",
    "plain.example",
    "paths.example",
    "other.example",
    "h2.example",
    "h2up.example",
    "free.example",
    "tunnel.example",
    "denies.example",
)
BAD_PEERS = (
    "wrong-name.example",
    "expired.example",
    "self-signed.example",
    "plain-text.example",
    "chained.example",
    "name-nul.example",
    "constrained.example",
    "client-cert.example",
)
SUFFIXES = (".wild.example", ".vet.example")
PATHS = {"paths.example": "/public/"}
DENIED = {"denies.example": ("/admin", "DELETE")}
POLICY = """
version: 1
name: main
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: good}
  - {id: plain, why: w, hosts: [plain.example], access: any, schemes: [http, https]}
  - {id: paths, why: w, hosts: [paths.example], access: any, paths: ["/public/**"]}
  - {id: other, why: w, hosts: [other.example], access: any, credential: other}
  - {id: h2, why: w, hosts: [h2.example, h2up.example], access: any, http2: true, credential: h2}
  - {id: denies, why: w, hosts: [denies.example], access: any, paths: [/**], encoded_slash: keep}
  - {id: free, why: w, hosts: [free.example], access: any}
  - {id: wild, why: w, hosts: ["*.wild.example"], access: any}
  - {id: vetted, why: w, hosts: ["*.vet.example"], access: any}
  - {id: tunnel, why: w, hosts: [tunnel.example], inspect: false}
  - {id: peers, why: w, hosts: [PEERS]}
deny:
  - {id: admin, why: w, hosts: [denies.example], paths: [/admin/**]}
  - {id: delete, why: w, hosts: [denies.example], methods: [DELETE]}
credentials:
  good: {from: "env:GOOD", hosts: [good.example], inject: {bearer: true}, placeholder: GOOD}
  h2: {from: "env:GOOD", hosts: [h2.example, h2up.example], inject: {bearer: true}}
  other: {from: "env:OTHER", hosts: [other.example], inject: {bearer: true}, placeholder: OTHER}
""".replace("PEERS", ", ".join(BAD_PEERS))
EMPTY = "version: 1\nname: main\n"
WRITTEN = {
    "whole": POLICY,
    "revoked": re.sub(r"(?m)^  (- \{id: good,|good:).*\n", "", POLICY),
    "keyless": re.sub(r"(?m)(^  good:.*\n|, credential: good(?=}))", "", POLICY),
    "broken": POLICY + "allow: [\n",
}


class Subject(Protocol):
    """A running proxy, which trusts the CA file for upstreams.

    `setup` is `main`; `empty`, with a policy that allows nothing; or `shared`, at `SHARED`, for several sandboxes that
    have tokens. But for `empty`, `HOSTS` may be reached with any method, those of `PATHS` below that path, those of
    `DENIED` not below that path nor with that method, `BAD_PEERS` and names that end in `SUFFIXES` too, over https
    (plain.example over http too; tunnel.example is not inspected). `SECRETS` are injected as `Authorization: Bearer`.
    `become` writes another policy (see `case.Become`) and returns when it was read. `fill` puts values for the marks of
    `case.py`; `written` is all that it wrote anywhere; `shown` is what other processes see of it.
    """

    def __init__(self, folder: Path, setup: str, ca_file: Path) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    @property
    def address(self) -> tuple[str, int]: ...
    def fill(self, text: str) -> str: ...
    def written(self) -> bytes: ...
    def shown(self) -> bytes: ...
    def become(self, policy: str) -> None: ...


def _environment() -> dict[str, str]:
    return {"GOOD": SECRETS["good.example"], "OTHER": SECRETS["other.example"]}


class Outgate:
    """`outgate serve`, as a user starts it."""

    PROCESS = Process

    def __init__(self, folder: Path, setup: str, ca_file: Path) -> None:
        self._setup = setup
        self._process = self.PROCESS(
            folder,
            EMPTY if setup == "empty" else POLICY,
            upstream_ca=(ca_file,),
            environ=_environment(),
            listen=SHARED if setup == "shared" else "127.0.0.1:0",
        )
        self._fakes: dict[str, str] = {}
        self._policy, self._read = "whole", 1

    def __enter__(self) -> Self:
        self._process.start()
        if self._setup != "empty":
            mine, neighbour = self._process.env("--name", "mine"), self._process.env("--name", "neighbour")
            self._fakes = {
                "{token}": _basic(mine),
                "{token:neighbour}": _basic(neighbour),
                "{fake:GOOD:neighbour}": neighbour["GOOD"],
            }
            # Without a token the sandbox of a loopback listener has the fakes that `outgate env` gives without a name.
            own = mine if self._setup == "shared" else self._process.env()
            self._fakes |= {"{fake:GOOD}": own["GOOD"], "{fake:OTHER}": own["OTHER"]}
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self._process.address.rpartition(":")
        return host, int(port)

    def fill(self, text: str) -> str:
        return _fill(text, self._fakes, self.address)

    def become(self, policy: str) -> None:
        if policy != self._policy:
            self._policy, self._read = policy, self._read + 1
            self._process.write_policy(WRITTEN[policy])
            record = self._process.wait_for_reload(self._read)
            assert record["result"] == ("kept" if policy == "broken" else "reloaded"), record

    def written(self) -> bytes:
        """Every log, record and file of its state, and its output."""
        files = [file for file in self._process.state.rglob("*") if file.is_file()]
        return b"\n".join(file.read_bytes() for file in files) + (self._process.stdout + self._process.stderr).encode()

    def shown(self) -> bytes:
        """What other processes of the machine see of it."""
        return b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (self._process.ready["pid"],))


class OtherLane(Outgate):
    """The same with every client on the mitmproxy lane."""

    PROCESS = OtherLaneProcess


class Stock:
    """mitmdump with its defaults, `naive.py` and the CA of the upstreams."""

    OPTIONS: tuple[str, ...] = ()

    def __init__(self, folder: Path, setup: str, ca_file: Path) -> None:
        self._folder, self._setup = folder, setup
        self._ca_file = ca_file
        self._address = ("127.0.0.1", _free_port()) if setup != "shared" else (SHARED.split(":")[0], 8899)
        self._process: subprocess.Popen[bytes] | None = None
        self._policy = "whole"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write()
        addon = self._folder / "naive.py"
        addon.write_bytes(Path(__file__).with_name("naive.py").read_bytes())
        command = [Path(sys.executable).with_name("mitmdump"), "-s", addon]
        command += ["--listen-host", self._address[0], "--listen-port", str(self._address[1])]
        command += ["--set", f"confdir={self._folder}", *self.OPTIONS]
        command += ["--set", f"ssl_verify_upstream_trusted_ca={self._ca_file}"]
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=clean_environment(self._folder, {"NAIVE": str(self._config), "PYTHONUNBUFFERED": "1"}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        _wait(self._accepts)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(START)

    @property
    def address(self) -> tuple[str, int]:
        return self._address

    def fill(self, text: str) -> str:
        # It knows no tokens and no fakes: what a sandbox sends in their place is some other text.
        fakes = {
            "{token}": "Basic eDp5",
            "{token:neighbour}": "Basic eDp6",
            "{fake:GOOD}": "fake-of-good",
            "{fake:OTHER}": "fake-of-other",
        }
        return _fill(text, fakes | {"{fake:GOOD:neighbour}": "fake-of-the-neighbour"}, self.address)

    def written(self) -> bytes:
        return (self._folder / "output").read_bytes()

    def shown(self) -> bytes:
        assert self._process
        return Path(f"/proc/{self._process.pid}/cmdline").read_bytes()

    def become(self, policy: str) -> None:
        if policy != self._policy:
            self._policy = policy
            self._write()
            before = self.written().count(_LOADED)
            # mitmdump reads a script again when it changed.
            with (self._folder / "naive.py").open("ab") as addon:
                addon.write(b"\n")
            _wait(lambda: self.written().count(_LOADED) > before)

    @property
    def _config(self) -> Path:
        return self._folder / "naive.json"

    def _write(self) -> None:
        empty = self._setup == "empty"
        naive = {
            "hosts": [
                host for host in (*HOSTS, *BAD_PEERS) if not (self._policy == "revoked" and host == "good.example")
            ],
            "suffixes": SUFFIXES,
            "paths": PATHS,
            "denied": DENIED,
            "secrets": {
                host: secret
                for host, secret in SECRETS.items()
                if not (self._policy == "keyless" and host == "good.example")
            },
        }
        text = json.dumps(naive | ({"hosts": [], "suffixes": [], "secrets": {}} if empty else {}))
        self._config.write_text("[" + text if self._policy == "broken" else text, encoding="utf-8")

    def _accepts(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.written().decode()
        with socket.socket() as probe:
            return probe.connect_ex(self._address) == 0


class StockLazy(Stock):
    """The same with the one option that an informed user sets: no connection before a request."""

    OPTIONS = ("--set", "connection_strategy=lazy")


SUBJECTS: dict[str, Callable[[Path, str, Path], Subject]] = {
    "outgate": Outgate,
    "outgate-other-lane": OtherLane,
    "stock": Stock,
    "stock-lazy": StockLazy,
}


def _basic(variables: dict[str, str]) -> str:
    """The value of Proxy-Authorization that clients make of the proxy's address in these variables."""
    token = variables["HTTPS_PROXY"].removeprefix("http://").rpartition("@")[0]
    return "Basic " + base64.b64encode(token.encode()).decode()


def _fill(text: str, fakes: dict[str, str], address: tuple[str, int]) -> str:
    for mark, value in (fakes | {"{proxy}": f"{address[0]}:{address[1]}", "{proxyport}": str(address[1])}).items():
        text = text.replace(mark, value)
    return text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START
    while not until():
        assert time.monotonic() < deadline, "it does not accept"
        time.sleep(_PAUSE)
