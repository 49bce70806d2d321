"""What calls of models used, on record: through the real proxy, streamed, compressed, on a WebSocket, broken off."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.metering.recorded import (
    CHAT_USAGE,
    CLAUDE_EVENTS,
    CLAUDE_PLAIN,
    CLAUDE_START,
    CLAUDE_TEXT,
    RESPONSE,
    RESPONSE_EVENTS,
    chat,
    js,
    sse,
)
from tests.support import answers
from tests.support.answers import frame
from tests.support.outgate import Outgate
from tests.support.upstream import Upstream
from tests.support.wire import Wire

SECRET = "sk-ant-canary-0123456789-abcdef"
POLICY = """
version: 1
name: metered
allow:
  - {id: claude, why: w, hosts: [api.anthropic.com], access: any, credential: key}
  - {id: gpt, why: w, hosts: [api.openai.com], access: any}
  - {id: local, why: w, hosts: [ollama.example], access: any, schemes: [http], ports: [11434]}
credentials:
  key: {from: "env:KEY", hosts: [api.anthropic.com], provider: anthropic}
"""
SSE = {"Content-Type": "text/event-stream"}
JSON = {"Content-Type": "application/json"}
MESSAGES, CHAT = ("api.anthropic.com", "/v1/messages"), ("api.openai.com", "/v1/chat/completions")

type Start = Callable[..., Outgate]


@pytest.fixture
def outgate(start_outgate: Start, upstream: Upstream, plain_upstream: Upstream) -> Outgate:
    mapping = {"api.anthropic.com:443": upstream.port, "api.openai.com:443": upstream.port}
    mapping["ollama.example:11434"] = plain_upstream.port
    return start_outgate(POLICY, connect_to=mapping, environ={"KEY": SECRET})


def post(host: str, path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}".encode()


def asked(outgate: Outgate, host: str, path: str) -> bytes:
    """The body that the client got."""
    with outgate.tunnel(f"{host}:443") as client:
        client.send(post(host, path))
        return client.read("POST").body


def last(outgate: Outgate) -> dict[str, Any]:
    return dict(outgate.wait_for_events(lambda found: len(found) == 1)[0])


def pieces(body: bytes) -> list[bytes]:
    return [body[start : start + 50] for start in range(0, len(body), 50)]


def test_a_stream_with_an_injected_key_is_metered_and_passes_unchanged(outgate: Outgate, upstream: Upstream) -> None:
    body = sse(*CLAUDE_EVENTS)
    upstream.on("/v1/messages", answers.chunked(pieces(body), SSE))
    assert asked(outgate, *MESSAGES) == body
    llm = last(outgate)["llm"]
    assert (llm["provider"], llm["model"], llm["input"], llm["output"]) == ("anthropic", "claude-opus-4-1", 442, 50)
    assert (llm["answers"], llm["partial"], llm["not_metered"]) == (1, False, None)


def test_a_compressed_answer_without_a_secret_keeps_its_coding(outgate: Outgate, upstream: Upstream) -> None:
    body = gzip.compress(js(chat("gpt-5.2", CHAT_USAGE)))
    upstream.on("/v1/chat/completions", answers.reply(200, body, JSON | {"Content-Encoding": "gzip"}))
    assert asked(outgate, *CHAT) == body
    llm = last(outgate)["llm"]
    assert (llm["provider"], llm["model"], llm["input"], llm["cached_input"]) == ("openai", "gpt-5.2", 100, 64)


def test_a_secret_that_comes_back_as_a_model_is_not_on_record(outgate: Outgate, upstream: Upstream) -> None:
    escaped = js(CLAUDE_PLAIN | {"model": SECRET}).replace(b"sk-ant", b"\\u0073k-ant")
    upstream.on("/v1/messages", answers.reply(200, escaped, JSON))
    asked(outgate, *MESSAGES)
    assert last(outgate)["llm"]["model"] == "*" * len(SECRET)


def test_ollama_is_metered_where_it_runs(outgate: Outgate, plain_upstream: Upstream) -> None:
    done = {"model": "qwen", "done": True, "prompt_eval_count": 26, "eval_count": 282}
    plain_upstream.on("/api/chat", answers.reply(200, js(done) + b"\n", {"Content-Type": "application/x-ndjson"}))
    with outgate.client() as client:
        client.send(post("ollama.example:11434", "http://ollama.example:11434/api/chat"))
        assert client.read("POST").status == 200
    llm = last(outgate)["llm"]
    assert (llm["provider"], llm["input"], llm["output"]) == ("ollama", 26, 282)


def test_the_answers_on_a_websocket_are_added_up(outgate: Outgate, upstream: Upstream) -> None:
    def replies(message: bytes) -> Iterator[bytes]:
        done = RESPONSE | {"id": json.loads(message)["id"]}
        yield from (json.dumps(event).encode() for event in RESPONSE_EVENTS[:2])
        yield json.dumps({"type": "response.completed", "response": done}).encode()

    upstream.on("/v1/responses", answers.websocket(replies))
    with outgate.tunnel("api.openai.com:443") as client:
        client.send(
            b"GET /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert client.read_head().status == 101
        for number in range(2):
            client.send(frame(1, js({"id": f"r{number}"}), b"mask"))
            client.read_until(b"response.completed")
            client.read_until(b"}}")
        client.send(frame(8, b"", b"mask"))
        client.read_to_end()
    llm = last(outgate)["llm"]
    assert (llm["answers"], llm["input"], llm["output"], llm["partial"]) == (2, 72, 174, False)


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_of_an_answer_that_breaks_off_what_was_told_is_on_record(
    outgate: Outgate, upstream: Upstream, who: str
) -> None:
    start = sse(CLAUDE_START, *CLAUDE_TEXT)
    parts = [start, upstream.gate()] if who == "client" else [start]
    upstream.on("/v1/messages", answers.chunked(parts, SSE, whole=False))
    with outgate.tunnel("api.anthropic.com:443") as client:
        client.send(post(*MESSAGES))
        assert client.read_head().status == 200
        client.read_until(b"content_block_stop")
        if who == "upstream":
            client.read_to_end()
    event = last(outgate)
    assert event["end"] == f"{who}_closed"
    llm = event["llm"]
    assert (llm["input"], llm["output"], llm["partial"], llm["not_metered"]) == (442, 1, True, None)


async def _error(_: object, wire: Wire) -> None:
    await wire.head(529, {"Content-Length": "2"} | JSON)
    await wire.send(b"{}")


def test_an_error_of_the_provider_is_counted_and_other_exchanges_say_nothing(
    outgate: Outgate, upstream: Upstream
) -> None:
    upstream.on("/v1/messages", _error)
    asked(outgate, *MESSAGES)
    llm = last(outgate)["llm"]
    assert (llm["provider"], llm["input"], llm["not_metered"]) == ("anthropic", None, "error_status")
    asked(outgate, "api.openai.com", "/v1/files")
    assert outgate.wait_for_events(lambda found: len(found) == 2)[1]["llm"] is None


def test_what_is_no_answer_passes_and_says_why(outgate: Outgate, upstream: Upstream) -> None:
    body = b'{"usage": ' + b"[" * 200_000
    upstream.on("/v1/chat/completions", answers.reply(200, body, JSON))
    assert asked(outgate, *CHAT) == body
    assert last(outgate)["llm"]["not_metered"] == "malformed"
