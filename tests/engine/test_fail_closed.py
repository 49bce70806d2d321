"""Every hook, every part: what raises inside the engine refuses or cuts, and the upstream sees nothing of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import addons
from addons.protocol import Protocol
from addons.record import Record
from addons.requests import Requests
from addons.responses import Responses
from addons.tls import Tls
from proxy import gate
from proxy.answer import BodyFilter
from proxy.audit.sink import AuditSink, AuditUnavailable
from proxy.dial import Dialer
from proxy.engine import stream
from proxy.engine.listener import Listener
from proxy.fastlane import conversation, reach
from proxy.fastlane.client import ClientSide
from proxy.fastlane.connecting import Connecting
from proxy.fastlane.conversation import Conversation
from proxy.fastlane.delivery import Delivery
from proxy.fastlane.parse import Requests as Reader
from proxy.fastlane.tls import LeafContexts
from proxy.fastlane.tls import Tls as LaneTls
from proxy.fastlane.upstream import Upstream as Upstreams
from proxy.gate import Gate
from tests.support import answers
from tests.support.engine import Engine, make_services, running
from tests.support.pki import Authority
from tests.support.rawclient import ClosedError, RawClient
from tests.support.upstream import Upstream

POLICY = """
version: 1
name: broken
allow:
  - {id: good, why: w, hosts: [good.example], access: any, credential: key}
credentials:
  key: {from: "env:KEY", hosts: [good.example], inject: {bearer: true}}
"""
SECRET = "canary-value-0123456789-abcdef"
HOOKS = [
    (addon, name)
    for addon in (Protocol, Tls, Requests, Responses, Record)
    for name in vars(addon)
    if not name.startswith("_") and callable(getattr(addon, name))
]


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path, authority=Authority(tmp_path)) as server:
        server.otherwise(answers.chunked([b"body of the answer"]))
        yield server


@pytest.fixture(params=["fast", "other"])
def lane(request: pytest.FixtureRequest) -> str:
    """The lane that the client is on."""
    return str(request.param)


@pytest.fixture
def engine(tmp_path: Path, upstream: Upstream, lane: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(Listener, "fast", lane == "fast")
    services = make_services(
        tmp_path / "engine", POLICY, {("good.example", 443): upstream.port}, upstream.ca_file, {"KEY": SECRET}
    )
    with running(tmp_path / "engine", services) as it:
        yield it


def attempt(engine: Engine) -> tuple[int | None, bytes]:
    """Send one allowed POST; the status and body that come back, or None for a connection that was cut."""
    with RawClient(engine.address) as client:
        try:
            connected = client.connect("good.example:443")
            if connected.status != 200:
                return connected.status, connected.body
            client.tls("good.example", ca_file=engine.ca_file)
            answer = client.request("POST", "/x", "good.example", None, b"abc")
        except (ClosedError, OSError):
            return None, b""
        return (answer.status if answer.complete else None), answer.body


def events(engine: Engine) -> list[dict[str, Any]]:
    return [json.loads(line) for line in engine.log().splitlines()]


def boom(*_: object, **__: object) -> Any:
    raise RuntimeError(f"broken on purpose with {SECRET}")


def test_the_engine_works_when_nothing_is_broken(engine: Engine, upstream: Upstream) -> None:
    assert attempt(engine) == (200, b"body of the answer")
    assert upstream.record.last.values("authorization") == [f"Bearer {SECRET}"]


def test_every_addon_is_in_the_list() -> None:
    assert {type(addon) for addon in addons.build()} == {addon for addon, _ in HOOKS}


@pytest.mark.parametrize("lane", ["other"])
@pytest.mark.parametrize(("addon", "hook"), HOOKS, ids=lambda value: getattr(value, "__name__", value))
def test_a_hook_that_raises_lets_nothing_pass(
    engine: Engine, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, addon: type, hook: str
) -> None:
    monkeypatch.setattr(addon, hook, boom)
    status, body = attempt(engine)
    if hook in ("error", "client_disconnected"):
        return  # the exchange was allowed, judged and carried out before these run; the next test looks at its record
    assert status in (None, 503)
    assert b"body of the answer" not in body
    before_the_request = hook not in ("responseheaders",)
    assert (upstream.record.raw() == b"") is before_the_request


@pytest.mark.parametrize(
    ("lane", "owner", "part"),
    [
        ("fast", Gate, "finish"),
        ("fast", Gate, "close"),
        ("other", Gate, "finish"),
        ("other", Record, "client_disconnected"),
    ],
)
def test_a_record_that_raises_is_made_up_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, owner: type, part: str, tmp_path: Path
) -> None:
    from proxy.audit.sink import recover

    monkeypatch.setattr(owner, part, boom)
    attempt(engine)
    recover(tmp_path / "engine" / "state" / "audit", 0)
    assert len({event["id"] for event in events(engine)}) == 1


PARTS = [
    (Gate, "request"),
    (Gate, "connect"),
    (Gate, "server_name"),
    (Gate, "upstream_head"),
    (gate, "check_credentials"),
    (AuditSink, "begin"),
    (Dialer, "open"),
]
PARTS_OF = {
    "other": [*PARTS, (stream, "check_upstream"), (stream, "upstream_request")],
    "fast": [
        *PARTS,
        *((ClientSide, name) for name in ("received", "http", "advance", "_step", "_request")),
        *((Connecting, name) for name in ("connect", "_first", "_greet")),
        *((Conversation, name) for name in ("start", "_dial", "_connected", "pump")),
        *((Upstreams, name) for name in ("greeted", "_greet")),
        *((Reader, name) for name in ("feed", "next")),
        *((LeafContexts, "context"), (LaneTls, "feed"), (reach, "dial"), (reach, "check")),
    ],
}
EACH = [(lane, owner, part) for lane, parts in PARTS_OF.items() for owner, part in parts]


@pytest.mark.parametrize(("lane", "owner", "part"), EACH, ids=lambda value: getattr(value, "__name__", value))
def test_a_part_that_raises_lets_nothing_pass(
    engine: Engine, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, owner: Any, part: str
) -> None:
    monkeypatch.setattr(owner, part, boom)
    status, _ = attempt(engine)
    assert status in (None, 502, 503)
    assert upstream.record.raw() == b""


@pytest.mark.parametrize("lane", ["fast"])
@pytest.mark.parametrize(
    ("owner", "part"),
    [(Conversation, "_begin"), (Delivery, "frame"), (Conversation, "_end"), (conversation, "let_pass")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_raises_at_the_answer_lets_none_look_whole(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, owner: Any, part: str
) -> None:
    monkeypatch.setattr(owner, part, boom)
    assert attempt(engine)[0] in (None, 503)


def test_an_audit_log_that_cannot_be_written_stops_forwarding(
    engine: Engine, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise AuditUnavailable("No space left on device")

    monkeypatch.setattr(AuditSink, "begin", full)
    status, body = attempt(engine)
    assert status == 503
    assert json.loads(body)["reason"] == "audit_unavailable"
    assert not upstream.record.connections


@pytest.mark.parametrize("part", ["feed", "flush"])
def test_a_filter_that_raises_never_ends_a_body_well(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(BodyFilter, part, boom)
    assert attempt(engine)[0] is None


def test_what_is_broken_shows_no_secret(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Gate, "request", boom)
    attempt(engine)
    shown = capfd.readouterr()
    assert SECRET not in shown.out + shown.err + engine.log().decode()
