"""The state folder: modes, locks, atomic writes."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.state import (
    PRIVATE,
    PUBLIC,
    create_once,
    open_state,
    read_private,
    serving,
    write_atomic,
    write_json,
)

ROOT = Path(__file__).parents[1]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_state_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    state = open_state(tmp_path / "a" / "b")
    assert mode(state.root) == 0o700
    assert open_state(state.root) == state


def test_a_relative_state_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_state(Path("state")).root == tmp_path / "state"


@pytest.mark.parametrize("rights", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_in_is_refused(tmp_path: Path, rights: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(rights)
    with pytest.raises(ConfigError, match="others can write in the state folder") as error:
        open_state(folder)
    assert error.value.problems[0].hint == f"chmod 700 {folder}"


def test_a_folder_that_others_can_read_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    assert open_state(folder).root == folder


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match=r"cannot use the state folder|not a folder"):
        open_state(file)
    with pytest.raises(ConfigError, match="not a folder"):
        open_state(file, create=False)
    with pytest.raises(ConfigError, match="cannot use the state folder: not a directory"):
        open_state(file / "state")


def test_a_missing_folder_is_only_made_on_request(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no state folder"):
        open_state(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        open_state(folder)


_SERVE = """
import sys
from pathlib import Path
from proxy.state import StateDir, serving
with serving(StateDir(Path(sys.argv[1]))):
    pass
"""


def test_two_proxies_cannot_share_a_state_folder(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    command = [sys.executable, "-c", _SERVE, str(state.root)]
    with serving(state):
        with pytest.raises(ConfigError, match="another outgate serve uses this state folder"), serving(state):
            pass
        other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "another outgate serve uses this state folder" in other.stderr
    with serving(state):  # and the lock goes with its holder
        assert mode(state.lock) == PRIVATE


@pytest.mark.parametrize("rights", [PRIVATE, PUBLIC])
def test_a_written_file_has_its_mode_and_no_draft_stays(tmp_path: Path, rights: int) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one", rights)
    write_atomic(path, b"two", rights)
    assert path.read_bytes() == b"two"
    assert mode(path) == rights
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_a_file_narrows_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o666)
    write_atomic(path, b"secret", PRIVATE)
    assert mode(path) == PRIVATE


def test_a_symbolic_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "file"
    target.write_bytes(b"keep")
    path.symlink_to(target)
    write_atomic(path, b"new", PUBLIC)
    assert (target.read_bytes(), path.read_bytes()) == (b"keep", b"new")


def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert create_once(path, b"first", PRIVATE)
    assert not create_once(path, b"second", PRIVATE)
    assert path.read_bytes() == b"first"
    assert mode(path) == PRIVATE
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_error_that_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old", PUBLIC)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot write the file: no space left on device"):
        write_atomic(path, b"new", PUBLIC)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write the file: no such file or directory"):
        write_json(tmp_path / "none" / "ready.json", {})


def test_json_is_one_document_and_a_line_break(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1]})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {"a": [1]}
    assert text.endswith("}\n")


@pytest.mark.parametrize("rights", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, rights: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k")
    path.chmod(rights)
    with pytest.raises(ConfigError, match="others can read the key"):
        read_private(path)


def test_a_key_that_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.touch(mode=0o600)
    link.symlink_to(real)
    os.mkfifo(pipe, 0o600)
    with pytest.raises(ConfigError, match="cannot read the key: too many levels of symbolic links"):
        read_private(link)
    with pytest.raises(ConfigError, match="the key is not a plain file"):
        read_private(pipe)
    with pytest.raises(ConfigError, match="not a plain file"):
        read_private(tmp_path)
