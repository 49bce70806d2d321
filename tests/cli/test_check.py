"""`outgate check`: everything that is wrong at once, four formats, three exit codes."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BAD = "version: 1\nname: bad\nallow:\n  - {id: a, why: w, host: [a.example.com]}\n  - {id: b, hosts: ['*.com']}\n"
UNWISE = "version: 1\nname: unwise\nallow:\n  - {id: a, why: source, hosts: [github.com]}\n"


def test_a_policy_that_is_well_is_silent_but_for_the_count(outgate: Any, folder: Path) -> None:
    result = outgate("check", "web.yaml", "both", "--strict")

    assert result.code == 2, "web.yaml stands in both places under one name"
    assert "two policies have the name `web`" in result.out
    result = outgate("check", "both", "both/web.yaml", "./both", "--strict")
    assert (result.code, result.out, result.err) == (0, "0 errors, 0 warnings, 2 policies checked\n", "")


def test_every_problem_of_every_file_is_told(outgate: Any, folder: Path) -> None:
    (folder / "both" / "bad.yaml").write_text(BAD)
    (folder / "both" / "worse.yaml").write_text("version: 1\nname: [\n")
    (folder / "both" / "unwise.yml").write_text(UNWISE)

    result = outgate("check", "both", "missing", "web.yaml")

    assert result.code == 2
    lines = [line for line in result.out.splitlines() if line.startswith(("error: ", "warning: "))]
    assert [re.sub(r": .*", "", line.split(": ", 1)[1]) for line in lines] == [
        "missing",
        "both/bad.yaml:4:5",
        "both/bad.yaml:4:21",
        "both/bad.yaml:5:5",
        "both/bad.yaml:5:21",
        "both/worse.yaml:3:1",
        "web.yaml:2:7",
        "both/unwise.yml:4:34",
    ]
    assert "did you mean `hosts`?" in result.out
    assert result.out.splitlines()[-1] == "7 errors, 1 warning, 4 policies checked"


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
def test_warnings_fail_only_where_it_is_strict(outgate: Any, folder: Path, options: tuple[str, ...], code: int) -> None:
    (folder / "unwise.yaml").write_text(UNWISE)

    result = outgate("check", "unwise.yaml", *options)

    assert result.code == code
    assert "unwise.yaml:4:34: allow[0].hosts[0]: `github.com` serves repositories" in result.out
    assert "write `accept: [user_content_host]` in the rule" in result.out


def test_what_the_hint_says_accepts_the_warning(outgate: Any, folder: Path) -> None:
    (folder / "unwise.yaml").write_text(UNWISE.replace("source,", "source, accept: [user_content_host],"))

    result = outgate("check", "unwise.yaml", "--strict")

    assert (result.code, result.out) == (0, "0 errors, 0 warnings, 1 accepted, 1 policy checked\n")


def test_json_has_the_keys_that_the_document_lists(outgate: Any, folder: Path) -> None:
    (folder / "unwise.yaml").write_text(UNWISE)
    (folder / "bad.yaml").write_text(BAD)

    result = outgate("check", "unwise.yaml", "bad.yaml", "--format", "json")

    document = json.loads(result.out)
    assert (result.code, document["errors"], document["warnings"], document["accepted"]) == (2, 4, 1, 0)
    assert document["policies"] == [{"name": "unwise", "file": "unwise.yaml"}]
    last = document["problems"][-1]
    assert (last["severity"], last["code"], last["file"]) == ("warning", "user_content_host", "unwise.yaml")
    assert (last["line"], last["column"], last["key"]) == (4, 34, "allow[0].hosts[0]")
    section = (ROOT / "docs" / "cli.md").read_text().partition("## outgate check")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z`, ]+`) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {*document, *last}


def test_github_annotations_have_paths_from_the_working_folder(outgate: Any, folder: Path) -> None:
    (folder / "unwise.yaml").write_text(UNWISE)

    result = outgate("check", str(folder / "unwise.yaml"), "--format", "github", "--strict")

    (line,) = result.out.splitlines()
    assert line.startswith("::warning file=unwise.yaml,line=4,col=34,title=outgate%3A user_content_host::")
    assert result.code == 1


def test_sarif_is_one_document_with_a_result_for_each_problem(outgate: Any, folder: Path) -> None:
    (folder / "bad.yaml").write_text(BAD)

    result = outgate("check", "bad.yaml", "--format", "sarif")

    (run,) = json.loads(result.out)["runs"]
    assert result.code == 2
    assert {each["ruleId"] for each in run["results"]} == {"invalid_policy"}
    assert run["results"][0]["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "bad.yaml"},
        "region": {"startLine": 4, "startColumn": 5},
    }


HOSTILE = {
    "binary": b"\x00\x01",
    "latin": "name: \xfc".encode("latin-1"),
    "empty": b"",
    "text": b"hello",
    "deep": b"[" * 5000,
    "bomb": b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "tab": b"version: 1\n\tname: x\n",
    "twice": b"version: 1\nname: a\nname: b\n",
    "huge": b"#" * (1 << 20) + b"\n",
    "version": b"version: 9\nname: a\n",
    "circle": b"version: 1\nname: circle\nextends: [circle]\n",
    "escape": b'version: 1\nname: a\nallow:\n  - {id: a, why: w, hosts: ["\\e[31m\\r\\n::error::x"]}\n',
    "accept": b"version: 1\nname: a\naccept: {observe_mode: 1}\n",
}


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif"])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_policy_is_a_problem_in_every_format(outgate: Any, folder: Path, name: str, form: str) -> None:
    (folder / f"{name}.yaml").write_bytes(HOSTILE[name])

    result = outgate("check", f"{name}.yaml", "--format", form)

    assert (result.code, result.err) == (2, "")
    assert f"{name}.yaml" in result.out
    assert "Traceback" not in result.out
    assert all(line.isprintable() for line in result.out.splitlines())
    if form in {"json", "sarif"}:
        json.loads(result.out)
    if form == "github":
        assert all(line.startswith("::error file=") for line in result.out.splitlines())


@pytest.mark.parametrize(
    "name", ["new\nline.yaml", "a:1:2.yaml", "%0A.yaml", "bidi\u202e.yaml", os.fsdecode(b"\xff.yaml")]
)
@pytest.mark.parametrize("form", ["text", "json", "github", "sarif"])
def test_odd_file_names_break_no_format(outgate: Any, folder: Path, name: str, form: str) -> None:
    (folder / name).write_text(BAD)

    result = outgate("check", name, "--format", form)

    assert (result.code, result.err) == (2, "")
    if form in {"json", "sarif"}:
        json.loads(result.out)
    if form == "github":
        assert len(result.out.splitlines()) == 4


def test_a_folder_without_a_policy_and_no_path_at_all(outgate: Any, folder: Path) -> None:
    (folder / "none").mkdir()

    assert "the folder holds no policy" in outgate("check", "none").out
    result = outgate("check")
    assert result.code == 2
    assert "missing argument 'PATH...'" in result.err


def test_the_policies_of_this_repository_are_well(outgate: Any) -> None:
    result = outgate("check", str(ROOT / "policies"), "--strict")

    assert result.code == 0, result.out


def test_a_link_out_of_the_folder_is_an_error(outgate: Any, folder: Path) -> None:
    (folder / "both" / "far.yaml").symlink_to(folder / "web.yaml")

    result = outgate("check", "both")

    assert (result.code, result.err) == (2, "")
    assert result.out.startswith("error: both/far.yaml: a link that leads out of the folder\nhint: copy the file")


def test_of_very_many_errors_the_first_are_told_and_that_there_are_more(outgate: Any, folder: Path) -> None:
    (folder / "bomb.yaml").write_bytes(b"version: 1\nname: b\nallow: [" + b"*a, " * 100_000 + b"]\n")

    lines = outgate("check", "bomb.yaml").out.splitlines()

    assert len([line for line in lines if line.startswith("error: ")]) == 100
    assert lines[-3].startswith("error: bomb.yaml:3:")
    assert lines[-3].endswith(": there are more problems from here on")


def test_ten_thousand_rules_are_checked(outgate: Any, folder: Path) -> None:
    rules = "\n".join(
        f"  - {{id: r{number}, why: reading, hosts: [h{number % 2000}.example.com], paths: [/a/b{number}/*]}}"
        for number in range(10_000)
    )
    (folder / "big.yaml").write_text(f"version: 1\nname: big\nallow:\n{rules}\n")

    result = outgate("check", "big.yaml")

    assert (result.code, result.out) == (0, "0 errors, 0 warnings, 1 policy checked\n")
