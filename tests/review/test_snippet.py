"""A compiled rule as YAML: what is written is read as the same rule."""

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.load import load_policy
from proxy.policy.rules import Rule
from proxy.review.snippet import as_text


def read(folder: Path, rule: str) -> Rule:
    """The rule with an entry of `allow`, not where it stands."""
    file = folder / "agent.yaml"
    entry = "".join(f"  {line}\n" for line in rule.splitlines())
    secret = "credentials:\n  c: {from: env:C, hosts: [a.com], inject: {bearer: true}}\n"
    file.write_text(f"version: 1\nname: agent\nallow:\n{entry}{secret if 'credential: c' in rule else ''}")
    (found,) = load_policy(file).rules
    return replace(found, where="")


@pytest.mark.parametrize(
    "keys",
    [
        "access: read",
        "methods: [POST, PUT], paths: [/a/*, '/@s%2Fp'], encoded_slash: keep, query: {k: v}, expires: 2027-01-31",
        "access: any, schemes: [http, https], ports: [8080], addresses: [10.0.0.0/8, '::1'], http2: true",
        "trace_context: keep, credential: c",
        "inspect: false, ports: [443, 8443]",
    ],
)
def test_what_is_written_is_read_as_the_same_rule(tmp_path: Path, keys: str) -> None:
    rule = read(tmp_path, f"- {{id: a, why: w, hosts: [a.com], {keys}}}")

    assert read(tmp_path, as_text(rule)) == rule
