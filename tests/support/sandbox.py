"""What a client inside a sandbox has: PATH, a home of its own, what `outgate env` prints, and nothing else."""

import base64
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.outgate import Outgate, clean_environment

TIMEOUT = 45.0
MARKER = "end-of-test.example"
SENTENCE = "outgate: this sandbox's policy does not allow the"
_ALWAYS_IN_CI = frozenset({"curl", "git", "npm"})


def need(client: str) -> str:
    """The path of a client. A missing one skips the test; with `CI` set, the clients that CI installs fail it."""
    found = shutil.which(client)
    if found is None:
        reason = f"{client} is not installed"
        (pytest.fail if os.environ.get("CI") and client in _ALWAYS_IN_CI else pytest.skip)(reason)
    return found


@dataclass
class Sandbox:
    """One sandbox of a running proxy; `variables` are what `outgate env` printed for it."""

    outgate: Outgate
    home: Path
    variables: Mapping[str, str] = field(repr=False)
    _judged: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.events()

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a client; `extra` is what the client's user would set by hand."""
        return clean_environment(self.home, {**self.variables, **(extra or {})})

    def run(
        self, *command: str | Path, cwd: Path | None = None, extra: Mapping[str, str] | None = None, stdin: str = ""
    ) -> "Run":
        """Run one client to its end."""
        done = subprocess.run(
            [str(part) for part in command],
            env=self.environment(extra),
            cwd=cwd or self.home,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def events(self) -> list[dict[str, Any]]:
        """The audit events since the last call: every attempt that a client made, in the order of their ends.

        A refused request of our own goes after them, so that the log is known to hold what came before it. An exchange
        that is still open has no event yet: wait for it with `Outgate.wait_for_events`.
        """
        marker = self._leave_marker()
        found = self.outgate.wait_for_events(lambda events: any(event["id"] == marker for event in events))
        mine = [event for event in found[self._judged :] if event["host"] != MARKER]
        self._judged = len(found)
        return mine

    def refused_once(self, reason: str) -> dict[str, Any]:
        """The event of the one attempt that was made since the last call, and refused for this reason."""
        events = self.events()
        assert [(event["verdict"], event["reason"]) for event in events] == [("deny", reason)], events
        return events[0]

    def _leave_marker(self) -> str:
        """The audit id of a refused request."""
        proxy = urlsplit(self.variables["HTTPS_PROXY"])
        token = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
        headers = {"Proxy-Authorization": f"Basic {token}"} if proxy.username else None
        with self.outgate.client() as client:
            assert client.connect(f"{MARKER}:443", headers).status == 200
            client.tls(MARKER, self.outgate.ca_file)
            return str(client.request("GET", "/", MARKER).json()["audit_id"])


@dataclass(frozen=True)
class Run:
    """How one client ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Everything that the client's user sees."""
        return self.stdout + self.stderr
