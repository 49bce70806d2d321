"""Usage as providers report it, and as the audit log records it: the table of their keys, and the rule for a number.

`input` holds every token that the model was given and `output` every one that it made, whatever the provider counts
apart: `cached_input` and `cache_write` are in `input`, `cache_write_1h` is in `cache_write`, `reasoning` in `output`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MAX_TOKENS = 100_000_000
"""More than this in one number of one answer is no count of tokens."""
MAX_COST = 10_000.0
"""The same in US dollars."""

type Keys = tuple[str, ...]  # of one number under several names: the first that is there counts
type Counts = Mapping[str, int]  # what a provider said, by the dotted path of its own keys

FIELDS = ("input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning", "searches")
_PARTS = (
    ("cached_input", "input"),
    ("cache_write", "input"),
    ("cache_write_1h", "cache_write"),
    ("reasoning", "output"),
)


class Implausible(ValueError):
    """What is said to be a count of tokens cannot be one."""


@dataclass(frozen=True, slots=True)
class Form:
    """How one API reports usage. `sums` has for each of our fields the numbers whose sum it is.

    `total` is a number that tells by arithmetic whether the reasoning is inside the output. `paths` are all of them.
    """

    sums: Mapping[str, tuple[Keys, ...]]
    total: str = ""
    paths: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        keys = {key for terms in self.sums.values() for names in terms for key in names}
        object.__setattr__(self, "paths", {key: tuple(key.split(".")) for key in keys | ({self.total} - {""})})


# docs.anthropic.com, "Messages" and "Prompt caching": `input_tokens` is what the cache had no part in.
_MESSAGES = Form(
    MappingProxyType(
        {
            "input": (("input_tokens",), ("cache_read_input_tokens",), ("cache_creation_input_tokens",)),
            "cached_input": (("cache_read_input_tokens",),),
            "cache_write": (("cache_creation_input_tokens",),),
            "cache_write_1h": (("cache_creation.ephemeral_1h_input_tokens",),),
            "output": (("output_tokens",),),
            "reasoning": (("output_tokens_details.thinking_tokens",),),
            "searches": (("server_tool_use.web_search_requests",),),
        }
    )
)
# platform.openai.com, "Chat completions: the object", and who speaks it: DeepSeek and Moonshot have names of their own
# for cached tokens, xAI counts reasoning beside `completion_tokens`. Legacy completions and embeddings use these keys.
_CHAT = Form(
    MappingProxyType(
        {
            "input": (("prompt_tokens",),),
            "cached_input": (("prompt_tokens_details.cached_tokens", "prompt_cache_hit_tokens", "cached_tokens"),),
            "cache_write": (("prompt_tokens_details.cache_write_tokens",),),
            "output": (("completion_tokens",),),
            "reasoning": (("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),),
        }
    ),
    total="total_tokens",
)
# platform.openai.com, "Responses: the object".
_RESPONSES = Form(
    MappingProxyType(
        {
            "input": (("input_tokens",),),
            "cached_input": (("input_tokens_details.cached_tokens",),),
            "cache_write": (("input_tokens_details.cache_write_tokens",),),
            "output": (("output_tokens",),),
            "reasoning": (("output_tokens_details.reasoning_tokens",),),
        }
    )
)
# ai.google.dev, "GenerateContentResponse: UsageMetadata": thoughts are beside the candidates, the cache in the prompt.
_GEMINI = Form(
    MappingProxyType(
        {
            "input": (("promptTokenCount",), ("toolUsePromptTokenCount",)),
            "cached_input": (("cachedContentTokenCount",),),
            "output": (("candidatesTokenCount",), ("thoughtsTokenCount",)),
            "reasoning": (("thoughtsTokenCount",),),
        }
    )
)
# docs.aws.amazon.com, "Bedrock: TokenUsage": the input without what was read from the cache or written to it.
_CONVERSE = Form(
    MappingProxyType(
        {
            "input": (("inputTokens",), ("cacheReadInputTokens",), ("cacheWriteInputTokens",)),
            "cached_input": (("cacheReadInputTokens",),),
            "cache_write": (("cacheWriteInputTokens",),),
            "output": (("outputTokens",),),
        }
    )
)
# Ollama's "API: Generate a chat completion".
_OLLAMA = Form(MappingProxyType({"input": (("prompt_eval_count",),), "output": (("eval_count",),)}))

FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "messages": _MESSAGES,
        "invoke": _MESSAGES,
        "chat": _CHAT,
        "responses": _RESPONSES,
        "gemini": _GEMINI,
        "converse": _CONVERSE,
        "ollama": _OLLAMA,
        "unknown": Form(MappingProxyType({})),
    }
)


def counts_of(form: Form, usage: Mapping[str, object]) -> dict[str, int]:
    """The numbers of a provider's usage object that its form knows; null is none. Raises `Implausible`."""
    found: dict[str, int] = {}
    for key, path in form.paths.items():
        value = at(usage, path)
        if value is not None:
            found[key] = _tokens(value)
    return found


def normalised(form: Form, counts: Counts, *, reasoning_apart: bool) -> dict[str, int | None]:
    """Our fields; None for what the provider does not tell. Raises `Implausible` if a part is more than its whole.

    `reasoning_apart`: the provider counts reasoning beside the output where its total does not say otherwise.
    """
    made: dict[str, int | None] = dict.fromkeys(FIELDS)
    for name, terms in form.sums.items():
        numbers = [next((counts[key] for key in keys if key in counts), None) for keys in terms]
        if any(number is not None for number in numbers):
            made[name] = sum(number or 0 for number in numbers)
    whole, output, reasoning = made["input"] or 0, made["output"], made["reasoning"]
    if form.total and output is not None and reasoning and (made["input"] is not None):
        total = counts.get(form.total)
        apart = reasoning_apart if total is None else total == whole + output + reasoning
        made["output"] = output + reasoning if apart else output
    if any((made[part] or 0) > (made[of] or 0) for part, of in _PARTS):
        raise Implausible("a part is more than its whole")
    if (made["cached_input"] or 0) + (made["cache_write"] or 0) > whole:
        raise Implausible("the parts are more than their whole")
    return made


def cost_of(value: object) -> float | None:
    """A price in US dollars that a provider states; None is none. Raises `Implausible`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_COST:
        raise Implausible("not a price")
    return float(value)


def at(value: object, path: tuple[str, ...]) -> object:
    """What stands at a path of keys; None if nothing does."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _tokens(value: object) -> int:
    """A count: a whole number from 0 to `MAX_TOKENS`, also if written as 12.0 (Cohere). Nothing else is repaired."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        raise Implausible("not a count of tokens")
    return value
