"""Suites are read as strictly as policies, and every fault has its place."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.explain import right_form
from proxy.config.schema import json_schema
from proxy.errors import ConfigError
from proxy.policy.reason import Reason
from proxy.review.suite import REASONS, Case, SuiteFile, _model_at, read_suite

ROOT = Path(__file__).parents[2]
HEAD = "policy: p\n"
CASE = HEAD + "cases:\n  - request: GET https://a.example/\n    expect: allow\n"  # further keys on line 5


def problems(text: str | bytes) -> list[tuple[str, str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        read_suite(text if isinstance(text, bytes) else text.encode(), "s.yaml")
    return [(each.where.removeprefix("s.yaml:"), each.key, each.message, each.hint) for each in caught.value.problems]


FAULTS = [
    ("cases: []\n", "1:1", "policy", "`policy` is missing", "policy: web-app-agent"),
    (HEAD, "1:1", "cases", "`cases` is missing", "cases: "),
    (HEAD + "cases: []\n", "2:8", "cases", "`cases` is empty", "GET https://"),
    (HEAD + "cases:\n", "2:7", "cases", "`cases` has no value", "GET https://"),
    (HEAD + "cases: {}\n", "2:8", "cases", "`cases` is a list, not a mapping", ""),
    (HEAD + "cases: [x]\n", "2:9", "cases[0]", "an entry of `cases` is a mapping of keys", ""),
    (HEAD + "case: []\n", "2:1", "case", "unknown key `case`", "did you mean `cases`?"),
    ("policy: P\ncases: [{request: GET https://a.example/, expect: deny}]\n", "1:9", "policy", "lower-case", "`p`"),
    (CASE + "    reasn: allowed\n", "5:5", "cases[0].reasn", "unknown key `reasn`", "did you mean `reason`?"),
    (CASE + "    reason: path_not_alowed\n", "5:13", "cases[0].reason", "no such reason", "`path_not_allowed`"),
    (CASE + "    reason: upstream_unverified\n", "5:13", "cases[0].reason", "no policy alone decides", "one of"),
    (CASE + "    rule: A\n", "5:11", "cases[0].rule", "lower-case", "`a`"),
    (CASE + "    rule: 7\n", "5:11", "cases[0].rule", "`rule` is text, not a number", '"7"'),
    (CASE + "    credential: true\n", "5:17", "cases[0].credential", "a name, or `false` for none", "github"),
    (CASE + "    credential:\n", "5:16", "cases[0].credential", "`credential` has no value", "github"),
    (CASE + '    why: " "\n', "5:10", "cases[0].why", "the reason is empty", "one sentence"),
    (CASE + "    expect: deny\n", "5:5", "cases[0].expect", "given twice", "s.yaml:4"),
    (CASE.replace("allow", "permit"), "4:13", "cases[0].expect", "`expect` is `allow` or `deny`", ""),
    (CASE.replace("    expect: allow\n", ""), "3:5", "cases[0].expect", "`expect` is missing", "expect: allow"),
    (CASE.replace("GET ", ""), "3:14", "cases[0].request", "a method and a URL", "request: GET"),
    (CASE.replace("GET", "get"), "3:14", "cases[0].request", "not a method", "upper-case"),
    (CASE.replace("https:", "ftp:"), "3:14", "cases[0].request", "not a scheme of the proxy", "https or http"),
    (
        CASE.replace("GET https://a.example/", "CONNECT a.example"),
        "3:14",
        "cases[0].request",
        "port is missing",
        ":443",
    ),
    (CASE.replace("GET https://a.example/", "[GET]"), "3:14", "cases[0].request", "is text, not a list", "POST"),
    ("today: 2026-13-01\n" + CASE, "1:8", "today", "not a day", "2027-01-31"),
    (CASE + CASE[len(HEAD + "cases:\n") :], "5:14", "cases[1].request", "the request is given twice", "s.yaml:3"),
    (CASE.replace("allow", "deny") + "    reason: allowed\n", "5:13", "cases[0].reason", "`expect: deny`", ""),
    (
        CASE.replace("allow", "deny") + "    credential: c\n",
        "5:17",
        "cases[0].credential",
        "`expect: deny`",
        "gets none",
    ),
    ("a: &x 1\nb: *x\n", "1:4", "a", "suites have none", ""),
    ("--- {}\n--- {}\n", "2:1", "", "a second document", "one suite"),
    ("\tpolicy: p\n", "1:1", "", "not valid YAML", "spaces"),
    ("[]\n", "1:1", "", "a suite is a mapping of keys", "policy: my-agent"),
]


@pytest.mark.parametrize(("text", "place", "key", "message", "hint"), FAULTS)
def test_a_fault_names_its_place_its_key_and_the_right_form(
    text: str, place: str, key: str, message: str, hint: str
) -> None:
    found = problems(text)
    assert any(
        (where, at) == (place, key) and message in said and hint in advice for where, at, said, advice in found
    ), found


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "an empty suite"), (b"\xff", "not UTF-8"), (b"a\0", "NUL"), (b"#" * (1 << 21), "larger than 1 MiB")],
)
def test_what_is_no_text_is_an_error(data: bytes, message: str) -> None:
    ((_, _, said, _),) = problems(data)
    assert message in said


def test_an_alias_bomb_is_refused_and_not_expanded() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
    assert all(
        "alias" in said or "anchor" in said or "key" in said or "missing" in said
        for _, _, said, _ in problems("\n".join(lines))
    )


def test_all_faults_of_a_file_are_told_in_their_order() -> None:
    text = HEAD + "cases:\n  - {request: x, expect: y}\n  - {request: GET https://a.example/}\n"
    assert [where for where, *_ in problems(text)] == ["3:15", "3:26", "4:5"]


def test_what_a_suite_says_is_read() -> None:
    suite = read_suite(f"today: 2026-11-20\n{CASE}    credential: false\n    why: w\n".encode(), "s.yaml")
    (case,) = suite.model.cases
    assert (case.expect, case.credential, case.why) == ("allow", None, "w")
    assert "credential" in case.model_fields_set
    assert (suite.where(0, "expect"), suite.text(0)) == ("s.yaml:5:13", "GET https://a.example/")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["p", "GET https://a.example/"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SuiteFile.model_fields, "request", "expect", "rule", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(values | st.dictionaries(st.sampled_from(list(SuiteFile.model_fields)), values))
def test_no_tree_does_more_than_load_or_raise_the_one_error(tree: Any) -> None:
    try:
        read_suite(json.dumps(tree).encode(), "s.yaml")
    except ConfigError as error:
        places = [problem.where for problem in error.problems]
    else:
        places = ["s.yaml"]
    assert all(place.startswith("s.yaml") for place in places)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_load_or_raise_the_one_error(data: bytes) -> None:
    with suppress(ConfigError):
        read_suite(data, "s.yaml")


def test_the_schema_beside_the_suites_is_current() -> None:
    assert (ROOT / "policies" / "tests" / "schema.json").read_text() == json_schema(SuiteFile)


def test_the_command_prints_the_schema() -> None:
    command = [sys.executable, "-W", "error", "-m", "proxy.review.suite"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert (printed.stdout, printed.stderr) == (json_schema(SuiteFile), "")


def test_the_schema_is_closed_every_key_is_explained_and_every_example_is_right() -> None:
    schema = json.loads(json_schema(SuiteFile))
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        assert all(value["description"] and value["examples"] for value in part["properties"].values())
    assert right_form(("cases", 0, "expect"), _model_at) == "expect: allow"
    assert '"null"' not in json_schema(SuiteFile)


def test_every_reason_that_a_policy_can_decide_may_be_expected(all_reasons: Callable[[], set[Reason]]) -> None:
    assert set(REASONS) == all_reasons()


@pytest.fixture
def all_reasons() -> Callable[[], set[Reason]]:
    """The reasons that stand in the deciding code, but for the faults of our own."""

    def found() -> set[Reason]:
        text = "".join((ROOT / file).read_text() for file in ("proxy/policy/decide.py", "proxy/review/asked.py"))
        return {reason for reason in Reason if f"Reason.{reason.name}" in text} - {Reason.POLICY_ERROR}

    return found


def test_the_reference_has_a_row_for_every_key_and_no_other() -> None:
    text = (ROOT / "docs" / "policy.md").read_text().partition("\n## Tests\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z]+) \|", text, re.MULTILINE)
    assert rows == [*SuiteFile.model_fields, *Case.model_fields]
