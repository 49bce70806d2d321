"""New rules into a policy file: every byte of it stays, and a second time nothing is added."""

import io
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.compile import assemble, read_part
from proxy.errors import ConfigError
from proxy.policy.rules import Policy
from proxy.review.gather import gather
from proxy.review.judge import Judge
from proxy.review.log import Log
from proxy.review.merge import merged
from proxy.review.replay import Filter
from proxy.review.suggest import Suggestion, suggest
from tests.review.events import event, lines

TODAY = date(2026, 11, 20)
SEEN = lines(
    event("GET", "https://new.example/x"),
    event("POST", "https://new.example/x"),
    event("POST", "https://api.anthropic.com/v1/messages"),
)
RULE = "- {id: a, why: w, hosts: [a.example]}"
BLOCK = "- id: a\n    why: w   # kept\n    hosts:\n      - a.example\n"


def loaded(data: bytes) -> Policy:
    return assemble([read_part(data, "p.yaml")])


def suggestion(data: bytes) -> Suggestion:
    current = replace(loaded(data), observe=False)
    return suggest(gather(Log(["-"], io.BytesIO(SEEN)), Filter(), Judge(current), TODAY), current, TODAY)


def merge(data: bytes) -> bytes:
    made = suggestion(data)
    return merged(data, "p.yaml", made.rules, made.new)


def assert_only_added(old: bytes, new: bytes) -> None:
    """The old bytes stand in the new ones in their order, each line whole."""
    rest = iter(new.splitlines(keepends=True))
    for line in old.splitlines(keepends=True):
        want = line if line.endswith(b"\n") else line + (b"\r\n" if b"\r\n" in old else b"\n")
        assert want in rest, line


def assert_merged(old: bytes) -> bytes:
    new = merge(old)
    before, after = loaded(old), loaded(new)
    assert {rule.id for rule in after.rules} - {rule.id for rule in before.rules} == {
        "new-example-read",
        "new-example-write",
        "api-anthropic-com-write",
    }
    assert {rule.id for rule in before.rules} <= {rule.id for rule in after.rules}
    again = suggestion(new)
    assert (again.rules, again.new) == ((), ())
    assert merged(new, "p.yaml", (), ()) == new
    return new


HEADS = ("", "# a comment\n\n", "---\n", "# with: colon\n---\n", "\ufeff")
ALLOWS = (
    "",
    f"allow:\n{RULE}\n",
    f"allow:\n  {RULE}\n",
    f"allow:   # why\n      {RULE}\n",
    f"allow:\n  {BLOCK}",
    f"allow:\n  {BLOCK}\n  - {{id: b, why: w, hosts: [b.example]}}\n  # about nothing\n\n# about the next\n",
    "allow:\n  - id: a\n    hosts: [a.example]\n    why: |\n      some\n      lines\n\n\n",
    "allow:\n  - id: a\n    hosts: [a.example]\n    why: >-\n      folded # no comment\n",
    'allow:\n  - id: a\n    hosts: [a.example]\n    why: "two\n      lines"\n',
)
DENIES = (
    "",
    "deny:\n  - {id: d, why: w, hosts: [d.example]}  # no\n",
    "\n\n# x\ndeny:\n- id: d\n  why: w\n  hosts: [d.example]\n",
)
TAILS = ("", "# the end", "\n\n# the end\n\n", "accept: [observe_mode]\nmode: observe\n")


@settings(deadline=None)
@given(st.sampled_from(HEADS), st.permutations([ALLOWS, DENIES, TAILS]), st.data(), st.booleans(), st.booleans())
def test_every_byte_stays_and_the_second_time_nothing_is_added(
    head: str, order: list[tuple[str, ...]], data: st.DataObject, crlf: bool, cut: bool
) -> None:
    text = head + "version: 1\nname: p\n"
    for choices in order:
        part = data.draw(st.sampled_from(choices))
        text += "" if text.endswith("\n") or not part else "\n"
        text += part
    text = text.removesuffix("\n") if cut and "|\n" not in text else text
    old = text.replace("\n", "\r\n").encode() if crlf else text.encode()
    assert_only_added(old, assert_merged(old))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1\nname: p\nallow: []  # nothing yet\nmode: observe\n", "allow:  # nothing yet\n  # seen once"),
        ("version: 1\nname: p\nallow: [ ]\n", "allow:\n  # seen once"),
        ("version: 1\nname: p\ncredentials: {}\n", "credentials:\n  anthropic:\n"),
    ],
)
def test_what_stands_for_nothing_makes_room(old: str, new: str) -> None:
    assert new in assert_merged(old.encode()).decode()


def test_new_rules_stand_behind_the_old_ones_as_far_in_as_they_do() -> None:
    old = f"version: 1\nname: p\nallow:\n    {RULE}\n    # about a\n\ndeny: []\n"
    new = merge(old.encode()).decode()
    assert "    # about a\n    # seen once" in new
    assert new.index("- id: new-example-read") < new.index("deny: []")


def test_a_credential_that_is_there_is_used_and_not_written_again() -> None:
    old = (
        "version: 1\nname: p\nallow:\n"
        "  - {id: a, why: w, hosts: [api.anthropic.com], paths: [/v1/models], credential: model}\n"
        "credentials:\n  model: {provider: anthropic, from: env:KEY, hosts: [api.anthropic.com]}\n"
    )
    new = merge(old.encode()).decode()
    assert "    credential: model\n" in new
    assert new.count("provider:") == 1
    assert new.endswith(old[old.index("credentials:") :])


@pytest.mark.parametrize(
    "old",
    [
        "{version: 1, name: p}\n",
        f"version: 1\nname: p\nallow: [{RULE[2:]}]\n",
        "version: 1\nname: p\nallow: [\n]\n",
        "version: 1\nname: p\n...\n",
        "version: 1\r\nname: p\n",
        "  version: 1\n  name: p\n",
    ],
)
def test_what_cannot_be_done_safely_is_refused_with_a_way_out(old: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge(old.encode())
    assert caught.value.problems[0].message.startswith("cannot merge: ")
    assert "by hand" in caught.value.problems[0].hint
