"""What the formats of `outgate check` look like, and that no text of a file can break out of them."""

import json
import re
from urllib.parse import unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.known import CREDENTIAL_WARNINGS, FILE_WARNINGS, RULE_WARNINGS
from proxy.errors import Problem
from proxy.review.lint import UNNEEDED
from proxy.review.lint_report import ERROR, TITLES, Notice, as_commands, as_document, as_lines, as_sarif

NOTICE = Notice(
    "warning",
    "rule_expired",
    Problem("over: 100%", "renew it\nnow", "p, q/a:b.yaml:3:5", "allow[0].expires"),
    "accept it",
)
TEXTS = st.text(max_size=30) | st.sampled_from(["a\r\nb", "::error::x", "%0A", "a,b:c", "]]>", "\x1b[31m", "\u202e"])
NOTICES = st.builds(
    Notice,
    st.sampled_from(["error", "warning"]),
    st.sampled_from(sorted(TITLES)),
    st.builds(
        Problem, TEXTS, TEXTS, st.sampled_from(["", "a.yaml", "/w/a.yaml:1", "/x y/ü%.yaml:1:2", "-.yaml:3:4"]), TEXTS
    ),
    TEXTS,
)


def test_every_code_has_a_title() -> None:
    assert set(TITLES) == {ERROR, UNNEEDED, *FILE_WARNINGS, *RULE_WARNINGS, *CREDENTIAL_WARNINGS}


def test_a_warning_for_a_terminal_names_its_code_and_how_to_accept_it() -> None:
    assert list(as_lines([NOTICE])) == [
        "warning: p, q/a:b.yaml:3:5: allow[0].expires: over: 100% [rule_expired]",
        "hint: renew it\nnow; accept it",
    ]


def test_a_workflow_command_is_escaped_as_github_reads_it() -> None:
    (line,) = as_commands([NOTICE], "/w")

    assert line == (
        "::warning file=p%2C q/a%3Ab.yaml,line=3,col=5,title=outgate%3A rule_expired"
        "::allow[0].expires: over: 100%25%0Arenew it%0Anow; accept it"
    )


def test_paths_below_the_root_are_relative_and_others_stay() -> None:
    def shown(where: str) -> list[str]:
        notice = Notice("error", ERROR, Problem("m", "", where))
        (command,) = as_commands([notice], "/w")
        (result,) = as_sarif([notice], "/w", "")["runs"][0]["results"]
        place = result["locations"][0]["physicalLocation"]
        return [re.findall("file=([^,:]*)", command)[0], place["artifactLocation"]["uri"], place["region"]["startLine"]]

    assert shown("/w/a b/c.yaml:7:1") == ["a b/c.yaml", "a%20b/c.yaml", 7]
    assert shown("/v/c.yaml:7:1") == ["/v/c.yaml", "file:///v/c.yaml", 7]
    assert shown("x#y.yaml") == ["x#y.yaml", "x%23y.yaml", 1]


def test_a_problem_without_a_file_has_no_place() -> None:
    notice = Notice("error", ERROR, Problem("m"))

    assert "locations" not in as_sarif([notice], "/w", "1")["runs"][0]["results"][0]
    assert list(as_commands([notice], "/w")) == ["::error title=outgate%3A invalid_policy::m"]


@given(st.lists(NOTICES, max_size=4))
def test_nothing_breaks_out_of_a_workflow_command(notices: list[Notice]) -> None:
    lines = list(as_commands(notices, "/w"))

    assert len(lines) == len(notices)
    for line, notice in zip(lines, notices, strict=True):
        match = re.fullmatch(r"::(error|warning) ([^\r\n:]*)::([^\r\n]*)", line)
        assert match
        assert match[1] == notice.severity
        properties = dict(pair.split("=", 1) for pair in match[2].split(","))
        assert set(properties) <= {"file", "line", "col", "title"}
        text = match[3].replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
        assert notice.problem.message in text


@given(st.lists(NOTICES, max_size=4))
def test_sarif_has_the_structure_that_the_standard_demands(notices: list[Notice]) -> None:
    log = json.loads(json.dumps(as_sarif(notices, "/w", "1.0")))

    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"], run["columnKind"]) == ("outgate", "1.0", "unicodeCodePoints")
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert len(run["results"]) == len(notices)
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning"}
        assert isinstance(result["message"]["text"], str)
        for location in result.get("locations", []):
            place = location["physicalLocation"]
            uri = place["artifactLocation"]["uri"]
            assert re.fullmatch(r"[!-~]+", uri)
            assert unquote(urlsplit(uri).path).endswith(".yaml")
            assert urlsplit(uri).scheme in {"", "file"}
            assert all(isinstance(number, int) and number >= 1 for number in place["region"].values())
            assert set(place["region"]) <= {"startLine", "startColumn"}


@given(st.lists(NOTICES, max_size=4))
def test_the_json_counts_what_it_lists(notices: list[Notice]) -> None:
    document = json.loads(json.dumps(as_document(notices, [], 3)))

    severities = [problem["severity"] for problem in document["problems"]]
    assert (document["errors"], document["warnings"]) == (severities.count("error"), severities.count("warning"))
    assert (document["accepted"], document["policies"]) == (3, [])
