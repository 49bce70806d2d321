"""The action: its steps run as written, its scripts against git and a stand-in for the API of comments; no internet."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
SCRIPTS = ROOT / "packaging" / "action"
MARK = "<!-- outgate review -->"
POLICY = "version: 1\nname: web\nallow:\n  - {id: docs, why: reading, hosts: [docs.example.com]}\n"
SUITE = "policy: web\ncases:\n  - {request: GET https://docs.example.com/, expect: allow}\n"
OUTGATE = Path(sys.executable).with_name("outgate")


@dataclass
class Repository:
    """A git work tree with one commit that holds `policies/web.yaml` and its suite."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def policy(self) -> Path:
        return self.folder / "policies" / "web.yaml"

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def review(self, *base: str, policies: str = "policies", **more: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(SCRIPTS / "review.py"), str(OUTGATE), policies, "report.md", *base]
        return subprocess.run(
            command, cwd=self.folder, env=self.env | more, check=False, capture_output=True, text=True
        )

    @property
    def report(self) -> str:
        return (self.folder / "report.md").read_text()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    env = {
        name: value for name, value in os.environ.items() if not re.match(r"GITHUB_|GIT_|OUTGATE_|FAIL_ON|STRICT", name)
    }
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    made = Repository(tmp_path / "checkout", env)
    (made.folder / "policies" / "tests").mkdir(parents=True)
    made.policy.write_text(POLICY)
    (made.folder / "policies" / "tests" / "web.yaml").write_text(SUITE)
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("add", ".")
    made.git("commit", "--quiet", "--message=first")
    return made


def test_a_sound_change_is_compared_with_the_base(repository: Repository) -> None:
    repository.policy.write_text(POLICY + "  - {id: more, why: reading, hosts: [more.example.com]}\n")

    done = repository.review("HEAD")

    assert (done.returncode, done.stderr) == (0, "")
    assert repository.report.splitlines()[:2] == [MARK, "## What this change does to `policies`"]
    assert "**newly allowed**: GET, HEAD and OPTIONS to more.example.com" in repository.report
    assert "| `outgate check policies` | passed | `0 errors, 0 warnings, 1 policy checked` |" in repository.report
    assert "untouched: policies/web.yaml:5: allow rule more" in repository.report
    assert repository.git("status", "--short") == "M policies/web.yaml\n?? report.md"


@pytest.mark.parametrize("policies", ["policies", "./policies/", "../checkout/policies", "{}/policies"])
def test_the_folder_can_be_written_in_several_ways(repository: Repository, policies: str) -> None:
    assert repository.review("HEAD", policies=policies.format(repository.folder)).returncode == 0
    assert "No difference in meaning: 1 policy compared" in repository.report


def test_it_works_below_the_root_of_the_work_tree(repository: Repository) -> None:
    (repository.folder / "deep").mkdir()
    (repository.folder / "policies").rename(repository.folder / "deep" / "policies")
    repository.git("add", ".")
    repository.git("commit", "--quiet", "--message=moved")
    repository.folder /= "deep"

    assert repository.review("HEAD").returncode == 0
    assert "No difference in meaning: 1 policy compared" in repository.report


def test_a_folder_that_was_not_there_is_compared_with_nothing(repository: Repository) -> None:
    repository.git("rm", "--quiet", "-r", "--cached", "policies")
    repository.git("commit", "--quiet", "--message=none", "--allow-empty")

    assert repository.review("HEAD").returncode == 0
    assert "a new policy; all that it allows is new" in repository.report


def test_a_base_that_a_shallow_checkout_lacks_is_fetched(repository: Repository, tmp_path: Path) -> None:
    base = repository.git("rev-parse", "HEAD")
    repository.git("commit", "--quiet", "--message=second", "--allow-empty")
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.folder}", str(shallow))
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    clone = Repository(shallow, repository.env)

    assert clone.review(base).returncode == 0
    assert "No difference in meaning: 1 policy compared" in clone.report


@pytest.mark.parametrize("base", ["nowhere", "0" * 40, "--upload-pack=touch evil"])
def test_a_revision_that_is_not_there_is_said_and_fails(repository: Repository, base: str) -> None:
    done = repository.review(base)

    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"the revision '\S+' is not there|not a revision", repository.report)
    assert not (repository.folder / "evil").exists()


def test_a_folder_that_has_the_name_of_the_base_is_not_taken_for_it(repository: Repository) -> None:
    base = repository.git("rev-parse", "HEAD")
    repository.policy.write_text(POLICY + "  - {id: more, why: reading, hosts: [more.example.com]}\n")
    shutil.copytree(repository.policy.parent, repository.folder / base)

    assert repository.review(base).returncode == 1
    assert "not a revision" in repository.report


def test_a_policy_that_is_wrong_fails_and_is_not_compared(repository: Repository) -> None:
    repository.policy.write_text(POLICY.replace("hosts", "host"))

    done = repository.review("HEAD")

    assert done.returncode == 1
    assert "did you mean `hosts`?" in done.stdout
    assert "not compared: the policies have errors" in repository.report
    assert "| `outgate check policies` | **failed** |" in repository.report


def test_a_failed_expectation_fails(repository: Repository) -> None:
    (repository.folder / "policies" / "tests" / "web.yaml").write_text(SUITE.replace("allow", "deny"))

    assert repository.review().returncode == 1
    assert "  expected  deny\n  found     allow, rule docs (policies/web.yaml:4)\n" in repository.report


def test_warnings_fail_where_it_is_strict_and_marks_where_they_are_named(repository: Repository) -> None:
    repository.policy.write_text(POLICY.replace("why: reading,", "why: reading, access: any,"))
    assert repository.review("HEAD").returncode == 0
    assert repository.review("HEAD", STRICT="true").returncode == 1
    assert repository.review("HEAD", FAIL_ON="http").returncode == 0
    assert repository.review("HEAD", FAIL_ON="http, new_write").returncode == 1
    assert "| **failed** | `it opens what 'fail-on' names: http, new_write` |" in repository.report
    assert repository.review("HEAD", FAIL_ON="no_mark").returncode == 1
    assert "'no_mark' is not one of" in repository.report


def test_a_workflow_gets_annotations(repository: Repository) -> None:
    repository.policy.write_text(POLICY.replace("hosts", "host"))

    lines = repository.review(GITHUB_ACTIONS="true").stdout.splitlines()

    assert lines
    assert all(line.startswith("::error file=policies/") for line in lines)


def test_text_of_a_file_leaves_no_fence_and_no_table(repository: Repository) -> None:
    hostile = "``` </details> | [x](https://evil.example)"
    suite = json.dumps(
        {"policy": "web", "cases": [{"request": "GET https://docs.example.com/", "expect": "deny", "why": hostile}]}
    )
    (repository.folder / "policies" / "tests" / "web.yaml").write_text(suite)

    repository.review("HEAD")

    fenced = re.search(r"^````\n(.*?)\n````$", repository.report, re.MULTILINE | re.DOTALL)
    assert fenced
    assert hostile in fenced[1]
    assert hostile not in repository.report.replace(fenced[0], "")


def test_a_report_of_very_much_fits_in_a_comment(repository: Repository) -> None:
    rules = "".join(f"  - {{id: r{number}, why: w, host: [a.example.com]}}\n" for number in range(3000))
    repository.policy.write_text(f"version: 1\nname: web\nallow:\n{rules}")

    repository.review("HEAD")

    assert len(repository.report) < 65_536
    assert "(cut here: run the command to see the rest)" in repository.report


@dataclass
class Comments:
    """A stand-in for GitHub's API of comments."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refuse: int = 0

    def answer(self, method: str, path: str, body: dict[str, str], token: str) -> tuple[int, Any]:
        self.tokens.add(token)
        if self.refuse and method != "GET":
            return self.refuse, {"message": "Resource not accessible by integration"}
        if method == "GET" and (
            match := re.fullmatch(r"/repos/acme/app/issues/7/comments\?per_page=(\d+)&page=(\d+)", path)
        ):
            size, page = int(match[1]), int(match[2])
            return 200, self.comments[size * (page - 1) : size * page]
        if method == "POST" and path == "/repos/acme/app/issues/7/comments":
            self.add(body["body"])
            return 201, self.comments[-1]
        if method == "PATCH" and (match := re.fullmatch(r"/repos/acme/app/issues/comments/(\d+)", path)):
            self.comments[int(match[1])]["body"] = body["body"]
            return 200, {}
        return 404, {}

    def add(self, body: str, kind: str = "Bot") -> None:
        self.comments.append({"id": len(self.comments), "user": {"type": kind}, "body": body})


@pytest.fixture
def comments(monkeypatch: pytest.MonkeyPatch) -> Iterator[Comments]:
    """The stand-in, and the environment that leads to it."""
    service = Comments()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            code, answer = service.answer(self.command, self.path, body, self.headers["Authorization"])
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_PATCH = handle_any  # noqa: N815  the names that the base class looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("GITHUB_REPOSITORY", "acme/app")
        monkeypatch.setenv("GITHUB_TOKEN", "ghs_of_the_test")
        monkeypatch.setenv("PULL_REQUEST", "7")
        yield service
        server.shutdown()
        thread.join()


def comment(tmp_path: Path, text: str) -> "subprocess.CompletedProcess[str]":
    report = tmp_path / "report.md"
    report.write_text(f"{MARK}\n{text}\n")
    command = [sys.executable, str(SCRIPTS / "comment.py"), str(report)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_report_is_one_comment_that_is_updated(comments: Comments, tmp_path: Path) -> None:
    assert comment(tmp_path, "first").returncode == 0
    assert comment(tmp_path, "second").returncode == 0

    assert [each["body"] for each in comments.comments] == [f"{MARK}\nsecond\n"]
    assert comments.tokens == {"Bearer ghs_of_the_test"}


def test_the_comment_is_found_behind_many_others(comments: Comments, tmp_path: Path) -> None:
    for number in range(250):
        comments.add(f"{MARK} of a person" if number == 3 else "talk", "User")
    comments.add(f"{MARK}\nfirst\n")

    assert comment(tmp_path, "second").returncode == 0

    assert comments.comments[3]["body"] == f"{MARK} of a person"
    assert [each["body"] for each in comments.comments[250:]] == [f"{MARK}\nsecond\n"]


def test_a_fork_has_no_comment_and_does_not_fail(comments: Comments, tmp_path: Path) -> None:
    comments.refuse = 403

    done = comment(tmp_path, "text")

    assert (done.returncode, comments.comments) == (0, [])
    assert done.stdout.startswith("::notice::the token may not comment here")


def test_a_service_that_fails_is_said_without_the_token(comments: Comments, tmp_path: Path) -> None:
    comments.refuse = 500

    done = comment(tmp_path, "text")

    assert done.returncode == 1
    assert "POST /issues/7/comments: 500" in done.stderr
    assert "ghs_of_the_test" not in done.stdout + done.stderr


@pytest.mark.parametrize(("name", "value"), [("PULL_REQUEST", "7/../8"), ("GITHUB_REPOSITORY", "acme/app/../x")])
def test_what_is_no_number_and_no_repository_is_not_asked_for(
    comments: Comments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    assert comment(tmp_path, "text").returncode == 1
    assert comments.tokens == set()


def test_no_expression_stands_in_a_script_and_no_other_action_is_used() -> None:
    for step in STEPS:
        assert "uses" not in step
        assert "${{" not in step["run"]
        subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_the_token_is_given_to_the_step_that_comments_alone() -> None:
    holding = [step for step in STEPS if any("token" in value.lower() for value in step["env"].values())]

    assert [step["run"] for step in holding] == ['python3 "$ACTION/packaging/action/comment.py" "$REPORT"']
    assert holding[0]["if"].startswith("always() && inputs.comment == 'true'")


def test_the_step_that_reviews_runs_as_written(repository: Repository, tmp_path: Path) -> None:
    (step,) = [step for step in STEPS if step.get("id") == "review"]
    output, summary = tmp_path / "output", tmp_path / "summary"
    given = {"ACTION": ROOT, "OUTGATE": OUTGATE, "POLICIES": "policies", "BASE": "HEAD", "FAIL_ON": ""}
    given |= {
        "STRICT": "false",
        "REPORT": tmp_path / "a report.md",
        "GITHUB_OUTPUT": output,
        "GITHUB_STEP_SUMMARY": summary,
    }
    assert set(step["env"]) | {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} == set(given)
    env = repository.env | {name: str(value) for name, value in given.items()}

    for text, code in ((POLICY, 0), ("version: 1\n", 1)):
        repository.policy.write_text(text)
        summary.write_text("")
        # As the runner starts it: docs.github.com, "Workflow syntax", `shell`.
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=repository.folder, env=env, check=False, capture_output=True, text=True)

        assert done.returncode == code, done.stderr
        assert output.read_text().splitlines()[-1] == f"report={tmp_path}/a report.md"
        assert summary.read_text().startswith(MARK)


def test_the_examples_for_other_services_name_what_is_there() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["entry"] for hook in hooks] == ["outgate check --strict", "outgate test"]
    job = yaml.safe_load((ROOT / "examples" / "gitlab-ci.yml").read_text())["policy-review"]
    for line in job["script"]:
        subprocess.run(["bash", "-n"], input=line, text=True, check=True)
        for path in re.findall(r"/opt/src/(\S+?)(?=[\s)])", line):
            assert (ROOT / path).is_file()
