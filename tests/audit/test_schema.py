"""The schema of the event that is shipped is that of the code and of the document."""

import re
import subprocess
import sys
import zipfile
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
from tests.support.events import SCHEMA, VALIDATOR

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
LINK = ["prev", "seq", "chain"]


def wrong(value: Any) -> str:
    """What of a value is against the schema; empty if nothing is."""
    return next((error.message for error in VALIDATOR.iter_errors(value)), "")


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
        assert wrong(written) == ""
        assert {"seq", "chain"} <= written.keys()


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"verdict": "maybe"}, {"port": 0}, {"injected": 1}, {"query_keys": [1]}, {"seq": 0}, {"id": 7}]
)
def test_what_is_against_it_is_told(change: dict[str, object]) -> None:
    assert wrong({**event(id="0" * 26), **change})
    assert wrong({key: value for key, value in event().items() if key not in change}) or "seq" in change


def test_it_is_in_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert "proxy/audit/event.schema.json" in zipfile.ZipFile(wheel).namelist()
