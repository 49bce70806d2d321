"""Calls of language models: tokens and cost. What nobody knows the price of is counted, and has none."""

from proxy.insight.overview import Overview
from proxy.insight.table import Column, Table

_TOKENS = (
    Column("calls", "calls", "count"),
    Column("input", "input", "count"),
    Column("cached_input", "of it cached", "count"),
    Column("output", "output", "count"),
    Column("usd", "cost", "usd"),
    Column("unpriced", "without a price", "count"),
    Column("at_least", "broken off", "count"),
    Column("not_metered", "not metered", "count"),
)
_SUMS = (
    "sum(events)::BIGINT AS calls, sum(input)::HUGEINT, sum(cached_input)::HUGEINT, sum(output)::HUGEINT, sum(usd),"
    " coalesce(sum(events) FILTER (usd IS NULL), 0)::BIGINT,"
    " coalesce(sum(events) FILTER (partial AND usd IS NOT NULL), 0)::BIGINT,"
    " coalesce(sum(events) FILTER (NOT metered), 0)::BIGINT"
)


def models(seen: Overview, most: int) -> Table:
    """Calls by provider and model."""
    rows = seen.ask(
        f"SELECT provider, coalesce(model, '(not told)'), {_SUMS} FROM {seen.main}"
        " WHERE inside AND provider IS NOT NULL GROUP BY 1, 2 ORDER BY sum(usd) DESC NULLS LAST, calls DESC, 1, 2"
    )
    columns = (Column("provider", "provider"), Column("model", "model"), *_TOKENS)
    return Table.of("models", "Calls of models", columns, rows, most, about(seen))


def about(seen: Overview) -> str:
    """Whose prices they are. The cost of an answer that broke off is a lower bound."""
    if seen.prices is None:
        return "no price list was needed"
    day = f" of {seen.prices.day}" if seen.prices.day else ", whose day is not known"
    return f"prices: {seen.prices.source}{day}; what it does not list has no cost here, and is counted"


def days(seen: Overview) -> Table:
    """Cost and tokens by day."""
    rows = seen.ask(f"SELECT day, {_SUMS} FROM {seen.main} WHERE inside AND provider IS NOT NULL GROUP BY 1 ORDER BY 1")
    return Table("cost_by_day", "Cost by day", (Column("day", "day", "day"), *_TOKENS), rows)
