"""`outgate ca`."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proxy.ca import load
from proxy.state import open_state


def test_create_makes_the_ca_once(outgate: Any, folder: Path) -> None:
    first = outgate("ca", "create")
    assert (first.code, first.err) == (0, "")
    assert f"ca file             {folder}/xdg/outgate/ca.pem\n" in first.out
    second = outgate("ca", "create")
    assert (second.code, second.err) == (0, "there already is a CA; it was kept\n")
    assert second.out == first.out


def test_show_says_what_openssl_says(outgate: Any, folder: Path) -> None:
    outgate("ca", "create", "--state", "s")
    shown = json.loads(outgate("ca", "show", "--json", "--state", "s").out)
    command = ["openssl", "x509", "-in", "s/ca.pem", "-noout", "-subject", "-fingerprint", "-sha256"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert shown["sha256_fingerprint"] in said
    assert shown["subject"].removeprefix("CN=") in said
    assert shown["ca_file"] == str(folder / "s" / "ca.pem")
    assert (shown["key_type"], shown["not_before"][-1], shown["not_after"][4]) == ("ECDSA P-256", "Z", "-")
    plain = outgate("ca", "show", "--state", "s").out
    assert all(value in plain for value in shown.values())


def test_show_makes_nothing(outgate: Any, folder: Path) -> None:
    result = outgate("ca", "show", "--state", "s")
    assert (result.code, result.out) == (2, "")
    assert "there is no state folder" in result.err
    assert not (folder / "s").exists()
    (folder / "s").mkdir(mode=0o700)
    assert "there is no CA yet" in outgate("ca", "show", "--state", "s").err


def test_rotate_keeps_the_old_one_and_says_what_to_do(outgate: Any, folder: Path) -> None:
    outgate("ca", "create", "--state", "s")
    old = load(open_state(folder / "s")).fingerprint
    result = outgate("ca", "rotate", "--yes", "--state", "s")
    assert result.code == 0
    new = load(open_state(folder / "s")).fingerprint
    assert new != old
    assert new in result.out
    first, second, last = result.err.splitlines()
    assert Path(first.removeprefix("kept ")).exists()
    assert Path(second.removeprefix("kept ")).exists()
    assert last == "restart `outgate serve`; then every sandbox must fetch the new CA"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130), ("", 130)])
def test_rotate_asks_on_a_terminal(
    outgate: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    outgate("ca", "create", "--state", "s")
    old = load(open_state(folder / "s")).fingerprint
    monkeypatch.setattr("sys.stdin", _Terminal(answer))
    result = outgate("ca", "rotate", "--state", "s")
    assert result.code == code
    assert (load(open_state(folder / "s")).fingerprint == old) is (code != 0)


def test_rotate_needs_a_yes_where_nobody_can_be_asked(
    outgate: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outgate("ca", "create", "--state", "s")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    result = outgate("ca", "rotate", "--state", "s")
    assert result.code == 2
    assert result.err == "error: nobody is there to ask\nhint: run `outgate ca rotate --yes`\n"


def test_the_state_folder_can_come_from_the_environment_and_the_file(
    outgate: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "outgate.yaml").write_text("state: from-file\n")
    outgate("ca", "create")
    assert (folder / "from-file" / "ca.pem").exists()
    monkeypatch.setenv("OUTGATE_STATE", "from-environment")
    outgate("ca", "create")
    assert (folder / "from-environment" / "ca.pem").exists()


def test_a_damaged_ca_is_an_error(outgate: Any, folder: Path) -> None:
    outgate("ca", "create", "--state", "s")
    (folder / "s" / "ca.pem").write_text("rubbish")
    result = outgate("ca", "show", "--state", "s")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {folder}/s/ca.pem: the file holds no PEM certificate")
