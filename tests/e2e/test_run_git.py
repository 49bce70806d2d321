"""What a run leaves behind for git on the host: `git status` there starts nothing that came from inside."""

import subprocess
from pathlib import Path

import pytest

from tests.sandbox.test_git import ENVIRONMENT, git, repository
from tests.support.pki import Authority
from tests.support.running import Place
from tests.support.upstream import Upstream

pytestmark = pytest.mark.usefixtures("sandboxed")


@pytest.fixture
def place(tmp_path: Path, upstream: Upstream, authority: Authority) -> Place:
    (tmp_path / "started").mkdir()
    return Place(tmp_path, upstream, authority)


def started(place: Place, folder: Path) -> set[str]:
    """What `git status` on the host started of what was left, by its name."""
    subprocess.run(["git", "status"], cwd=folder, env=ENVIRONMENT, check=False, capture_output=True)
    return {path.name for path in (place.folder / "started").iterdir()}


def trap(place: Place, name: str, config: str, more: str = "") -> str:
    """A line of shell that writes a configuration which starts something."""
    command = f"touch '{place.folder}/started/{name}'; false"
    text = rf"[core]\nrepositoryformatversion = 0\nbare = false\n{more}\nfsmonitor = \"{command}\""
    return f"printf '%b\\n' \"{text}\" > {config}\n"


def copied(of: str, to: str) -> str:
    return f"mkdir -p {to}; cp -r {of}/HEAD {of}/objects {of}/refs {to}/\n"


def test_no_trap_in_a_repository_is_started_on_the_host(place: Place) -> None:
    project = repository(place.project)
    library = repository(place.folder / "library")
    git(project, "submodule", "add", "-q", str(library), "sub")
    repository(project / "embedded")
    (project / "own.gitconfig").write_text("[alias]\n\tst = status\n")
    (project / "scripts").mkdir()
    (project / "scripts" / "hook").write_text("#!/bin/sh\n")
    for key, value in (
        ("include.path", "../own.gitconfig"),
        ("core.hooksPath", "scripts"),
        ("extensions.worktreeConfig", "true"),
        ("core.repositoryFormatVersion", "1"),
    ):
        git(project, "config", key, value)
    git(project, "worktree", "add", "-q", "../tree")
    git(project, "add", ".")
    git(project, "commit", "-qm", "all of it")
    hook = f"#!/bin/sh\\ntouch '{place.folder}/started/hook'"
    done = place.shell(
        trap(place, "embedded", "embedded/.git/config")
        + trap(place, "include", "own.gitconfig")
        + trap(place, "worktree", ".git/config.worktree")
        + trap(place, "tree", ".git/worktrees/tree/config.worktree")
        + f"printf '%b\\n' \"{hook}\" > scripts/post-index-change; chmod +x scripts/post-index-change\n"
        + "touch -d 2001-01-01 scripts/hook own.gitconfig; printf x > new\n"
        + copied(".git/modules/sub", "pointed")
        + trap(place, "pointer", "pointed/config", "worktree = ../sub")
        + "echo 'gitdir: ../pointed' > sub/.git\n"
        + copied(".git", "common")
        + trap(place, "common", "common/config")
        + "echo ../common > .git/commondir\n"
        + "git -c user.name=a -c user.email=a@b commit -qm inside --allow-empty && git log -1 --format=%s\n"
    )
    assert done.stdout == "inside\n", done.stderr
    (project / "new").unlink()
    assert started(place, project) | started(place, place.folder / "tree") == set()
    assert not (project / ".git/commondir").exists()
    assert not (project / ".git/config.worktree").exists()


def test_a_worktree_leaves_nothing_in_the_main_repository(place: Place) -> None:
    main = repository(place.folder / "main")
    place.policy.unlink()
    place.policy.parent.rmdir()
    place.project.rmdir()
    git(main, "worktree", "add", "-q", "-b", "tree", str(place.project))
    place.__post_init__()
    folder = f"'{main}/.git'"
    done = place.shell(
        copied(folder, f"{folder}/evil")
        + trap(place, "main", f"{folder}/evil/config")
        + f"echo evil > {folder}/commondir\n"
        + trap(place, "own", f"{folder}/worktrees/*/config.worktree")
    )
    assert "Read-only file system" in done.stderr
    assert started(place, main) == set()
    assert not (main / ".git/commondir").exists()


def test_new_repositories_and_files_that_the_host_believes_are_said(place: Place) -> None:
    repository(place.project)
    done = place.shell(
        """
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        mkdir -p node_modules/lib && cd node_modules/lib && git init -q . && git commit -qm x --allow-empty && cd ../..
        git add -f node_modules/lib && git commit -qm lib
        mkdir -p docs/objects docs/refs && echo 'ref: refs/heads/main' > docs/HEAD
        echo 'connect_to: []' > outgate.yaml
        """
    )
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: new")]
    assert len(warnings) == 2, done.stderr
    assert "outgate.yaml" in warnings[0]
    assert "docs, node_modules/lib/.git" in warnings[1]


def test_what_the_host_replaces_during_a_run_is_said(place: Place) -> None:
    """A rename over a mount point takes the mount away: the kernel gives no way to keep it."""
    repository(place.project)
    (place.project / ".env").write_text("KEY=1")
    process = place.ready("sh", "-c", "echo ready; while [ ! -e go ]; do sleep 0.05; done")
    git(place.project, "config", "user.name", "somebody")
    (place.folder / "new").write_text("KEY=2")
    (place.folder / "new").rename(place.project / ".env")
    (place.project / "go").touch()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert (
        "warning: replaced on the host during the run, so not masked or read-only from then on: .git/config, .env"
        in said
    )
    assert not (place.project / ".git/commondir").exists()


def test_a_policy_that_the_host_replaces_during_a_run_stays_held(place: Place) -> None:
    """Its folder is held, and the proxy of a run serves to its end what it read at its start."""
    script = """
        echo ready; while [ ! -e go ]; do sleep 0.05; done
        (echo x >> policies/agent.yaml) 2>/dev/null && echo wrote
        for host in evil.example api.example.com; do curl -sS -o /dev/null -w '%{http_code} ' https://$host/; done
    """
    process = place.ready("sh", "-c", script)
    new = place.folder / "new.yaml"
    new.write_text(place.policy.read_text().replace("api.example.com", "evil.example"))
    new.rename(place.policy)
    (place.project / "go").touch()
    out, said = process.communicate(timeout=30)
    assert out == "403 200 ", said
