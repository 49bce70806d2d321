"""Everything that `outgate init` finds, as one value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from proxy.starter import debian, golang, node, python, rust
from proxy.starter.agents import Chosen, agents, keys
from proxy.starter.machine import MAX_FOUND, Found, Machine
from proxy.starter.project import Language, languages, locked
from proxy.starter.remotes import Remote, remotes

type Look = Callable[[Machine], list[Found]]

_CONFIGURED: Mapping[str, Look] = MappingProxyType(
    {"pip": python.pip, "uv": python.uv, "npm": node.npm, "cargo": rust.cargo, "go": golang.go, "apt": debian.apt}
)
# Clients that can be asked what they use if nothing is configured. uv has pip's default, so pip is asked for both.
_DEFAULTS: Mapping[str, Look] = MappingProxyType(
    {"pip": python.default_index, "npm": node.default_registry, "go": golang.default_proxy}
)
# Of uv and pip, the project uses what it uses of the other.
SAME: Mapping[str, str] = MappingProxyType({"uv": "pip"})


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found. `name` is a name that a policy can have; `found` holds each place once for each client.

    `unknown` are the clients that the project uses and whose addresses nothing says; `keys` are names of variables.
    """

    name: str
    languages: tuple[Language, ...] = ()
    agents: tuple[Chosen, ...] = ()
    keys: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()
    remotes: tuple[Remote, ...] = ()
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def uses(self, client: str) -> bool:
        """Whether the project shows that it uses the client; one that shows nothing may use all that is configured."""
        used = {language.client for language in self.languages}
        return SAME.get(client, client) in used if used else client != "apt"


def look(machine: Machine) -> Findings:
    """Look at everything once. What cannot be read or used is among the remarks; nothing is raised."""
    used = languages(machine)
    found = [each for name, configured in _CONFIGURED.items() for each in configured(machine)[:MAX_FOUND]]
    unknown = []
    for client in dict.fromkeys(language.client for language in used if language.client):
        if client in machine.settled:
            continue
        default = _DEFAULTS[client](machine) if client in _DEFAULTS else []
        found += default
        if not default and not any(SAME.get(each.client, each.client) == client and not each.project for each in found):
            unknown.append(client)
    tokens = node.logins(machine)
    found = [_with_login(each, tokens) for each in found]
    return Findings(
        name=name_of(machine.project.name),
        languages=tuple(used),
        agents=tuple(agents(machine)),
        keys=tuple(keys(machine)),
        found=_once([*found, *locked(machine)]),
        remotes=tuple(remotes(machine)),
        unknown=tuple(unknown),
        remarks=tuple(machine.remarks),
    )


def name_of(folder: str) -> str:
    """A name for a policy, made of the folder's."""
    return re.sub(r"[^a-z0-9]+", "-", folder.lower())[:60].strip("-") or "my-project"


def as_document(findings: Findings) -> dict[str, Any]:
    """The findings as JSON. Addresses are without what could be a secret in them."""
    return {
        "name": findings.name,
        "languages": [
            {"name": each.name, "client": each.client, "files": list(each.files)} for each in findings.languages
        ],
        "agents": [
            {"program": each.agent.program or None, "provider": each.agent.provider, "key": each.key, "set": each.set}
            for each in findings.agents
        ],
        "keys": list(findings.keys),
        "addresses": [
            {
                "client": each.client,
                "address": str(each.place),
                "where": each.where,
                "login": each.address.login,
                "project": each.project,
            }
            for each in findings.found
        ],
        "remotes": [
            {"name": each.name, "address": str(each.place), "ssh": each.ssh, "login": each.address.login}
            for each in findings.remotes
        ],
        "unknown": list(findings.unknown),
        "remarks": list(findings.remarks),
    }


def _with_login(found: Found, tokens: set[str]) -> Found:
    """An npm registry for which a token stands elsewhere in an npmrc has a login too."""
    host = found.place.host.url_form
    if found.client != "npm" or not {host, f"{host}:{found.place.port}"} & tokens:
        return found
    return Found(found.client, found.where, type(found.address)(found.place, login=True), found.project)


def _once(found: list[Found]) -> tuple[Found, ...]:
    """Each place once for each client; what the user configured counts before what the project says."""
    first: dict[tuple[str, str], Found] = {}
    for each in sorted(found, key=lambda each: each.project):
        first.setdefault((each.client, str(each.place)), each)
    return tuple(first.values())
