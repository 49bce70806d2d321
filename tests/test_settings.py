"""Settings: three sources, one strict model, and who needs a token."""

import os
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from proxy.endpoint import Listen
from proxy.errors import ConfigError, OutgateError, Problem
from proxy.settings import Settings, default_state, load_settings, tokens_required, usable_cores
from proxy.settings_sources import _Given

FIELDS = [each.name for each in fields(Settings)]


def test_whatever_is_a_setting_can_be_given() -> None:
    assert list(_Given.__annotations__) == FIELDS


def load(
    folder: Path,
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    file: str | None = None,
    config: Path | None = None,
) -> Settings:
    if file is not None:
        (folder / "outgate.yaml").write_text(file)
    return load_settings(flags or {}, {"HOME": "/home/u", **(environ or {})}, folder, config)


def problems(folder: Path, **given: Any) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as error:
        load(folder, **given)
    return error.value.problems


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert str(settings.listen) == "127.0.0.1:8899"
    assert settings.workers == usable_cores() >= 1
    assert (settings.policy, settings.upstream_ca, settings.connect_to) == ((), (), ())
    assert settings.ready_file is None
    assert settings.allow_anonymous is False


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file, environ = "listen: 127.0.0.1:1\n", {"OUTGATE_LISTEN": "127.0.0.1:2"}
    flags: dict[str, object] = {"listen": "127.0.0.1:3"}
    assert load(tmp_path, file=file).listen.port == 1
    assert load(tmp_path, file=file, environ=environ).listen.port == 2
    assert load(tmp_path, file=file, environ=environ, flags=flags).listen.port == 3
    assert load(tmp_path, file=file, environ={"OUTGATE_LISTEN": ""}, flags={"listen": None}).listen.port == 1


def test_every_setting_can_come_from_each_source(tmp_path: Path) -> None:
    flags: dict[str, object] = {
        "policy": ("/p/a.yaml", "/p/b"),
        "listen": "[::1]:0",
        "workers": 3,
        "state": "/s",
        "ready_file": "/r.json",
        "upstream_ca": ("/c1.pem", "/c2.pem"),
        "connect_to": ("a.example:443:127.0.0.1:8443",),
        "allow_anonymous": True,
        "audit": "stdout",
        "audit_max_bytes": "1MiB",
        "audit_max_age": "2h",
        "audit_fsync": "always",
        "metrics": "127.0.0.1:9464",
    }
    environ = {
        "OUTGATE_POLICY": "/p/a.yaml, /p/b",
        "OUTGATE_LISTEN": "[::1]:0",
        "OUTGATE_WORKERS": "3",
        "OUTGATE_STATE": "/s",
        "OUTGATE_READY_FILE": "/r.json",
        "OUTGATE_UPSTREAM_CA": "/c1.pem,/c2.pem",
        "OUTGATE_CONNECT_TO": "a.example:443:127.0.0.1:8443",
        "OUTGATE_ALLOW_ANONYMOUS": "true",
        "OUTGATE_AUDIT": "stdout",
        "OUTGATE_AUDIT_MAX_BYTES": "1MiB",
        "OUTGATE_AUDIT_MAX_AGE": "2h",
        "OUTGATE_AUDIT_FSYNC": "always",
        "OUTGATE_METRICS": "127.0.0.1:9464",
    }
    file = """
policy: [/p/a.yaml, /p/b]
listen: "[::1]:0"
workers: 3
state: /s
ready_file: /r.json
upstream_ca:
  - /c1.pem
  - /c2.pem
connect_to: a.example:443:127.0.0.1:8443
allow_anonymous: true
audit: stdout
audit_max_bytes: 1048576
audit_max_age: 2h
audit_fsync: always
metrics: 127.0.0.1:9464
"""
    assert set(flags) == set(FIELDS)
    expected = load(tmp_path, flags)
    assert expected.connect_map == {("a.example", 443): ("127.0.0.1", 8443)}
    assert load(tmp_path, environ=environ) == expected
    assert load(tmp_path, file=file, config=tmp_path / "outgate.yaml") == expected


@pytest.mark.parametrize(
    "key", ["connect_to: a.example:443:127.0.0.1:8443\n", "upstream_ca: [ca.pem]\n", "allow_anonymous: true\n"]
)
def test_a_file_that_nobody_named_leads_no_request_elsewhere(tmp_path: Path, key: str) -> None:
    """A sandbox that could write in the working folder could have put it there."""
    (problem,) = problems(tmp_path, file=key)
    assert problem.key == key.partition(":")[0]
    assert "cannot set this" in problem.message
    assert "--config" in problem.hint
    assert load(tmp_path, file=key, config=tmp_path / "outgate.yaml") != load(tmp_path, file="")


def test_a_file_that_nobody_named_is_told_of_with_what_it_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, file="listen: 127.0.0.1:1\nstate: s\n")
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"note: settings of the working folder, from {tmp_path}/outgate.yaml: listen, state\n")
    load(tmp_path, config=tmp_path / "outgate.yaml")
    load(tmp_path, environ={"OUTGATE_CONFIG": str(tmp_path / "outgate.yaml")})
    assert capsys.readouterr().err == ""


def test_paths_in_the_file_start_at_its_folder_and_others_at_the_working_folder(tmp_path: Path) -> None:
    other = tmp_path / "etc"
    other.mkdir()
    (other / "my.yaml").write_text("policy: p.yaml\nstate: s\nready_file: /abs\nupstream_ca: [c.pem]\n")
    for given in ({"config": other / "my.yaml"}, {"environ": {"OUTGATE_CONFIG": str(other / "my.yaml")}}):
        settings = load(tmp_path, **given)
        assert settings.policy == (other / "p.yaml",)
        assert (settings.state, settings.ready_file) == (other / "s", Path("/abs"))
        assert settings.upstream_ca == (other / "c.pem",)
    assert load(tmp_path, {"policy": ("p.yaml",)}).policy == (Path("p.yaml"),)


def test_a_settings_file_that_is_named_must_exist_and_another_one_need_not(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, config=tmp_path / "none.yaml")
    assert problem.message == "cannot read the settings file: no such file or directory"
    assert load(tmp_path, file="").policy == ()
    assert load(tmp_path, file="# nothing yet\n").policy == ()


@pytest.mark.parametrize(
    ("file", "where", "key", "message", "hint"),
    [
        ("\nready-file: x\n", ":2:1", "ready-file", "unknown key", "did you mean `ready_file`?"),
        ("polcy: x\n", ":1:1", "polcy", "unknown key", "did you mean `policy`?"),
        ("insecure: true\n", ":1:1", "insecure", "unknown key", "known keys: policy, listen"),
        ("state: a\nstate: b\n", ":2:1", "state", "the key occurs twice", ""),
        ("listen: 8899\n", ":1:9", "listen", "not a value for this setting", "as in 127.0.0.1:8899"),
        ("listen: nonsense\n", ":1:9", "listen", "not ADDRESS:PORT", "as in 127.0.0.1:8899 or [::1]:8899"),
        ("workers: many\n", ":1:10", "workers", "not a value for this setting", "1 to 256"),
        ('workers: "4"\n', ":1:10", "workers", "not a value for this setting", "1 to 256"),
        ("workers: 0\n", ":1:10", "workers", "not a value for this setting", "1 to 256"),
        ("workers: 1000\n", ":1:10", "workers", "not a value for this setting", "1 to 256"),
        ("allow_anonymous: 1\n", ":1:18", "allow_anonymous", "not a value for this setting", "true or false"),
        ("allow_anonymous:\n", ":1:17", "allow_anonymous", "not a value for this setting", "true or false"),
        ("audit: syslog\n", ":1:8", "audit", "not a value for this setting", "files or stdout"),
        ("audit_max_bytes: 1k\n", ":1:18", "audit_max_bytes", "not a size", "as in 64MiB"),
        ("audit_max_bytes: 1KiB\n", ":1:18", "audit_max_bytes", "not a value for this setting", "16KiB"),
        ("audit_max_age: 5\n", ":1:16", "audit_max_age", "not a value for this setting", "as in 24h"),
        ("audit_max_age: 1 day\n", ":1:16", "audit_max_age", "not a time", "as in 24h"),
        ("policy: {a: b}\n", ":1:9", "policy", "not a value for this setting", "a list of paths"),
        ("policy: [[a]]\n", ":1:9", "policy", "not a value for this setting", "a list of paths"),
        ('state: ""\n', ":1:8", "state", "not a path", ""),
        ("connect_to: [a:1]\n", ":1:13", "connect_to", "not HOST:PORT:ADDR:PORT", "as in api.example.com:443:"),
        ("connect_to: [a:1:127.0.0.1:1, A:1:127.0.0.1:2]\n", ":1:13", "connect_to", "a:1 is mapped twice", ""),
        ("- a\n", ":1:1", "", "not a mapping of keys", "known keys"),
        ("a: [\n", ":2:1", "", "not YAML", ""),
        ("a: *x\n", ":1:4", "", "not YAML: found undefined alias", ""),
        ("\x00", "", "", "not YAML", "UTF-8"),
    ],
)
def test_a_wrong_file_is_an_error_with_its_place(
    tmp_path: Path, file: str, where: str, key: str, message: str, hint: str
) -> None:
    (problem,) = problems(tmp_path, file=file, config=tmp_path / "outgate.yaml")
    assert problem.where == f"{tmp_path / 'outgate.yaml'}{where}"
    assert problem.key == key
    assert message in problem.message
    assert hint in problem.hint


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, file="listen: x\nworkers: 0\n", flags={"connect_to": ("y",)})
    assert [problem.key for problem in found] == ["listen", "workers", "--connect-to"]


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("OUTGATE_LISTEN", "x", "not ADDRESS:PORT"),
        ("OUTGATE_WORKERS", "-1", "not a whole number"),
        ("OUTGATE_WORKERS", "0", "not a value for this setting"),
        ("OUTGATE_WORKERS", "²", "not a whole number"),
        ("OUTGATE_ALLOW_ANONYMOUS", "maybe", "neither true nor false"),
        ("OUTGATE_CONNECT_TO", "a:1:b:1", "must be an IP address"),
    ],
)
def test_a_wrong_variable_is_an_error_with_its_name(tmp_path: Path, variable: str, text: str, message: str) -> None:
    (problem,) = problems(tmp_path, environ={variable: text})
    assert problem.key == variable
    assert message in problem.message


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("0", False), ("false", False)])
def test_a_switch_in_the_environment(tmp_path: Path, text: str, value: bool) -> None:
    environ = {"OUTGATE_ALLOW_ANONYMOUS": text}
    config = tmp_path / "outgate.yaml"
    assert load(tmp_path, environ=environ, file="allow_anonymous: true", config=config).allow_anonymous is value


def test_settings_are_frozen_and_there_are_no_others() -> None:
    settings = Settings(state=Path("/s"))
    with pytest.raises(FrozenInstanceError):
        settings.workers = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="unexpected"):
        Settings(verify_upstream=False)  # type: ignore[call-arg]


def test_verification_of_upstreams_is_no_setting() -> None:
    assert not [name for name in FIELDS if "verify" in name or "insecure" in name]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_STATE_HOME": "/x"}, Path("/x/outgate")),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/outgate"),
        ({"XDG_STATE_HOME": ""}, Path.home() / ".local/state/outgate"),
        ({}, Path.home() / ".local/state/outgate"),
    ],
)
def test_the_state_folder_follows_xdg(environ: dict[str, str], expected: Path, tmp_path: Path) -> None:
    assert default_state(environ) == expected
    assert load_settings({}, environ, tmp_path).state == expected


def test_usable_cores_are_those_of_this_process() -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))


# --- tokens ---


@pytest.mark.parametrize(
    ("listen", "policies", "anonymous", "required"),
    [
        ("127.0.0.1:0", 1, False, False),
        ("[::1]:0", 1, False, False),
        ("0.0.0.0:0", 1, False, True),
        ("10.0.0.1:0", 1, False, True),
        ("127.0.0.1:0", 2, False, True),
        ("0.0.0.0:0", 2, False, True),
        ("127.0.0.1:0", 1, True, False),
        ("0.0.0.0:0", 1, True, False),
    ],
)
def test_who_needs_a_token(listen: str, policies: int, anonymous: bool, required: bool) -> None:
    settings = Settings(listen=Listen.parse(listen), allow_anonymous=anonymous, state=Path("/s"))
    assert tokens_required(settings, policies) is required


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0"])
def test_anonymous_clients_of_several_policies_are_refused_at_start(listen: str) -> None:
    settings = Settings(listen=Listen.parse(listen), allow_anonymous=True, state=Path("/s"))
    with pytest.raises(OutgateError, match="--allow-anonymous needs exactly one policy, not 2") as error:
        tokens_required(settings, 2)
    assert "outgate env" in error.value.problems[0].hint
