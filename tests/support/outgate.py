"""Outgate as a user starts it: a real process, a real policy file, a clean environment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.events import check_events
from tests.support.rawclient import RawClient

OUTGATE = Path(sys.executable).with_name("outgate")
START = 30.0
STOP = 20.0
_PAUSE = 0.01


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment with a PATH, a home and nothing else of the caller's: no proxy, no CA, no key."""
    kept = {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "LANG": "C.UTF-8"}
    return kept | dict(extra or {})


def run_outgate(
    home: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one `outgate` command to its end. The exit code is the caller's to judge."""
    environment = clean_environment(home, environ)
    command = [str(OUTGATE), *arguments]
    return subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=False, timeout=START
    )


@dataclass
class Outgate:
    """`outgate serve` while the `with` block runs; it must then end with exit code 0.

    `policy` is the text of one policy file, or texts by file name for a folder of them. `connect_to` maps `host:port`
    to a port of 127.0.0.1; `environ` is what the process finds beside PATH; `arguments` are further flags.
    """

    folder: Path
    policy: str | Mapping[str, str]
    connect_to: Mapping[str, int] = field(default_factory=dict)
    upstream_ca: Iterable[Path] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    listen: str = "127.0.0.1:0"
    workers: int = 1
    patience: float = START  # seconds until it must be ready
    ready: dict[str, Any] = field(default_factory=dict, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, where it accepts."""
        return str(self.ready["address"])

    @property
    def ca_file(self) -> Path:
        return Path(self.ready["ca_file"])

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        file = self.folder / "stderr"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            self.kill()

    def command(self) -> list[str]:
        """The command line, as a user would write it."""
        single = isinstance(self.policy, str)
        policy = self.policies / "test.yaml" if single else self.policies
        command = [str(OUTGATE), "serve", "--policy", str(policy), "--listen", self.listen, "--state", str(self.state)]
        command += ["--workers", str(self.workers), "--ready-file", str(self.folder / "ready.json")]
        for name, port in self.connect_to.items():
            command += ["--connect-to", f"{name}:127.0.0.1:{port}"]
        for file in self.upstream_ca:
            command += ["--upstream-ca", str(file)]
        return [*command, *self.arguments]

    def start(self) -> None:
        """Start it and wait until it accepts; fails with its stderr if it ends first."""
        self.write_policies()
        (self.folder / "ready.json").unlink(missing_ok=True)
        with (self.folder / "stdout").open("wb") as stdout, (self.folder / "stderr").open("wb") as stderr:
            # A session of its own, so that `kill` reaches the workers and nobody else.
            self.process = subprocess.Popen(
                self.command(),
                env=clean_environment(self.folder, self.environ),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            _poll(self._is_ready, self.patience, lambda: f"not ready after {self.patience} s\n{self.stderr}")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """SIGTERM; it must drain and exit 0."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {STOP} s after SIGTERM\n{self.stderr}") from None
        try:
            assert code == 0, f"exit code {code} after SIGTERM\n{self.stderr}"
            _poll(lambda: not self._signal_group(0), START, lambda: f"it left processes behind\n{self.stderr}")
            check_events(self.events())
        finally:
            self.kill()

    def kill(self) -> None:
        """End whatever is left of it, at once."""
        if self.process is None:
            return
        self._signal_group(signal.SIGKILL)
        self.process.wait(STOP)

    def client(self) -> RawClient:
        """A raw connection to the proxy."""
        return RawClient(self.address)

    def tunnel(self, authority: str, *, alpn: tuple[str, ...] = ("http/1.1",)) -> RawClient:
        """A client inside an intercepted tunnel to `host:port`, with the proxy's certificate verified for the host."""
        client = self.client()
        try:
            answer = client.connect(authority)
            assert answer.status == 200, f"CONNECT {authority}: {answer}"
            client.tls(authority.rpartition(":")[0], self.ca_file, alpn)
        except BaseException:
            client.close()
            raise
        return client

    def env(self, *arguments: str) -> dict[str, str]:
        """What `outgate env --format json` prints for a sandbox."""
        done = run_outgate(
            self.folder, "env", "--state", str(self.state), "--format", "json", *arguments, environ=self.environ
        )
        assert done.returncode == 0, done.stderr
        variables = json.loads(done.stdout)
        assert isinstance(variables, dict)
        return variables

    def events(self) -> list[dict[str, Any]]:
        """Every audit event so far, in the order of writing within each file."""
        return self._lines("worker-*.jsonl")

    def policy_records(self) -> list[dict[str, Any]]:
        """Every record of a policy so far."""
        return self._lines("policy.jsonl")

    def wait_for_events(self, until: Callable[[list[dict[str, Any]]], bool], timeout: float = 10.0) -> list[Any]:
        """The events once `until` holds for them: an event may be written just after its client has its answer."""
        _poll(lambda: until(self.events()), timeout, lambda: f"the events so far: {self.events()}\n{self.stderr}")
        return self.events()

    def wait_for_policies(
        self, until: Callable[[list[dict[str, Any]]], bool], timeout: float = 15.0
    ) -> list[dict[str, Any]]:
        """The records of policies once `until` holds for them."""
        _poll(lambda: until(self.policy_records()), timeout, lambda: f"{self.policy_records()}\n{self.stderr}")
        return self.policy_records()

    def wait_for_reload(self, count: int, timeout: float = 15.0) -> dict[str, Any]:
        """The last record of policies once there are `count` of them, and what it tells of has happened."""
        self.wait_for_policies(lambda found: len(found) >= count, timeout)
        record = self.policy_records()[-1]
        ready = self.state / "ready.json"
        self.wait_until(lambda: str(json.loads(ready.read_text())["reload"]["time"]) >= record["time"], timeout * 2)
        return record

    def wait_until(self, done: Callable[[], bool], timeout: float = START) -> None:
        _poll(done, timeout, lambda: f"what the test waits for did not happen\n{self.stderr}")

    def write_policy(self, text: str, name: str = "test.yaml") -> None:
        """Replace a policy file in one step, as an operator should."""
        draft = self.policies / f".{name}.new"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.policies / name)

    def _lines(self, files: str) -> list[dict[str, Any]]:
        found = sorted((self.state / "audit").glob(files))
        # The end of a line that is being written may not be there yet.
        texts = (file.read_text(encoding="utf-8").rpartition("\n")[0] for file in found)
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def _signal_group(self, number: int) -> bool:
        """Whether anything of it was still there to get the signal."""
        try:
            os.killpg(self._running().pid, number)
        except ProcessLookupError:
            return False
        return True

    def write_policies(self) -> None:
        """Write the policies that it starts with."""
        self.policies.mkdir(parents=True, exist_ok=True)
        files = {"test.yaml": self.policy} if isinstance(self.policy, str) else self.policy
        for name, text in files.items():
            (self.policies / name).write_text(text, encoding="utf-8")

    def _is_ready(self) -> bool:
        code = self._running().poll()
        assert code is None, f"outgate serve ended with {code}\n{self.stderr}"
        file = self.folder / "ready.json"
        if not file.exists():
            return False
        self.ready = json.loads(file.read_text(encoding="utf-8"))
        return True

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "it was not started"
        return self.process


def _poll(done: Callable[[], bool], timeout: float, complaint: Callable[[], str]) -> None:
    # Another process tells us through files, and only looking again shows that it did.
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(complaint())
        time.sleep(_PAUSE)
