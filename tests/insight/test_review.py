"""The review commands over small logs: what is counted, what is named, and what is not counted twice."""

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from proxy import terminal
from proxy.cli import main
from proxy.cli.audit.answers import give
from tests.review.events import lines, passed, refused

LLM = {
    "provider": "anthropic", "api": "messages", "model": "claude-sonnet-4-5", "answers": 1, "input": 1000,
    "cached_input": 400, "cache_write": None, "cache_write_1h": None, "output": 100, "reasoning": None,
    "searches": None, "tier": None, "cost_usd": None, "raw": {}, "partial": False, "not_metered": None,
}  # fmt: skip
DAY = 86_400
PAST = -2200  # days; the 11th of November 2020: nobody reviews what is to come
NUMBERS = count(1)


def at(day: float, method: str = "GET", url: str = "https://a.example/", **given: Any) -> dict[str, Any]:
    """An event of some day, that passed."""
    return passed("r", method, url, at=day * DAY, id=f"{next(NUMBERS):026}", **given)


class Answer:
    """What a command printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command about the log of the folder `state`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state" / "audit").mkdir(parents=True, mode=0o700)
    (tmp_path / "state").chmod(0o700)
    monkeypatch.setenv("OUTGATE_STATE", "state")

    def run(*arguments: str) -> Answer:
        with pytest.raises(SystemExit) as ended:
            main(["audit", *arguments])
        out, err = capsys.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    return run


def write(*events: dict[str, Any], name: str = "worker-0.jsonl") -> Path:
    path = Path("state/audit") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines(*events))
    return path


def month() -> Iterator[dict[str, Any]]:
    """Four weeks of three sandboxes, with nothing odd."""
    for day in range(28):
        for box in ("one", "two", "three", "four", "five"):
            yield at(day, "POST", "https://api.anthropic.com/v1/messages", sandbox=box, llm=LLM, bytes_out=4000,
                     credential="anthropic", injected=True)  # fmt: skip
            yield at(day + 0.1, url=f"https://docs.example/page/{day}", sandbox=box)
            yield at(day + 0.2, "POST", "https://stats.example/v1", sandbox=box, bytes_out=300)


# --- summary ---


def test_a_summary_counts_hosts_credentials_and_models(audit: Any) -> None:
    write(*month(), refused("host_not_allowed", url="https://evil.example/", id="9" * 26))
    found = audit("summary", "--json").json
    assert found["totals"]["events"] == 28 * 15 + 1
    assert (found["totals"]["refused"], found["totals"]["sandboxes"], found["totals"]["hosts"]) == (1, 6, 3)
    (host,) = [each for each in found["hosts"] if each["host"] == "stats.example"]
    assert (host["requests"], host["refused"], host["bytes_out"]) == (140, 0, 140 * 300)
    assert host["first"].startswith("2026-11-20T14:48")
    (credential,) = found["credentials"]
    assert (credential["credential"], credential["host"], credential["used"]) == ("anthropic", "api.anthropic.com", 140)
    assert len(credential["sandboxes"]) == 5
    (rule,) = found["rules"]
    assert (rule["rule"], rule["policy"], rule["passed"], rule["refused"]) == ("r", "watch", 28 * 15, 0)
    assert (rule["first"][:10], rule["last"][:10]) == ("2026-11-20", "2026-12-17")
    (model,) = found["models"]
    assert (model["calls"], model["input"], model["output"], model["unpriced"]) == (140, 140_000, 14_000, 0)
    # 600 new tokens at 3 dollars a million, 400 from the cache at 0.3, 100 made at 15
    assert model["usd"] == pytest.approx(140 * (600 * 3 + 400 * 0.3 + 100 * 15) / 1e6)
    assert [row for row in found["findings"] if row["what"] != "new host, refused"] == []


def test_what_is_odd_stands_at_the_head(audit: Any) -> None:
    odd = [
        at(26, "POST", "https://paste.example/x", sandbox="two", bytes_out=10),
        at(25, "POST", "https://deploy.example/", sandbox="three", credential="deploy-key", injected=True),
        at(26.5, "DELETE", "https://docs.example/page/1", sandbox="four"),
        *(at(day, "POST", "https://stats.example/v1", sandbox="five", bytes_out=70_000) for day in range(28)),
        at(20, "POST", "https://api.anthropic.com/v1/messages", sandbox="one", llm={**LLM, "output": 1_000_000},
           credential="anthropic", injected=True),
    ]  # fmt: skip
    write(*sorted([*month(), *odd], key=lambda each: each["time"]))
    rows = [(row["what"], row["words"]) for row in audit("summary", "--json").json["findings"]]
    words = "\n".join(f"{what}: {text}" for what, text in rows)
    assert "new host: paste.example was first reached 2026-12-16 10:00: 1 request by two" in words
    assert "used once: the credential deploy-key was used once, 2026-12-15 10:00, at deploy.example by three" in words
    assert "new method: DELETE was first used at docs.example" in words
    upload = "upload: five sent 2.0 MB to stats.example, 234 times what others send there: 56 requests on 28 days"
    assert upload in words
    assert "cost: 2026-12-10 cost $15.0" in words
    assert "cost: one cost $15.0" in words


def test_quiet_ways_out_are_named_and_usual_work_is_not(audit: Any) -> None:
    odd = [
        at(25, url="https://docs.example/1", sandbox="three", credential="anthropic", injected=True),
        *(refused("host_not_allowed", url=f"https://h{n}.example/", sandbox="four", at=26 * DAY + n, id=f"{n:026}")
          for n in range(12)),
        *(at(24 + n / 1000, url=f"https://docs.example/page/{n:0>60}", sandbox="five") for n in range(150)),
        *(at(23 + n / 1000, url=f"https://docs.example/page/1?{n:0>60}=1", sandbox="two") for n in range(150)),
        *(at(22.1 + n / 50_000, url="https://docs.example/page/1", sandbox="one") for n in range(600)),
    ]  # fmt: skip
    write(*sorted([*month(), *odd], key=lambda each: each["time"]))
    found = [(row["what"], row["words"]) for row in audit("summary", "--json").json["findings"]]
    assert {what for what, _ in found} == {"new use", "search for hosts", "long paths", "burst"}
    words = "\n".join(words for _, words in found)
    assert "the credential anthropic was first used at docs.example 2026-12-15 10:00: 1 time by three" in words
    assert "four asked for 12 hosts that are refused and that few ask for; a sandbox usually asks for 0" in words
    assert "five sent 9.9 kB to docs.example in paths and names of query parameters on 2026-12-14: 66 bytes" in words
    assert "two sent 10.1 kB to docs.example in paths and names" in words
    assert "one made 601 requests in the hour from 2026-12-12 12:00; a sandbox usually makes 1" in words
    first = audit("new", "--json", "--since", "2026-12-10").json["hosts"]
    assert len(first) == 12


def test_since_and_names_choose_and_first_seen_is_of_all(audit: Any) -> None:
    write(*month())
    found = audit("summary", "--json", "--since", "2026-12-10", "--sandbox", "one", "--policy", "watch").json
    assert found["totals"]["sandboxes"] == 1
    assert {row["host"]: row["first"][:10] for row in found["hosts"]}["docs.example"] == "2026-11-20"
    assert found["hosts"][0]["requests"] == 8
    assert found["log"]["filtered"] == 28 * 12
    assert audit("summary", "--sandbox", "one", "--policy", "o'ther").out == "nothing is on record\n"
    assert audit("summary", "--since", "soon").code == 2


def test_models_without_a_price_are_counted_and_not_guessed(audit: Any) -> None:
    calls = [{**LLM, "model": "house-7"}, {**LLM, "model": None}, {**LLM, "input": None}, {**LLM, "cost_usd": 0.25},
             {**LLM, "partial": True}, {**LLM, "input": -5}, {**LLM, "input": "many"}]  # fmt: skip
    write(*(at(0, llm=call) for call in calls))
    rows = {row["model"]: row for row in audit("summary", "--json").json["models"]}
    assert (rows["house-7"]["unpriced"], rows["house-7"]["usd"]) == (1, None)
    assert (rows["(not told)"]["unpriced"], rows["(not told)"]["usd"]) == (1, None)
    known = rows["claude-sonnet-4-5"]
    assert (known["calls"], known["unpriced"], known["at_least"], known["not_metered"]) == (5, 3, 1, 3)
    assert known["usd"] == pytest.approx(0.25 + (600 * 3 + 400 * 0.3 + 100 * 15) / 1e6)


def test_an_exchange_with_two_events_counts_once_as_it_ended(audit: Any) -> None:
    long = at(0, url="https://long.example/", bytes_out=5)
    died = at(0, url="https://died.example/", bytes_out=5)
    short = at(0, url="https://short.example/", bytes_out=9)
    write(
        {**long, "end": "open", "bytes_out": 1, "duration_ms": 60_000.0},
        {**died, "end": "open", "duration_ms": 60_000.0},
        {**died, "end": "crashed", "duration_ms": None},
        short,
        {**short, "end": "crashed", "bytes_out": 1, "duration_ms": None},
    )
    write(
        {**long, "bytes_out": 7, "duration_ms": 90_000.0},
        at(0, url="https://outgate.internal/x"),
        name="worker-1.jsonl",
    )
    found = audit("summary", "--json").json
    sent = {row["host"]: (row["requests"], row["bytes_out"]) for row in found["hosts"]}
    assert sent == {"long.example": (1, 7), "died.example": (1, 5), "short.example": (1, 9)}
    assert (found["log"]["events"], found["log"]["joined"]) == (3, 3)
    ends = audit("query", "SELECT host, \"end\" FROM events WHERE host <> 'outgate.internal' ORDER BY 1", "--csv").out
    assert ends == "host,end\ndied.example,crashed\nlong.example,complete\nshort.example,complete\n"


# --- damage: what every command does, seen at the one that reads fastest ---


def test_what_cannot_be_read_is_counted_and_named(audit: Any) -> None:
    good = at(0)
    wrong = [{**good, "v": 2}, {**good, "bytes_in": -1}, {**good, "time": "infinity"}, {"v": 1, "type": "torn"}]
    bad = [b'{"v":1,"id"', b"\xff\xfe\x00", b"[]", *(json.dumps(each).encode() for each in wrong), b""]
    Path("state/audit/worker-0.jsonl").write_bytes(lines(good) + b"\n".join(bad) + b"\n" + lines(good)[:-20])
    result = audit("new", "--json")
    found = result.json["log"]
    assert (result.code, found["events"], found["skipped"]) == (0, 1, 7)
    assert found["skipped_first"][0] == "state/audit/worker-0.jsonl:2: not JSON, or not an audit event"
    assert found["skipped_first"][3] == "state/audit/worker-0.jsonl:5: an audit event of another version"
    assert "warning: skipped 7 damaged or foreign lines\n" in result.err
    assert "  and 2 more\n" in result.err


@pytest.mark.parametrize("how", ["cut", "end", "long"])
def test_a_file_that_breaks_off_counts_as_far_as_it_can_be_read(audit: Any, how: str) -> None:
    every = [at(0, path="/" + "x" * 50, client=f"127.0.0.1:{n}") for n in range(2000)]
    write(at(1), name="worker-1.jsonl")
    path = Path("state/audit/worker-0.000000000001.jsonl.gz")
    packed = gzip.compress(lines(*every))
    if how == "long":
        path.write_bytes(gzip.compress(lines(*every) + b"x" * (33 << 20) + b"\n" + lines(at(2)), 1))
    else:
        path.write_bytes(packed[: len(packed) // 2] if how == "cut" else packed[:-12])
    result = audit("new", "--json")
    found = result.json["log"]
    assert (found["broken"], found["skipped"]) == ([str(path)], 1)
    assert f"warning: {path}: the file is damaged; what could be read of it counts" in result.err
    assert found["events"] == 2002 if how == "long" else 1 < found["events"] <= 2001


def test_a_copy_of_a_log_is_left_out_and_named(audit: Any, tmp_path: Path) -> None:
    from proxy.audit.chain import genesis, seal

    value, sealed = genesis("worker-0").value, b""
    for number in range(1, 5):
        line, value = seal(json.dumps(at(0)).encode() + b"\n", number, value, first=number == 1)
        sealed += line
    Path("state/audit/worker-0.jsonl").write_bytes(sealed)
    Path("copy.jsonl").write_bytes(b"".join(sealed.splitlines(keepends=True)[:2]))
    result = audit("new", "--json", "state", "copy.jsonl")
    assert (result.json["log"]["events"], result.json["log"]["copies"]) == (4, ["copy.jsonl"])
    assert "note: copy.jsonl: left out, a copy of state/audit/worker-0.jsonl" in result.err


def test_names_are_no_patterns_and_runs_count_too(audit: Any) -> None:
    Path("a[1]*.jsonl").write_bytes(lines(at(0)))
    assert audit("new", "--json", "a[1]*.jsonl").json["log"]["events"] == 1
    write(at(0), name="../runs/x/audit/worker-0.jsonl")
    write(at(0))
    assert audit("new", "--json").json["log"]["events"] == 2
    assert audit("new", "missing.jsonl").code == 2
    assert audit("new", "-").code == 2


def test_without_the_extra_the_command_says_what_to_install(audit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(at(0))
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    result = audit("summary")
    assert result.code == 2
    assert result.err.endswith("hint: pip install 'outgate[review]'\n")


# --- new ---


def test_new_is_what_was_not_on_record_at_the_last_review(audit: Any) -> None:
    write(
        at(PAST, url="https://a.example/items/17"),
        at(PAST, "CONNECT", "https://tunnel.example/", duration_ms=3 * DAY * 1000.0),
        at(PAST + 2, url="https://a.example/items/99"),
        at(PAST + 2, url="https://a.example/other"),
        at(PAST + 2, "POST", "https://a.example/items/17"),
        at(PAST + 2, url="https://b.example/", credential="key", injected=True),
    )
    assert audit("mark-reviewed", "--until", "2020-11-12").code == 0
    result = audit("new", "--since-review", "--json").json
    assert sorted(row["host"] for row in result["hosts"]) == ["b.example", "tunnel.example"]
    assert [(row["host"], row["method"]) for row in result["methods"]] == [("a.example", "POST")]
    shapes = sorted((row["method"], row["path"]) for row in result["paths"])
    assert shapes == [("GET", "/other"), ("POST", "/items/*")]
    assert [(row["credential"], row["host"]) for row in result["credentials"]] == [("key", "b.example")]
    assert result["until"] == "2020-11-14T10:00:00.000Z"
    assert audit("mark-reviewed", "--until", "2020-11-14T10:00:00").out == "reviewed until 2020-11-14 10:00:00 UTC\n"
    assert audit("new").out == "0 exchanges on record since 2020-11-14 10:00 UTC\n"
    assert len(audit("new", "--since", "2020-11-12", "--json").json["hosts"]) == 2
    assert audit("new", "--since", "1d", "--since-review").code == 2
    assert audit("mark-reviewed", "--until", "2100-01-01").code == 2
    Path("state/reviews.jsonl").write_text("{}\n")
    assert audit("new").code == 2


# --- denied, show, tail ---


def test_refusals_come_with_the_rule_that_would_allow_them(audit: Any) -> None:
    write(
        *(refused("host_not_allowed", "POST", "https://up.example/a", sandbox=box, id=f"{n:026}")
          for n, box in enumerate(("one", "two", "two"))),
        refused("denied_by_rule", url="https://no.example/", rule="never", id="8" * 26),
        refused("unauthenticated", host=None, sandbox=None, policy=None, id="9" * 26),
        passed("r"),
    )  # fmt: skip
    found = audit("denied", "--json").json
    assert found["refused"] == 5
    first = found["denied"][0]
    assert (first["count"], first["reason"], first["sandboxes"]) == (3, "host_not_allowed", ["one", "two"])
    assert "hosts: [up.example]\n" in first["rule"]
    assert "methods: [POST]" in first["rule"]
    by_reason = {row["reason"]: row for row in found["denied"]}
    assert by_reason["denied_by_rule"]["fix"] == "the deny rule never forbids it, whatever another rule allows"
    assert by_reason["unauthenticated"]["fix"].startswith("use the proxy address that `outgate env` printed")
    text = audit("denied").out
    assert "1. would allow up.example (host_not_allowed), in the policy watch:\n- id: up-example-write\n" in text
    Path("state/audit/worker-0.jsonl").write_bytes(lines(passed("r")))
    assert audit("denied").out == "nothing was refused\n"


def test_one_exchange_by_its_id(audit: Any) -> None:
    wanted = at(0, url="https://here.example/")
    write({**wanted, "end": "open"}, at(0))
    Path("state/audit/worker-1.000000000001.jsonl.gz").write_bytes(gzip.compress(lines(at(0), wanted)))
    found = audit("show", wanted["id"], "--json").json["events"]
    assert [each["end"] for each in found] == ["open", "complete"]
    assert "host           here.example\n" in audit("show", wanted["id"].lower()).out
    assert next(csv.DictReader(io.StringIO(audit("show", wanted["id"], "--csv").out)))["host"] == "here.example"
    missing = audit("show", "7" * 26)
    assert (missing.code, missing.err) == (1, f"no event has the id {'7' * 26}\n")
    assert audit("show", "nonsense").code == 2


def test_the_last_events_as_the_filters_want_them(audit: Any) -> None:
    write(at(1), at(3, url="https://c.example/x", verdict="deny", reason="host_not_allowed"), {"v": 1, "type": "torn"})
    write(at(2, url="https://b.example:8443/"), name="../runs/x/audit/worker-0.jsonl")
    out = audit("tail").out.splitlines()
    assert [line.split("  ")[4] for line in out] == [
        "https://a.example/",
        "https://b.example:8443/",
        "https://c.example/x",
    ]
    assert len(audit("tail", "-n", "2").out.splitlines()) == 2
    assert audit("tail", "--filter", "verdict=deny", "--filter", "host!=a*", "--csv").out.count("c.example") == 1
    assert json.loads(audit("tail", "--filter", "host=b.*", "--json").out)["port"] == 8443
    assert audit("tail", "--filter", "nonsense=1").code == 2


def test_what_comes_is_followed_over_the_closing_of_a_file(audit: Any) -> None:
    from proxy.insight.follow import Tail

    live = write(at(1))
    tail = Tail([live.parent])
    assert len(tail.last(5, bool)) == 1
    with live.open("ab") as file:
        file.write(lines(at(2))[:-10])
    assert list(tail.more()) == []
    with live.open("ab") as file:
        file.write(lines(at(2))[-10:])
        file.write(lines(at(3)))
    live.rename(live.with_name("worker-0.000000000001.jsonl"))
    write(at(4))
    write(at(5), name="worker-1.jsonl")
    assert [each["time"][:10] for each in tail.more()] == ["2026-11-22", "2026-11-23", "2026-11-24", "2026-11-25"]
    assert list(tail.more()) == []


def test_files_that_were_closed_between_two_looks_are_not_lost(tmp_path: Path) -> None:
    from proxy.audit import keeper
    from proxy.insight.follow import Tail
    from tests.audit.logs import Logs

    logs = Logs.at(tmp_path / "state")
    logs.write(3)
    tail = Tail([logs.folder])
    assert len(tail.last(5, bool)) == 3
    logs.write(15, first=4)  # two files are closed whole
    keeper.compress(logs.folder)
    assert [int(each["id"]) for each in tail.more()] == list(range(4, 19))
    logs.write(12, first=19)
    logs.closed()[-1].unlink()
    assert [int(each["id"]) for each in tail.more()] == [19, 20, *range(26, 31)]
    assert tail.skipped == 0


# --- forms ---

CUT = "-- another form --"
STEER = "\x1b[31m\u202e|<script>`x`"


FORMS = ("text", "json", "csv", "markdown")


@pytest.mark.parametrize("command", ["summary", "new", "denied"])
def test_every_form_is_what_it_says_and_steers_no_terminal(
    audit: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[f"proxy.cli.audit.{command}"]

    def every(answer: Any, _: str, facts: dict[str, Any]) -> None:
        for form in FORMS:
            terminal.say(CUT)
            give(answer, form, facts)

    monkeypatch.setattr(module, "give", every)
    write(
        at(0, path=f"/{STEER}", sandbox=STEER, credential=STEER, injected=True, llm={**LLM, "model": STEER}),
        refused("host_not_allowed", sandbox="=1+1", host=f"{STEER}.example", rule=STEER, id="9" * 26),
    )
    result = audit(command)
    assert result.code == 0
    assert not set(result.out) & {"\x1b", "\u202e"}
    text, plain, table, marked = result.out.split(f"{CUT}\n")[1:]
    if command == "summary":
        assert text.index("LOOK AT THESE FIRST") < text.index("HOSTS")
        assert table.index("# findings") < table.index("# hosts")
    if command == "new":
        assert "nobody has marked the log as reviewed, so all of it is new" in text
        last = "when you have read it: outgate audit mark-reviewed --until 2026-11-20T10:00:00.010"
        assert last in text.splitlines()
    assert "<script>" not in marked
    assert ",=1+1" not in table
    json.loads(plain)


def test_an_empty_log_is_no_mistake(audit: Any) -> None:
    write()
    for command, said in (
        (("summary",), "nothing is on record\n"),
        (("denied",), "nothing was refused\n"),
        (("query", "SELECT count(*) AS n FROM events", "--csv"), "n\n0\n"),
    ):
        result = audit(*command)
        assert (result.out, result.code) == (said, 0)
