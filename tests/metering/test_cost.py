"""What calls cost: by who charged, then by the table, and never zero for what nobody tells."""

import sys
from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import Any

import pytest

from proxy.errors import ConfigError
from proxy.metering import cost
from proxy.metering.cost import UNPRICED, Status, cost_of

WHEN = datetime(2026, 11, 20, tzinfo=UTC)
LLM: dict[str, Any] = {
    "provider": "anthropic", "api": "messages", "model": "claude-opus-4-1", "answers": 1, "input": 1000,
    "cached_input": 500, "cache_write": 100, "cache_write_1h": 40, "output": 10, "reasoning": 5, "searches": 2,
    "tier": "standard", "cost_usd": None, "partial": False, "not_metered": None, "raw": {},
}  # fmt: skip


def test_a_known_model_has_the_price_of_the_table() -> None:
    found = cost_of(LLM, WHEN)
    # A million: 400 at $15, 500 read at $1.50, 60 written at $18.75 and 40 at $30, 10 at $75. 2 searches at $0.01.
    assert found.usd == pytest.approx(0.006 + 0.00075 + 0.001125 + 0.0012 + 0.00075 + 0.02)
    assert (found.source, found.status) == (f"genai-prices {version('genai-prices')}", Status.EXACT)


def test_the_date_of_the_table_that_is_installed_is_known() -> None:
    assert isinstance(cost_of(LLM, WHEN).date, date), "add the release to `_RELEASED` in proxy/metering/cost.py"


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "claude-of-tomorrow-xyz"},
        {"model": None},
        {"provider": "other"},
        {"provider": "ollama"},
        {"provider": "unknown"},
        {"input": None},
        {"tier": "priority"},
        {"tier": "mixed"},
        {"provider": "openai", "model": "gpt-4o", "searches": None, "tier": "no-such-tier"},
        {"provider": "aws", "model": "us.anthropic.claude-opus-4-1-20250805-v1:0"},  # has no price for searches
    ],
)
def test_what_nobody_prices_is_unpriced(changed: dict[str, Any]) -> None:
    assert cost_of(LLM | changed, WHEN) == UNPRICED


def test_a_tier_has_a_price_of_its_own() -> None:
    openai = LLM | {
        "provider": "openai",
        "model": "gpt-5.2",
        "searches": None,
        "cache_write": None,
        "cache_write_1h": None,
    }
    listed, flex = (cost_of(openai | {"tier": tier}, WHEN).usd for tier in ("default", "flex"))
    assert listed is not None
    assert flex is not None
    assert 0 < flex < listed


def test_what_the_provider_charged_comes_first() -> None:
    found = cost_of(LLM | {"provider": "openrouter", "model": "what/ever", "cost_usd": 0.25}, WHEN)
    assert (found.usd, found.source, found.date) == (0.25, "openrouter (as charged)", WHEN.date())


@pytest.mark.parametrize("changed", [{"partial": True}, {"not_metered": "implausible"}])
def test_the_price_of_a_part_is_a_lower_bound(changed: dict[str, Any]) -> None:
    found = cost_of(LLM | changed, WHEN)
    assert (found.usd, found.status) == (cost_of(LLM, WHEN).usd, Status.AT_LEAST)


def test_a_sum_over_answers_is_priced_where_the_length_of_a_prompt_makes_no_difference() -> None:
    long = LLM | {"answers": 9, "input": 900_000}
    assert cost_of(long, WHEN).usd is not None
    gemini = LLM | {
        "provider": "google",
        "model": "gemini-2.5-pro",
        "searches": None,
        "tier": None,
        "cache_write": None,
    }
    gemini |= {"cache_write_1h": None, "answers": 9}
    assert cost_of(gemini | {"input": 100_000}, WHEN).usd is not None
    assert cost_of(gemini | {"input": 900_000}, WHEN) == UNPRICED
    assert cost_of(gemini | {"input": 900_000, "answers": 1}, WHEN).usd is not None


def test_without_the_table_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ConfigError, match="prices is not installed"):
        cost_of(LLM, WHEN)
    assert cost_of(LLM | {"cost_usd": 1}, WHEN).usd == 1


def test_the_proxy_does_not_load_the_table() -> None:
    assert "genai_prices" not in vars(cost)
