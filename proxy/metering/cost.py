"""What a call cost, from the `llm` of its event. For commands that review logs; the proxy never imports the prices.

Trusted first is what the provider says that it charged, then the price table of genai-prices. What neither tells has no
price, and never the price zero.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from proxy.errors import ConfigError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

# When each release of the table that was used here came out: it carries no date of its own.
_RELEASED = {"0.2.3": date(2026, 11, 10)}
# Tiers at the list price. For any other the table must have a price of its own.
_LISTED = frozenset((None, "default", "standard", "on_demand"))


class Status(StrEnum):
    """`at_least`: the answer broke off, and what is not known of it cost something, too."""

    EXACT = "exact"
    AT_LEAST = "at_least"
    UNPRICED = "unpriced"


@dataclass(frozen=True, slots=True)
class Cost:
    """A price in US dollars, who says so, and of which day the prices are. `usd` is None exactly if it is unpriced."""

    usd: float | None
    source: str | None
    date: date | None
    status: Status


UNPRICED = Cost(None, None, None, Status.UNPRICED)


def cost_of(llm: Mapping[str, Any], when: datetime) -> Cost:
    """The cost of one exchange; `when` is the time of its event. Raises `ConfigError` without the price table."""
    status = Status.AT_LEAST if llm.get("partial") or llm.get("not_metered") else Status.EXACT
    if llm.get("cost_usd") is not None:
        return Cost(float(llm["cost_usd"]), f"{llm['provider']} (as charged)", when.date(), status)
    if not llm.get("model") or llm.get("input") is None:
        return UNPRICED
    try:
        import genai_prices
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        raise ConfigError("the table of prices is not installed", "install the extra `review`") from None
    try:
        provider, model = get_snapshot().find_provider_model(llm["model"], None, llm["provider"], None)
        usd = _priced(llm, when, provider, model)
    except (LookupError, ValueError):
        usd = None
    if usd is None:
        return UNPRICED
    version = genai_prices.__version__
    return Cost(usd, f"genai-prices {version}", _RELEASED.get(version), status)


def _priced(llm: Mapping[str, Any], when: datetime, provider: "Provider", model: "ModelInfo") -> float | None:
    from genai_prices import Usage

    tier = llm.get("tier")
    context = {} if tier is None else {{"batch": "processing", "fast": "speed"}.get(tier, "service_tier"): tier}
    if tier not in _LISTED and not any(
        variant.when.items() <= context.items() for variant in model.price_variants or ()
    ):
        return None
    counts = {
        "input_tokens": llm["input"],
        "output_tokens": llm.get("output") or 0,
        "cache_read_tokens": llm.get("cached_input"),
        "cache_write_tokens": llm.get("cache_write"),
        "cache_write_1h_tokens": llm.get("cache_write_1h"),
        "output_reasoning_tokens": llm.get("reasoning"),
        "web_searches": llm.get("searches"),
    }
    with warnings.catch_warnings(action="ignore"):
        made = model.calc_price(Usage(**counts), provider, genai_request_timestamp=when, price_context=context or None)
    if _lacks(made.model_price, counts) or (llm.get("answers", 1) > 1 and _by_length(made.model_price, llm["input"])):
        return None
    return float(made.total_price)


def _lacks(prices: "ModelPrice", counts: Mapping[str, int | None]) -> bool:
    """Whether something was used that the table has no price for; the library would count it as free."""
    units = {"input_mtok": "input_tokens", "output_mtok": "output_tokens", "web_searches_kcount": "web_searches"}
    return any(counts[used] and getattr(prices, price, None) is None for price, used in units.items())


def _by_length(prices: "ModelPrice", tokens: int) -> bool:
    """Whether the price would be another one for prompts as long as the answers of a WebSocket had all together."""
    from genai_prices.types import TieredPrices

    tiered = [price for price in vars(prices).values() if isinstance(price, TieredPrices)]
    return any(tokens > tier.start for price in tiered for tier in price.tiers)
