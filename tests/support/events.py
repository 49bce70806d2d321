"""The schema of the audit event, held against all that real proxies write in tests."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = json.loads((Path(__file__).parents[2] / "proxy/audit/event.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def check_events(events: Iterable[dict[str, Any]]) -> None:
    """Fail with the first event that is against the schema. Lines with a `type` are no events, and a `filler` is what a
    test itself put there.
    """
    for event in events:
        if "type" not in event and "filler" not in event:
            for error in VALIDATOR.iter_errors(event):
                raise AssertionError(f"{error.json_path}: {error.message} in {event}")
