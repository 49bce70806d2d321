"""Answers of the providers, made by hand from their documented shapes, with what each means."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.metering.services import Call

JSON = b"application/json; charset=utf-8"
SSE = b"text/event-stream; charset=utf-8"
NDJSON = b"application/x-ndjson"
EVENTSTREAM = b"application/vnd.amazon.eventstream"


@dataclass(frozen=True)
class Recorded:
    """One whole answer. `means` are the fields of the report that are not null."""

    name: str
    call: Call
    kind: bytes
    body: bytes
    means: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


def js(value: object) -> bytes:
    return json.dumps(value).encode()


def sse(*events: object, named: bool = True, done: bool = False) -> bytes:
    parts = []
    for event in events:
        name = f"event: {event['type']}\n" if named and isinstance(event, dict) and "type" in event else ""
        parts.append(f"{name}data: {json.dumps(event)}\n\n")
    return "".join(parts).encode() + (b"data: [DONE]\n\n" if done else b"")


def message(kind: str, payload: bytes, *, more: Mapping[str, str] | None = None) -> bytes:
    """One message of an Amazon event stream."""
    named = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"} | dict(more or {})
    headers = b"".join(
        bytes((len(key),)) + key.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        for key, value in named.items()
    )
    prelude = (16 + len(headers) + len(payload)).to_bytes(4) + len(headers).to_bytes(4)
    prelude += zlib.crc32(prelude).to_bytes(4)
    whole = prelude + headers + payload
    return whole + zlib.crc32(whole).to_bytes(4)


def frame(text: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """One frame of a server."""
    head = bytes(((0x80 if fin else 0) | opcode,))
    if len(text) < 126:
        return head + bytes((len(text),)) + text
    if len(text) < 1 << 16:
        return head + b"\x7e" + len(text).to_bytes(2) + text
    return head + b"\x7f" + len(text).to_bytes(8) + text


CLAUDE_USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 400,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 1,
    "service_tier": "standard",
}
CLAUDE_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-1",
        "content": [],
        "usage": CLAUDE_USAGE,
    },
}
CLAUDE_TEXT = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}}
        for t in ("Hi", ' "usage":{')
    ),
    {"type": "content_block_stop", "index": 0},
]
CLAUDE_END = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 7},
            "server_tool_use": {"web_search_requests": 2},
        },
    },
    {"type": "message_stop"},
]
CLAUDE_MEANS = {
    "model": "claude-opus-4-1",
    "answers": 1,
    "input": 442,
    "cached_input": 400,
    "cache_write": 30,
    "cache_write_1h": 20,
    "output": 50,
    "reasoning": 7,
    "searches": 2,
    "tier": "standard",
}
CLAUDE_EVENTS = [CLAUDE_START, {"type": "ping"}, *CLAUDE_TEXT, *CLAUDE_END]
CLAUDE_PLAIN = CLAUDE_START["message"] | {
    # What a tool is called with is the model's to choose, and is no usage.
    "content": [{"type": "tool_use", "name": "x", "input": {"usage": {"input_tokens": 99, "output_tokens": 99}}}],
    "usage": CLAUDE_USAGE | CLAUDE_END[0]["usage"],
}

CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 16},
}
CHAT_MEANS = {"model": "gpt-5.2", "answers": 1, "input": 100, "cached_input": 64, "output": 40, "reasoning": 16}


def chat(model: str, usage: object, **more: object) -> dict[str, Any]:
    return {"id": "c-1", "object": "chat.completion", "model": model, "choices": [{"index": 0}], "usage": usage, **more}


def chunks(model: str, usage: object, **more: object) -> list[dict[str, Any]]:
    start: dict[str, Any] = {"id": "c-1", "object": "chat.completion.chunk", "model": model}
    said = [start | {"choices": [{"index": 0, "delta": {"content": text}}], "usage": None} for text in ("He", "llo")]
    return [*said, start | {"choices": [], "usage": usage, **more}]


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5.2",
    "service_tier": "flex",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 80},
        "total_tokens": 123,
    },
}
RESPONSE_EVENTS = [
    {"type": "response.created", "response": RESPONSE | {"status": "in_progress", "usage": None}},
    {"type": "response.output_text.delta", "delta": "hi"},
    {"type": "response.completed", "response": RESPONSE},
]
RESPONSE_MEANS = {
    "model": "gpt-5.2",
    "answers": 1,
    "input": 36,
    "cached_input": 8,
    "output": 87,
    "reasoning": 80,
    "tier": "flex",
}

GEMINI_LAST = {
    "candidates": [
        {"content": {"parts": [{"functionCall": {"name": "f", "args": {"usageMetadata": {"promptTokenCount": 7}}}}]}}
    ],
    "usageMetadata": {
        "promptTokenCount": 50,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "cachedContentTokenCount": 40,
        "toolUsePromptTokenCount": 5,
        "totalTokenCount": 105,
    },
    "modelVersion": "gemini-3-pro",
}
GEMINI_PARTS = [
    {
        "candidates": [{}],
        "usageMetadata": {"promptTokenCount": 50, "totalTokenCount": 50},
        "modelVersion": "gemini-3-pro",
    },
    GEMINI_LAST,
]
GEMINI_MEANS = {
    "model": "gemini-3-pro",
    "answers": 1,
    "input": 55,
    "cached_input": 40,
    "output": 50,
    "reasoning": 30,
}

CONVERSE_USAGE = {
    "inputTokens": 10,
    "outputTokens": 20,
    "totalTokens": 130,
    "cacheReadInputTokens": 70,
    "cacheWriteInputTokens": 30,
}
CONVERSE_MEANS = {
    "model": "us.amazon.nova-2:0",
    "answers": 1,
    "input": 110,
    "cached_input": 70,
    "cache_write": 30,
    "output": 20,
}

ANTHROPIC = Call("anthropic", "messages")
OPENAI = Call("openai", "chat")
RESPONSES = Call("openai", "responses")
SOCKET = Call("openai", "responses", websocket=True)
GEMINI = Call("google", "gemini", "gemini-3")
CONVERSE = Call("aws", "converse", "us.amazon.nova-2:0")
INVOKE = Call("aws", "invoke", "anthropic.claude-opus-4-1-v1:0")
OLLAMA = Call("ollama", "ollama")

ALL = [
    Recorded("anthropic sse", ANTHROPIC, SSE, sse(*CLAUDE_EVENTS), CLAUDE_MEANS),
    Recorded("anthropic sse crlf", ANTHROPIC, SSE, sse(*CLAUDE_EVENTS).replace(b"\n", b"\r\n"), CLAUDE_MEANS),
    Recorded("anthropic sse cr", ANTHROPIC, SSE, sse(*CLAUDE_EVENTS).replace(b"\n", b"\r"), CLAUDE_MEANS),
    Recorded(
        "anthropic sse, last delta repeated",
        ANTHROPIC,
        SSE,
        sse(*CLAUDE_EVENTS, CLAUDE_END[0], CLAUDE_END[0] | {"usage": {"input_tokens": 12, "output_tokens": 50}}),
        CLAUDE_MEANS,
    ),
    Recorded(
        "sse, an event on several lines",
        OPENAI,
        SSE,
        b"".join(
            b"data: " + line + b"\r\n"
            for line in json.dumps(chat("gpt-5.2", CHAT_USAGE), indent=1).encode().split(b"\n")
        )
        + b"\r\n",
        CHAT_MEANS,
    ),
    Recorded("anthropic plain", ANTHROPIC, JSON, js(CLAUDE_PLAIN), CLAUDE_MEANS),
    Recorded(
        "anthropic fast",
        ANTHROPIC,
        JSON,
        js(CLAUDE_PLAIN | {"usage": {"input_tokens": 1, "output_tokens": 2, "speed": "fast"}}),
        {"model": "claude-opus-4-1", "answers": 1, "input": 1, "output": 2, "tier": "fast"},
    ),
    Recorded("openai chat plain", OPENAI, JSON, js(chat("gpt-5.2", CHAT_USAGE)), CHAT_MEANS),
    Recorded("openai chat sse", OPENAI, SSE, sse(*chunks("gpt-5.2", CHAT_USAGE), done=True), CHAT_MEANS),
    Recorded(
        "openai chat sse, usage in every chunk",
        OPENAI,
        SSE,
        sse(
            *(chat("gpt-5.2", CHAT_USAGE | {"completion_tokens": n, "total_tokens": 100 + n}) for n in (16, 20, 40)),
            done=True,
        ),
        CHAT_MEANS,
    ),
    Recorded(
        "openai chat sse without usage",
        OPENAI,
        SSE,
        sse(*chunks("gpt-5.2", None), done=True),
        {"model": "gpt-5.2", "not_metered": "no_usage"},
    ),
    Recorded("openai responses plain", RESPONSES, JSON, js(RESPONSE), RESPONSE_MEANS),
    Recorded("openai responses sse", RESPONSES, SSE, sse(*RESPONSE_EVENTS), RESPONSE_MEANS),
    Recorded(
        "openai responses websocket",
        SOCKET,
        b"",
        b"".join(frame(js(each)) for each in RESPONSE_EVENTS)
        + frame(b"ping", 9)
        + frame(b"bin", 2)
        + frame(js(RESPONSE_EVENTS[2])[:40], fin=False)
        + frame(b"", 10)
        + frame(js(RESPONSE_EVENTS[2])[40:], 0)  # the same answer again
        + frame(js({"type": "response.completed", "response": RESPONSE | {"id": "resp_2", "output": ["x" * 70_000]}}))
        + frame(b"", 8),
        RESPONSE_MEANS | {"answers": 2, "input": 72, "cached_input": 16, "output": 174, "reasoning": 160},
    ),
    Recorded(
        "openai responses websocket, two models",
        SOCKET,
        b"",
        frame(js(RESPONSE_EVENTS[2]))
        + frame(
            js({"type": "response.completed", "response": RESPONSE | {"id": "2", "model": "b", "service_tier": "x"}})
        ),
        {"answers": 2, "input": 72, "cached_input": 16, "output": 174, "reasoning": 160, "tier": "mixed"},
    ),
    Recorded("gemini plain", GEMINI, JSON, js(GEMINI_LAST), GEMINI_MEANS),
    Recorded("gemini sse", GEMINI, SSE, sse(*GEMINI_PARTS), GEMINI_MEANS),
    Recorded("gemini array", GEMINI, JSON, json.dumps(GEMINI_PARTS, indent=1).encode(), GEMINI_MEANS),
    Recorded("gemini large array", GEMINI, JSON, js([{"x": "y" * 70_000}, *GEMINI_PARTS]), GEMINI_MEANS),
    Recorded("gemini cli", GEMINI, SSE, sse(*({"response": part} for part in GEMINI_PARTS)), GEMINI_MEANS),
    Recorded(
        "gemini model of the path",
        GEMINI,
        JSON,
        js({"usageMetadata": {"promptTokenCount": 3}}),
        {"model": "gemini-3", "answers": 1, "input": 3},
    ),
    Recorded("bedrock converse", CONVERSE, JSON, js({"output": {}, "usage": CONVERSE_USAGE}), CONVERSE_MEANS),
    Recorded(
        "bedrock converse stream",
        CONVERSE,
        EVENTSTREAM,
        message("messageStart", b'{"role":"assistant"}')
        + message("contentBlockDelta", b'{"delta":{"text":"hi"}}')
        + message("contentBlockDelta", js({"delta": {"text": "y" * 90_000}}))
        + message("metadata", js({"usage": CONVERSE_USAGE, "metrics": {"latencyMs": 5}})),
        CONVERSE_MEANS,
    ),
    Recorded("bedrock invoke", INVOKE, JSON, js(CLAUDE_PLAIN), CLAUDE_MEANS),
    Recorded(
        "bedrock invoke stream",
        INVOKE,
        EVENTSTREAM,
        b"".join(message("chunk", js({"bytes": base64.b64encode(js(each)).decode()})) for each in CLAUDE_EVENTS),
        CLAUDE_MEANS,
    ),
    Recorded(
        "bedrock invoke of another vendor",
        INVOKE,
        JSON,
        js({"generation": "hi"}),
        {"model": INVOKE.model, "not_metered": "no_usage"},
    ),
    Recorded(
        "openrouter",
        Call("openrouter", "chat"),
        SSE,
        b": OPENROUTER PROCESSING\n\n" + sse(*chunks("anthropic/claude", CHAT_USAGE | {"cost": 0.0125}), done=True),
        CHAT_MEANS | {"model": "anthropic/claude", "cost_usd": 0.0125},
    ),
    Recorded(
        "openrouter with a key of the user's own",
        Call("openrouter", "chat"),
        JSON,
        js(chat("m", CHAT_USAGE | {"cost": 0.001, "is_byok": True})),
        CHAT_MEANS | {"model": "m"},
    ),
    Recorded(
        "perplexity",
        Call("perplexity", "chat"),
        JSON,
        js(chat("sonar", CHAT_USAGE | {"cost": {"total_cost": 0.5}})),
        CHAT_MEANS | {"model": "sonar", "cost_usd": 0.5},
    ),
    Recorded(
        "a price from who is no biller",
        OPENAI,
        JSON,
        js(chat("m", CHAT_USAGE | {"cost": 9})),
        CHAT_MEANS | {"model": "m"},
    ),
    Recorded(
        "groq",
        Call("groq", "chat"),
        SSE,
        sse(
            *chunks("llama", None, x_groq={"id": "r", "usage": {"prompt_tokens": 5, "completion_tokens": 6}}), done=True
        ),
        {"model": "llama", "answers": 1, "input": 5, "output": 6},
    ),
    Recorded(
        "deepseek",
        Call("deepseek", "chat"),
        JSON,
        js(
            chat(
                "deepseek-chat",
                {
                    "prompt_tokens": 9,
                    "completion_tokens": 3,
                    "prompt_cache_hit_tokens": 4,
                    "prompt_cache_miss_tokens": 5,
                    "total_tokens": 12,
                },
            )
        ),
        {"model": "deepseek-chat", "answers": 1, "input": 9, "cached_input": 4, "output": 3},
    ),
    Recorded(
        "xai",
        Call("x-ai", "chat"),
        JSON,
        js(
            chat(
                "grok-5",
                {
                    "prompt_tokens": 9,
                    "completion_tokens": 3,
                    "total_tokens": 112,
                    "completion_tokens_details": {"reasoning_tokens": 100},
                },
            )
        ),
        {"model": "grok-5", "answers": 1, "input": 9, "output": 103, "reasoning": 100},
    ),
    Recorded(
        "xai without a total",
        Call("x-ai", "chat"),
        JSON,
        js(
            chat(
                "grok-5",
                {"prompt_tokens": 9, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 2}},
            )
        ),
        {"model": "grok-5", "answers": 1, "input": 9, "output": 5, "reasoning": 2},
    ),
    Recorded(
        "mistral",
        Call("mistral", "chat"),
        SSE,
        sse(*chunks("mistral-large", {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}), done=True),
        {"model": "mistral-large", "answers": 1, "input": 5, "output": 6},
    ),
    Recorded(
        "embeddings",
        OPENAI,
        JSON,
        js({"data": [{"embedding": [0.125] * 20_000}], "model": "e", "usage": {"prompt_tokens": 5, "total_tokens": 5}}),
        {"model": "e", "answers": 1, "input": 5},
    ),
    Recorded(
        "ollama lines",
        OLLAMA,
        NDJSON,
        b"".join(js({"model": "qwen", "message": {"content": "a"}, "done": False}) + b"\n" for _ in range(3))
        + js({"model": "qwen", "message": {"content": ""}, "done": True, "prompt_eval_count": 26, "eval_count": 282})
        + b"\n",
        {"model": "qwen", "answers": 1, "input": 26, "output": 282},
    ),
    Recorded(
        "ollama plain",
        OLLAMA,
        JSON,
        js({"model": "qwen", "response": "hi", "done": True, "prompt_eval_count": 26, "eval_count": 282}),
        {"model": "qwen", "answers": 1, "input": 26, "output": 282},
    ),
]
