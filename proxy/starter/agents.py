"""The agent command lines and the model keys that are there. Of keys, only the names of variables."""

import shutil
from dataclasses import dataclass

from proxy.credentials.providers import PROVIDERS
from proxy.starter.machine import Machine


@dataclass(frozen=True, slots=True)
class Agent:
    """What a program needs for its model: the requests, and the variables where its user and the sandbox have the key.

    `program` is empty for what is known by its key alone. `keys` begins with the usual one.
    """

    id: str
    why: str
    provider: str
    host: str
    methods: tuple[str, ...]
    paths: tuple[str, ...]
    keys: tuple[str, ...]
    placeholder: str
    program: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An agent that is there. `key` is the variable to read the key from; `set` says whether it is set."""

    agent: Agent
    key: str
    set: bool


# The first two are those of policies/claude-code.yaml and policies/codex.yaml, to which a test holds them.
AGENTS: tuple[Agent, ...] = (
    Agent(
        id="claude-messages",
        why="the model that the agent runs on",
        provider="anthropic",
        host="api.anthropic.com",
        methods=("POST",),
        paths=("/v1/messages", "/v1/messages/count_tokens"),
        keys=("ANTHROPIC_API_KEY",),
        placeholder="ANTHROPIC_API_KEY",
        program="claude",
    ),
    Agent(
        id="codex-responses",
        why="the model that the agent runs on",
        provider="openai",
        host="api.openai.com",
        methods=("GET", "POST"),  # a WebSocket is a GET that upgrades
        paths=("/v1/responses",),
        keys=("OPENAI_API_KEY", "CODEX_API_KEY"),
        placeholder="CODEX_API_KEY",
        program="codex",
    ),
    Agent(
        id="anthropic-messages",
        why="messages and token counts",
        provider="anthropic",
        host="api.anthropic.com",
        methods=("POST",),
        paths=("/v1/messages", "/v1/messages/count_tokens"),
        keys=("ANTHROPIC_API_KEY",),
        placeholder="ANTHROPIC_API_KEY",
    ),
    Agent(
        id="openai-responses",
        why="responses, chat completions and embeddings",
        provider="openai",
        host="api.openai.com",
        methods=("POST",),
        paths=("/v1/responses", "/v1/chat/completions", "/v1/embeddings"),
        keys=("OPENAI_API_KEY",),
        placeholder="OPENAI_API_KEY",
    ),
)
GITHUB_KEYS = (PROVIDERS["github"].variable, "GH_TOKEN")
KEYS = tuple(dict.fromkeys([*(key for agent in AGENTS for key in agent.keys), *GITHUB_KEYS]))


def agents(machine: Machine) -> list[Chosen]:
    """One agent for each provider: the program that is installed, otherwise what a key that is set is good for."""
    found: dict[str, Chosen] = {}
    for agent in AGENTS:
        ready = next((key for key in agent.keys if machine.environ.get(key)), None)
        there = shutil.which(agent.program, path=machine.environ.get("PATH", "")) if agent.program else ready
        if there is not None:
            found.setdefault(agent.provider, Chosen(agent, ready or agent.keys[0], ready is not None))
    return list(found.values())


def keys(machine: Machine) -> list[str]:
    """The names of the known variables that hold a key."""
    return [name for name in KEYS if machine.environ.get(name)]
