"""From the text of a policy on: no order of entries or files matters, and a narrower text never decides wider."""

import itertools
import tempfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.load import load_policies
from proxy.errors import ConfigError
from proxy.policy.decide import Decision, decide
from proxy.policy.host import parse_host
from proxy.policy.request import Request
from proxy.policy.rules import Policy

TODAY = date(2026, 11, 20)
HOSTS = ("a.example", "b.a.example", "c.example")

entries = st.fixed_dictionaries(
    {
        "why": st.just("w"),
        "hosts": st.lists(st.sampled_from((*HOSTS, "*.a.example")), min_size=1, max_size=2, unique=True),
        "paths": st.lists(st.sampled_from(("/**", "/x", "/x/*", "/y/**")), min_size=1, max_size=2, unique=True),
        "methods": st.lists(st.sampled_from(("GET", "POST")), min_size=1, max_size=2, unique=True),
    }
)
sections = st.lists(entries, max_size=4)
asked = [
    Request("https", parse_host(host), 443, method, path)
    for host, method, path in itertools.product(HOSTS, ("GET", "POST"), ("/", "/x", "/x/z", "/y/z", "/X"))
]


def named(found: Iterable[dict[str, object]], prefix: str) -> list[dict[str, object]]:
    return [{"id": f"{prefix}-{number}", **entry} for number, entry in enumerate(found)]


def loaded(*files: dict[str, object], reverse: bool = False) -> list[Policy]:
    """The policies of these files; each may extend another by its name."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for content in files:
            path = Path(folder) / f"{content['name']}.yaml"
            path.write_text(yaml.safe_dump({"version": 1, **content}, sort_keys=False))
            paths.append(path)
        given_paths = paths[:: -1 if reverse else 1]
        return sorted(load_policies(given_paths), key=lambda policy: policy.name)


def decisions(policy: Policy) -> list[Decision]:
    return [decide(policy, request, TODAY) for request in asked]


@settings(max_examples=40, deadline=None)
@given(sections, sections, sections, st.randoms(use_true_random=False))
def test_no_order_matters(
    allow: list[dict[str, object]], deny: list[dict[str, object]], more: list[dict[str, object]], random: object
) -> None:
    base = {"name": "base", "allow": named(more, "base"), "deny": named(deny[:1], "base-deny")}
    child = {"name": "child", "extends": ["base"], "allow": named(allow, "allow"), "deny": named(deny, "deny")}
    first = loaded(child, base)
    for section in ("allow", "deny"):
        random.shuffle(base[section])  # type: ignore[attr-defined]
        random.shuffle(child[section])  # type: ignore[attr-defined]
    second = loaded(child, base, reverse=True)
    assert [decisions(policy) for policy in first] == [decisions(policy) for policy in second]


@settings(max_examples=40, deadline=None)
@given(sections, sections, entries)
def test_a_narrower_text_never_decides_wider(
    allow: list[dict[str, object]], deny: list[dict[str, object]], extra: dict[str, object]
) -> None:
    (before,) = loaded({"name": "p", "allow": named(allow, "allow"), "deny": named(deny, "deny")})
    (denied,) = loaded({"name": "p", "allow": named(allow, "allow"), "deny": named([*deny, extra], "deny")})
    (fewer,) = loaded({"name": "p", "allow": named(allow, "allow")[1:], "deny": named(deny, "deny")})
    for old, *new in zip(decisions(before), decisions(denied), decisions(fewer), strict=True):
        assert old.allowed or not any(each.allowed for each in new)


def test_files_of_one_name_are_an_error_in_any_order() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("one.yaml", "two.yaml")]
        for file in files:
            file.write_text("version: 1\nname: same\n")
        for given_files in (files, files[::-1]):
            try:
                load_policies(given_files)
            except ConfigError:
                continue
            raise AssertionError("two policies of one name were taken")
