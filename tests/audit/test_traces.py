"""Exchanges as spans: what a collector of OpenTelemetry gets, and what becomes of them while it is away."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from proxy.audit.export.traces import spans
from proxy.cli import main
from proxy.exchange import new_id
from proxy.insight import sending
from proxy.insight.follow import TICK, Tail
from tests.audit.logs import Logs
from tests.review.events import lines, passed, refused

SERVER, CLIENT = 2, 3
ERROR = 2


class Collector:
    """A stand-in for a collector: what it was sent, and the status that it answers with."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.status = 200
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.paths.add(self.path)
                if collector.status == 200:
                    collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for each in request.resource_spans:
            assert [(pair.key, pair.value.string_value) for pair in each.resource.attributes][-1:] == [
                ("service.name", "outgate")
            ]
            self.spans += [span for scope in each.scope_spans for span in scope.spans]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["audit", "traces", *arguments])
    return int(ended.value.code or 0)


def values(span: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def test_a_collector_gets_a_span_for_each_exchange_and_one_for_its_part_upstream(
    collector: Collector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = passed(
        "r", "POST", "https://a.example:8443/x/7?secret=1", id=new_id(), upstream_ip="192.0.2.7", tls="TLSv1.3",
        credential="key", injected=True, bytes_out=5, duration_ms=1500.0, sandbox="task-1",
    )  # fmt: skip
    two = refused("host_not_allowed", url="https://b.example/", id=new_id(), status=403)
    log = tmp_path / "worker-0.jsonl"
    log.write_bytes(lines({**one, "end": "open"}, one, two) + b"damaged\n")
    assert run(str(log), "--endpoint", collector.url) == 0
    assert collector.paths == {"/v1/traces"}
    server, client, refusal = collector.spans
    assert (server.kind, client.kind, refusal.kind) == (SERVER, CLIENT, SERVER)
    assert (client.parent_span_id, server.parent_span_id) == (server.span_id, b"")
    assert client.trace_id == server.trace_id != refusal.trace_id
    assert server.name == "POST"
    assert server.end_time_unix_nano - server.start_time_unix_nano == 1_500_000_000
    assert values(server) == {
        "http.request.method": "POST", "http.response.status_code": 200, "url.scheme": "https", "url.path": "/x/7",
        "server.address": "a.example", "server.port": 8443, "client.address": "127.0.0.1", "client.port": 5000,
        "network.peer.address": "127.0.0.1", "http.request.body.size": 5, "http.response.body.size": 0,
        "outgate.id": one["id"], "outgate.sandbox": "task-1", "outgate.policy": "watch", "outgate.verdict": "allow",
        "outgate.reason": "allowed", "outgate.rule": "r", "outgate.credential": "key", "outgate.injected": True,
        "outgate.end": "complete",
    }  # fmt: skip
    assert values(client) == {
        "http.request.method": "POST", "http.response.status_code": 200, "url.full": "https://a.example:8443/x/7",
        "server.address": "a.example", "server.port": 8443, "network.peer.address": "192.0.2.7",
        "tls.protocol.version": "1.3",
    }  # fmt: skip
    assert (values(refusal)["error.type"], refusal.status.code) == ("host_not_allowed", 0)
    assert capsys.readouterr().err.count("worker-0.jsonl:4") == 1


@pytest.mark.parametrize(
    ("given", "server", "client", "kind"),
    [
        ({"status": 404}, 0, ERROR, None),
        ({"status": 503}, ERROR, ERROR, "503"),
        ({"end": "crashed", "status": None, "duration_ms": None}, ERROR, ERROR, "crashed"),
        ({"verdict": "deny", "reason": "upstream_unverified", "status": 502}, ERROR, ERROR, "upstream_unverified"),
    ],
)
def test_errors_are_those_of_the_conventions(given: dict[str, Any], server: int, client: int, kind: str | None) -> None:
    found = list(spans(passed("r", id=new_id(), upstream_ip="192.0.2.7", **given)))
    assert [span.status.status_code.value for span in found] == [server, client]
    assert found[0].attributes is not None
    assert found[0].attributes.get("error.type") == kind


@pytest.mark.parametrize(
    "given",
    [
        {"id": "not-an-id"},
        {"id": "0" * 26},
        {"id": "Z" * 26},
        {"id": "ü" * 26},
        {"status": 1 << 70, "port": True, "bytes_in": -(1 << 70), "client": "::::", "llm": [], "tls": 7},
        {"path": "x" * 100_000, "method": "\x1b[31m", "time": "0001-01-01T00:00:00Z", "duration_ms": 1e300},
    ],
)
def test_what_a_hostile_log_holds_makes_small_spans_or_none(given: dict[str, Any]) -> None:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    found = list(spans(passed("r", **{"id": new_id(), "upstream_ip": "192.0.2.7", **given})))
    assert len(found) == (0 if "id" in given else 2)
    assert len(encode_spans(found).SerializeToString()) < 20_000


def test_a_collector_that_takes_nothing_is_an_error(collector: Collector, tmp_path: Path) -> None:
    log = tmp_path / "worker-0.jsonl"
    log.write_bytes(lines(passed("r", id=new_id())))
    collector.status = 400
    assert run(str(log), "--endpoint", collector.url) == 2
    assert run(str(log), "--follow") == 2
    assert run("--state", str(tmp_path / "none"), "--follow") == 2


class Enough(BaseException):
    """Ends what has no end."""


def test_what_comes_is_sent_and_waits_in_the_log_while_the_collector_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = Logs.at(tmp_path / "state")
    logs.write(3)
    tail = Tail([logs.folder])
    tail.last(0, bool)
    taken: list[int] = []
    away = 0

    def send(events: list[dict[str, Any]]) -> bool:
        nonlocal away
        away -= 1
        if away < 0:
            taken.extend(int(event["id"]) for event in events)
        return away < 0

    def pause(seconds: float) -> None:
        nonlocal away
        if seconds == TICK:
            if len(taken) >= 12:
                raise Enough
            away = 3 if len(taken) == 4 else 0
            logs.write(4, first=4 + len(taken))
            return
        pauses.append(seconds)
        logs.write(1, "worker-1", first=100 + len(pauses))  # the proxy goes on

    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pause)
    with pytest.raises(Enough):
        sending.follow(send, tail)
    assert pauses == [1.0, 2.0, 4.0]
    assert sorted(taken) == [*range(4, 16), 101, 102, 103]


def test_what_nobody_ever_takes_is_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = Logs.at(tmp_path / "state")
    logs.write(1)
    tail = Tail([logs.folder])
    tail.last(0, bool)
    logs.write(2, first=2)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        if seconds == TICK:
            raise Enough
        pauses.append(seconds)

    told = Mock()
    monkeypatch.setattr(sending, "log", told)
    monkeypatch.setattr("time.sleep", pause)
    with pytest.raises(Enough):
        sending.follow(lambda _: False, tail)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]
    assert (told.warning.call_count, told.error.call_args.kwargs) == (1, {"events": 2, "left_out": 2})


def test_without_the_extra_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert run(str(tmp_path)) == 2
    assert capsys.readouterr().err.endswith("hint: pip install 'outgate[otel]'\n")
