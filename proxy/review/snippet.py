"""A compiled rule as the YAML that a policy file would hold."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import yaml

from proxy.policy.path import PathPattern
from proxy.policy.rules import READ_METHODS, Rule

_LONG = 100  # characters of a line, from which a list is written with an item on each
_PORTS = {"https": 443, "http": 80}
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's, where it was built with it
# What stands in a segment as it is; everything else is percent-encoded. Not `*`, which is a pattern.
_PLAIN = "-._~!$&'()+,=:@"


def as_text(rule: Rule, keys: tuple[str, ...] = ()) -> str:
    """An allow rule as an entry of `allow`; with `keys`, its id and these keys alone."""
    whole = _entry(rule)
    if not keys and rule.methods == READ_METHODS and rule.inspect:
        whole = {
            "access" if key == "methods" else key: "read" if key == "methods" else each for key, each in whole.items()
        }
    entry = {key: value for key, value in whole.items() if not keys or key in ("id", *keys)}
    return "- " + "\n  ".join(entry_lines(entry)) + "\n"


def entry_lines(entry: Mapping[str, Any]) -> list[str]:
    """A mapping as lines of YAML: lists stand in brackets, but for long ones."""
    return [line for key, value in entry.items() for line in _lines(key, value)]


def _lines(key: str, value: Any) -> list[str]:
    nested = isinstance(value, list | dict)
    line = _dump({key: value}, flow=None if nested else False)
    if isinstance(value, list) and len(line) > _LONG:
        return [f"{key}:", *(f"  {item}" for item in _dump(value, flow=False).splitlines())]
    return line.splitlines()


def _dump(value: Any, *, flow: bool | None) -> str:
    text: str = yaml.dump(value, Dumper=_DUMPER, default_flow_style=flow, sort_keys=False, width=10**6)
    return text


def path_text(pattern: PathPattern) -> str:
    """The pattern as a policy writes it: `str` shows it decoded, this one is read back as what it is."""
    text = "/" + "/".join("*" if segment is None else quote(segment, safe=_PLAIN) for segment in pattern.segments)
    return text.rstrip("/") + "/**" if pattern.rest else text


def _entry(rule: Rule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": rule.id,
        "why": rule.why,
        "hosts": [str(pattern) for pattern in rule.hosts],
        "addresses": [_network(str(network)) for network in rule.networks],
        **_endpoints(rule),
        **_methods(rule),
        "paths": [path_text(pattern) for pattern in rule.paths or ()],
        "encoded_slash": "keep" if rule.keep_encoded_slash else "",
        "query": dict(rule.query),
        "http2": rule.http2,
        "trace_context": "keep" if rule.trace_context else "",
        "expires": rule.expires,
        "credential": rule.credential,
    }
    kept = {key: value for key, value in found.items() if value}
    return kept if rule.inspect else {**kept, "inspect": False}


def _network(text: str) -> str:
    """One address without its prefix."""
    base, _, prefix = text.partition("/")
    return base if prefix == ("128" if ":" in base else "32") else text


def _endpoints(rule: Rule) -> dict[str, Any]:
    if rule.endpoints is None:
        return {}
    schemes, ports = sorted({scheme for scheme, _ in rule.endpoints}), sorted({port for _, port in rule.endpoints})
    usual = rule.endpoints == {(scheme, _PORTS[scheme]) for scheme in schemes}
    return {"schemes": [] if schemes == ["https"] else schemes, "ports": [] if usual else ports}


def _methods(rule: Rule) -> dict[str, Any]:
    if not rule.inspect:
        return {}
    return {"access": "any"} if rule.methods is None else {"methods": sorted(rule.methods)}
