"""`outgate diff`: files, folders and revisions, three formats, exit codes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest


def git(*arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=n@example.com", "-c", "commit.gpgsign=false", *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(folder: Path) -> Path:
    """`policies/` in two commits: in the second, what `web` extends has a host more."""
    policies = folder / "policies"
    policies.mkdir()
    base = "version: 1\nname: base\nallow:\n  - {id: docs, why: w, hosts: [docs.example.com]}\n"
    (policies / "base.yaml").write_text(base)
    (policies / "web.yaml").write_text("version: 1\nname: web\nextends: [base]\n")
    git("init", "-q", "-b", "main")
    git("add", "policies")
    git("commit", "-qm", "one")
    (policies / "base.yaml").write_text(base.replace("docs.example.com", "docs.example.com, files.example.org"))
    git("commit", "-qam", "two")
    return policies


def test_two_files_are_compared_whatever_their_names(outgate: Any, folder: Path) -> None:
    (folder / "new.yaml").write_text((folder / "web.yaml").read_text().replace("name: web", "name: other"))

    result = outgate("diff", "web.yaml", "new.yaml", "--fail-on", "widening")

    assert (result.code, result.out) == (0, "No difference in meaning: 1 policy compared.\n")


def test_revisions(outgate: Any, repository: Path) -> None:
    (repository / "base.yaml").unlink()  # the work tree does not matter

    result = outgate("diff", "HEAD~1", "HEAD")

    assert (result.code, result.err) == (0, "")
    assert "now         allowed by docs (HEAD:policies/base.yaml:4)" in result.out
    assert "\nin policies base and web: allows more than before\n" in result.out
    assert result.out.count("GET, HEAD and OPTIONS to files.example.org") == 1
    assert outgate("diff", "HEAD~1", "HEAD", "--path", "policies/web.yaml").out.count("files.example.org") == 1
    assert not (repository / "base.yaml").exists()


def test_a_revision_and_the_work_tree(outgate: Any, repository: Path) -> None:
    assert outgate("diff", "HEAD", "policies").out == "No difference in meaning: 2 policies compared.\n"
    assert "files.example.org" in outgate("diff", "HEAD~1", "policies").out


def test_a_file_or_folder_wins_over_a_revision(outgate: Any, repository: Path) -> None:
    git("branch", "policies", "HEAD~1")

    assert outgate("diff", "policies", "HEAD").out == "No difference in meaning: 2 policies compared.\n"


def test_policies_that_are_new_in_a_revision(outgate: Any, repository: Path) -> None:
    git("rm", "-rq", "policies")
    git("commit", "-qm", "three")

    result = outgate("diff", "HEAD", "HEAD~1")

    assert result.code == 0
    assert "note: there is no policies in HEAD, so nothing is allowed there" in result.err
    assert "web: a new policy; all that it allows is new" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["HEAD", "nowhere"], "there is no file, folder or git revision 'nowhere'"),
        (["HEAD", "HEAD", "--path", "nowhere"], "there is no nowhere on either side"),
        (["policies", "policies", "--path", "policies"], "--path is for revisions"),
        (["--", "-x", "HEAD"], "there is no file, folder or git revision '-x'"),
        (["HEAD", "HEAD", "--fail-on", "nothing"], "invalid value for '--fail-on'"),
    ],
)
def test_misuse(outgate: Any, repository: Path, arguments: list[str], words: str) -> None:
    result = outgate("diff", *arguments)

    assert (result.code, result.out) == (2, "")
    assert words in result.err


def test_outside_a_repository(outgate: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))

    result = outgate("diff", "HEAD", "web.yaml")

    assert result.code == 2
    assert "git cannot read the revision: not a git repository" in result.err


def test_a_broken_policy_is_named_as_git_names_it(outgate: Any, repository: Path) -> None:
    (repository / "web.yaml").write_text("version: 1\nname: [\n")
    git("commit", "-qam", "broken")

    result = outgate("diff", "HEAD~1", "HEAD")

    assert result.code == 2
    assert result.err.startswith("error: HEAD:policies/web.yaml:3:1: ")


@pytest.mark.parametrize("target", ["../web.yaml", "/etc/passwd", ".."])
def test_links_out_of_a_revision_are_refused(outgate: Any, repository: Path, target: str) -> None:
    (repository / "link.yaml").symlink_to(target)
    git("add", "policies")
    git("commit", "-qm", "link")

    result = outgate("diff", "HEAD~1", "HEAD")

    assert (result.code, result.out) == (2, "")
    assert "HEAD:policies/link.yaml: a link that leads out of the folder" in result.err


@pytest.mark.parametrize(
    ("fail_on", "code"),
    [([], 0), (["widening"], 1), (["new_host"], 1), (["new_write"], 0), (["new_write", "new_host"], 1)],
)
def test_fail_on(outgate: Any, repository: Path, fail_on: list[str], code: int) -> None:
    options = [word for each in fail_on for word in ("--fail-on", each)]

    assert outgate("diff", "HEAD~1", "HEAD", *options).code == code
    assert outgate("diff", "HEAD", "HEAD~1", *options).code == 0


def test_json_and_markdown(outgate: Any, repository: Path) -> None:
    document = json.loads(outgate("diff", "HEAD~1", "HEAD", "--format", "json").out)

    assert document["widening"] is True
    assert [(each["name"], each["status"]) for each in document["policies"]] == [
        ("base", "changed"),
        ("web", "changed"),
    ]
    assert document["policies"][1]["changes"][0]["marks"] == ["new_host"]
    first = outgate("diff", "HEAD~1", "HEAD", "--format", "markdown").out.splitlines()[0]
    assert first == "**This change lets an agent do more than before: 2 newly allowed (in 2 of 2 policies).**"
