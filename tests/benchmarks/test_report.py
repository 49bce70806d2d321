"""docs/performance.md shows the run that is in the repository, and names what there is to choose."""

import json
import re
from typing import Any

import pytest

from benchmarks import report, tables
from benchmarks.engines.registry import ENGINES
from benchmarks.works import WORKS

DOCUMENT = report.DOCUMENT.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    found = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_the_tables_of_the_document_are_those_of_the_run(run: dict[str, Any]) -> None:
    assert report.within(DOCUMENT, report.rendered(run)) == DOCUMENT


def test_the_chart_is_that_of_the_run(run: dict[str, Any]) -> None:
    assert report.CHART.read_text(encoding="utf-8") == report.drawn(run)


def test_a_document_without_markers_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no markers"):
        report.within("# Performance\n", "figures")


def test_every_engine_and_work_is_explained() -> None:
    explained = DOCUMENT.partition("## Figures")[0]
    named = set(re.findall(r"`([a-z0-9-]+)`", "".join(re.findall(r"^\| (`.*?) \|", explained, re.MULTILINE))))
    assert named == {*ENGINES, *WORKS, "rules"}


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert tables.lines(("a", "bb"), [("ccc", "d")]) == "| a   | bb |\n|-----|----|\n| ccc | d  |\n"
    assert tables.lines(("a",), []) == ""
    assert tables.lines(("a", "empty", "c"), [("1", "", "3")]) == "| a | c |\n|---|---|\n| 1 | 3 |\n"


@pytest.mark.parametrize(("value", "text"), [(0.0471, "0.047"), (1.575, "1.57"), (12.34, "12.3"), (12345.6, "12,346")])
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert tables.number(value) == text


def test_who_was_busy_is_marked() -> None:
    busy = {"per_second": [100.0], "load_busy": [0.95], "upstream_busy": [0.2], "engine_busy": [0.91]}
    text = tables.speed({"keepalive": {"squid": busy}}, {"keepalive": ("kept", "request")}, ["squid"], 2)
    assert "100*‡§" in text
