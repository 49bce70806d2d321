"""Bad days: what is wrong at the start stops it and says why; what breaks later refuses, recovers, loses nothing."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import answers
from tests.support.outgate import Outgate, run_outgate
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: days
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: key}
credentials:
  key: {from: "env:KEY", hosts: [good.example], inject: {bearer: true}}
"""
FILE_POLICY = POLICY.replace("env:KEY", "file:{path}")
SECRET = "canary-value-0123456789-abcdef"

type Start = Callable[..., Outgate]


def serve(folder: Path, policy: str, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Run `outgate serve` with something wrong; its exit code and stderr."""
    file = folder / "days.yaml"
    file.write_text(policy)
    done = run_outgate(
        folder,
        "serve",
        "--policy",
        str(file),
        "--listen",
        "127.0.0.1:0",
        "--state",
        str(folder / "state"),
        *arguments,
        environ={"KEY": SECRET} if environ is None else environ,
    )
    return done.returncode, done.stderr


def test_a_broken_policy_stops_the_start(tmp_path: Path) -> None:
    code, said = serve(tmp_path, POLICY.replace("hosts:", "host:", 1))
    assert code == 2
    assert "days.yaml:5" in said
    assert "hosts" in said


def test_a_secret_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    code, said = serve(tmp_path, POLICY, environ={})
    assert code == 2
    assert "KEY" in said
    code, said = serve(tmp_path, FILE_POLICY.replace("{path}", str(tmp_path / "none")))
    assert code == 2
    assert "none" in said


def test_a_port_in_use_stops_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = serve(tmp_path, POLICY, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert code == 2
    assert "cannot listen" in said
    assert "--listen" in said


def test_a_corrupt_ca_stops_the_start_and_is_left_alone(start_outgate: Start, tmp_path: Path) -> None:
    first = start_outgate(POLICY, environ={"KEY": SECRET})
    first.stop()
    (first.state / "ca-key.pem").write_bytes(b"not a key")
    code, said = serve(first.folder, POLICY, "--state", str(first.state))
    assert code == 2
    assert "CA" in said
    assert (first.state / "ca-key.pem").read_bytes() == b"not a key"


def test_an_audit_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "audit").write_text("a file where the folder should be")
    code, said = serve(tmp_path, POLICY)
    assert code == 2
    assert "audit log" in said


def test_a_second_proxy_on_the_same_state_folder_is_told_so(start_outgate: Start) -> None:
    first = start_outgate(POLICY, environ={"KEY": SECRET})
    code, said = serve(first.folder, POLICY, "--state", str(first.state))
    assert code == 2
    assert "another outgate serve" in said


def test_a_dead_upstream_is_an_outage_not_a_decision(start_outgate: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    outgate = start_outgate(POLICY, environ={"KEY": SECRET}, connect_to={"good.example:443": port})
    with outgate.tunnel("good.example:443") as client:
        answer = client.request("GET", "/", "good.example")
    assert (answer.status, answer.json()["reason"]) == (502, "upstream_unreachable")


def test_a_secret_file_that_goes_away_closes_the_way_and_comes_back(
    start_outgate: Start, upstream: Upstream, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    outgate = start_outgate(FILE_POLICY.replace("{path}", str(secret)), connect_to={"good.example:443": upstream.port})
    with outgate.tunnel("good.example:443") as client:
        secret.unlink()
        refused = client.request("GET", "/", "good.example")
        assert (refused.status, refused.json()["reason"]) == (503, "credential_unavailable")
        assert str(secret) not in refused.body.decode()
        secret.write_text("another-value-0123456789")
        assert client.request("GET", "/", "good.example").status == 200
    assert upstream.record.last.values("authorization") == ["Bearer another-value-0123456789"]


class SmallDisk(Outgate):
    """A proxy whose files cannot grow beyond a size that its audit log has almost reached: the disk is full."""

    SIZE = 400_000

    def command(self) -> list[str]:
        return ["prlimit", f"--fsize={self.SIZE}:", *super().command()]

    def make_room(self) -> None:
        for pid in (self.ready["pid"], *children(self.ready["pid"])):
            subprocess.run(["prlimit", f"--pid={pid}", "--fsize=unlimited:"], check=True)

    def recorded(self) -> list[tuple[str, str]]:
        """Path and end of each exchange in the log."""
        return [(event["path"], event["end"]) for event in self.events() if "filler" not in event]


type StartSmall = Callable[[int], SmallDisk]


@pytest.fixture
def small_disk(tmp_path: Path, upstream: Upstream) -> Iterator[StartSmall]:
    """Start a proxy with this many bytes left in its audit log."""
    with contextlib.ExitStack() as stack:

        def start(room: int) -> SmallDisk:
            for part in (tmp_path / "proxy", tmp_path / "proxy" / "state", tmp_path / "proxy" / "state" / "audit"):
                part.mkdir(mode=0o700)
            log = tmp_path / "proxy" / "state" / "audit" / "worker-0.jsonl"
            log.write_text(json.dumps({"filler": "x" * (SmallDisk.SIZE - room)}) + "\n")
            outgate = SmallDisk(
                tmp_path / "proxy",
                POLICY,
                connect_to={"good.example:443": upstream.port},
                upstream_ca=(upstream.ca_file,),
                environ={"KEY": SECRET},
            )
            outgate.start()
            stack.callback(outgate.kill)
            return outgate

        yield start


def ask(outgate: Outgate, path: str) -> str:
    """The status of an answer, or the reason of a refusal."""
    with outgate.tunnel("good.example:443") as client:
        answer = client.request("GET", path, "good.example")
    return str(answer.status) if answer.header("proxy-status") is None else str(answer.json()["reason"])


def test_a_full_disk_stops_forwarding_and_says_so(small_disk: StartSmall, upstream: Upstream) -> None:
    outgate = small_disk(6000)
    outcomes = [ask(outgate, f"/{number}") for number in range(20)]
    assert outcomes[0] == "200"
    assert outcomes[-1] == "audit_unavailable"
    forwarded = outcomes.count("200")
    assert forwarded == len(upstream.record.requests)
    assert (outgate.state / "audit" / "worker-0.jsonl").read_bytes().endswith(b"\n"), "no half line is left behind"
    outgate.make_room()
    outgate.stop()
    ends = [end for _, end in outgate.recorded()]
    assert (ends.count("complete"), ends.count("refused")) == (forwarded, 20 - forwarded)


def test_what_a_full_disk_kept_out_of_the_log_is_told_at_the_end_and_written_by_the_next_start(
    small_disk: StartSmall,
) -> None:
    outgate = small_disk(100)
    assert [ask(outgate, "/first"), ask(outgate, "/second")] == ["200", "audit_unavailable"]
    process = outgate.process
    assert process is not None
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(20) == 74
    assert "audit events are not in the log" in outgate.stderr
    assert outgate.recorded() == []
    with Outgate(outgate.folder, POLICY, environ={"KEY": SECRET}) as again:
        assert "exchanges of an earlier run" in again.stderr
    assert outgate.recorded() == [("/first", "crashed")]


def test_a_worker_that_dies_while_the_disk_is_full_is_replaced_and_what_it_owed_comes_first(
    small_disk: StartSmall,
) -> None:
    outgate = small_disk(100)
    assert ask(outgate, "/first") == "200"
    (worker,) = children(outgate.ready["pid"])
    os.kill(worker, signal.SIGKILL)
    assert ask(outgate, "/second") == "audit_unavailable"
    assert outgate.process is not None
    assert outgate.process.poll() is None
    outgate.make_room()
    assert ask(outgate, "/third") == "200"
    outgate.stop()
    assert outgate.recorded() == [("/first", "crashed"), ("/second", "refused"), ("/third", "complete")]


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_a_worker_that_dies_is_replaced_and_its_exchange_is_on_record(start_outgate: Start, upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.on("/slow", answers.wait_for(gate, answers.reply(200, b"late")))
    outgate = start_outgate(POLICY, environ={"KEY": SECRET}, connect_to={"good.example:443": upstream.port})
    with outgate.tunnel("good.example:443") as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: good.example\r\n\r\n")
        upstream.record.wait(lambda record: len(record.requests) == 1)
        (worker,) = children(outgate.ready["pid"])
        os.kill(worker, signal.SIGKILL)
        assert client.closed()
    gate.open()
    events = outgate.wait_for_events(lambda found: len(found) == 1)
    assert (events[0]["end"], events[0]["path"], events[0]["verdict"]) == ("crashed", "/slow", "allow")
    with outgate.tunnel("good.example:443") as client:
        assert client.request("GET", "/again", "good.example").status == 200


def test_sigterm_lets_what_is_in_flight_end(start_outgate: Start, upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.on("/slow", answers.wait_for(gate, answers.reply(200, b"late")))
    outgate = start_outgate(POLICY, environ={"KEY": SECRET}, connect_to={"good.example:443": upstream.port})
    with outgate.tunnel("good.example:443") as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: good.example\r\n\r\n")
        upstream.record.wait(lambda record: len(record.requests) == 1)
        os.kill(outgate.ready["pid"], signal.SIGTERM)
        gate.open()
        assert client.read().body == b"late"
    outgate.stop()
    assert [event["end"] for event in outgate.events()] == ["complete"]
    assert not (outgate.state / "ready.json").exists()


def test_several_workers_share_the_port(start_outgate: Start, upstream: Upstream) -> None:
    outgate = start_outgate(POLICY, environ={"KEY": SECRET}, connect_to={"good.example:443": upstream.port}, workers=3)
    for number in range(12):
        with outgate.tunnel("good.example:443") as client:
            assert client.request("GET", f"/{number}", "good.example").status == 200
    assert len(outgate.wait_for_events(lambda found: len(found) == 12)) == 12


def test_a_client_that_leaves_in_the_middle_is_on_record(start_outgate: Start, upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.on("/slow", answers.chunked([b"first", gate, b"never"]))
    outgate = start_outgate(POLICY, environ={"KEY": SECRET}, connect_to={"good.example:443": upstream.port})
    with outgate.tunnel("good.example:443") as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: good.example\r\n\r\n")
        assert client.read_head().status == 200
        client.reset()
    events = outgate.wait_for_events(lambda found: len(found) == 1)
    gate.open()
    assert (events[0]["end"], events[0]["verdict"]) == ("client_closed", "allow")
