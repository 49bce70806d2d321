"""The cases are complete, each proves something, and the page says what they are."""

from pathlib import Path

from tests.boundary.cases import CASES
from tests.boundary.origins import ELSEWHERE, ORIGINS
from tests.boundary.page import measured, page

PAGE = Path(__file__).parents[2] / "docs" / "threats.md"


def test_the_page_is_what_the_cases_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(measured()), "run: python -m tests.boundary.page > docs/threats.md"


def test_ids_are_unique_and_begin_with_one_of_few_words() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


def test_every_line_that_cases_come_from_is_tried_or_said_to_be_elsewhere() -> None:
    named = {origin for case in CASES for origin in case.origins}
    assert named | ELSEWHERE.keys() == ORIGINS.keys()
    assert all(case.origins for case in CASES)


def test_every_case_is_failed_by_stock_mitmdump_or_says_why_it_is_kept() -> None:
    stock = measured()["stock"]
    assert {case.id for case in CASES if case.kept} == {case.id for case in CASES if not stock[case.id]}


def test_what_is_said_to_hold_elsewhere_is_there() -> None:
    root = PAGE.parents[1]
    words = [word.strip("`;,") for text in ELSEWHERE.values() for word in text.split()]
    assert all((root / word).exists() for word in words if word.startswith("tests/"))
