"""What the terminal shows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import terminal
from proxy.errors import ConfigError, Problem


def test_a_problem_is_an_error_line_then_a_hint_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report_problem(Problem("unknown key", "did you mean `why`?", "p.yaml:3:5", "allow[0].wy"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: p.yaml:3:5: allow[0].wy: unknown key\nhint: did you mean `why`?\n"


def test_every_problem_of_an_error_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report(ConfigError.of((Problem("one"), Problem("two", "mend it"))))
    assert capsys.readouterr().err == "error: one\nerror: two\nhint: mend it\n"


def test_a_problem_cannot_break_its_line_or_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report_problem(Problem("a\nb\x1b[2J", "c\r\u202ed", "x\ny"))
    assert capsys.readouterr().err == "error: x\\ny: a\\nb\\x1b[2J\nhint: c\\r\\u202ed\n"


@given(st.text())
def test_cleaned_text_is_printable_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = terminal.clean(text, lines=False)
    assert cleaned.isprintable()
    assert terminal.clean(cleaned, lines=False) == cleaned


def test_facts_are_aligned_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.facts([("a", "1"), ("gone", ""), ("long", "2")])
    assert capsys.readouterr().out == "a     1\nlong  2\n"


def test_a_table_is_plain_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(["host", "n"], [["a.example", "1"], ["b\n", "22"]])
    assert capsys.readouterr().out == "host       n\na.example  1\nb\\n        22\n"


def test_a_table_without_rows_shows_its_titles(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(["host", "n"], [])
    assert capsys.readouterr().out == "host  n\n"


def test_a_table_on_a_terminal_shows_cells_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    terminal.table(["host"], [["[red]a[/red]"]])
    assert "[red]a[/red]" in capsys.readouterr().out


def test_json_is_one_document_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.as_json({"a": "é\x1b"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": "é\x1b"}
    assert out.isascii()
    assert "\x1b" not in out


def test_a_crash_shows_its_message_only_when_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report_crash(ValueError("word"), debug=False)
    err = capsys.readouterr().err
    assert err.startswith("error: internal error: ValueError\nhint: this is a fault in Outgate")
    assert "word" not in err
    terminal.report_crash(ValueError("word"), debug=True)
    assert "ValueError: word" in capsys.readouterr().err
