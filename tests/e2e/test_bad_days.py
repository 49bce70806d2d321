"""Bad days: what is wrong at the start stops it and says why; what breaks later refuses, recovers, loses nothing."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

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
        return ["prlimit", f"--fsize={self.SIZE}", *super().command()]


def test_a_full_disk_stops_forwarding_and_says_so(tmp_path: Path, upstream: Upstream) -> None:
    for part in (tmp_path / "proxy", tmp_path / "proxy" / "state", tmp_path / "proxy" / "state" / "audit"):
        part.mkdir(mode=0o700)
    log = tmp_path / "proxy" / "state" / "audit" / "worker-0.jsonl"
    log.write_text(json.dumps({"filler": "x" * (SmallDisk.SIZE - 6000)}) + "\n")
    with (
        SmallDisk(
            tmp_path / "proxy",
            POLICY,
            connect_to={"good.example:443": upstream.port},
            upstream_ca=(upstream.ca_file,),
            environ={"KEY": SECRET},
        ) as outgate,
        outgate.tunnel("good.example:443") as client,
    ):
        statuses = [client.request("GET", f"/{number}", "good.example").status for number in range(20)]
        refused = client.request("GET", "/last", "good.example")
    assert statuses[0] == 200
    assert statuses[-1] == 503
    assert refused.json()["reason"] == "audit_unavailable"
    forwarded = len(upstream.record.requests)
    assert forwarded == statuses.count(200)
    lines = log.read_bytes()
    assert lines.endswith(b"\n"), "no half line is left behind"


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
