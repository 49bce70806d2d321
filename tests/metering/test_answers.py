"""What the meter makes of whole answers, of the same in any pieces, and of answers that break off."""

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import limits
from proxy.metering.meter import Meter
from tests.metering.recorded import (
    ALL,
    ANTHROPIC,
    CHAT_USAGE,
    CLAUDE_EVENTS,
    CLAUDE_PLAIN,
    CLAUDE_START,
    CLAUDE_TEXT,
    CONVERSE,
    EVENTSTREAM,
    GEMINI,
    GEMINI_PARTS,
    JSON,
    OPENAI,
    RESPONSE_EVENTS,
    RESPONSES,
    SOCKET,
    SSE,
    Recorded,
    chat,
    chunks,
    frame,
    js,
    message,
    sse,
)

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
recorded = pytest.mark.parametrize("answer", ALL, ids=lambda answer: answer.name)


def meter(answer: Recorded, coding: bytes = b"") -> Meter:
    return Meter(answer.call, 101 if answer.call.websocket else answer.status, answer.kind, coding, hide=bytes)


def metered(answer: Recorded, pieces: list[bytes], *, whole: bool = True, coding: bytes = b"") -> dict[str, Any]:
    looking = meter(answer, coding)
    for piece in pieces:
        looking.feed(piece)
    if whole and not answer.call.websocket:
        looking.end()
    return looking.report(over=True)


def told(report: dict[str, Any]) -> dict[str, Any]:
    """What of a report says something, without what is the same in all of an answer's tests."""
    kept = {key: value for key, value in report.items() if key not in ("provider", "api", "raw")}
    return {key: value for key, value in kept.items() if value is not None and value is not False and value != 0}


def cut(body: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(body) + 1) for place in at}), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


@recorded
def test_an_answer_means_what_its_provider_documents(answer: Recorded) -> None:
    report = metered(answer, [answer.body])
    assert told(report) == dict(answer.means)
    assert (report["provider"], report["api"]) == (answer.call.provider, answer.call.api)


@recorded
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_make_no_difference(answer: Recorded, size: int) -> None:
    step = size if len(answer.body) < 10_000 else 997 * size
    pieces = [answer.body[start : start + step] for start in range(0, len(answer.body), step)]
    assert metered(answer, pieces) == metered(answer, [answer.body])


@settings(deadline=None)
@given(
    st.sampled_from([each for each in ALL if len(each.body) < 10_000]), st.lists(st.integers(0, 10_000), max_size=20)
)
def test_no_cut_makes_a_difference(answer: Recorded, at: list[int]) -> None:
    assert metered(answer, cut(answer.body, at)) == metered(answer, [answer.body])


@recorded
@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_answer_is_read_like_a_plain_one(answer: Recorded, coding: str) -> None:
    wire = CODINGS[coding](answer.body)
    pieces = [wire[start : start + 100] for start in range(0, len(wire), 100)]
    assert metered(answer, pieces, coding=coding.encode()) == metered(answer, [answer.body])


# The messages of an event stream are read whole or not at all.
@pytest.mark.parametrize("answer", [each for each in ALL if each.kind != EVENTSTREAM], ids=lambda answer: answer.name)
def test_messages_that_are_skimmed_mean_the_same(answer: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = metered(answer, [answer.body])
    monkeypatch.setattr(limits, "MAX_METERED_TEXT", 24)
    pieces = [answer.body[start : start + 11] for start in range(0, len(answer.body), 11)]
    assert metered(answer, pieces) == whole


def test_the_providers_own_numbers_are_kept() -> None:
    plain = Recorded("", ANTHROPIC, JSON, js(CLAUDE_PLAIN))
    assert metered(plain, [plain.body])["raw"] == {
        "cache_creation.ephemeral_1h_input_tokens": 20,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 400,
        "input_tokens": 12,
        "output_tokens": 50,
        "output_tokens_details.thinking_tokens": 7,
        "server_tool_use.web_search_requests": 2,
    }


# --- answers that break off ---

STARTED = {
    "model": "claude-opus-4-1", "input": 442, "cached_input": 400, "cache_write": 30, "cache_write_1h": 20,
    "output": 1, "tier": "standard", "partial": True,
}  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
def test_an_anthropic_stream_without_its_last_delta_is_partial(whole: bool) -> None:
    # Whole: the connection ended well, after an error event in the place of the rest.
    body = sse(CLAUDE_START, *CLAUDE_TEXT, {"type": "error", "error": {"type": "overloaded_error"}})
    report = metered(Recorded("", ANTHROPIC, SSE, body), [body], whole=whole)
    assert told(report) == STARTED


def test_nothing_is_invented_for_what_broke_off_before_its_usage() -> None:
    body = sse(*RESPONSE_EVENTS[:2])
    report = metered(Recorded("", RESPONSES, SSE, body), [body], whole=False)
    assert told(report) == {"model": "gpt-5.2", "not_metered": "unfinished"}


def test_a_client_that_leaves_after_the_last_word_has_the_whole_answer() -> None:
    body = sse(*chunks("gpt-5.2", CHAT_USAGE), done=True)
    assert told(metered(Recorded("", OPENAI, SSE, body), [body], whole=False))["answers"] == 1
    body = sse(*CLAUDE_EVENTS)
    assert "partial" not in told(metered(Recorded("", ANTHROPIC, SSE, body), [body], whole=False))


def test_a_chat_stream_that_breaks_off_after_some_usage_is_partial() -> None:
    body = sse(chat("m", CHAT_USAGE))
    assert told(metered(Recorded("", OPENAI, SSE, body), [body], whole=False))["partial"] is True


@pytest.mark.parametrize("large", [False, True])
def test_a_list_that_breaks_off_says_what_its_last_whole_part_said(large: bool) -> None:
    body = js([{"x": "y" * (100_000 if large else 10)}, *GEMINI_PARTS, GEMINI_PARTS[1]])[:-50]
    for whole, why in ((False, None), (True, "malformed")):
        report = metered(Recorded("", GEMINI, JSON, body), [body], whole=whole)
        assert (report["input"], report["output"], report["partial"], report["not_metered"]) == (55, 50, True, why)


def test_a_report_on_the_way_changes_nothing() -> None:
    body = sse(*CLAUDE_EVENTS)
    looking = meter(Recorded("", ANTHROPIC, SSE, body))
    looking.feed(body[: len(body) // 2])
    assert told(looking.report(over=False)) == STARTED
    looking.feed(body[len(body) // 2 :])
    looking.end()
    assert looking.report(over=True) == metered(Recorded("", ANTHROPIC, SSE, body), [body])


# --- what cannot be metered says why ---


@pytest.mark.parametrize(
    ("kind", "coding", "status", "body", "why"),
    [
        (JSON, b"", 529, js(CLAUDE_PLAIN), "error_status"),
        (b"text/html", b"", 200, js(CLAUDE_PLAIN), "unknown_form"),
        (b"", b"", 200, js(CLAUDE_PLAIN), "unknown_form"),
        (JSON, b"zstd-of-tomorrow", 200, js(CLAUDE_PLAIN), "unknown_coding"),
        (JSON, b"gzip", 200, js(CLAUDE_PLAIN), "undecodable"),
        (JSON, b"gzip", 200, gzip.compress(js(CLAUDE_PLAIN))[:-9], "undecodable"),
        (JSON, b"gzip", 200, gzip.compress(b" " * (limits.MAX_METERED_PIECE + 1)), "too_large"),
        (JSON, b"", 200, b"{", "malformed"),
        (JSON, b"", 200, b"not json", "malformed"),
        (JSON, b"", 200, b"[" * 100_000, "malformed"),
        (JSON, b"", 200, b'{"a":' * 100_000, "malformed"),
        (JSON, b"", 200, b'{"a":' + b"9" * 5000 + b"}", "malformed"),
        (JSON, b"", 200, b"7", "no_usage"),
        (JSON, b"", 200, b"", "no_usage"),
        (JSON, b"", 200, js({"usage": None}), "no_usage"),
        (JSON, b"", 200, js({"usage": {}}), "no_usage"),
        (SSE, b"", 200, b"data: not json\n\n" * 3, "no_usage"),
        (EVENTSTREAM, b"", 200, b"0" * 20, "malformed"),
    ],
)
def test_what_is_not_metered_says_why(kind: bytes, coding: bytes, status: int, body: bytes, why: str) -> None:
    report = metered(Recorded("", ANTHROPIC, kind, body, status=status), [body], coding=coding)
    assert told(report) == {"not_metered": why}


def test_a_broken_event_stream_or_a_compressed_frame_ends_the_metering() -> None:
    good = message("metadata", js({"usage": {"inputTokens": 1, "outputTokens": 1}}))
    broken = good[:-1] + bytes((good[-1] ^ 1,))
    assert told(metered(Recorded("", CONVERSE, EVENTSTREAM, broken), [broken]))["not_metered"] == "malformed"
    first = frame(js(RESPONSE_EVENTS[2]))
    report = metered(Recorded("", SOCKET, b"", first), [first, b"\xc1" + first[1:]])
    assert (report["answers"], report["input"], report["not_metered"]) == (1, 36, "malformed")


def test_a_fault_of_our_own_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    answer = Recorded("", ANTHROPIC, SSE, sse(*CLAUDE_EVENTS))
    monkeypatch.setattr("proxy.metering.tally.Tally.usage", fault)
    assert told(metered(answer, [answer.body])) == {"model": "claude-opus-4-1", "not_metered": "fault"}


# --- memory ---


@pytest.mark.parametrize("start", [b"data: ", b": ", b'data: {"usage": "', b'data: {"usage": {"input_tokens": [', b""])
@pytest.mark.parametrize("kind", [SSE, JSON, b"application/x-ndjson"])
def test_what_is_held_of_an_endless_answer_is_bounded(kind: bytes, start: bytes) -> None:
    looking = meter(Recorded("", ANTHROPIC, kind, b""))
    looking.feed(start)
    for _ in range(50):
        looking.feed(b"[1,2,3,4," * 1000)
    assert held(looking) < 3 * limits.MAX_METERED_TEXT


def held(root: object) -> int:
    """How many bytes of text and data hang on an object of ours."""
    seen: set[int] = set()
    waiting, size = [root], 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, bytes | bytearray | str):
            size += len(one)
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        elif type(one).__module__.startswith("proxy.metering"):
            slots = getattr(type(one), "__slots__", ())
            waiting += [getattr(one, name) for name in slots if hasattr(one, name)]
            waiting.append(getattr(one, "__dict__", {}))
    return size


def test_a_report_is_json() -> None:
    for answer in ALL:
        assert json.loads(json.dumps(metered(answer, [answer.body]))) == metered(answer, [answer.body])
