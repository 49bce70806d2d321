"""Messages: for people in a terminal, JSON elsewhere, and never what a client, an upstream or a secret says."""

import ast
import io
import json
import logging
import sys
from pathlib import Path

import pytest
import structlog

from proxy import logs

ROOT = Path(__file__).parents[1]
CANARY = "sk-canary-0123456789"


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def say_to(monkeypatch: pytest.MonkeyPatch, stream: Stream) -> Stream:
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure()
    return stream


@pytest.fixture(autouse=True)
def _as_before() -> object:
    before = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = before
    structlog.reset_defaults()


def fail() -> None:
    raise ValueError(f"the upstream said {CANARY} at https://a.example/x?key={CANARY}")


def test_elsewhere_each_message_is_json_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = say_to(monkeypatch, Stream(terminal=False))
    structlog.get_logger("x").warning("something\nhappened", worker=1)
    (line,) = said.getvalue().splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["worker"]) == ("something\nhappened", "warning", 1)
    assert found["timestamp"].endswith("Z")


def test_in_a_terminal_it_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    said = say_to(monkeypatch, Stream(terminal=True))
    structlog.get_logger("x").error("something happened", worker=1)
    assert "something happened" in said.getvalue()
    assert "{" not in said.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_of_an_exception_the_type_and_the_lines_are_kept(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    said = say_to(monkeypatch, Stream(terminal))
    try:
        fail()
    except ValueError:
        structlog.get_logger("x").exception("it failed")
    assert "ValueError" in said.getvalue()
    assert "test_logs.py" in said.getvalue()
    assert "canary" not in said.getvalue()
    assert "a.example" not in said.getvalue()


def test_of_a_librarys_message_the_origin_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    said = say_to(monkeypatch, Stream(terminal=False))
    try:
        fail()
    except ValueError:
        logging.getLogger("some.library").exception("request to %s failed", f"https://a.example/?key={CANARY}")
    found = json.loads(said.getvalue())
    assert (found["event"], found["error"], found["level_name"]) == ("library message", "ValueError", "ERROR")
    assert "canary" not in said.getvalue()
    assert "a.example" not in said.getvalue()


def test_a_stream_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = say_to(monkeypatch, Stream(terminal=False))
    stream.close()
    structlog.get_logger("x").error("nobody hears this")


# What a message may carry: counts, names that the operator gave, errors of the system. A new one is a decision.
KEYS = {
    "boundary", "clients", "error", "events", "exchanges", "file", "hook", "host", "id", "left_out", "log", "policies",
    "policy", "port", "problems", "public_key", "reason", "sandbox", "status", "times", "trigger", "unfinished",
    "waiting", "worker", "workers",
}  # fmt: skip
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
NEVER = {"url", "path", "query", "target", "headers", "header", "body", "head", "request", "secret", "token", "value"}


def test_messages_are_constants_and_carry_nothing_that_was_asked() -> None:
    found = 0
    for file in sorted(ROOT.glob("proxy/**/*.py")) + sorted(ROOT.glob("addons/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "log" and node.func.attr in LEVELS):
                continue
            found += 1
            place = f"{file.relative_to(ROOT)}:{node.lineno}"
            assert isinstance(node.args[0], ast.Constant), f"{place}: the message is put together"
            names = {keyword.arg for keyword in node.keywords}
            if file.name == "desk.py":  # a request for access: a sandbox's own words, for a person, without a query
                names -= {None}
            assert names <= KEYS, f"{place}: {names - KEYS}"
            assert not names & NEVER
    assert found > 20
