"""How bubblewrap is found, told, and understood."""

import re
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.sandbox import bubblewrap
from proxy.sandbox.hindrance import hindrance
from proxy.sandbox.layout import Layout, Mount, MountKind, lay_out
from proxy.sandbox.mount import EMPTY
from tests.sandbox.box import Box


def program(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "bwrap").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bwrap").chmod(0o755)


@pytest.mark.parametrize("said", ["bubblewrap 0.5.0", "bubblewrap 0.11.0", "bubblewrap 1.0"])
def test_a_program_that_is_new_enough_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    program(tmp_path / "bin", f"echo {said}")
    monkeypatch.setattr(bubblewrap, "_FOLDERS", (str(tmp_path / "none"), str(tmp_path / "bin")))
    assert bubblewrap.find() == tmp_path / "bin/bwrap"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo bubblewrap 0.4.1", "too old: 0.4, and 0.5 is needed"),
        ("echo nonsense", "too old: an unknown version"),
        ("exit 1", "cannot be started"),
        (None, "bubblewrap is not installed"),
    ],
)
def test_what_is_missing_is_said_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str
) -> None:
    if text is not None:
        program(tmp_path / "bin", text)
    monkeypatch.setattr(bubblewrap, "_FOLDERS", (str(tmp_path / "bin"),))
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        bubblewrap.find()
    assert "apt-get install bubblewrap" in error.value.problems[0].hint


def test_a_program_on_path_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "echo bubblewrap 9.9")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(bubblewrap, "_FOLDERS", (str(tmp_path / "none"),))
    with pytest.raises(ConfigError):
        bubblewrap.find()


def test_every_kind_of_entry_has_its_words() -> None:
    mounts = (
        Mount(MountKind.RO, "/usr", "/usr"),
        Mount(MountKind.RW, "/p", "/q"),
        Mount(MountKind.TMPFS, "/tmp"),  # noqa: S108
        Mount(MountKind.TMPFS, "/run"),
        Mount(MountKind.HIDDEN, "/p/.aws"),
        Mount(MountKind.HIDDEN, "/p/.env", str(EMPTY)),
        Mount(MountKind.PROC, "/proc"),
        Mount(MountKind.DEV, "/dev"),
        Mount(MountKind.SYMLINK, "/bin", "usr/bin"),
    )
    words = bubblewrap.arguments(Path("/b"), Layout(mounts, "/p", "/h", (), (), ()), seccomp=7, hostname="box")
    text = " ".join(words)
    assert text.startswith("/b --unshare-user --unshare-ipc --unshare-pid --unshare-net --unshare-uts ")
    assert (
        "--unshare-cgroup-try --die-with-parent --cap-drop ALL --hostname box --seccomp 7 --ro-bind /usr /usr" in text
    )
    assert "--bind /p /q".replace("/p /q", "/q /p") in text
    assert "--perms 1777 --tmpfs /tmp --perms 0755 --tmpfs /run" in text
    assert f"--perms 0555 --tmpfs /p/.aws --remount-ro /p/.aws --ro-bind {EMPTY} /p/.env" in text
    assert text.endswith("--proc /proc --dev /dev --symlink usr/bin /bin --remount-ro / --chdir /p --")
    assert "--new-session" not in words
    assert {mount.kind for mount in mounts} == set(MountKind)


def test_the_masking_file_is_empty_and_there(paper: Box) -> None:
    assert EMPTY.read_bytes() == b""
    paper.write("project/.env")
    assert Mount(MountKind.HIDDEN, str(paper.project / ".env"), str(EMPTY)) in lay_out(paper.wanted()).mounts


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"kernel/unprivileged_userns_clone": "0"}, "sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"user/max_user_namespaces": "0"}, "sysctl -w user.max_user_namespaces="),
        ({"kernel/apparmor_restrict_unprivileged_userns": "1"}, "/etc/apparmor.d/bwrap"),
        ({"kernel/unprivileged_userns_clone": "1", "user/max_user_namespaces": "9"}, "ask who runs this machine"),
        ({".dockerenv": ""}, "--security-opt seccomp=unconfined"),
    ],
)
@pytest.mark.parametrize(
    "said",
    [
        "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user "
        "namespaces. See <https://deb.li/bubblewrap> or <file:///usr/share/doc/bubblewrap/README.Debian.gz>.",
        "bwrap: Creating new namespace failed: Operation not permitted",
        "bwrap: setting up uid map: Permission denied",
        "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted",
        "bwrap: Failed to make / slave: Permission denied",
    ],
)
def test_what_stands_in_the_way_is_named(tmp_path: Path, settings: dict[str, str], hint: str, said: str) -> None:
    for name, value in settings.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    problem = hindrance(said, tmp_path, tmp_path).problems[0]
    assert "lets no user make a sandbox" in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("bwrap: execvp claude: No such file or directory", "the command cannot be started in the sandbox"),
        ("bwrap: Can't find source path /p: No such file or directory", "files changed while it was made"),
        ("bwrap: Unknown option --perms", "too old"),
        ("bwrap: prctl(PR_SET_SECCOMP): Invalid argument\nseccomp", "takes no filter"),
        ("something\x1b else", "could not be made: something? else"),
        ("", "it said nothing"),
    ],
)
def test_other_failures_are_told_apart(said: str, message: str) -> None:
    problem = bubblewrap.explain(said).problems[0]
    assert message in problem.message
    assert problem.hint


def test_a_real_failure_is_understood(box: Box) -> None:
    done = box.run(["/nowhere/command"])
    assert done.returncode == 1
    assert "cannot be started in the sandbox" in bubblewrap.explain(done.stderr).problems[0].message
