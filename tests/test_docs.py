"""The documents say what is: fields, modules, commands, links and examples are held to the code."""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import pytest

import proxy.cli
from proxy.audit import event, sanitise
from proxy.audit.event import event_of
from proxy.config.load import load_policies
from proxy.exchange import Exchange
from proxy.policy.rules import Policy
from tests.sandbox.box import why_not
from tests.support import answers
from tests.support.outgate import OUTGATE, clean_environment
from tests.support.pki import Authority
from tests.support.upstream import Upstream

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
PRODUCT = sorted([*ROOT.glob("proxy/**/*.py"), *ROOT.glob("addons/*.py")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
AUDIT = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
THREATS = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_END = re.compile(r"&&|\|\|?|;|>|&$")


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one; a comment in a code block is no heading."""
    masked = FENCE.sub(lambda match: match[0].replace("\n#", "\n #"), text)
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", masked, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title!r}"
    return match[1]


def first_column(text: str, title: str) -> list[str]:
    """The first cells of a section's table, without its heading."""
    return re.findall(r"^\| `(\w+)` \|", section(text, title).partition("|---|")[2], re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text) if found == language]


def commands(block: str) -> Iterator[list[str]]:
    """The commands of a shell block, as words. What stands in `$( )` is a command too."""
    for line in block.replace("\\\n", " ").splitlines():
        inner = re.findall(r"\$\(([^()]*)\)", line)
        for part in COMMAND_END.split(" ".join(shlex.split(line, comments=True)) if not inner else inner[0]):
            if words := part.split():
                yield words


def parse(words: list[str]) -> None:
    """Hold an `outgate` command to the command line: every command, option and argument must be there."""
    command: click.Command = proxy.cli.outgate
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context(command.name, words)
    except click.MissingParameter:
        if words:
            raise  # without any argument, the text only speaks of the command


def constants(node: ast.AST) -> set[str]:
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def ends_in(file: Path) -> set[str]:
    """Every text that a module gives as the end of an exchange."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("finish", "_finish", "_close"):
                found |= constants(node.args[-1]) if node.args else set()
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "line_of":
            found |= {text for given in node.keywords if given.arg == "end" for text in constants(given.value)}
        elif isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Attribute) and target.attr == "end" for target in node.targets
        ):
            found |= constants(node.value)
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found |= {text for key, value in pairs if _is_end(key) for text in constants(value)}
    return found


def _is_end(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "end"


# --- audit ---


def test_the_audit_document_has_a_row_for_every_field_in_order() -> None:
    assert first_column(AUDIT, "Fields") == list(event_of(Exchange(sandbox="", policy=Policy())))


def test_the_audit_document_names_every_end_and_no_other() -> None:
    rows = first_column(AUDIT, "How an exchange ended")
    assert len(rows) == len(set(rows))
    assert set(rows) == {end for file in PRODUCT for end in ends_in(file)}


@pytest.mark.parametrize(
    ("field", "limits"), [("path", [sanitise.MAX_TEXT]), ("query_keys", [event.MAX_KEYS, event.MAX_KEY])]
)
def test_the_audit_document_says_how_long_a_field_can_be(field: str, limits: list[int]) -> None:
    (row,) = re.findall(rf"^\| `{field}` \|.*$", AUDIT, re.MULTILINE)
    assert [int(number) for number in re.findall(r"\d+", row)] == limits


# --- architecture and threat model ---


def test_the_architecture_names_every_module_once_and_no_other() -> None:
    rows = [line for line in section_rows(ARCHITECTURE, "Modules", "Invariants") if line.startswith("| `")]
    named = [path for row in rows for path in re.findall(r"`([\w/]+\.py)`", row.split("|")[1])]
    holding_code = {name(file) for file in PRODUCT if len(ast.parse(file.read_bytes()).body) > 1 or not _package(file)}
    assert len(named) == len(set(named))
    assert set(named) == holding_code


def _package(file: Path) -> bool:
    return file.name == "__init__.py"


def section_rows(text: str, begin: str, end: str) -> list[str]:
    return text.partition(f"\n## {begin}\n")[2].partition(f"\n## {end}\n")[0].splitlines()


def test_the_threat_model_has_the_ten_invariants_each_with_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*)$", section(THREATS, "Invariants"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 11))
    assert [number for number, row in rows if "`tests/" not in row.split("|")[-2]] == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_every_file_that_a_document_names_is_there(file: Path) -> None:
    here = r"`((?:proxy|addons|tests|docs|policies|examples|packaging|requirements)/[\w./*-]*)`"
    missing = [path for path in re.findall(here, text_of(file)) if not list(ROOT.glob(path.rstrip("/")))]
    # What the example of a refusal or of a policy is about need not be in this repository.
    assert [path for path in missing if path not in ("policies/web-app-agent.yaml",)] == []


# --- links ---


def slugs(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_every_link_between_documents_resolves(file: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(file))):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        assert not anchor or anchor in slugs(text_of(target)), link


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        file = todo.pop()
        if file in reached or file.suffix != ".md":
            continue
        reached.add(file)
        links = re.findall(r"\]\(([^)\s#]+)", text_of(file))
        todo += [path for link in links if (path := (file.parent / link).resolve()).is_file()]
    assert set(DOCUMENTS) - reached == set()


# --- commands ---


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_every_command_of_a_document_is_one(file: Path) -> None:
    text = text_of(file)
    shown = [words for block in blocks(text, "sh") for words in commands(block)]
    spans = re.findall(r"`((?:outgate|make) [^`\n]+)`", FENCE.sub("", text))
    known = {*proxy.cli.outgate.commands, *TARGETS}
    shown += [words for span in spans for words in commands(span) if len(words) > 1 and words[1] in known]
    for words in shown:
        program = Path(words[0]).name
        if program == "make":
            assert {word for word in words[1:] if "=" not in word} <= TARGETS, words
        elif program == "outgate":
            parse(words[1:])
        elif file.name == "README.md" and file.parent == ROOT:
            assert program in ("export", "eval"), words


# --- readme ---


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


def test_the_policy_of_the_readme_loads(tmp_path: Path) -> None:
    (block,) = blocks(README, "yaml")
    (tmp_path / "my-agent.yaml").write_text(block, encoding="utf-8")
    (policy,) = load_policies([tmp_path / "my-agent.yaml"])
    assert (policy.name, list(policy.credentials)) == ("my-agent", ["anthropic"])


def test_the_changelog_has_the_version_of_the_project() -> None:
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    assert f"## [{version}]" in text_of(ROOT / "CHANGELOG.md")


# What the agent does in the second shell: one call that is allowed, one that is not.
AGENT = """
import json, os, urllib.error, urllib.request
headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"]}
call = urllib.request.Request("https://api.anthropic.com/v1/messages", b"{}", headers)
with urllib.request.urlopen(call) as answer:
    status, _ = answer.status, answer.read()
try:
    urllib.request.urlopen("https://evil.example/")
except urllib.error.HTTPError as error:
    print(json.dumps({"status": status, "key": headers["x-api-key"], "line": f"{error.code} {error.reason}",
                      "refusal": json.load(error)}))
"""


@contextmanager
def shell(script: str, environ: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A shell that runs what the README shows, with this installation's `outgate`; nothing of it is left behind."""
    script = script.replace(".venv/bin/outgate", shlex.quote(str(OUTGATE)))
    with subprocess.Popen(
        ["bash", "-ec", script], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def two_shells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened when the two shells of the README did what it says.

    Only the port and the destination are chosen here, through the environment.
    """
    folder = tmp_path_factory.mktemp("readme")
    run, first, second = blocks(section(README, "With your own agent"), "sh")
    first = f"{run.splitlines()[0]}\n{first}"
    authority, state = Authority(folder), folder / ".local/state/outgate"
    with Upstream(folder, authority=authority) as upstream:
        upstream.otherwise(answers.reply(200, b"{}"))
        environ = clean_environment(folder)
        mapped = {
            "OUTGATE_LISTEN": "127.0.0.1:0",
            "OUTGATE_WORKERS": "1",
            "OUTGATE_CONNECT_TO": f"api.anthropic.com:443:127.0.0.1:{upstream.port}",
            "OUTGATE_UPSTREAM_CA": str(authority.ca_file),
        }
        with shell(first, environ | mapped) as serving:
            assert serving.stdout is not None
            assert serving.stdout.readline().startswith("outgate listens on ")
            with shell(f"{second}\nexec {shlex.quote(sys.executable)} -c {shlex.quote(AGENT)}", environ) as agent:
                said, _ = agent.communicate(timeout=60)
            os.kill(json.loads((state / "ready.json").read_text())["pid"], signal.SIGINT)  # Ctrl-C
            code = serving.wait(60)
        keys = upstream.record.last.values("x-api-key")
    log = "".join(file.read_text(encoding="utf-8") for file in state.glob("audit/worker-*.jsonl"))
    return {**json.loads(said), "code": code, "received": keys, "events": [*map(json.loads, log.splitlines())]}


@pytest.mark.e2e
@pytest.mark.skipif(bool(why_not()), reason="no sandbox on this machine")
def test_the_one_command_of_the_readme_works_as_it_stands(tmp_path: Path) -> None:
    command = blocks(section(README, "With your own agent"), "sh")[0]
    assert command.count("-- claude") == 1
    key = '"x-api-key: $ANTHROPIC_API_KEY"'
    call = f"curl -sS -d {{}} -H {key} https://api.anthropic.com/v1/messages; echo $ANTHROPIC_API_KEY"
    script = command.replace("-- claude", f"-- sh -c {shlex.quote(call)}")
    authority = Authority(tmp_path)
    with Upstream(tmp_path, authority=authority) as upstream:
        upstream.otherwise(answers.reply(200, b"{}"))
        mapped = {
            "OUTGATE_CONNECT_TO": f"api.anthropic.com:443:127.0.0.1:{upstream.port}",
            "OUTGATE_UPSTREAM_CA": str(authority.ca_file),
        }
        with shell(script, clean_environment(tmp_path) | mapped) as running:
            said, _ = running.communicate(timeout=60)
        assert upstream.record.last.values("x-api-key") == ["the-real-key"]
    assert running.returncode == 0
    assert said.startswith("{}sk-ant-")


@pytest.mark.e2e
def test_the_two_shells_of_the_readme_work_as_they_stand(two_shells: dict[str, Any]) -> None:
    assert (two_shells["status"], two_shells["code"]) == (200, 0)
    assert two_shells["received"] == ["the-real-key"]
    assert two_shells["key"].startswith("sk-ant-")


@pytest.mark.e2e
def test_a_refusal_looks_as_the_readme_shows_it(two_shells: dict[str, Any]) -> None:
    ((_, shown),) = FENCE.findall(section(README, "What a refusal looks like"))
    line, _, body = shown.partition("\n\n")
    refusal = json.loads(json.dumps(two_shells["refusal"]).replace("claude-code", "my-agent"))
    assert line == f"HTTP/1.1 {two_shells['line']}"
    assert json.loads(body).items() <= refusal.items()


@pytest.mark.e2e
def test_an_event_looks_as_the_readme_shows_it(two_shells: dict[str, Any]) -> None:
    (block,) = blocks(section(README, "What is recorded"), "json")
    shown, (real, refused) = json.loads(block), two_shells["events"]
    assert (refused["verdict"], refused["reason"]) == ("deny", "host_not_allowed")
    assert list(shown) == list(real)
    assert {key: type(value) for key, value in shown.items()} == {key: type(value) for key, value in real.items()}
    same = "v sandbox scheme method host port path query_keys verdict reason credential injected tls status end"
    assert {key: shown[key] for key in same.split()} == {key: real[key] for key in same.split()}
