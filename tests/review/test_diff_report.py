"""A difference as text, Markdown and JSON."""

from pathlib import Path

from proxy.policy.host import HostPattern
from proxy.policy.rules import Policy, Rule, RuleIndex
from proxy.review import diff_report
from proxy.review.changes import compare_all
from tests.review.diff_texts import TEXTS, TODAY, load


def test_whole_policies(tmp_path: Path) -> None:
    fewer = {name: text for name, text in TEXTS.items() if name != "codex"}
    old, new = load(tmp_path / "a", TEXTS), load(tmp_path / "b", fewer)

    assert "codex: this policy is gone, and sandboxes that name it have none" in diff_report.as_lines(
        compare_all(old, new, TODAY)
    )
    lines = list(diff_report.as_lines(compare_all(new, old, TODAY)))
    assert "codex: a new policy; all that it allows is new" in lines
    assert not any("denied" in line for line in lines), "a new deny rule says nothing in a new policy"


def test_what_several_policies_share_is_told_once(tmp_path: Path) -> None:
    edits = {name: text.replace("      - /*/messages/batches/**\n", "") for name, text in TEXTS.items()}
    edits["codex"] = edits["codex"].replace("methods: [GET, POST]", "methods: [POST]")
    diffs = compare_all(load(tmp_path / "a", TEXTS), load(tmp_path / "b", edits), TODAY)

    for lines in (list(diff_report.as_lines(diffs)), list(diff_report.as_markdown(diffs))):
        assert sum("/messages/batches/" in line for line in lines) == 1, "\n".join(lines)
        assert [line for line in lines if "in policies" in line and "baseline" in line and "codex" in line]
        assert sum("GET to api.openai.com" in line for line in lines) == 1


def test_nothing_from_a_policy_is_markup(tmp_path: Path) -> None:
    hostile = "x`|<b>@someone #1 [a](http://evil.example) www.evil.example\\\n<!--"
    rule = Rule(id="r", where=hostile, hosts=(HostPattern("a.example.com"),), query=(("k", hostile),))
    policy = Policy(name=hostile, allow=RuleIndex.of([rule]), rules=(rule,))

    lines = "\n".join(diff_report.as_markdown(compare_all([], [policy], TODAY)))

    assert not any(text in lines for text in ("`", "|", "<b>", "@", "[a]", "http://", "www.", "<!--", " #1"))
    assert diff_report.as_document(compare_all([], [policy], TODAY))["policies"][0]["name"] == hostile


def test_long_markdown_is_folded(tmp_path: Path) -> None:
    rules = tuple(Rule(id=f"r{n}", where="f:1", hosts=(HostPattern(f"h{n}.example.com"),)) for n in range(200))
    lines = list(
        diff_report.as_markdown(compare_all([], [Policy(name="p", allow=RuleIndex.of(rules), rules=rules)], TODAY))
    )

    assert lines.index("<details><summary>195 more</summary>") < lines.index("</details>")
    assert "- and 95 more, which `outgate diff` shows in a terminal" in lines


def test_every_mark_has_a_name_and_a_place_in_the_command() -> None:
    from proxy.cli.diff import _MARKS
    from proxy.review.marks import NAMES, Mark

    assert tuple(mark.value for mark in Mark) == _MARKS
    assert set(NAMES) == set(Mark)
