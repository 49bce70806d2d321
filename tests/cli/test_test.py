"""`outgate test`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SUITE = """\
policy: web
cases:
  - request: POST https://api.anthropic.com/v1/messages
    expect: allow
    credential: anthropic
  - request: GET https://docs.example.com/admin/x
    expect: allow
    why: the agent reads the handbook
"""
FAILURE = [
    "failed: web/tests/web.yaml:7:13: GET https://docs.example.com/admin/x",
    "  expected  allow",
    "  found     deny, denied_by_rule, rule no-admin (web/web.yaml:18)",
    "  why       the agent reads the handbook",
]


@pytest.fixture
def suite(folder: Path) -> Path:
    """The folder `web` with one policy and its suite, of which one expectation fails."""
    (folder / "web" / "tests").mkdir(parents=True)
    (folder / "web" / "web.yaml").write_text((folder / "web.yaml").read_text())
    file = folder / "web" / "tests" / "web.yaml"
    file.write_text(SUITE)
    return file


def test_each_failure_is_a_line_and_the_last_line_is_the_summary(outgate: Any, suite: Path) -> None:
    result = outgate("test", "web")
    assert (result.code, result.err) == (1, "")
    assert result.out.splitlines() == [*FAILURE, "1 passed, 1 failed"]


@pytest.mark.parametrize("path", ["web", "web/", "web/tests", "web/tests/web.yaml", "./web/../web"])
def test_a_path_is_a_folder_of_policies_its_suites_or_one_of_them(outgate: Any, suite: Path, path: str) -> None:
    suite.write_text(SUITE.replace("expect: allow\n    why", "expect: deny\n    why"))
    result = outgate("test", path)
    assert (result.code, result.out) == (0, "2 passed, 0 failed\n")


def test_in_the_folder_of_suites_the_policies_are_in_the_one_above(
    outgate: Any, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(suite.parent)
    assert outgate("test", "web.yaml").out.endswith("1 passed, 1 failed\n")
    assert outgate("test", ".").out.endswith("1 passed, 1 failed\n")


def test_a_suite_that_is_named_twice_counts_once(outgate: Any, suite: Path) -> None:
    assert outgate("test", "web", "web/tests", "web/tests/web.yaml").out.endswith("1 passed, 1 failed\n")


def test_coverage_names_every_rule_that_nothing_touches(outgate: Any, suite: Path) -> None:
    lines = outgate("test", "web", "--coverage").out.splitlines()
    assert lines[len(FAILURE) :] == [
        "untouched: web/web.yaml:10: allow rule docs",
        "untouched: web/web.yaml:13: allow rule updates",
        "2 of 4 rules touched by an expectation",
        "1 passed, 1 failed",
    ]


def test_coverage_alone_does_not_fail_and_fail_uncovered_does(outgate: Any, suite: Path) -> None:
    suite.write_text(SUITE.replace("expect: allow\n    why", "expect: deny\n    why"))
    assert outgate("test", "web", "--coverage").code == 0
    result = outgate("test", "web", "--fail-uncovered")
    assert result.code == 1
    assert "untouched: web/web.yaml:10: allow rule docs" in result.out


def test_json_has_every_case_and_the_coverage(outgate: Any, suite: Path) -> None:
    result = outgate("test", "web", "--json")
    answer = json.loads(result.out)
    assert result.code == 1
    assert (answer["passed"], answer["failed"]) == (1, 1)
    assert answer["cases"][0] == {
        "policy": "web",
        "where": "web/tests/web.yaml:3:14",
        "request": "POST https://api.anthropic.com/v1/messages",
        "passed": True,
        "expected": "allow, credential anthropic",
        "found": "allow, rule model (web/web.yaml:4), credential anthropic",
        "why": None,
        "rules": ["model"],
    }
    section = (ROOT / "docs" / "cli.md").read_text().partition("## outgate test")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(answer)
    assert answer["coverage"]["rules"] == 4
    assert answer["coverage"]["uncovered"][0] == {"rule": "docs", "section": "allow", "where": "web/web.yaml:10"}


def test_github_gets_an_annotation_at_the_expectation(outgate: Any, suite: Path) -> None:
    first, last = outgate("test", "web", "--format", "github").out.splitlines()
    assert first.startswith("::error file=web/tests/web.yaml,line=7,col=13,title=outgate%3A test::GET https://docs")
    assert last == "1 passed, 1 failed"
    lines = outgate("test", "web", "--format", "github", "--coverage").out.splitlines()
    assert lines[1].startswith("::warning file=web/web.yaml,line=10,title=")
    lines = outgate("test", "web", "--format", "github", "--fail-uncovered").out.splitlines()
    assert lines[1].startswith("::error file=web/web.yaml,line=10,title=")


def test_github_gets_an_annotation_for_a_file_that_is_wrong(outgate: Any, suite: Path) -> None:
    suite.write_text("policy: web\nases: []\n")
    result = outgate("test", "web", "--format", "github")
    assert (result.code, result.err) == (2, "")
    assert "::error file=web/tests/web.yaml,line=2,col=1,title=" in result.out


def test_the_faults_of_all_suites_are_told(outgate: Any, suite: Path) -> None:
    suite.write_text("policy: wbe\ncases: [{request: GET https://a.example/, expect: deny}]\n")
    (suite.parent / "zz.yaml").write_text("policy: web\n")
    result = outgate("test", "web")
    assert (result.code, result.out) == (2, "")
    assert "error: web/tests/wbe" not in result.err
    assert "web.yaml:1:9: policy: no policy is named `wbe`\nhint: did you mean `web`?" in result.err
    assert "zz.yaml:1:1: cases: `cases` is missing" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "policies: cannot read the suite: no such file"),
        (["nowhere"], "nowhere: cannot read the suite: no such file"),
        (["both"], "both: there are no suites here"),
        (["web.yaml"], "web.yaml: there are no suites here"),
        (["empty"], "empty/tests: the folder holds no suite"),
    ],
)
def test_a_path_without_suites_is_misuse(outgate: Any, folder: Path, arguments: list[str], message: str) -> None:
    (folder / "empty" / "tests").mkdir(parents=True)
    result = outgate("test", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_broken_policy_is_an_error(outgate: Any, suite: Path) -> None:
    (suite.parents[1] / "bad.yaml").write_text("version: 1\nnam: x\n")
    result = outgate("test", "web")
    assert (result.code, result.out) == (2, "")
    assert "web/bad.yaml:2:1: nam: unknown key" in result.err


def test_a_name_that_steers_a_terminal_is_shown_escaped(outgate: Any, suite: Path) -> None:
    suite.write_text(
        SUITE
        + '    rule: x\n  - request: "GET https://a.example/"\n    expect: allow\n    why: "a\\e[2Jb\\n::error::c"\n'
    )
    for form in ("text", "github"):
        out = outgate("test", "web", "--format", form).out
        assert "\x1b" not in out
        assert "\n::error::c" not in out


def test_the_suites_of_the_shipped_policies_pass_and_touch_every_rule(
    outgate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = outgate("test", "--fail-uncovered")
    assert (result.code, result.err) == (0, ""), result.out
    first, last = result.out.splitlines()
    assert first.split()[0] == first.split()[2]
    assert last.endswith(" passed, 0 failed")


def test_every_shipped_policy_has_a_suite_that_names_its_schema() -> None:
    policies = {file.name for file in (ROOT / "policies").glob("*.yaml")}
    suites = {file.name: file for file in (ROOT / "policies" / "tests").glob("*.yaml")}
    assert set(suites) == policies
    for file in suites.values():
        assert file.read_text().splitlines()[0] == "# yaml-language-server: $schema=schema.json"


def test_a_folder_of_policies_does_not_load_its_suites(outgate: Any, suite: Path) -> None:
    result = outgate("explain", "GET", "https://docs.example.com/", "--policy", "web", "--json")
    assert json.loads(result.out)["policy"]["name"] == "web"
