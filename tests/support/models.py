"""Stand-ins for the model APIs: JSON, or server-sent events where the request asks for them, and 401 without the key.

The shapes are those of docs.anthropic.com, "Messages" and "Streaming messages", and of platform.openai.com,
"Chat completions" and "Responses".
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.support import answers
from tests.support.record import Received
from tests.support.upstream import Answer
from tests.support.wire import Wire

type Event = tuple[str, Mapping[str, Any] | str]

_JSON = {"Content-Type": "application/json"}


def anthropic_messages(key: str, text: str) -> Answer:
    """The Messages API, answering every request with `text`."""
    wrong = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    return _model(key, _message(text), lambda: _message_events(text), wrong)


def openai_chat(key: str, text: str) -> Answer:
    """The Chat Completions API, answering every request with `text`."""
    whole = _completion("chat.completion", {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"})
    return _model(key, whole, lambda: _completion_events(text), _openai_wrong())


def openai_responses(key: str, text: str) -> Answer:
    """The Responses API, answering every request with `text`."""
    return _model(key, _response("completed", text), lambda: _response_events(text), _openai_wrong())


def openai_responses_socket(text: str) -> Answer:
    """The Responses API over WebSocket: one JSON message for each event. `generate: false` only warms it up."""

    def replies(message: bytes) -> Iterator[bytes]:
        said = None if json.loads(message).get("generate") is False else text
        for number, event in enumerate(_response_parts(said)):
            yield json.dumps(event | {"sequence_number": number}).encode()

    return answers.websocket(replies)


def _model(
    key: str, whole: Mapping[str, Any], events: Callable[[], Iterator[Event]], wrong: Mapping[str, Any]
) -> Answer:
    async def answer(request: Received, wire: Wire) -> None:
        asked = json.loads(await wire.body(request))
        if _key_of(request) != key:
            await answers.reply(401, json.dumps(wrong).encode(), _JSON)(request, wire)
        elif asked.get("stream"):
            parts = [_encoded(name, data) for name, data in events()]
            await answers.chunked(parts, {"Content-Type": "text/event-stream"})(request, wire)
        else:
            await answers.reply(200, json.dumps(whole).encode(), _JSON)(request, wire)

    return answer


def _key_of(request: Received) -> str:
    return request.header("x-api-key") or (request.header("authorization") or "").removeprefix("Bearer ")


def _encoded(name: str, data: Mapping[str, Any] | str) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {text}\n\n".encode()


def _message(text: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": [] if text is None else [{"type": "text", "text": text}],
        "stop_reason": None if text is None else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 3},
    }


def _message_events(text: str) -> Iterator[Event]:
    yield "message_start", {"type": "message_start", "message": _message(None)}
    block = {"type": "text", "text": ""}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
    yield "ping", {"type": "ping"}
    for word in text.split(" "):
        delta = {"type": "text_delta", "text": word + " "}
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": {"output_tokens": 3}}
    yield "message_stop", {"type": "message_stop"}


def _openai_wrong() -> dict[str, Any]:
    return {"error": {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}}


def _completion(kind: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    choices = [{"index": 0, **choice}]
    return {"id": "chatcmpl_1", "object": kind, "created": 0, "model": "gpt-test", "choices": choices}


def _completion_events(text: str) -> Iterator[Event]:
    for word in text.split(" "):
        yield "", _completion("chat.completion.chunk", {"delta": {"content": word + " "}, "finish_reason": None})
    yield "", _completion("chat.completion.chunk", {"delta": {}, "finish_reason": "stop"})
    yield "", "[DONE]"


def _item(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}


def _response(status: str, text: str | None) -> dict[str, Any]:
    done = text is not None
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": "gpt-test",
        "output": [_item(text)] if text else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 12,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 15,
        }
        if done
        else None,
    }


def _response_events(text: str) -> Iterator[Event]:
    for number, event in enumerate(_response_parts(text)):
        yield str(event["type"]), event | {"sequence_number": number}


def _response_parts(text: str | None) -> Iterator[dict[str, Any]]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield {"type": "response.created", "response": _response("in_progress", None)}
    if text is not None:
        yield {"type": "response.output_item.added", "output_index": 0, "item": _item("") | {"content": []}}
        yield {"type": "response.output_text.delta", "delta": text, **place}
        yield {"type": "response.output_item.done", "output_index": 0, "item": _item(text)}
    yield {"type": "response.completed", "response": _response("completed", text or "")}
