"""Which changes of policy files are noticed, and when."""

import os
from pathlib import Path

import pytest

from proxy import watch
from proxy.watch import Watch, snapshot


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_TIME", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text("one")
    (tmp_path / "b.yml").write_text("two")
    return tmp_path


def watching(*paths: Path) -> Watch:
    return Watch(paths, snapshot(paths))


def test_nothing_is_due_while_nothing_changes(folder: Path) -> None:
    it = watching(folder)
    assert [it.due() for _ in range(3)] == [False] * 3


def grow(folder: Path) -> None:
    (folder / "a.yaml").write_text("one and more")


def same_size_and_time(folder: Path) -> None:
    file = folder / "a.yaml"
    before = file.stat()
    file.write_text("eno")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def add(folder: Path) -> None:
    (folder / "c.yaml").write_text("three")


def remove(folder: Path) -> None:
    (folder / "b.yml").unlink()


def lock(folder: Path) -> None:
    (folder / "a.yaml").chmod(0)


def relink(folder: Path) -> None:
    (folder / "other").write_text("one")
    (folder / "link").symlink_to("other")
    (folder / "link").replace(folder / "a.yaml")


@pytest.mark.parametrize("change", [grow, same_size_and_time, add, remove, lock, relink])
def test_a_change_is_due_once_it_rests_and_until_it_is_read(folder: Path, change: object) -> None:
    it = watching(folder)
    assert callable(change)
    change(folder)
    assert [it.due() for _ in range(3)] == [False, True, True]
    it.begin()
    assert [it.due() for _ in range(3)] == [False] * 3


def test_what_does_not_rest_is_not_due(folder: Path) -> None:
    it = watching(folder)
    for size in range(4):
        (folder / "a.yaml").write_text("x" * (size + 10))
        assert not it.due()
    assert it.due()


def test_files_that_change_while_they_are_read_are_due_again(folder: Path) -> None:
    it = watching(folder)
    it.begin()
    assert it.steady()
    grow(folder)
    assert not it.steady()
    assert [it.due() for _ in range(2)] == [False, True]


def test_what_is_no_policy_is_not_looked_at(folder: Path) -> None:
    it = watching(folder)
    for name in ("notes.txt", ".a.yaml.swp", ".hidden.yaml", "a.yaml~"):
        (folder / name).write_text("x")
    assert [it.due() for _ in range(2)] == [False] * 2


def test_a_file_is_watched_with_all_that_it_could_extend(folder: Path) -> None:
    it = watching(folder / "a.yaml")
    add(folder)
    assert [it.due() for _ in range(2)] == [False, True]


def test_a_folder_that_goes_away_is_a_change(tmp_path: Path, folder: Path) -> None:
    it = watching(folder / "sub", folder)
    assert not it.due()
    (folder / "sub").mkdir()
    assert [it.due() for _ in range(2)] == [False, True]


def test_what_cannot_be_looked_at_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(self: Path, **_: object) -> object:
        raise PermissionError(13, "Permission denied", str(self))

    it = watching(tmp_path / "file.yaml", Path("nul\0"))
    (tmp_path / "file.yaml").write_text("x")
    assert [it.due() for _ in range(2)] == [False, True]
    monkeypatch.setattr(Path, "stat", locked)
    monkeypatch.setattr(Path, "iterdir", locked)
    assert [it.due() for _ in range(2)] == [False, True]


def test_after_a_failure_a_file_that_was_missing_is_waited_for(folder: Path) -> None:
    it = watching(folder)
    it.begin()
    it.wait_for([folder / "secret"])
    assert [it.due() for _ in range(2)] == [False] * 2
    (folder / "secret").write_text("x")
    assert [it.due() for _ in range(2)] == [False, True]


def test_what_is_to_be_tried_again_is_due(folder: Path) -> None:
    it = watching(folder)
    it.begin()
    it.again()
    assert it.due()
