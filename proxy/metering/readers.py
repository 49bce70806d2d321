"""The messages of each API: where in them model and usage stand, and which one is the last word of an answer."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from proxy.metering.tally import Message, Tally

type Reader = Callable[[Tally, Message], None]


def _messages(tally: Tally, message: Message) -> None:
    """Anthropic's Messages, "Streaming": `message_start` holds the message, each `message_delta` the numbers so far."""
    source = _inner(message, "message")
    usage = source.get("usage")
    tally.model(source.get("model"))
    if isinstance(usage, dict):
        tally.tier("fast" if usage.get("speed") == "fast" else usage.get("service_tier"))
        tally.usage(usage, merge=True)
        if message.get("type") in ("message", "message_delta"):
            tally.settle()


def _chat(tally: Tally, message: Message) -> None:
    """OpenAI's chat completions: one chunk of a stream holds the usage, if the client asked for it; Groq has it aside.

    Some servers send it in each chunk, so only the end of the answer says which is the last.
    """
    tally.model(message.get("model"))
    tally.tier(message.get("service_tier"))
    if isinstance(aside := message.get("x_groq"), dict):
        tally.usage(aside.get("usage"))
    tally.usage(message.get("usage"))


_ENDS = ("response.completed", "response.incomplete", "response.failed")


def _responses(tally: Tally, message: Message) -> None:
    """OpenAI's Responses, "Streaming events": the last event of an answer holds all of it, with the usage."""
    source = _inner(message, "response")
    tally.model(source.get("model"))
    if message.get("object") == "response" or message.get("type") in _ENDS:
        tally.tier(source.get("service_tier"))
        tally.usage(source.get("usage"))
        tally.settle(source.get("id"))


def _gemini(tally: Tally, message: Message) -> None:
    """Google's generateContent: every message of a stream holds the numbers so far; Gemini CLI's service wraps them."""
    source = _inner(message, "response")
    tally.model(source.get("modelVersion"))
    tally.usage(source.get("usageMetadata"))


def _converse(tally: Tally, message: Message) -> None:
    """Bedrock's Converse; of a stream, its event `metadata`."""
    if isinstance(message.get("usage"), dict):
        tally.usage(message["usage"])
        tally.settle()


def _ollama(tally: Tally, message: Message) -> None:
    """Ollama: the last line of a stream is the one that is done."""
    tally.model(message.get("model"))
    if message.get("done") is True:
        tally.usage(message)
        tally.settle()


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "messages": _messages,
        "invoke": _messages,
        "chat": _chat,
        "responses": _responses,
        "gemini": _gemini,
        "converse": _converse,
        "ollama": _ollama,
        "unknown": lambda _tally, _message: None,
    }
)


def _inner(message: Message, key: str) -> Message:
    """The object that is wrapped in a message, or else the message itself."""
    inner = message.get(key)
    return inner if isinstance(inner, dict) else message
