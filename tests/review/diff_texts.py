"""Policies as texts, and what becomes of them when they are changed as people change them."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from proxy.config.load import load_policies
from proxy.policy.rules import Policy
from proxy.review.changes import PolicyDiff, compare_all

TODAY = date(2026, 11, 21)
POLICIES = Path(__file__).parents[2] / "policies"
TEXTS = {file.stem: file.read_text() for file in POLICIES.glob("*.yaml")}

type Edits = Sequence[tuple[str, str]]


def edited(text: str, edits: Edits) -> str:
    """The text with each first thing replaced by its second."""
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


def load(folder: Path, texts: dict[str, str]) -> tuple[Policy, ...]:
    """The policies of a new folder with these files."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return load_policies([folder])


def compared(folder: Path, name: str, edits: Edits, *, back: bool = False) -> tuple[PolicyDiff, ...]:
    """The policies of this repository against the same with one file edited; with `back`, the other way round."""
    before, after = load(folder / "old", TEXTS), load(folder / "new", {**TEXTS, name: edited(TEXTS[name], edits)})
    return compare_all(after, before, TODAY) if back else compare_all(before, after, TODAY)
