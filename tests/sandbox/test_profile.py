"""Profiles: those of Outgate, and what is wrong with one in words."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from proxy.clients import NAMES
from proxy.config.schema import json_schema
from proxy.errors import ConfigError
from proxy.sandbox.home import secret_place
from proxy.sandbox.profile import Profile, folder, load_profile
from proxy.sandbox.profile_schema import ProfileFile

ROOT = Path(__file__).parents[2]
BUILT_IN = sorted(path.stem for path in (ROOT / "policies/profiles").glob("*.yaml"))
START = "version: 1\nprofile: mine\n"


def written(folder: Path, text: str) -> Profile:
    (folder / "mine.yaml").write_text(START + text)
    return load_profile(str(folder / "mine.yaml"), "x")


def test_there_is_a_profile_for_each_common_agent() -> None:
    assert set(BUILT_IN) >= {"default", "claude-code", "codex", "gemini", "opencode", "aider"}
    assert folder() == ROOT / "policies/profiles"


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_profile_is_sound(name: str) -> None:
    profile = load_profile(name, "x")
    assert profile.name == name
    assert profile.source == folder() / f"{name}.yaml"
    assert set(load_profile("default", "x").hide) <= set(profile.hide)
    assert [entry for entry in profile.read if secret_place(entry)] == []
    assert not set(profile.variables) & NAMES
    assert profile.nested is (name == "codex")


@pytest.mark.parametrize(
    ("command", "name"),
    [("claude", "claude-code"), ("/opt/x/codex", "codex"), ("aider", "aider"), ("bash", "default"), ("", "default")],
)
def test_a_command_has_its_profile(command: str, name: str) -> None:
    assert load_profile(None, command).name == name
    assert load_profile("opencode", command).name == "opencode"


def test_no_two_profiles_are_for_one_command() -> None:
    commands = [
        command for name in BUILT_IN for command in (load_profile(None, name).name, *_commands(name)) if command != name
    ]
    assert len(commands) == len(set(commands))


def _commands(name: str) -> list[str]:
    from proxy.sandbox.profile_schema import read_file

    file = folder() / f"{name}.yaml"
    return read_file(file.read_bytes(), str(file))[1].commands


def test_what_is_extended_comes_first_and_is_added_to(tmp_path: Path) -> None:
    text = "extends: default\nhome:\n  read: [.vimrc]\nproject:\n  hide: ['!*.pem']\nenvironment:\n  set: {A: ~/b}\n"
    mine, default = written(tmp_path, text), load_profile("default", "x")
    assert mine.read == (*default.read, ".vimrc")
    assert mine.hide == (*default.hide, "!*.pem")
    assert mine.variables == {**default.variables, "A": "~/b"}
    assert mine.readonly == default.readonly


def test_a_profile_that_extends_nothing_has_nothing_else(tmp_path: Path) -> None:
    assert written(tmp_path, "") == Profile("mine", tmp_path / "mine.yaml", (), (), (), (), (), (), {})


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("hom: {}\n", "3:1", "unknown key `hom`", "did you mean `home`?"),
        ("home:\n  red: []\n", "4:3", "unknown key `red`", "did you mean `read`?"),
        ("home:\n  keep: [/etc]\n", "4:10", "a path without", "write `etc`"),
        ("home:\n  keep: [~/.x]\n", "4:10", "a path without", "write `.x`"),
        ("home:\n  read: [../x]\n", "4:10", "a path without", "write `x`"),
        ("home:\n  read: [.x/]\n", "4:10", "a path without", "write `.x`"),
        ("home:\n  read: .x\n", "4:9", "`read` is a list, not text", "read: [.x]"),
        ("home:\n  keep: [.a, .a/b]\n", "4:3", ".a/b is in .a", "keep the one or the other"),
        ("home:\n  keep: [.a]\n  read: [.a/b]\n", "4:3", ".a/b is in .a", "keep the one or the other"),
        ("system: [opt]\n", "3:10", "a path from the root on", "system: [/opt/tools]"),
        ("project:\n  hide: [a/b]\n", "4:10", "the name of a file", "hide: [.env"),
        ("environment:\n  pass: [A-B]\n", "4:10", "not the name of a variable", "pass: [MY_VARIABLE]"),
        ("environment:\n  pass: [HTTPS_PROXY]\n", "4:10", "HTTPS_PROXY is set by Outgate", "remove it"),
        ("environment:\n  set: {PATH: /x}\n", "4:9", "PATH is set by Outgate", "remove it"),
        ("environment:\n  set: {OUTGATE_X: a}\n", "4:9", "OUTGATE_X is set by Outgate", "remove it"),
        ("environment:\n  set: {A: 1}\n", "4:12", "text, not a number", 'quote it: "1"'),
        ("environment:\n  set: {A: x}\n  set: {B: x}\n", "5:3", "given twice", "keep one of the two"),
        ("nested: maybe\n", "3:9", "`nested` is `true` or `false`", "nested: true"),
        ("extends: defalt\n", "3:10", "there is no profile `defalt`", "did you mean `default`?"),
        ("version: 2\n", "3:1", "given twice", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, place: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        written(tmp_path, text)
    problem = error.value.problems[0]
    assert problem.where.startswith(f"{tmp_path / 'mine.yaml'}:{place}"), problem
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize("name", ["claud-code", "claude-cod", "nonsense"])
def test_a_name_that_is_none_gets_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no profile `{name}`") as error:
        load_profile(name, "x")
    assert "claude-code" in error.value.problems[0].hint


def test_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the profile: no such file"):
        load_profile(str(tmp_path / "none.yaml"), "x")


def test_a_file_beside_a_profile_has_no_say(tmp_path: Path) -> None:
    """What is extended is one of Outgate's own, whatever lies in the folder."""
    (tmp_path / "default.yaml").write_text("version: 1\nprofile: default\nsystem: [/srv]\n")
    assert written(tmp_path, "extends: default\n").system == ()


def test_the_schema_beside_the_profiles_is_current() -> None:
    file = ROOT / "policies/profiles/schema.json"
    assert file.read_text() == json_schema(ProfileFile)
    command = [sys.executable, "-W", "error", "-m", "proxy.sandbox.profile_schema"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == file.read_text()


def test_every_key_of_a_profile_is_explained() -> None:
    schema = json.loads(json_schema(ProfileFile))
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        assert all(value["description"] for value in part["properties"].values())


def test_an_installed_wheel_has_the_profiles(tmp_path: Path) -> None:
    build = "import sys, hatchling.build; hatchling.build.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    code = "from proxy.sandbox import mount, profile; print(profile.load_profile(None, 'claude').source, mount.EMPTY)"
    environment = {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd="/", check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [
        str(installed / "proxy/sandbox/profiles/claude-code.yaml"),
        str(installed / "proxy/sandbox/empty"),
    ]
    assert (installed / "proxy/sandbox/empty").read_bytes() == b""
