"""Warnings about where a rule leads: content that anybody publishes, and places where anybody receives."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from proxy.config.tree import shown
from proxy.policy.host import Host, HostPattern
from proxy.policy.overlap import overlap
from proxy.policy.path import PathPattern, parse_pattern
from proxy.policy.rules import Rule
from proxy.review.lint_rules import only_fetches
from proxy.review.risky import DROPS, OPEN, SHARED, Drop, Open, Shared
from proxy.review.scene import Finding, Scene, writes

# Amazon S3, "Regional endpoints, path style": s3.REGION, s3-REGION, with dualstack and fips in between.
_S3 = re.compile(r"s3(?:-fips)?(?:\.dualstack)?(?:[.-][a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?")
_OPEN = {each.host: each for each in OPEN}
_DROPS = {each.host: each for each in DROPS}
_SHARED = {each.suffix: each for each in SHARED}
_STORES = {each.host: tuple(parse_pattern(path) for path in each.stores) for each in DROPS}


@dataclass(frozen=True, slots=True)
class _Reached:
    """What of the table a host pattern reaches."""

    shared: tuple[Shared, ...]
    open: tuple[Open, ...]
    drops: tuple[Drop, ...]


def about_hosts(scene: Scene) -> Iterator[Finding]:
    for entry, rule in scene.rules():
        for pattern in rule.hosts:
            reached = _reached(pattern)
            if reached is None:
                continue
            index = scene.part.model.allow[int(entry[1])].hosts.index(pattern)
            path = (*entry, "hosts", index)
            for code, message, hint in (*_content(scene, rule, pattern, reached), *_drop(scene, rule, reached)):
                yield Finding(code, entry, path, message, hint)


@lru_cache(maxsize=4096)
def _reached(pattern: HostPattern) -> _Reached | None:
    if pattern.wildcard:
        found = _Reached(
            tuple(each for each in SHARED if _is_anybodys(pattern, each)),
            tuple(each for each in OPEN if pattern.covers(HostPattern(each.host))),
            tuple(each for each in DROPS if pattern.covers(HostPattern(each.host))),
        )
    else:
        opened = _OPEN.get(pattern.name) or (_OPEN["s3.amazonaws.com"] if _S3.fullmatch(pattern.name) else None)
        dropped = _DROPS.get(pattern.name)
        found = _Reached((), (opened,) if opened else (), (dropped,) if dropped else ())
    return found if found.shared or found.open or found.drops else None


def _is_anybodys(pattern: HostPattern, shared: Shared) -> bool:
    """Whether the wildcard reaches names of several owners below the suffix."""
    suffix = HostPattern(shared.suffix, wildcard=True)
    return pattern.covers(suffix) or (not shared.owner and suffix.covers(pattern))


def _content(scene: Scene, rule: Rule, pattern: HostPattern, reached: _Reached) -> Iterator[tuple[str, str, str]]:
    shared = [each for each in reached.shared if not _dead(scene, rule, HostPattern(each.suffix, wildcard=True))]
    opened = [
        each
        for each in reached.open
        if not _names_owner(rule, each.segments) and not _dead(scene, rule, HostPattern(each.host))
    ]
    if shared:
        name = "" if pattern.name == shared[0].suffix else f" below {shared[0].suffix}"
        message = f"{shown(str(pattern))} reaches {shared[0].what}{name}{_more(len(shared) + len(opened))}"
        yield "user_content_host", message, shared[0].safer
    elif opened:
        each = opened[0]
        host = shown(str(pattern)) + (
            "" if str(pattern) == each.host or not pattern.wildcard else f" reaches {each.host}, which"
        )
        message = f"{host} serves {each.what}{_more(len(opened))}"
        yield "user_content_host", message, _owner_hint(each)


def _owner_hint(each: Open) -> str:
    if not each.segments:
        return "leave it out, or name the host of the one service that is meant"
    return f"name the owner in `paths`: [{'/NAME' * each.segments}/**]"


def _drop(scene: Scene, rule: Rule, reached: _Reached) -> Iterator[tuple[str, str, str]]:
    found = [(each, said) for each in reached.drops if (said := _receives(scene, rule, each))]
    if found:
        each, (message, hint) = found[0]
        yield "drop_host", f"data can be left at {each.host}: {message}{_more(len(found))}", hint


def _receives(scene: Scene, rule: Rule, drop: Drop) -> tuple[str, str] | None:
    """Why data can be dropped, and what helps; None if it cannot."""
    host = HostPattern(drop.host)
    if not (drop.reading or writes(rule)) or only_fetches(rule) or _dead(scene, rule, host):
        return None
    if drop.segments:
        if _names_owner(rule, drop.segments):
            return None
        return drop.what, f"write out the one path that is yours, of {drop.segments} segments"
    if not _has_credential(scene, rule, drop.host):
        hint = "give the rule a `credential`, which shuts out other keys" if writes(rule) else "leave it out"
        return drop.what, f"{hint}, or `access: read`" if not drop.reading else hint
    stores = [
        store
        for store in _STORES[drop.host]
        if overlap(rule, replace(rule, paths=(store,))) and not _dead(scene, rule, host, store)
    ]
    if not stores:
        return None
    return f"{stores[0]} keeps what is uploaded", "name other `paths`, or deny these"


def _has_credential(scene: Scene, rule: Rule, host: str) -> bool:
    wide = None if rule.credential else scene.covers.of(rule, scene.own)
    spec = scene.credentials.get(rule.credential or (wide.credential if wide else None) or "")
    return rule.inspect and spec is not None and spec.bound_to(Host(host))


def _dead(scene: Scene, rule: Rule, host: HostPattern, path: PathPattern | None = None) -> bool:
    """Whether deny rules leave nothing of the rule at the host (and the path)."""
    paths = rule.paths if path is None else (path,)
    return bool(scene.denials.of(replace(rule, hosts=(host,), networks=(), paths=paths)))


def _names_owner(rule: Rule, count: int) -> bool:
    if not count or rule.paths is None:
        return False
    return all(len(path.segments) >= count and None not in path.segments[:count] for path in rule.paths)


def _more(count: int) -> str:
    return f", and {count - 1} more of the kind" if count > 1 else ""
