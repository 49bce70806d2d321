"""What the proxy of a run is given to serve, and which files a sandbox of it must not change."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.ready import Ready, ReadyPolicy, write_ready
from proxy.sandbox import handover, own, served
from proxy.state import open_state
from proxy.watch import Watch

POLICY = "version: 1\nname: {}\n"


@dataclass
class Recorded:
    """In the place of the process."""

    control: socket.socket
    work: list[own.Work] = field(default_factory=list)

    def begin(self, work: own.Work) -> None:
        self.work.append(work)

    def end(self) -> int:
        self.control.close()
        return 0


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_proxy_of_a_run_serves_what_was_read_and_looks_at_no_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = write(tmp_path / "p/agent.yaml", POLICY.format("agent"))
    settings = write(tmp_path / "s/settings.yaml", "upstream_ca: [../ca/ca.pem]\n")
    write(tmp_path / "ca/ca.pem")
    ours, theirs = socket.socketpair()
    recorded = Recorded(ours)
    monkeypatch.setattr(own, "start", lambda: recorded)
    flags = {"policy": (str(policy),), "state": str(tmp_path / "state")}
    with theirs, served.by_own(flags, {"OUTGATE_CONFIG": str(settings)}, None) as serve:
        found = serve("x")
    (work,) = recorded.work
    assert (work.policy.name, work.settings.policy, work.seen) == ("agent", (), {})
    policy.write_text(POLICY.format("other"))
    watch = Watch(work.settings.policy, work.seen)
    watch._looked = 0.0
    assert not watch.due()
    assert {path.resolve() for path in found.files} == {policy, settings, tmp_path / "ca/ca.pem"}


def test_of_a_proxy_that_runs_no_policy_may_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "one/a.yaml", POLICY.format("a"))
    two = write(tmp_path / "two/b.yaml", POLICY.format("b"))
    state = open_state(tmp_path / "state")
    policies = tuple(ReadyPolicy(name, "", str(file)) for name, file in (("a", one), ("b", two)))
    write_ready(state.ready, Ready("none", "", policies, os.getpid(), tokens=False))
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(handover, "connect", lambda _: ours)
    with theirs, served.by_running(tmp_path / "state", "a") as serve:
        assert {*serve("x").files} == {one, two}
