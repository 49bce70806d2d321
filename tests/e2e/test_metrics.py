"""The operator's page beside a real proxy: what it counts, also over a worker's death, and who cannot reach it."""

import http.client
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_audit_log import ask, children
from tests.support.outgate import Outgate
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: measured
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: key}
  - {id: own, why: even so, addresses: [127.0.0.0/8, 0.0.0.0/8], ports: [PORT], schemes: [http], access: any}
credentials:
  key: {from: "env:KEY", hosts: [good.example], inject: {bearer: true}}
"""

SECRET = {"KEY": "sk-not-to-be-seen-0123456789"}

type Start = Callable[..., Outgate]


def read(outgate: Outgate, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    host, _, port = outgate.ready["metrics"].rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def samples(outgate: Outgate) -> dict[str, float]:
    status, text = read(outgate)
    assert status == 200
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream) -> Outgate:
    return start_outgate(
        POLICY.replace("PORT", "80"),
        connect_to={"good.example:443": upstream.port},
        environ=SECRET,
        arguments=("--metrics", "127.0.0.1:0"),
    )


def test_what_is_counted_goes_on_after_a_worker_died(outgate: Outgate) -> None:
    ok, refused = (
        'outgate_decisions_total{verdict="allow",reason="allowed"}',
        'outgate_decisions_total{verdict="deny",reason="host_not_allowed"}',
    )
    outgate.wait_until(lambda: read(outgate, "/readyz")[0] == 200)
    assert read(outgate, "/healthz") == (200, "ok\n")
    assert (read(outgate, "/metrics", "HEAD")[1], read(outgate, "/other")[0]) == ("", 404)
    ask(outgate, 0, 5)
    with outgate.tunnel("bad.example:443") as client:
        assert client.request("GET", "/secret?token=abc", "bad.example").status == 403
    outgate.wait_until(lambda: samples(outgate)[ok] == 5 and samples(outgate)[refused] == 1)
    found = samples(outgate)
    assert found['outgate_credentials_total{credential="key",outcome="injected"}'] == 5
    assert found["outgate_decision_seconds_count"] == 6
    assert 0 < found["outgate_decision_seconds_sum"] < 5
    assert found["outgate_upstream_received_bytes_total"] > 0
    assert (found["outgate_workers"], found["outgate_worker_ends_total"]) == (1, 0)
    (policy,) = (policy for policy in outgate.ready["policies"])
    assert found[f'outgate_policy_info{{policy="measured",digest="{policy["digest"]}"}}'] == 1
    text = read(outgate)[1]
    assert all(word not in text for word in ("example", "secret", "token=", "sk-not"))
    os.kill(children(outgate.ready["pid"])[0], signal.SIGKILL)  # the oldest is the worker
    outgate.wait_until(lambda: samples(outgate)["outgate_worker_ends_total"] == 1)
    ask(outgate, 5, 2)
    outgate.wait_until(lambda: samples(outgate)[ok] == 7)


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
def test_no_rule_leads_there(start_outgate: Start, bound: str) -> None:
    outgate = start_outgate(POLICY.replace("PORT", "80"), environ=SECRET, arguments=("--metrics", f"{bound}:0"))
    port = int(outgate.ready["metrics"].rpartition(":")[2])
    outgate.write_policy(POLICY.replace("PORT", str(port)))
    outgate.wait_for_reload(2)
    names = ["127.0.0.1", "0.0.0.0", *(["127.0.0.2"] if bound == "0.0.0.0" else [])]
    for name in names:
        with outgate.client() as client:
            answer = client.request("GET", f"http://{name}:{port}/metrics", f"{name}:{port}")
        assert (answer.status, answer.json()["reason"]) == (403, "address_is_private"), name
        assert b"outgate_decisions" not in answer.body
    details = {event["detail"] for event in outgate.wait_for_events(lambda found: len(found) == len(names))}
    assert details == {"this proxy listens there itself"}


def test_no_rule_leads_back_into_the_proxy(start_outgate: Start) -> None:
    outgate = start_outgate(POLICY.replace("PORT", "80"), environ=SECRET)
    port = int(outgate.address.rpartition(":")[2])
    outgate.write_policy(POLICY.replace("PORT", str(port)))
    outgate.wait_for_reload(2)
    with outgate.client() as client:
        answer = client.request("GET", f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}")
    assert (answer.status, answer.json()["reason"]) == (403, "address_is_private")
    (event,) = outgate.wait_for_events(lambda found: len(found) == 1)
    assert event["detail"] == "this proxy listens there itself"


def test_where_nothing_is_to_be_measured_nothing_listens(start_outgate: Start) -> None:
    outgate = start_outgate(POLICY.replace("PORT", "80"), environ=SECRET)
    assert outgate.ready["metrics"] is None
    assert len(children(outgate.ready["pid"])) == 1


def test_an_address_that_is_taken_stops_the_start(start_outgate: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=f"(?s)cannot listen on 127.0.0.1:{port}.*--metrics"):
            start_outgate(POLICY.replace("PORT", "80"), environ=SECRET, arguments=("--metrics", f"127.0.0.1:{port}"))
