"""What is counted, carried over and told: exact numbers, bounded names, whole boards, Prometheus' own format."""

import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from proxy.exchange import Exchange
from proxy.metrics import server
from proxy.metrics.board import SIZE, Board
from proxy.metrics.counters import BOUNDS, MAX_NAMES, OTHER, Counters
from proxy.metrics.server import ALIVE, FRESH, Page, _Server
from proxy.metrics.text import exposition
from proxy.policy.decide import Decision
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy

SUPERVISOR = {"at": 100.0, "serving": True, "workers": 2, "configured": 2, "ended": 1, "crashed": 3, "reload": "kept"}
GAUGES = {"at": 100.0, "connections": 4, "open": 3, "waiting": 0, "lag": 0.0, "policies": {"web": "d1"}}


def ended(decision: Decision, **given: object) -> Exchange:
    return Exchange(sandbox="s", policy=Policy(), decision=decision, **given)  # type: ignore[arg-type]


ALLOWED = Decision(allowed=True, reason=Reason.ALLOWED)


def told(*workers: dict[str, object], age: float | None = 12.5) -> dict[str, float]:
    lines = exposition(workers, SUPERVISOR, age).splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_what_is_counted_is_told_as_a_sum_over_workers() -> None:
    one, two = Counters(), Counters()
    one.ended(ended(ALLOWED, bytes_in=10, bytes_out=1, credential="key", injected=True))
    one.ended(ended(Decision(reason=Reason.HOST_NOT_ALLOWED)))
    two.ended(ended(ALLOWED, bytes_in=5, credential="key", not_injected="the credential cannot be read"))
    two.ended(ended(Decision(reason=Reason.UPSTREAM_UNREACHABLE), sent=True))
    one.decided(0.0002)
    two.decided(0.003)
    two.decided(7.0)
    found = told({**one.values(), **GAUGES}, {**two.values(), **GAUGES, "policies": {"web": "d2"}, "lag": 2.5})
    assert found['outgate_decisions_total{verdict="allow",reason="allowed"}'] == 2
    assert found['outgate_decisions_total{verdict="allow",reason="upstream_unreachable"}'] == 1
    assert found['outgate_decisions_total{verdict="deny",reason="host_not_allowed"}'] == 1
    assert found['outgate_decisions_total{verdict="deny",reason="rule_expired"}'] == 0
    assert found['outgate_credentials_total{credential="key",outcome="injected"}'] == 1
    assert found['outgate_credentials_total{credential="key",outcome="failed"}'] == 1
    assert found["outgate_upstream_received_bytes_total"] == 15
    buckets = [found[f'outgate_decision_seconds_bucket{{le="{bound}"}}'] for bound in ("0.00025", "0.005", "1", "+Inf")]
    assert buckets == [1, 2, 2, 3]
    assert found["outgate_decision_seconds_sum"] == pytest.approx(7.0032)
    assert (found["outgate_connections"], found["outgate_exchanges_open"]) == (8, 6)
    assert found['outgate_policy_info{policy="web",digest="d1"}'] == 1
    assert found['outgate_policy_info{policy="web",digest="d2"}'] == 1
    assert found['outgate_reload_result{result="kept"}'] == 1
    assert (found["outgate_audit_lag_seconds"], found["outgate_audit_checkpoint_age_seconds"]) == (2.5, 12.5)
    assert (found["outgate_worker_ends_total"], found["outgate_exchanges_crashed_total"]) == (1, 3)


def test_a_successor_goes_on_with_the_same_numbers() -> None:
    first, board = Counters(), Board()
    first.ended(ended(ALLOWED, bytes_in=10, credential="key", injected=True))
    first.decided(0.01)
    board.put(first.values())
    second = Counters()
    second.resume(board.get())
    second.ended(ended(ALLOWED, bytes_in=1, credential="key", injected=True))
    second.decided(0.01)
    first.ended(ended(ALLOWED, bytes_in=1, credential="key", injected=True))
    first.decided(0.01)
    assert second.values() == first.values()


def test_there_are_only_so_many_names() -> None:
    counters = Counters()
    for number in range(3 * MAX_NAMES):
        counters.ended(ended(ALLOWED, credential=f"c{number}", injected=True))
    assert len(counters.credentials) == MAX_NAMES + 1
    assert sum(counters.credentials.values()) == 3 * MAX_NAMES
    assert counters.credentials[OTHER, "injected"] == 2 * MAX_NAMES
    policies = {f"p{number}": "d" * 64 for number in range(MAX_NAMES)}
    assert len(json.dumps({**counters.values(), **GAUGES, "policies": policies})) < SIZE // 2


def test_a_board_is_read_whole_or_not_at_all() -> None:
    board = Board()
    assert board.get() == {}
    board.put({"a": 1})
    board.put({"big": "x" * SIZE})  # there is no room for it
    assert board.get() == {"a": 1}
    board._memory[10] ^= 1
    assert board.get() == {}


def test_what_a_name_holds_cannot_forge_a_sample() -> None:
    values = {**Counters().values(), **GAUGES, "policies": {'a"} 9\noutgate_workers 77\\': "d"}}
    text = exposition([values], SUPERVISOR, None)
    assert 'policy="a\\"} 9\\noutgate_workers 77\\\\",digest' in text
    assert "\noutgate_workers 77" not in text
    assert "checkpoint_age" not in text


@pytest.mark.parametrize(
    ("supervisor", "worker", "health", "ready"),
    [
        ({}, {}, "the supervisor does not turn", "starting"),
        ({"at": 100.0, "serving": True}, {}, "", "no worker is at work"),
        ({"at": 100.0, "serving": True}, {"at": 100.0, "waiting": 0}, "", ""),
        ({"at": 100.0, "serving": True}, {"at": 100.0, "waiting": 2}, "", "the audit log cannot be written"),
        ({"at": 100.0, "serving": True}, {"at": 100.0 - FRESH, "waiting": 0}, "", "no worker is at work"),
        ({"at": 100.0 - ALIVE, "serving": True}, {"at": 100.0, "waiting": 0}, "the supervisor does not turn", ""),
        ({"at": 100.0, "serving": False}, {"at": 100.0, "waiting": 0}, "", "stopping"),
    ],
)
def test_health(
    tmp_path: Path, supervisor: dict[str, object], worker: dict[str, object], health: str, ready: str
) -> None:
    page = Page([Board()], Board(), tmp_path / "none")
    if supervisor:
        page.supervisor.put(supervisor)
    page.workers[0].put(worker)
    for path, wrong in (("/healthz", health), ("/readyz", ready)):
        status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
        assert page.answer(path, 100.0) == (status, "text/plain; charset=utf-8", f"{wrong or 'ok'}\n")


@contextmanager
def serving(page: Page) -> Iterator[str]:
    serving = _Server(socket.create_server(("127.0.0.1", 0)), page, lambda: True)
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{serving.socket.getsockname()[1]}"
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


def test_only_reading_is_answered_and_a_reader_that_goes_away_is_no_news(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(Page([Board()], Board(), tmp_path / "none")) as address:
        socket.create_connection(address.split(":")).close()  # type: ignore[arg-type]
        for method, status in (("GET", 200), ("HEAD", 200), ("POST", 501), ("CONNECT", 501)):
            connection = http.client.HTTPConnection(address, timeout=10)
            connection.request(method, "/metrics")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            assert answer.status == status
    assert capfd.readouterr() == ("", "")


def test_a_reader_has_a_time_in_all_however_often_it_says_a_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READ_TIME", 0.3)
    with serving(Page([Board()], Board(), tmp_path / "none")) as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=0.05) as reader:
            for _ in range(200):  # ten seconds of single bytes, each in time
                try:
                    reader.sendall(b"x")
                    assert reader.recv(1) == b""
                    break
                except TimeoutError:
                    continue
                except OSError:
                    break
            else:
                pytest.fail("it is still served")


def test_promtool_takes_the_text() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not here (Debian: prometheus)")
    counters = Counters()
    counters.ended(ended(ALLOWED, credential="key", injected=True))
    for bound in BOUNDS:
        counters.decided(bound)
    text = exposition([{**counters.values(), **GAUGES}], SUPERVISOR, 1.0)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
