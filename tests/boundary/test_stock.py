"""What stock mitmdump does with the cases is what was written down of it."""

import pytest

from tests.boundary.lab import observe, results
from tests.boundary.page import STOCK, measured

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("subject", STOCK)
def test_stock_mitmdump_still_fails_where_it_failed(laboratory: None, subject: str) -> None:
    found, written = results(observe(subject)), measured()[subject]
    assert {name for name, wrong in found.items() if wrong} == {name for name, wrong in written.items() if wrong}
