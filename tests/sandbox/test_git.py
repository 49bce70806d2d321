"""Which git folders a sandbox may write: what a former one wrote into the project is not believed."""

import os
import subprocess
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.sandbox.git import git_of
from proxy.sandbox.layout import MountKind, lay_out
from tests.sandbox.box import Box

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "file",
} | {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *command: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", *command], cwd=folder, check=True, env=ENVIRONMENT, capture_output=True)


def repository(folder: Path) -> Path:
    git(folder, "init", "-q", ".")
    git(folder, "commit", "-qm", "x", "--allow-empty")
    return folder


def held(paths: tuple[Path, ...], root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in paths}


def test_of_a_repository_hooks_and_configuration_are_held(paper: Box) -> None:
    project = repository(paper.project)
    found = git_of(project)
    assert (found.outside, found.empty, found.note) == (None, (), "")
    assert held(found.readonly, project) == {".git/config", ".git/hooks"}


def test_without_hooks_there_may_be_none(paper: Box) -> None:
    project = repository(paper.project)
    (project / ".git/hooks").rename(project / ".git/gone")
    assert held(git_of(project).empty, project) == {".git/hooks"}


def test_submodules_and_worktrees_in_it_are_held_as_well(paper: Box) -> None:
    project, library = repository(paper.project), repository(paper.root / "library")
    git(project, "submodule", "add", "-q", str(library), "deep/library")
    git(project, "worktree", "add", "-q", "../tree")
    assert held(git_of(project).readonly, project / ".git") == {
        *("config", "hooks", "modules/deep/library/config", "modules/deep/library/hooks"),
        *("worktrees/tree/commondir", "worktrees/tree/gitdir"),
    }


def test_a_worktree_writes_the_repository_that_knows_it(paper: Box) -> None:
    main = repository(paper.root / "main")
    git(main, "worktree", "add", "-q", "../tree")
    tree = paper.root / "tree"
    found = git_of(tree)
    assert found.outside == main / ".git"
    assert {tree / ".git", main / ".git/hooks", main / ".git/worktrees/tree/commondir"} <= set(found.readonly)
    mounts = lay_out(paper.wanted(project=tree, workdir=tree)).mounts
    shown = {mount.target: mount.kind for mount in mounts if Path(mount.target).is_relative_to(main)}
    assert shown[str(main / ".git")] is MountKind.RW
    assert shown[str(main / ".git/hooks")] is shown[str(main / ".git/config")] is MountKind.RO
    assert str(main) not in shown


def test_a_submodule_writes_its_own_folder_alone(paper: Box) -> None:
    main, library = repository(paper.root / "main"), repository(paper.root / "library")
    git(main, "submodule", "add", "-q", str(library), "sub")
    found = git_of(main / "sub")
    assert found.outside == main / ".git/modules/sub"
    assert held(found.readonly, main) == {"sub/.git", ".git/modules/sub/config", ".git/modules/sub/hooks"}


def test_a_pointer_to_what_does_not_point_back_opens_nothing(paper: Box) -> None:
    victim = repository(paper.root / "victim")
    git(victim, "worktree", "add", "-q", "../tree")
    planted = paper.project / "planted"
    planted.mkdir()
    (planted / "gitdir").write_text(f"{paper.project}/.git\n")
    (planted / "commondir").write_text(f"{victim}/.git\n")
    inside = paper.project / "worktrees/x"
    inside.mkdir(parents=True)
    (inside / "gitdir").write_text(f"{paper.project}/.git\n")
    (inside / "commondir").write_text(f"{victim}/.git\n")
    # Where it points: another repository, another's worktree, parts that a former sandbox made, nowhere.
    for target in (f"{victim}/.git", f"{victim}/.git/worktrees/tree", "planted", "worktrees/x", "/etc", "/nowhere", ""):
        (paper.project / ".git").write_text(f"gitdir: {target}\n")
        found = git_of(paper.project)
        assert found.outside is None, target
        assert "does not point back" in found.note
        assert found.readonly == (paper.project / ".git",)


@pytest.mark.parametrize("text", ["", "nonsense", "gitdir", "\0\xff" * 10_000])
def test_a_pointer_that_is_none_opens_nothing(paper: Box, text: str) -> None:
    (paper.project / ".git").write_text(text)
    assert git_of(paper.project).outside is None


def test_traps_of_a_former_sandbox_are_said(paper: Box) -> None:
    project = repository(paper.project)
    (project / ".git/commondir").write_text("/elsewhere")
    with pytest.raises(ConfigError, match="read its configuration from another folder"):
        git_of(project)
    (project / ".git/commondir").unlink()
    (project / ".git/hooks").rename(project / ".git/gone")
    (project / ".git/hooks").symlink_to("gone")
    with pytest.raises(ConfigError, match="hooks is a symbolic link"):
        git_of(project)


def test_a_link_in_the_place_of_git_s_folder_is_not_followed(paper: Box) -> None:
    victim = repository(paper.root / "victim")
    (paper.project / ".git").symlink_to(victim / ".git")
    assert git_of(paper.project).outside is None
