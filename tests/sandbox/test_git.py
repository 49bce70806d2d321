"""Which git folders a sandbox may write: what a former one wrote into the project is not believed."""

import os
import subprocess
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.sandbox.git import git_of
from proxy.sandbox.layout import MountKind, lay_out
from proxy.sandbox.made import made
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


def test_a_common_folder_of_its_own_is_held_and_may_stay(paper: Box) -> None:
    project = repository(paper.project)
    found = git_of(project)
    assert found.made == ((project / ".git/commondir", b".\n"),)
    with made(found.made):
        assert git_of(project).made == found.made  # as of a run that was killed, or beside this one
        git(project, "status")
    assert not (project / ".git/commondir").exists()


def test_what_is_made_stays_while_another_run_needs_it(paper: Box) -> None:
    file = paper.root / "made"
    with made([(file, b"x")]):
        with made([(file, b"x")]):
            pass
        assert file.read_bytes() == b"x"
    assert not file.exists()
    file.write_text("y")
    with pytest.raises(ConfigError, match="changed while"), made([(file, b"x")]):
        pass
    assert file.read_text() == "y"


@pytest.mark.parametrize("said", ["[extensions]\n\tworktreeConfig = true\n", "[include]\n\tpath = /nowhere\n"])
def test_a_configuration_of_a_worktree_s_own_is_held_where_git_would_read_one(paper: Box, said: str) -> None:
    project = repository(paper.project)
    git(project, "worktree", "add", "-q", "../tree")
    with (project / ".git/config").open("a") as file:
        file.write(said)
    assert {str(path.relative_to(project / ".git")) for path, _ in git_of(project).made} == {
        *("commondir", "config.worktree", "worktrees/tree/config.worktree")
    }


def test_repositories_in_the_project_are_held_as_it_is(paper: Box) -> None:
    project, library = repository(paper.project), repository(paper.root / "library")
    git(project, "submodule", "add", "-q", str(library), "sub")
    repository(project / "deep/embedded")
    (project / "linked").mkdir()
    (project / "linked/.git").symlink_to("../.git")
    shown = {mount.target: mount.kind for mount in lay_out(paper.wanted()).mounts}
    for name in ("sub/.git", "deep/embedded/.git/config", "deep/embedded/.git/hooks", "deep/embedded/.git/commondir"):
        assert shown[str(project / name)] is MountKind.RO, name
    assert str(project / "linked/.git") not in shown


CONFIGURATION = """
[include]
    path = ../included
[includeIf "onbranch:x"]
    path = {project}/conditional
[core]
    hooksPath = hooks
    fsmonitor = ./tool --fast
    editor = vi
[filter "x"]
    clean = node deep/clean.js %f
    smudge = cat
[user]
    name = README
"""


def test_what_git_s_configuration_names_in_the_project_is_held(paper: Box) -> None:
    project = repository(paper.project)
    for name in ("conditional", "tool", "deep/clean.js", "hooks/x", "README", "further"):
        paper.write(f"project/{name}", "")
    paper.write("project/included", "[include]\n\tpath = further\n")
    (project / ".git/config").write_text(CONFIGURATION.format(project=project))
    layout = lay_out(paper.wanted(search_path=(*os.environ["PATH"].split(":"), str(project / "hooks"))))
    assert set(layout.readonly) == {
        *(".git/config", ".git/hooks", "included", "conditional", "further", "hooks", "tool", "deep/clean.js")
    }
    (project / "conditional").unlink()
    with pytest.raises(ConfigError, match="the sandbox could make it"):
        lay_out(paper.wanted(search_path=tuple(os.environ["PATH"].split(":"))))
