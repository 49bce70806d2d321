"""The limits that docs/limits.md tells of are those of the code."""

import re
from pathlib import Path

from proxy import limits

TABLE = (Path(__file__).parents[1] / "docs" / "limits.md").read_text()
UNITS = {"": 1, " s": 1, " KiB": 1 << 10, " MiB": 1 << 20}


def test_every_limit_is_documented_with_its_value() -> None:
    told = {
        name: int(number) * UNITS[unit] for name, number, unit in re.findall(r"\| `(\w+)` \| (\d+)( \w+)? \|", TABLE)
    }
    assert told == {name: value for name, value in vars(limits).items() if name.isupper()}
