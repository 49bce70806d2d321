"""The schema of the event that is shipped is that of the code and of the document."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proxy.audit.chained import ChainedLog
from proxy.audit.event import VERSION, event_of
from proxy.audit.files import Options
from proxy.audit.sink import encode
from proxy.exchange import Exchange
from proxy.policy.reason import Reason
from proxy.policy.rules import Policy
from tests.audit.logs import events_in
from tests.review.events import event, refused, tunnel

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "proxy/audit/event.schema.json").read_text(encoding="utf-8"))
DOCUMENT = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
LINK = ["prev", "seq", "chain"]
TYPES: dict[str, Any] = {
    "string": str, "null": type(None), "integer": int, "number": (int, float), "boolean": bool, "object": dict,
    "array": list,
}  # fmt: skip


def wrong(schema: dict[str, Any], value: Any) -> str:
    """What of a value is against a schema: the few keywords that ours uses."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, TYPES[kind]) for kind in kinds):
        return f"{value!r} is not of type {kinds}"
    if isinstance(value, bool) and "boolean" not in kinds:
        return f"{value!r} is no number"
    if value != schema.get("const", value) or value not in schema.get("enum", [value]):
        return f"{value!r} is not allowed"
    if isinstance(value, str):
        fits = re.search(schema.get("pattern", ""), value) and len(value) <= schema.get("maxLength", len(value))
        return "" if fits else f"{value!r} has another form"
    if isinstance(value, int | float) and not isinstance(value, bool):
        fits = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        return "" if fits else f"{value!r} is out of bounds"
    if isinstance(value, list):
        return next(filter(None, (wrong(schema["items"], each) for each in value)), "")
    if isinstance(value, dict):
        missing = [key for key in schema.get("required", []) if key not in value]
        found = (wrong(schema["properties"][key], each) for key, each in value.items() if key in schema["properties"])
        return f"{missing} are missing" if missing else next(filter(None, found), "")
    return ""


def test_it_has_every_field_in_order_and_the_link() -> None:
    fields = list(event_of(Exchange(sandbox="", policy=Policy())))
    assert SCHEMA["required"] == fields
    assert list(SCHEMA["properties"]) == fields + LINK
    assert SCHEMA["properties"]["v"]["const"] == VERSION
    assert SCHEMA["$id"].endswith(f":{VERSION}")


def test_its_closed_lists_are_those_of_the_code_and_the_document() -> None:
    assert SCHEMA["properties"]["reason"]["enum"] == [str(reason) for reason in Reason]
    section = DOCUMENT.partition("\n## How an exchange ended\n")[2].partition("\n## ")[0]
    assert ["end", *SCHEMA["properties"]["end"]["enum"]] == re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    section = DOCUMENT.partition("\n## Calls of language models\n")[2].partition("\n| `api` | `input`")[0]
    assert list(SCHEMA["properties"]["llm"]["properties"]) == re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_what_is_written_is_valid(tmp_path: Path) -> None:
    log = ChainedLog(tmp_path, "worker-0", Options())
    for each in (event(id="0" * 26), refused("host_not_allowed", id="1" * 26), tunnel("a.example", id="2" * 26)):
        log.write(encode(each))
    log.close()
    for written in events_in(tmp_path / "worker-0.jsonl"):
        assert wrong(SCHEMA, written) == ""
        assert {"seq", "chain"} <= written.keys()


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"verdict": "maybe"}, {"port": 0}, {"injected": 1}, {"query_keys": [1]}, {"seq": 0}, {"id": 7}]
)
def test_what_is_against_it_is_told(change: dict[str, object]) -> None:
    assert wrong(SCHEMA, {**event(id="0" * 26), **change})
    assert wrong(SCHEMA, {key: value for key, value in event().items() if key not in change}) or "seq" in change
