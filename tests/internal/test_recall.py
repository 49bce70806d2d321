"""What is read back of the record: of every worker, of one sandbox alone, in bounds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy import limits
from proxy.audit.recall import Recalled, recall
from proxy.audit.sink import AuditSink
from proxy.exchange import Exchange
from proxy.policy.decide import Decision
from proxy.policy.host import Host
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy

ONE = Policy(name="one")


def refused(host: str, sandbox: str = "a", policy: Policy = ONE, **given: Any) -> Exchange:
    decision = Decision(reason=Reason.HOST_NOT_ALLOWED)
    return Exchange(sandbox=sandbox, policy=policy, host=Host(host), port=443, decision=decision, **given)


def write(folder: Path, number: int, *exchanges: Exchange) -> None:
    sink = AuditSink(folder, number)
    for exchange in exchanges:
        sink.finish(exchange)
    sink.close()


def read(folder: Path, minutes: int = 60) -> Recalled:
    since = datetime.now(UTC) - timedelta(minutes=minutes)
    return recall(folder, "worker", "a", "one", since, verdict="deny")


def hosts(found: Recalled) -> list[object]:
    return [event["host"] for event in found.events]


def test_every_worker_is_read_and_the_newest_is_first(tmp_path: Path) -> None:
    exchanges = [refused(f"h{number}.example", id=f"{number:026}") for number in range(6)]
    write(tmp_path, 0, *exchanges[::2])
    write(tmp_path, 1, *exchanges[1::2])
    found = read(tmp_path)
    assert hosts(found) == [f"h{number}.example" for number in reversed(range(6))]
    assert found.whole


@pytest.mark.parametrize(
    "strange",
    [
        refused("b.example", sandbox="b"),
        refused("b.example", policy=Policy(name="two")),
        refused("b.example", sandbox="a.b"),
        refused("b.example", sandbox="b", path='/","sandbox":"a","policy":"one"'),
        refused("b.example", sandbox="b", detail='"sandbox":"a"'),
        refused("b.example", started_at=datetime.now(UTC).timestamp() - 7200),
    ],
)
def test_nothing_of_another_sandbox_or_policy_or_of_long_ago(tmp_path: Path, strange: Exchange) -> None:
    write(tmp_path, 0, strange, refused("a.example"))
    assert hosts(read(tmp_path)) == ["a.example"]


def test_what_is_allowed_is_no_refusal(tmp_path: Path) -> None:
    allowed = refused("a.example")
    allowed.decision = Decision(allowed=True, reason=Reason.ALLOWED)
    write(tmp_path, 0, allowed)
    assert read(tmp_path) == Recalled((), whole=True)


def test_a_large_record_is_read_from_its_end_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RECALLED", 3000)
    write(tmp_path, 0, *[refused(f"h{number}.example", id=f"{number:026}") for number in range(20)])
    found = read(tmp_path)
    assert hosts(found)[0] == "h19.example"
    assert 0 < len(found.events) < 10
    assert not found.whole


def test_a_file_whose_older_lines_do_not_count_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RECALLED", 3000)
    old = datetime.now(UTC).timestamp() - 7200
    write(tmp_path, 0, *[refused("o.example", started_at=old) for _ in range(20)], refused("a.example"))
    assert (hosts(read(tmp_path)), read(tmp_path).whole) == (["a.example"], True)


def test_the_file_that_was_closed_last_is_read_and_what_is_packed_is_missed(tmp_path: Path) -> None:
    write(tmp_path, 0, refused("a.example"))
    closed = (tmp_path / "worker-0.jsonl").rename(tmp_path / "worker-0.000000000001.jsonl")
    write(tmp_path, 0, refused("b.example"))
    assert (sorted(map(str, hosts(read(tmp_path)))), read(tmp_path).whole) == (["a.example", "b.example"], True)
    closed.rename(tmp_path / "worker-0.000000000001.jsonl.gz")
    assert (hosts(read(tmp_path)), read(tmp_path).whole) == (["b.example"], False)


def test_no_more_lines_are_read_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RECALLED_LINES", 3)
    write(tmp_path, 0, *[refused("a.example") for _ in range(5)])
    assert (len(read(tmp_path).events), read(tmp_path).whole) == (3, False)


def test_where_there_is_no_record_that_is_said(tmp_path: Path) -> None:
    assert not read(tmp_path).whole
    assert not read(tmp_path / "none").whole


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, 0, refused("a.example"))
    file = tmp_path / "worker-0.jsonl"
    damaged = (
        b'{"v":1,"sandbox":"a","policy":"one","verdict":"deny"\n['
        + b"[" * 5000
        + b'"sandbox":"a","policy":"one","verdict":"deny"\n'
    )
    inside = (
        b'{"id":"1","sandbox":"b","x":{"sandbox":"a"},"policy":"one","verdict":"deny","time":"2999-01-01T00:00:00Z"}\n'
    )
    file.write_bytes(
        inside + damaged + b'{"sandbox":"a","policy":"one","verdict":"deny","time":7}\n' + file.read_bytes()
    )
    assert hosts(read(tmp_path)) == ["a.example"]
