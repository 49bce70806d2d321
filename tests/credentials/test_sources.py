"""Where secrets are read from, and what is said when they cannot be."""

import os
from pathlib import Path

import pytest

from proxy.credentials.sources import CredentialUnavailable, EnvSource, FileSource, SecretStore, parse_source
from proxy.errors import ConfigError
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import HostPattern


def spec(name: str, source: str) -> CredentialSpec:
    return CredentialSpec(name, source, (HostPattern("api.example.com"),), inject=Inject(bearer=True))


def store(environ: dict[str, str] | None = None, **sources: str) -> SecretStore:
    return SecretStore({name: spec(name, source) for name, source in sources.items()}, environ or {})


def test_the_two_sources_are_read() -> None:
    assert parse_source("env:GITHUB_TOKEN") == EnvSource("GITHUB_TOKEN")
    assert parse_source("file:/run/secrets/token") == FileSource("/run/secrets/token")


@pytest.mark.parametrize(
    "text",
    [
        *("", "GITHUB_TOKEN", "env", "env:", "env:1A", "env:A B", "env:A-B", "env:Ä", "ENV:A", "vault:x"),
        *("sk-ant-api03-xyz", "file:", "file:token", "file:./token", "file:~/token", "file:///run/token", "file:/a\0b"),
    ],
)
def test_another_source_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_source(text)
    problem = caught.value.problems[0]
    assert "write " in problem.hint
    assert "sk-ant-api03" not in problem.message + problem.hint


def test_the_store_refuses_a_bad_source_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="credential one: not a source"):
        store(one="nowhere")


def test_a_variable_is_read() -> None:
    secrets = store({"TOKEN": "value-of-token\n"}, one="env:TOKEN")
    secrets.load_all()
    assert secrets.get("one").reveal() == b"value-of-token"
    assert secrets.get("one") is secrets.get("one")


def test_start_up_tells_of_every_secret_that_cannot_be_read_and_of_no_value(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("tiny123")
    secrets = store(
        {"SPACED": "secret with spaces"},
        unset="env:UNSET",
        spaced="env:SPACED",
        short=f"file:{short}",
        gone=f"file:{tmp_path}/gone",
    )
    with pytest.raises(ConfigError) as caught:
        secrets.load_all()
    texts = [problem.message for problem in caught.value.problems]
    assert texts == [
        "credential unset (env:UNSET): the environment variable is not set",
        "credential spaced (env:SPACED): the value holds white space, control or non-ASCII characters",
        f"credential short (file:{short}): the value is shorter than 8 characters",
        f"credential gone (file:{tmp_path}/gone): the file cannot be read: no such file or directory",
    ]
    assert all(problem.hint for problem in caught.value.problems)
    everything = "".join(problem.message + problem.hint for problem in caught.value.problems)
    assert "tiny123" not in everything
    assert "secret with" not in everything


def test_at_run_time_the_error_names_the_credential_but_no_path(tmp_path: Path) -> None:
    with pytest.raises(CredentialUnavailable) as caught:
        store(gone=f"file:{tmp_path}/gone").get("gone")
    assert (caught.value.name, caught.value.why) == ("gone", "the file cannot be read: no such file or directory")
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_unknown_credential_is_unavailable() -> None:
    with pytest.raises(CredentialUnavailable, match="no such credential"):
        store().get("other")


def test_a_rotated_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first-value")
    secrets = store(one=f"file:{path}")
    first = secrets.get("one")
    assert first.reveal() == b"first-value"
    assert secrets.get("one") is first
    (tmp_path / "new").write_text("other-value")  # of the same size and time: the inode tells
    os.utime(tmp_path / "new", ns=(0, path.stat().st_mtime_ns))
    (tmp_path / "new").replace(path)
    assert secrets.get("one").reveal() == b"other-value"
    path.write_text("a-longer-value")
    assert secrets.get("one").reveal() == b"a-longer-value"
    before = path.stat()
    path.write_text("b-longer-value")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert secrets.get("one").reveal() == b"b-longer-value"


def test_a_file_taken_away_or_broken_takes_the_secret_away_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first-value")
    secrets = store(one=f"file:{path}")
    secrets.load_all()
    path.unlink()
    with pytest.raises(CredentialUnavailable, match="no such file"):
        secrets.get("one")
    path.write_text("")
    with pytest.raises(CredentialUnavailable, match="the value is empty"):
        secrets.get("one")
    with pytest.raises(CredentialUnavailable, match="the value is empty"):
        secrets.get("one")
    path.write_text("second-value")
    assert secrets.get("one").reveal() == b"second-value"


def test_only_a_regular_file_of_64_kib_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"x" * (64 * 1024 + 1))
    (tmp_path / "full").write_bytes(b"x" * 64 * 1024)
    (tmp_path / "link").symlink_to(tmp_path / "full")
    names = ("fifo", "large", "full", "link", "folder")
    (tmp_path / "folder").mkdir()
    secrets = store({}, **{name: f"file:{tmp_path}/{name}" for name in names})
    for name, why in (("fifo", "not a regular file"), ("large", "larger than 64 KiB"), ("folder", "is a directory")):
        with pytest.raises(CredentialUnavailable, match=why):
            secrets.get(name)
    assert len(secrets.get("full").reveal()) == len(secrets.get("link").reveal()) == 64 * 1024
    with pytest.raises(CredentialUnavailable, match="larger than 64 KiB"):
        store({"LARGE": "x" * (64 * 1024 + 1)}, one="env:LARGE").get("one")
