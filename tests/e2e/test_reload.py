"""Reload: changed policies hold from the next request on, in every worker at once, or the last good ones stay."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_bad_days import children
from tests.e2e.test_http2 import Client as H2Client
from tests.e2e.test_http2 import fields
from tests.e2e.test_identity import credentials
from tests.support import answers
from tests.support.outgate import Outgate, clean_environment
from tests.support.rawclient import RawClient
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Upstream

KEY_A, KEY_B = "canary-value-a-0123456789", "canary-value-b-0123456789"
ENVIRON = {"KEY_A": KEY_A, "KEY_B": KEY_B}
POLICY = """
version: 1
name: live
allow:
  - {id: good, why: w, hosts: [good.example], access: any, http2: HTTP2, credential: key, paths: [PATHS]}
credentials:
  key: {from: "SOURCE", hosts: [good.example], inject: {header: HEADER}}
"""

type Start = Callable[..., Outgate]


def policy(paths: str, *, source: str = "env:KEY_A", header: str = "x-a", http2: bool = False) -> str:
    text = POLICY.replace("PATHS", paths).replace("SOURCE", source).replace("HEADER", header)
    return text.replace("HTTP2", str(http2).lower())


OLD, NEW = policy("/both, /old"), policy("/both, /new", source="env:KEY_B", header="x-b")
BROKEN = OLD.replace("hosts:", "host:", 1)


def ready(outgate: Outgate) -> Any:
    return json.loads((outgate.state / "ready.json").read_text())


def status(client: RawClient, path: str) -> int:
    return client.request("GET", path, "good.example").status


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream) -> Outgate:
    return start_outgate(OLD, connect_to={"good.example:443": upstream.port}, environ=ENVIRON)


def test_an_open_connection_is_judged_by_the_new_policy_from_its_next_request_on(
    outgate: Outgate, upstream: Upstream
) -> None:
    (loaded,) = outgate.policy_records()
    with outgate.tunnel("good.example:443") as client:
        assert (status(client, "/old"), status(client, "/new")) == (200, 403)
        assert upstream.record.last.values("x-a") == [KEY_A]
        outgate.write_policy(NEW)
        reloaded = outgate.wait_for_reload(2)
        assert (status(client, "/old"), status(client, "/new")) == (403, 200)
        assert (upstream.record.last.values("x-a"), upstream.record.last.values("x-b")) == ([], [KEY_B])
    assert (loaded["result"], loaded["trigger"], loaded["old_digest"]) == ("loaded", "start", None)
    assert (reloaded["result"], reloaded["trigger"]) == ("reloaded", "file")
    assert (reloaded["old_digest"], reloaded["error"]) == (loaded["new_digest"], None)
    assert reloaded["files"][0]["uid"] == os.getuid()
    events = outgate.wait_for_events(lambda found: len(found) == 4)
    assert [event["policy_digest"] for event in events] == [loaded["new_digest"]] * 2 + [reloaded["new_digest"]] * 2
    said = ready(outgate)
    assert (said["policies"][0]["digest"], said["reload"]["result"]) == (reloaded["new_digest"], "reloaded")
    assert set(said) >= {"address", "ca_file", "policies", "pid"}
    assert '"workers": 1' in outgate.stderr
    assert KEY_A not in outgate.stderr + json.dumps(outgate.policy_records() + events)


def test_http2_streams_are_judged_by_the_new_policy(start_outgate: Start, h2_upstream: H2Upstream) -> None:
    outgate = start_outgate(
        policy("/old", http2=True), connect_to={"good.example:443": h2_upstream.port}, environ=ENVIRON
    )
    client = H2Client(outgate, "good.example")
    assert (client.ask(fields("/old")).status, client.ask(fields("/new")).status) == (200, 403)
    outgate.write_policy(policy("/new", http2=True))
    outgate.wait_for_reload(2)
    assert (client.ask(fields("/old")).status, client.ask(fields("/new")).status) == (403, 200)


def test_a_broken_policy_keeps_the_last_good_one_and_says_so(outgate: Outgate) -> None:
    with outgate.tunnel("good.example:443") as client:
        outgate.write_policy(BROKEN)
        kept = outgate.wait_for_reload(2)
        assert (kept["result"], kept["new_digest"]) == ("kept", None)
        assert "test.yaml:5" in kept["error"]
        where = ready(outgate)["reload"]["error"].split(", ")
        assert [place.rpartition("/")[2] for place in where] == ["test.yaml:5:5", "test.yaml:5:24"]
        assert ready(outgate)["policies"][0]["digest"] == kept["old_digest"]
        assert "the last good policies stay in force" in outgate.stderr
        assert (status(client, "/old"), status(client, "/new")) == (200, 403)
        outgate.write_policy(NEW)
        outgate.wait_for_reload(3)
        assert (status(client, "/old"), status(client, "/new")) == (403, 200)
    assert ready(outgate)["reload"]["error"] is None


def test_a_policy_that_goes_back_to_what_holds_ends_the_complaint(outgate: Outgate) -> None:
    outgate.write_policy(BROKEN)
    outgate.wait_for_reload(2)
    outgate.write_policy(OLD)
    assert outgate.wait_for_reload(3)["result"] == "reloaded"
    assert ready(outgate)["reload"]["error"] is None


def test_sighup_reloads_whether_or_not_something_changed(outgate: Outgate) -> None:
    os.kill(outgate.ready["pid"], signal.SIGHUP)
    record = outgate.wait_for_reload(2)
    assert (record["result"], record["trigger"]) == ("reloaded", "SIGHUP")
    assert record["old_digest"] == record["new_digest"]
    outgate.write_policy(NEW)
    os.kill(outgate.ready["pid"], signal.SIGHUP)
    assert outgate.wait_for_reload(3)["trigger"] == "SIGHUP"
    with outgate.tunnel("good.example:443") as client:
        assert status(client, "/new") == 200


def test_every_worker_swaps(start_outgate: Start, upstream: Upstream) -> None:
    outgate = start_outgate(OLD, connect_to={"good.example:443": upstream.port}, environ=ENVIRON, workers=2)
    clients: list[RawClient] = []
    logs = [outgate.state / "audit" / f"worker-{number}.jsonl" for number in range(2)]
    while len(clients) < 400 and not all(log.stat().st_size for log in logs):
        clients.append(outgate.tunnel("good.example:443"))
        assert status(clients[-1], "/old") == 200
    assert all(log.stat().st_size for log in logs), "both workers have a connection"
    outgate.write_policy(NEW)
    outgate.wait_for_reload(2)
    assert {(status(client, "/old"), status(client, "/new")) for client in clients} == {(403, 200)}
    assert '"workers": 2' in outgate.stderr
    for client in clients:
        client.close()


def test_a_secret_file_is_rotated(start_outgate: Start, upstream: Upstream, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(KEY_A)
    outgate = start_outgate(policy("/both", source=f"file:{secret}"), connect_to={"good.example:443": upstream.port})
    with outgate.tunnel("good.example:443") as client:
        for value in (KEY_A, KEY_B):
            secret.write_text(value)
            os.kill(outgate.ready["pid"], signal.SIGHUP)
            outgate.wait_for_reload(len(outgate.policy_records()) + 1)
            assert status(client, "/both") == 200
            assert upstream.record.last.values("x-a") == [value]


def test_a_policy_waits_for_its_secret(start_outgate: Start, upstream: Upstream, tmp_path: Path) -> None:
    outgate = start_outgate(OLD, connect_to={"good.example:443": upstream.port}, environ=ENVIRON)
    secret = tmp_path / "secret"
    outgate.write_policy(policy("/new", source=f"file:{secret}"))
    kept = outgate.wait_for_reload(2)
    assert (kept["result"], kept["new_digest"] != kept["old_digest"]) == ("kept", True)
    assert "cannot be read" in kept["error"]
    with outgate.tunnel("good.example:443") as client:
        assert (status(client, "/old"), status(client, "/new")) == (200, 403)
        secret.write_text(KEY_B)
        assert outgate.wait_for_reload(3)["result"] == "reloaded"
        assert (status(client, "/old"), status(client, "/new")) == (403, 200)


def test_each_of_many_requests_has_one_policy_from_its_verdict_to_its_key(outgate: Outgate, upstream: Upstream) -> None:
    stop, sent = threading.Event(), Counter[int]()

    def hammer(number: int) -> None:
        with outgate.tunnel("good.example:443") as client:
            while not stop.is_set():
                for path in ("/both", "/old", "/new"):
                    assert status(client, path) in (200, 403)
                    sent[number] += 1

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        number = -1
        while (number := number + 1) < 10 or sum(sent.values()) < 400:
            outgate.write_policy(NEW if number % 2 == 0 else OLD)
            os.kill(outgate.ready["pid"], signal.SIGHUP)
            assert outgate.wait_for_reload(number + 2)["trigger"] == "SIGHUP"
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    events = outgate.wait_for_events(lambda found: len(found) == sum(sent.values()))
    assert len(events) > 200
    first, second = outgate.policy_records()[0]["new_digest"], outgate.policy_records()[1]["new_digest"]
    allowed = {first: {"/both", "/old"}, second: {"/both", "/new"}}
    for event in events:
        assert (event["verdict"] == "allow") == (event["path"] in allowed[event["policy_digest"]])
    passed = Counter(event["policy_digest"] for event in events if event["verdict"] == "allow")
    keys = Counter((*request.values("x-a"), *request.values("x-b")) for request in upstream.record.requests)
    assert keys == {(KEY_A,): passed[first], (KEY_B,): passed[second]}
    assert min(passed.values()) > 10


def test_a_worker_that_is_replaced_starts_with_what_is_in_force(start_outgate: Start, upstream: Upstream) -> None:
    outgate = start_outgate(OLD, connect_to={"good.example:443": upstream.port}, environ=ENVIRON)
    outgate.write_policy(NEW)
    outgate.wait_for_reload(2)
    outgate.write_policy(BROKEN)
    assert outgate.wait_for_reload(3)["result"] == "kept"
    (worker,) = children(outgate.ready["pid"])
    os.kill(worker, signal.SIGKILL)
    with outgate.tunnel("good.example:443") as client:
        assert (status(client, "/old"), status(client, "/new")) == (403, 200)
    outgate.write_policy(OLD)
    outgate.wait_for_reload(4)
    with outgate.tunnel("good.example:443") as client:
        assert (status(client, "/old"), status(client, "/new")) == (200, 403)


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_replaced(outgate: Outgate) -> None:
    (worker,) = children(outgate.ready["pid"])
    os.kill(worker, signal.SIGSTOP)
    outgate.write_policy(NEW)
    assert outgate.wait_for_reload(2, timeout=40)["result"] == "reloaded"
    with outgate.tunnel("good.example:443") as client:
        assert (status(client, "/old"), status(client, "/new")) == (403, 200)
    assert children(outgate.ready["pid"]) != [worker]


def test_fifty_reloads_leave_nothing_behind(outgate: Outgate) -> None:
    (worker,) = children(outgate.ready["pid"])

    def held() -> list[tuple[int, int]]:
        folders = [Path("/proc") / str(pid) for pid in (outgate.ready["pid"], worker)]
        return [(len([*(each / "fd").iterdir()]), len([*(each / "task").iterdir()])) for each in folders]

    for number in range(53):
        outgate.write_policy([NEW, OLD, BROKEN][number % 3])
        os.kill(outgate.ready["pid"], signal.SIGHUP)
        outgate.wait_for_reload(number + 2)
        if number == 2:
            before = held()
    # What tells of a reload (the ready file and its folder) may still be open at the moment either count is taken.
    outgate.wait_until(lambda: held()[0][0] <= before[0][0] and held()[1][0] <= before[1][0])
    assert held()[0][1] == before[0][1]
    # The threads of a worker's pool are made on demand, up to a bound.
    assert held()[1][1] <= (os.cpu_count() or 1) + 6
    assert children(outgate.ready["pid"]) == [worker]


# --- several policies ---

ONE, TWO = OLD.replace("name: live", "name: one"), OLD.replace("name: live", "name: two")


def test_a_policy_that_is_removed_ends_its_sandboxes(start_outgate: Start, upstream: Upstream) -> None:
    texts = {"one.yaml": ONE, "two.yaml": TWO}
    outgate = start_outgate(texts, connect_to={"good.example:443": upstream.port}, environ=ENVIRON)
    shown = {name: {"Proxy-Authorization": credentials(outgate, name)} for name in ("one", "two")}
    clients = {}
    for name in ("one", "two"):
        clients[name] = outgate.client()
        assert clients[name].connect("good.example:443", shown[name]).status == 200
        clients[name].tls("good.example", ca_file=outgate.ca_file)
        assert status(clients[name], "/old") == 200
    (outgate.policies / "two.yaml").unlink()
    records = outgate.wait_for_policies(lambda found: len(found) == 4)
    outgate.wait_for_reload(4)
    assert [(record["policy"], record["result"]) for record in records[2:]] == [("one", "reloaded"), ("two", "removed")]
    assert status(clients["one"], "/old") == 200
    refused = clients["two"].request("GET", "/old", "good.example")
    assert refused.json()["reason"] == "unauthenticated"
    for client in clients.values():
        client.close()
    with outgate.client() as client:
        assert client.connect("good.example:443", shown["two"]).status == 407
    with outgate.client() as client:
        assert client.connect("good.example:443").status == 407, "tokens are still asked for"


def test_clients_without_tokens_are_not_left_without_a_policy(start_outgate: Start, upstream: Upstream) -> None:
    outgate = start_outgate({"one.yaml": ONE}, connect_to={"good.example:443": upstream.port}, environ=ENVIRON)
    outgate.write_policy(TWO, "two.yaml")
    kept = outgate.wait_for_policies(lambda found: len(found) == 3)[1:]
    assert {record["result"] for record in kept} == {"kept"}
    assert "tokens" in kept[0]["error"]
    with outgate.tunnel("good.example:443") as client:
        assert status(client, "/old") == 200


def test_a_renamed_policy_holds_for_clients_without_tokens(outgate: Outgate) -> None:
    with outgate.tunnel("good.example:443") as client:
        assert status(client, "/old") == 200
        outgate.write_policy(NEW.replace("name: live", "name: other"))
        outgate.wait_for_reload(3)
        assert (status(client, "/old"), status(client, "/new")) == (403, 200)


def test_a_config_map_changes_by_a_symlink(upstream: Upstream, tmp_path: Path) -> None:
    class ConfigMap(Outgate):
        def write_policies(self) -> None:
            for name, text in (("..1", OLD), ("..2", NEW)):
                (self.policies / name).mkdir(parents=True)
                (self.policies / name / "test.yaml").write_text(text)
            (self.policies / "..data").symlink_to("..1")
            (self.policies / "test.yaml").symlink_to("..data/test.yaml")

    with ConfigMap(
        tmp_path,
        OLD,
        connect_to={"good.example:443": upstream.port},
        upstream_ca=(upstream.ca_file,),
        environ=ENVIRON,
    ) as outgate:
        (outgate.policies / "..tmp").symlink_to("..2")
        (outgate.policies / "..tmp").replace(outgate.policies / "..data")
        outgate.wait_for_reload(2)
        with outgate.tunnel("good.example:443") as client:
            assert (status(client, "/old"), status(client, "/new")) == (403, 200)


# --- what asks no more ---

TUNNEL = """
version: 1
name: live
allow:
  - {id: raw, why: w, hosts: [good.example], inspect: false}
  - {id: other, why: w, hosts: [other.example], OTHER}
"""


def test_a_tunnel_is_cut_if_it_would_not_be_opened_again(start_outgate: Start, upstream: Upstream) -> None:
    mapping = {"good.example:443": upstream.port, "other.example:443": upstream.port}
    text = TUNNEL.replace("OTHER", "inspect: false")
    outgate = start_outgate(text, connect_to=mapping)
    clients = {}
    for host in ("good.example", "other.example"):
        clients[host] = outgate.client()
        assert clients[host].connect(f"{host}:443").status == 200
        clients[host].tls(host, ca_file=upstream.ca_file)
        assert clients[host].request("GET", "/", host).status == 200
    outgate.write_policy(text.replace("other.example], inspect: false", "other.example]"))
    outgate.wait_for_reload(2)
    assert clients["other.example"].read_to_end() == b""
    assert clients["good.example"].request("GET", "/", "good.example").status == 200
    (event,) = outgate.wait_for_events(lambda found: len(found) == 1)
    assert (event["host"], event["verdict"], event["end"]) == ("other.example", "allow", "aborted")
    assert "policy changed" in event["detail"]
    for client in clients.values():
        client.close()


@pytest.mark.parametrize(
    ("change", "cut"), [(policy("/both"), True), (policy("/ws, /more"), False), (policy("/ws", header="x-b"), True)]
)
def test_a_websocket_is_cut_if_it_would_not_be_opened_again(
    start_outgate: Start, upstream: Upstream, change: str, cut: bool
) -> None:
    upstream.on("/ws", answers.websocket_echo)
    outgate = start_outgate(policy("/ws"), connect_to={"good.example:443": upstream.port}, environ=ENVIRON)
    with outgate.tunnel("good.example:443") as client:
        client.send(
            b"GET /ws HTTP/1.1\r\nHost: good.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert client.read_head().status == 101
        outgate.write_policy(change)
        outgate.wait_for_reload(2)
        if cut:
            assert client.read_to_end() == b""
            (event,) = outgate.wait_for_events(lambda found: len(found) == 1)
            assert (event["status"], event["end"]) == (101, "aborted")
        else:
            client.send(answers.frame(1, b"still here", b"mask"))
            assert client.read_exactly(12)[2:] == b"still here"


def test_an_answer_that_is_under_way_ends_under_its_own_policy(outgate: Outgate, upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.on("/old", answers.chunked([b"first", gate, b"last"]))
    with outgate.tunnel("good.example:443") as client:
        client.send(b"GET /old HTTP/1.1\r\nHost: good.example\r\n\r\n")
        assert client.read_head().status == 200
        outgate.write_policy(NEW)
        outgate.wait_for_reload(2)
        gate.open()
        assert client.read_chunk() + client.read_chunk() + client.read_chunk() == b"firstlast"
        client.read_until(b"\r\n")
        assert status(client, "/old") == 403


# --- the terminal ---

HUNG_UP = """
import fcntl, os, pty, sys, termios
main, side = pty.openpty()
pid = os.fork()
if not pid:
    os.setsid()
    fcntl.ioctl(side, termios.TIOCSCTTY, 0)
    os.close(main)
    os.execv(sys.argv[1], sys.argv[1:])
os.close(side)
sys.stdin.read()
os.close(main)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_terminal_that_is_closed_stops_the_proxy(tmp_path: Path) -> None:
    outgate = Outgate(tmp_path, OLD, environ=ENVIRON)
    outgate.write_policies()
    process = subprocess.Popen(
        [sys.executable, "-c", HUNG_UP, *outgate.command()],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=clean_environment(tmp_path, ENVIRON),
    )
    outgate.wait_until((tmp_path / "ready.json").exists)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 0
