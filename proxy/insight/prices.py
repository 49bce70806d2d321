"""What calls cost, for millions of calls: prices are the same for many, so `cost_of` is asked once for each kind.

Within one model, tier, day and class of lengths a price is linear in the numbers of tokens. Seven questions tell the
price of a token of each sort; SQL does the rest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from proxy.insight.duck import missing
from proxy.metering.cost import cost_of

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

    from proxy.insight.logs import Logs

SLOT = 30  # minutes; no price in the table changes at another time of the day
SORTS = ("input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning", "searches")
_MOST = 100_000_000  # a number that a call cannot have: `proxy.metering.counts`

METERED = " AND ".join(f"coalesce(llm.{sort}, 0) BETWEEN 0 AND {_MOST}" for sort in SORTS)


@dataclass(frozen=True, slots=True)
class PriceList:
    """Whose prices they are, and of which day."""

    source: str
    day: date | None


@lru_cache(maxsize=1)
def _lengths() -> tuple[int, ...]:
    """The numbers of tokens at which the price of some model changes."""
    from genai_prices.types import TieredPrices

    found = set()
    for prices in _all_prices():
        found |= {
            tier.start for price in vars(prices).values() if isinstance(price, TieredPrices) for tier in price.tiers
        }
    return tuple(sorted(found))


def _all_prices() -> Iterator["ModelPrice"]:
    for _, _, prices, _ in _conditions():
        yield prices


@lru_cache(maxsize=1)
def _conditions() -> tuple[tuple[str, str, Any, Any], ...]:
    """Every price of the table: provider, model, prices, and the condition under which they hold."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        raise missing("genai-prices") from None
    found = []
    for provider in get_snapshot().providers:
        for model in provider.models:
            for prices in (model.prices, *(variant.prices for variant in model.price_variants or ())):
                listed = prices if isinstance(prices, list) else None
                pairs = [(each.prices, each.constraint) for each in listed] if listed else [(prices, None)]
                found += [(provider.id, model.id, each, constraint) for each, constraint in pairs]
    return tuple(found)


def llm_keys() -> dict[str, str]:
    """What tells kinds of calls apart, as SQL over the columns of the view. Raises `ConfigError` without the table."""
    from genai_prices.types import TimeOfDateConstraint

    _conditions()
    timed = sorted({each[0] for each in _conditions() if isinstance(each[3], TimeOfDateConstraint)})
    length = " + ".join(f"(llm.input > {start})::INTEGER" for start in _lengths()) or "0"
    names = ", ".join(f"'{each}'" for each in timed) or "''"
    return {
        "provider": "llm.provider",
        "model": "llm.model",
        "tier": "llm.tier",
        "many": "coalesce(llm.answers > 1, false)",
        "partial": "coalesce(llm.partial, false) OR llm.not_metered IS NOT NULL",
        "said": "coalesce(llm.cost_usd BETWEEN 0 AND 1e6, false)",
        "metered": f"llm.input IS NOT NULL AND {METERED}",
        "length": f"CASE WHEN llm.input IS NOT NULL THEN {length} END",
        "slot": f"CASE WHEN llm.provider IN ({names}) THEN (hour(time) * 60 + minute(time)) // {SLOT} END",
    }


LLM_SUMS = {
    **{sort: f"sum(CASE WHEN {METERED} THEN llm.{sort} END)" for sort in SORTS},
    # In nanodollars: whole numbers have one sum, in whatever order.
    "charged": "sum(CASE WHEN llm.cost_usd BETWEEN 0 AND 1e6 THEN round(llm.cost_usd * 1e9)::BIGINT END)",
}
KIND = ("provider", "model", "tier", "many", "length", "slot", "day")


def put_costs(logs: "Logs", table: str) -> PriceList | None:
    """Add the column `usd` to a scan that has `llm_keys` and `LLM_SUMS`; null where nobody knows the price.

    Returns the price list, if it was used.
    """
    logs.ask(f"CREATE OR REPLACE TEMP TABLE rates (number INTEGER, {', '.join(f'{sort} DOUBLE' for sort in SORTS)})")
    kinds = logs.ask(
        f"SELECT DISTINCT {', '.join(KIND)} FROM {table}"
        " WHERE provider IS NOT NULL AND model IS NOT NULL AND metered AND NOT said AND day IS NOT NULL"
    )
    logs.ask(
        "CREATE OR REPLACE TEMP TABLE kinds (number INTEGER, provider VARCHAR, model VARCHAR, tier VARCHAR,"
        " many BOOLEAN, length INTEGER, slot INTEGER, day TIMESTAMP)"
    )
    numbers: dict[tuple[Any, ...], int] = {}
    used: PriceList | None = None
    rows, rates = [], []
    for kind in kinds:
        era = _era(dict(zip(KIND, kind, strict=True)))
        if era not in numbers:
            numbers[era] = len(numbers)
            found, source = _rates(dict(zip(KIND, kind, strict=True)))
            used = used or source
            rates.append((numbers[era], *found))
        rows.append((numbers[era], *kind))
    if rows:
        logs.database.executemany(f"INSERT INTO kinds VALUES ({', '.join('?' * 8)})", rows)
        logs.database.executemany(f"INSERT INTO rates VALUES ({', '.join('?' * (1 + len(SORTS)))})", rates)
    same = " AND ".join(f"kinds.{key} IS NOT DISTINCT FROM {table}.{key}" for key in KIND)
    parts = (
        f"CASE WHEN coalesce({table}.{sort}, 0) = 0 THEN 0 ELSE {table}.{sort} * rates.{sort} END" for sort in SORTS
    )
    logs.ask(f"ALTER TABLE {table} ADD COLUMN usd DOUBLE")
    logs.ask(f"UPDATE {table} SET usd = charged / 1e9 WHERE said")
    logs.ask(
        f"UPDATE {table} SET usd = {' + '.join(parts)} FROM kinds JOIN rates USING (number)"
        f" WHERE NOT {table}.said AND {table}.metered AND {same}"
    )
    return used


def _era(kind: Mapping[str, Any]) -> tuple[Any, ...]:
    """The kind without its day, but with the number of price changes of its provider up to then."""
    day = kind["day"].date()
    changes = sum(start <= day for start in _starts().get(kind["provider"], ()))
    return (*(kind[key] for key in KIND[:-1]), changes)


@lru_cache(maxsize=1)
def _starts() -> dict[str, set[date]]:
    from genai_prices.types import StartDateConstraint

    found: dict[str, set[date]] = {}
    for provider, _, _, constraint in _conditions():
        if isinstance(constraint, StartDateConstraint):
            found.setdefault(provider, set()).add(constraint.start_date)
    return found


def _rates(kind: Mapping[str, Any]) -> tuple[list[float | None], PriceList | None]:
    """Dollars for one token of each sort; of those that are part of another sort, what they add or take away."""
    starts = _lengths()
    length = kind["length"]
    size = starts[length] if length < len(starts) else (starts[-1] + 1000 if starts else 1000)
    when = datetime.combine(kind["day"].date(), time(), UTC) + timedelta(minutes=SLOT * (kind["slot"] or 0))
    base = {
        "provider": kind["provider"],
        "model": kind["model"],
        "tier": kind["tier"],
        "answers": 2 if kind["many"] else 1,
        "input": size,
    }
    told = cost_of(base, when)
    if told.usd is None:
        return [None] * len(SORTS), None
    rates: list[float | None] = [told.usd / size]
    for sort in SORTS[1:]:
        more = {"cache_write": size} if sort == "cache_write_1h" else {"output": size} if sort == "reasoning" else {}
        before, after = cost_of({**base, **more}, when).usd, cost_of({**base, **more, sort: size}, when).usd
        rates.append(None if before is None or after is None else (after - before) / size)
    return rates, PriceList(told.source or "", told.date)
