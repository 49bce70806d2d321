"""Costs of many calls at once are those that `cost_of` says of each, and paths made alike keep their shape."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.insight.logs import reading
from proxy.insight.new import place_sql
from proxy.insight.overview import Wanted, overview
from proxy.metering.cost import cost_of
from proxy.review.shapes import shape_of
from tests.review.events import START, lines, passed

MODELS = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-1"),
    ("openai", "gpt-5"),
    ("google", "gemini-2.5-pro"),
    ("deepseek", "deepseek-chat"),  # another price at night
    ("openai", "house-7"),
]


def call(random: Random) -> dict[str, Any]:
    provider, model = random.choice(MODELS)
    put = random.choice([0, random.randrange(30_000), random.randrange(500_000), 200_000, 200_001])
    cached = random.randint(0, put)
    wrote, made = random.randint(0, put - cached), random.randint(0, 5000)
    return {
        "provider": provider, "api": "chat", "model": model, "answers": random.choice([1, 1, 2]), "input": put,
        "cached_input": random.choice([None, cached]), "cache_write": wrote, "cache_write_1h": random.randint(0, wrote),
        "output": made, "reasoning": random.choice([None, made]), "searches": random.choice([None, 0, 2]),
        "tier": random.choice([None, "standard", "batch", "nonsense"]), "cost_usd": random.choice([None, None, 0.5]),
        "raw": None, "partial": False, "not_metered": None,
    }  # fmt: skip


def test_the_sum_is_that_of_each_call(tmp_path: Path) -> None:
    random, wanted, priced, events = Random(5), 0.0, 0, []
    for number in range(150):
        llm, at = call(random), number * 3700
        cost = cost_of(llm, datetime.fromtimestamp(START, UTC) + timedelta(seconds=at))
        wanted, priced = wanted + (cost.usd or 0), priced + (cost.usd is not None)
        events.append(passed("r", llm=llm, at=at, id=f"{number:026}"))
    (tmp_path / "worker-0.jsonl").write_bytes(lines(*events))
    with reading([str(tmp_path)]) as logs:
        seen = overview(logs, Wanted())
        ((usd, count),) = seen.ask(f"SELECT sum(usd), sum(events) FILTER (usd IS NOT NULL) FROM {seen.main}")  # noqa: S608
    assert 50 < priced < 150
    assert (usd, count) == (pytest.approx(wanted), priced)


IDS = st.sampled_from(
    [
        "7",
        "0123456789",
        "12345678901234567",
        "a1" * 8,
        "deadbeef" * 4,
        "abcdef" * 5,
        "v1",
        "ab",
        "0f",
        "x",
        "",
        "%2F",
        "1.2.3",
    ]
)
HEX = st.text("0123456789abcdef", min_size=1, max_size=40)
UUID = st.uuids().map(str)


@pytest.fixture(scope="module")
def database() -> Any:
    import duckdb

    with duckdb.connect(":memory:") as made:
        yield made


@settings(deadline=None)
@example(segments=["a", "0123456789", "000000a"])
@given(segments=st.lists(IDS | HEX | UUID | st.text(min_size=0, max_size=8), max_size=6))
def test_paths_made_alike_keep_their_shape(database: Any, segments: list[str]) -> None:
    path = "/" + "/".join(each.replace("\0", "").encode("ascii", "ignore").decode() for each in segments)
    ((place,),) = database.execute(f"SELECT {place_sql()} FROM (SELECT ? AS path)", [path]).fetchall()  # noqa: S608
    assert shape_of(place) == shape_of(path)
