"""The JSON Schema for editors, and the reference of the language, are complete and current."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.config.explain import right_form
from proxy.config.known import CREDENTIAL_WARNINGS, FILE_WARNINGS, PROVIDERS, RULE_WARNINGS, SOURCES
from proxy.config.load import load_policy
from proxy.config.schema import PolicyFile, json_schema
from proxy.policy.reason import WORDING, Reason

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads(json_schema())
PARTS = {"": SCHEMA, **SCHEMA["$defs"]}
WARNINGS = {
    **dict.fromkeys(FILE_WARNINGS, "top"),
    **dict.fromkeys(RULE_WARNINGS, "allow"),
    **dict.fromkeys(CREDENTIAL_WARNINGS, "credential"),
}
KEYS = sorted({key for part in PARTS.values() for key in part["properties"]})


def test_the_schema_beside_the_policies_is_current() -> None:
    assert (ROOT / "policies" / "schema.json").read_text() == json_schema()


def test_the_command_prints_the_schema() -> None:
    command = [sys.executable, "-W", "error", "-m", "proxy.config.schema"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert printed.stdout == json_schema()
    assert printed.stderr == ""


@pytest.mark.parametrize("name", PARTS)
def test_every_part_of_the_schema_is_closed_and_every_key_explained(name: str) -> None:
    part = PARTS[name]

    assert part["additionalProperties"] is False
    assert all(value["description"] for value in part["properties"].values())


def test_no_key_may_be_null_in_the_schema() -> None:
    assert '"null"' not in json_schema()
    assert ": null" not in json_schema()


def test_the_examples_in_the_schema_are_right_forms() -> None:
    rule = {key: field.examples[0] for key, field in _fields("AllowRule").items() if key not in {"methods", "inspect"}}
    entry = {field.alias or key: field.examples[0] for key, field in _fields("CredentialEntry").items()}
    tree = {"version": 1, "name": "a", "allow": [rule], "credentials": {"github": entry}}

    assert PolicyFile.model_validate(tree).allow[0].credential == "github"
    assert right_form(("allow", 0, "ports")) == "ports: [8443]"
    assert right_form(("credentials", "x", "inject")) == "inject: {bearer: true}"


def test_the_example_of_the_reference_loads(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(version: 1\n.*?)```", _reference(), re.DOTALL)
    assert example is not None
    (tmp_path / "baseline.yaml").write_text((ROOT / "policies" / "baseline.yaml").read_text())
    (tmp_path / "web-app-agent.yaml").write_text(example[1])

    policy = load_policy(tmp_path / "web-app-agent.yaml")

    assert policy.name == "web-app-agent"
    assert {"anthropic", "issue-42-comments", "docs", "pinned-updater", "no-admin"} <= {
        rule.id for rule in policy.rules
    }


@pytest.mark.parametrize("key", KEYS)
def test_the_reference_has_a_row_for_every_key(key: str) -> None:
    assert re.search(rf"^\| `{key}` \|", _reference(), re.MULTILINE)


@pytest.mark.parametrize("reason", Reason)
def test_the_reference_has_a_row_for_every_reason_with_its_status(reason: Reason) -> None:
    status = "" if reason is Reason.ALLOWED else str(WORDING[reason].status)

    assert re.search(rf"^\| `{reason}` \| {status} ?\|", _reference(), re.MULTILINE)


@pytest.mark.parametrize("code", WARNINGS)
def test_the_reference_has_a_row_for_every_warning_and_where_it_is_accepted(code: str) -> None:
    assert re.search(rf"^\| `{code}` \| {WARNINGS[code]} \|", _reference(), re.MULTILINE)


@pytest.mark.parametrize("name", [*SOURCES.values(), *PROVIDERS])
def test_the_reference_names_every_source_and_provider(name: str) -> None:
    assert f"`{name}`" in _reference()


def test_no_row_of_the_reference_is_about_a_key_or_reason_that_is_not() -> None:
    rows = set(re.findall(r"^\| `([a-z0-9_]+)` \|", _reference(), re.MULTILINE))

    assert rows <= {*KEYS, *Reason, *WARNINGS}


def _reference() -> str:
    return (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")


def _fields(name: str) -> Any:
    from proxy.config import schema

    return getattr(schema, name).model_fields
