"""The boundary of the running proxy, case by case. `docs/threats.md` lists them."""

import pytest

from tests.boundary.case import Case
from tests.boundary.cases import CASES
from tests.boundary.judge import Observation, broken, leftover
from tests.boundary.lab import observe

pytestmark = pytest.mark.e2e


@pytest.fixture(
    scope="module",
    params=["outgate", pytest.param("outgate-other-lane", marks=pytest.mark.slow)],
    ids=["fast", "other"],
)
def seen(laboratory: None, request: pytest.FixtureRequest) -> dict[str, Observation]:
    """What happened in each case, all of them with the same few proxies, on each of the lanes."""
    return observe(request.param)


def _case(case: Case) -> object:
    marks = [pytest.mark.xfail(strict=True, reason=case.known)] if case.known else []
    return pytest.param(case, id=case.id, marks=marks)


@pytest.mark.parametrize("case", [_case(case) for case in CASES])
def test_the_boundary_holds(seen: dict[str, Observation], case: Case) -> None:
    assert broken(case, seen.get(case.id)) == [], seen.get(case.id)


@pytest.mark.parametrize("setup", sorted({case.setup for case in CASES}))
def test_nothing_comes_late_and_no_secret_lies_about(seen: dict[str, Observation], setup: str) -> None:
    """What arrives between cases belongs to none of them; logs, records, state and command line hold no secret."""
    assert leftover(seen[f"after-{setup}"]) == []
