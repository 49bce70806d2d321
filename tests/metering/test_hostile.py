"""Answers that are made to mislead or to break the meter: counted, and never believed."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.metering.counts import FIELDS, MAX_TOKENS
from proxy.metering.meter import Meter
from proxy.metering.services import Call
from proxy.metering.skim import ENTERED, KEPT, Skimmer
from tests.metering.recorded import (
    ALL,
    ANTHROPIC,
    CHAT_USAGE,
    CLAUDE_EVENTS,
    CLAUDE_START,
    EVENTSTREAM,
    JSON,
    NDJSON,
    OPENAI,
    RESPONSE,
    SOCKET,
    SSE,
    chat,
    frame,
    js,
    sse,
)

KINDS = [SSE, JSON, NDJSON, EVENTSTREAM]
CALLS = list({answer.call: None for answer in ALL})
ABSURD = ['"12"', "-1", "1e400", "-0.5", "NaN", "true", "[]", "{}", str(MAX_TOKENS + 1), "1.5", "9" * 400]


def report(call: Call, kind: bytes, *pieces: bytes) -> dict[str, Any]:
    looking = Meter(call, 101 if call.websocket else 200, kind, hide=bytes)
    for piece in pieces:
        looking.feed(piece)
    looking.end()
    return looking.report(over=True)


@pytest.mark.parametrize("number", ABSURD)
@pytest.mark.parametrize("key", ["prompt_tokens", "completion_tokens"])
def test_a_number_that_is_none_leaves_the_answer_out(number: str, key: str) -> None:
    usage = json.dumps(CHAT_USAGE | {key: "HERE"}).replace('"HERE"', number)
    found = report(OPENAI, JSON, b'{"model": "m", "usage": ' + usage.encode() + b"}")
    assert {found[name] for name in FIELDS} == {None}
    assert (found["model"], found["answers"], found["not_metered"]) == ("m", 0, "implausible")


def test_a_negative_number_is_none_also_where_no_part_gives_it_away() -> None:
    found = report(ANTHROPIC, JSON, js({"usage": {"input_tokens": 1, "server_tool_use": {"web_search_requests": -1}}}))
    assert (found["input"], found["searches"], found["not_metered"]) == (None, None, "implausible")


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_tokens_details": {"cached_tokens": 101}},
        {"completion_tokens_details": {"reasoning_tokens": 41}},
        {"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 60}},
    ],
)
def test_parts_that_are_more_than_their_whole_leave_the_answer_out(more: dict[str, Any]) -> None:
    found = report(OPENAI, JSON, js(chat("m", CHAT_USAGE | more)))
    assert (found["input"], found["not_metered"]) == (None, "implausible")


@pytest.mark.parametrize("price", ["-1", '"3"', "1e400", "NaN", "true", "1e9"])
def test_a_price_that_is_none_leaves_the_answer_out(price: str) -> None:
    usage = json.dumps(CHAT_USAGE | {"cost": "HERE"}).replace('"HERE"', price)
    found = report(Call("openrouter", "chat"), JSON, b'{"usage": ' + usage.encode() + b"}")
    assert (found["cost_usd"], found["not_metered"]) == (None, "implausible")


def test_a_good_number_after_an_absurd_one_does_not_mend_the_answer() -> None:
    bad = CLAUDE_START | {"message": {"usage": {"input_tokens": -5}}}
    assert report(ANTHROPIC, SSE, sse(bad, *CLAUDE_EVENTS[1:]))["not_metered"] == "implausible"


def test_on_a_websocket_one_absurd_answer_costs_the_others_nothing() -> None:
    def answer(number: int, tokens: object) -> bytes:
        usage = {"input_tokens": tokens, "output_tokens": 1}
        return frame(js({"type": "response.completed", "response": RESPONSE | {"id": f"r{number}", "usage": usage}}))

    found = report(SOCKET, b"", answer(1, 5), answer(2, "5"), answer(3, 7))
    assert (found["answers"], found["input"], found["not_metered"]) == (2, 12, "implausible")


def test_usage_that_is_told_again_and_again_counts_once() -> None:
    found = report(OPENAI, SSE, sse(*[chat("m", CHAT_USAGE)] * 500, done=True))
    assert (found["answers"], found["input"], found["output"]) == (1, 100, 40)
    found = report(SOCKET, b"", frame(js({"type": "response.completed", "response": RESPONSE})) * 500)
    assert (found["answers"], found["input"]) == (1, 36)


def test_of_two_members_of_one_name_the_last_counts() -> None:
    for filler in ("", "x" * 100_000):
        body = b'{"usage":{"prompt_tokens":1},"x":"%s","usage":{"prompt_tokens":2}}' % filler.encode()
        assert report(OPENAI, JSON, body)["input"] == 2
    found: list[Any] = []
    skimmer = Skimmer(found.append)
    skimmer.feed(b'{"response": {"usage": 1}, "response": {"model": "m"}, "message": {"id": 1}, "message": 2}')
    assert skimmer.end()
    assert found == [{"response": {"model": "m"}}]


@pytest.mark.parametrize("name", ["", "a b", "x\n", "x" * 129, "modèle", 7, None, {"a": 1}, ["m"]])
def test_what_is_no_name_is_no_model(name: object) -> None:
    assert report(OPENAI, JSON, js(chat(name, CHAT_USAGE, service_tier=name)))["model"] is None  # type: ignore[arg-type]


def test_the_injected_secret_does_not_reach_the_log_as_a_model() -> None:
    # Escaped as it is nowhere masked; read as JSON it is the secret again.
    body = b'{"model": "sk-\\u0063anary", "service_tier": "sk-\\u0063anary", "usage": {"prompt_tokens": 1}}'
    looking = Meter(OPENAI, 200, JSON, hide=lambda text: text.replace(b"sk-canary", b"*********"))
    looking.feed(body)
    looking.end()
    found = looking.report(over=True)
    assert (found["model"], found["tier"]) == ("*" * 9, "*" * 9)


@settings(deadline=None)
@given(st.sampled_from(CALLS), st.sampled_from(KINDS), st.lists(st.binary(max_size=300), max_size=8))
def test_no_bytes_raise(call: Call, kind: bytes, pieces: list[bytes]) -> None:
    assert report(call, kind, *pieces)["provider"] == call.provider


@settings(deadline=None)
@given(st.sampled_from(ALL), st.integers(0, 10_000), st.binary(min_size=1, max_size=20))
def test_no_damage_raises_or_makes_absurd_numbers(answer: Any, at: int, damage: bytes) -> None:
    at %= len(answer.body)
    found = report(answer.call, answer.kind, answer.body[:at] + damage + answer.body[at + len(damage) :])
    assert all(found[name] is None or 0 <= found[name] <= 3 * MAX_TOKENS for name in FIELDS)


# --- what is skimmed of a text is what is read of it ---

KEYS = st.sampled_from([*sorted(KEPT | ENTERED), "x", "choices", 'us"age', "us\\age", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just('"usage":{'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


def expected(value: dict[str, Any]) -> dict[str, Any]:
    """The members that the skimmer is for."""
    kept = {key: inner for key, inner in value.items() if key in KEPT}
    for key in ENTERED & value.keys():
        if isinstance(value[key], dict) and (inner := {k: v for k, v in value[key].items() if k in KEPT}):
            kept[key] = inner
    return kept


@settings(deadline=None)
@given(OBJECTS | st.lists(OBJECTS, max_size=3), st.integers(1, 9), st.booleans(), st.sampled_from([None, 1]))
def test_skimming_finds_what_reading_finds(value: Any, step: int, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    found: list[Any] = []
    skimmer = Skimmer(found.append)
    for start in range(0, len(text), step):
        skimmer.feed(text[start : start + step])
    assert skimmer.end()
    assert found == [each for one in (value if isinstance(value, list) else [value]) if (each := expected(one))]


def test_a_value_that_is_too_long_to_be_usage_is_left_out() -> None:
    found: list[Any] = []
    skimmer = Skimmer(found.append)
    skimmer.feed(js({"usage": ["x" * 20_000], "model": "m"}))
    assert skimmer.end()
    assert found == [{"model": "m"}]
