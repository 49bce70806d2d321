"""Findings as rules of a policy, each with its comments, and with the reason if it is off."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network

from proxy.policy.host import Host, HostPattern
from proxy.policy.path import PathPattern, Segments, read_path
from proxy.policy.rules import READ_METHODS, Rule
from proxy.starter.agents import GITHUB_KEYS
from proxy.starter.findings import Findings
from proxy.starter.machine import Found
from proxy.starter.place import Place
from proxy.starter.remotes import Remote

_GITHUB, _GITHUB_API = "github.com", "api.github.com"
_LOGIN = "the address has a user name, a key or a query; it is not repeated here, see `credentials` below"
_UNUSED = "nothing in this project shows that it uses {}"
_PROJECT = "only {} names it, so whoever wrote the project chose it"
_ELSEWHERE = frozenset({"pip", "uv", "cargo"})
_FILES = "if the index keeps its files on another host, that host needs a rule too; refusals name it"
_THINK = "a push changes what others see"
# Git's smart protocol (git help gitprotocol-http), below the address of the repository.
_FETCH = (("info", "refs"), ("git-upload-pack",))
_PUSH = (("git-receive-pack",),)

type _Places = dict[tuple[str, Host, int], list[Found]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule. `comments` are a sentence each; `off` is why it stands in the file as a comment, empty if it does not.

    `login` is true if the configuration holds something that has to become a credential.
    """

    rule: Rule
    comments: tuple[str, ...] = ()
    off: str = ""
    login: bool = False


def entries(findings: Findings, *, trust_project: bool = False) -> list[Entry]:
    """The rules in the order of a reader: the model, git, packages. `trust_project` takes the project's word."""
    made = [*_agents(findings), *_git(findings), *_packages(findings, trust_project)]
    taken: set[str] = set()
    return [replace(each, rule=replace(each.rule, id=_free(each.rule.id, taken))) for each in made]


def _agents(findings: Findings) -> Iterator[Entry]:
    for chosen in findings.agents:
        agent = chosen.agent
        said = () if chosen.set else (f"{chosen.key} is not set here: the proxy needs it when it starts",)
        rule = _rule(agent.id, agent.why, Place("https", Host(agent.host), 443), map(read_path, agent.paths))
        yield Entry(replace(rule, methods=frozenset(agent.methods), credential=agent.provider), said)


def _git(findings: Findings) -> Iterator[Entry]:
    key = any(name in findings.keys for name in GITHUB_KEYS)
    apis: set[tuple[str | None, ...]] = set()
    for remote in findings.remotes:
        place, name = remote.place, remote.name
        at_github = (place.scheme, place.host.name, place.port) == ("https", _GITHUB, 443)
        credential = "github" if key and at_github else None
        fetch = _rule(f"git-{name}-fetch", f"git fetch from the remote {name}", place, _FETCH)
        fetch = replace(fetch, methods=frozenset({"GET", "POST"}), credential=credential)
        yield Entry(fetch, tuple(_about(remote)), login=remote.address.login and credential is None)
        push = _rule(f"git-{name}-push", f"git push to the remote {name}", place, _PUSH)
        yield Entry(replace(push, methods=frozenset({"POST"}), credential=credential), off=_THINK)
        repository = (*place.path[:1], str(place.path[-1]).removesuffix(".git"))
        if credential is not None and len(place.path) == 2 and repository not in apis:
            apis.add(repository)
            api = Place("https", Host(_GITHUB_API), 443, ("repos", *repository))
            why = f"issues and pull requests of the repository of the remote {name}, for reading"
            yield Entry(replace(_rule(f"github-{name}-read", why, api, ((),), rest=True), credential=credential))


def _about(remote: Remote) -> Iterator[str]:
    if remote.ssh:
        yield (
            f"the remote uses SSH, which does not pass here: let git in the sandbox use {remote.place}, "
            "for example by url.BASE.insteadOf"
        )
    if remote.address.login:
        yield _LOGIN


def _packages(findings: Findings, trust_project: bool) -> Iterator[Entry]:
    """One rule for each scheme, host and port: what its clients name there, or all of it if one names all of it."""
    ours: _Places = defaultdict(list)
    theirs: _Places = defaultdict(list)
    for each in findings.found:
        place = each.place
        trusted = not each.project or trust_project
        (ours if trusted else theirs)[place.scheme, place.host, place.port].append(each)
    places = [*(each.place for each in findings.remotes), *(each.place for each in findings.found)]
    pathed = {place.host for place in places if place.path}
    for found in ours.values():
        used = [each for each in found if findings.uses(each.client)]
        off = "" if used else _UNUSED.format(_listed(each.client for each in found))
        yield _package(used or found, off, pathed)
    for key, found in theirs.items():
        if key not in ours:
            yield _package(found, _PROJECT.format(_listed(each.where for each in found)), pathed)


def _package(found: list[Found], off: str, pathed: set[Host]) -> Entry:
    place, clients = found[0].place, _listed(each.client for each in found)
    whole = any(not each.place.path for each in found)
    patterns = dict.fromkeys(PathPattern(each.place.path, rest=True) for each in found)
    # npm writes the slash in `@scope/name` as %2F, which is refused where any rule about the host has paths.
    keep = any(each.client == "npm" for each in found) and place.host in pathed
    if whole:
        patterns = {PathPattern((), rest=True): None} if keep else {}
    rule = _rule(f"{place.host.name}-read", f"packages for {clients}", place)
    rule = replace(rule, paths=tuple(patterns) or None, keep_encoded_slash=keep)
    said = [f"{each.client}: {each.where}" for each in found[:5]]
    if not off and {each.client for each in found} & _ELSEWHERE:
        said.append(_FILES)
    login = any(each.address.login for each in found)
    return Entry(rule, (*dict.fromkeys(said), *([_LOGIN] if login else [])), off, login)


def _rule(name: str, why: str, place: Place, ends: Iterable[Segments] = (), *, rest: bool = False) -> Rule:
    """A rule for reading at a place: at each of `ends` below its path, and all below those with `rest`."""
    literal = place.host.address is not None
    return Rule(
        id=name,
        where="",
        why=why,
        hosts=() if literal else (HostPattern(place.host.name),),
        networks=(ip_network(place.host.name),) if literal else (),
        endpoints=frozenset({(place.scheme, place.port)}),
        methods=READ_METHODS,
        paths=tuple(PathPattern((*place.path, *end), rest) for end in ends) or None,
    )


def _listed(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    shown = unique[:3]
    if len(unique) > len(shown):
        return f"{', '.join(shown)} and {len(unique) - len(shown)} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)


def _free(wanted: str, taken: set[str]) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", wanted.lower())[:60].strip("-") or "rule"
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
