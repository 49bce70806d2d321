"""Which exchanges are calls of a language model: the table of services and of the paths of their APIs."""

import re
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import unquote

OTHER = "other"
OLLAMA = "ollama"
_OLLAMA_PORT = 11434  # its default, on whatever host it runs


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model: `provider` and `api` from the tables here, `model` only if the path names it."""

    provider: str
    api: str
    model: str | None = None
    websocket: bool = False


# The names are those of our credential providers, else those of the price table (`cost`).
_HOSTS = MappingProxyType(
    {
        "api.anthropic.com": "anthropic",
        "api.openai.com": "openai",
        "chatgpt.com": "openai",  # Codex with a subscription
        "generativelanguage.googleapis.com": "google",
        "cloudcode-pa.googleapis.com": "google",  # Gemini CLI with a subscription
        "aiplatform.googleapis.com": "google",
        "openrouter.ai": "openrouter",
        "api.groq.com": "groq",
        "api.deepseek.com": "deepseek",
        "api.x.ai": "x-ai",
        "api.mistral.ai": "mistral",
        "codestral.mistral.ai": "mistral",
        "api.perplexity.ai": "perplexity",
        "api.together.ai": "together",
        "api.together.xyz": "together",
        "api.fireworks.ai": "fireworks",
        "api.cerebras.ai": "cerebras",
        "api.moonshot.ai": "moonshotai",
        "api.z.ai": "zai",
        "api.githubcopilot.com": "github-copilot",
        "ollama.com": OLLAMA,
    }
)
_HOST_FORMS = (
    (re.compile(r"bedrock-runtime(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com"), "aws"),
    (re.compile(r"[a-z0-9-]+-aiplatform\.googleapis\.com"), "google"),
    (re.compile(r"[a-z0-9-]+\.(?:openai|services\.ai|cognitiveservices)\.azure\.com"), "azure"),
    (re.compile(r"api\.[a-z]+\.githubcopilot\.com"), "github-copilot"),
)
# Providers of credentials (`proxy.credentials.providers`) that serve models: behind a host that is in no table.
_CREDENTIALS = frozenset(("anthropic", "openai"))

# One search over the end of a path tells the API; the group's name is its name.
_API = re.compile(
    r"(?P<messages>/v1/messages|/publishers/anthropic/models/(?P<claude>[^/:]+):(?:streamR|r)awPredict)\Z"
    r"|(?P<chat>/(?:chat/)?completions|/v1/embeddings)\Z"
    r"|(?P<responses>/responses)\Z"
    r"|(?P<gemini>(?:/models/(?P<gemini_model>[^/:]+)|/v1internal):(?:g|streamG)enerateContent)\Z"
    r"|(?P<converse>/model/(?P<converse_model>[^/]+)/converse(?:-stream)?)\Z"
    r"|(?P<invoke>/model/(?P<invoke_model>[^/]+)/invoke(?:-with-response-stream)?)\Z"
    r"|(?P<ollama>/api/(?:chat|generate))\Z"
)
_APIS = ("messages", "chat", "responses", "gemini", "converse", "invoke", "ollama")
# Nearly every request ends otherwise; this is all that it costs them.
_ENDINGS = (
    *("/messages", "awPredict", "ompletions", "/embeddings", "/responses", "enerateContent"),
    *("/converse", "/converse-stream", "/invoke", "/invoke-with-response-stream", "/chat", "/generate"),
)
# Where nothing but the path tells, it must be one that means nothing else.
_UNMISTAKABLE = re.compile(r"/v1/(?:messages|chat/completions|responses)\Z|:(?:g|streamG)enerateContent\Z")
_HOME = MappingProxyType({"converse": "aws", "invoke": "aws", "ollama": OLLAMA})


def recognise(
    host: str, port: int, path: str, *, credential: str | None = None, websocket: bool = False
) -> Call | None:
    """The call that a POST or a WebSocket is, None if it is none. `credential` is the provider of the one that was due.

    The host decides whose call it is, then the credential; `other` is a host that neither tells, with a path that does.
    """
    match = _API.search(path) if path.endswith(_ENDINGS) else None
    if match is None:
        return None
    groups = match.groupdict()
    api = next(name for name in _APIS if groups[name] is not None)
    if websocket and api != "responses":
        return None
    provider = _provider(host, port, api) or (credential if credential in _CREDENTIALS else None)
    if provider is None and _UNMISTAKABLE.search(path) is not None:
        provider = OTHER
    if provider is None or _HOME.get(api, provider) != provider:
        return None
    model = groups["claude"] or groups["gemini_model"] or groups["converse_model"] or groups["invoke_model"]
    return Call(provider, api, None if model is None else unquote(model), websocket)


def _provider(host: str, port: int, api: str) -> str | None:
    if host in _HOSTS:
        return _HOSTS[host]
    if api == "ollama" and port == _OLLAMA_PORT:
        return OLLAMA
    return next((name for form, name in _HOST_FORMS if form.fullmatch(host)), None)
