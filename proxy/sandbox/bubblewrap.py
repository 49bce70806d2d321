"""bubblewrap: where it is, how it is told what to make, and what it means when it fails."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from proxy.errors import ConfigError
from proxy.sandbox.layout import Layout, Mount, MountKind

# Not PATH: an entry of it can lie in a project, and so be written by what was inside the last sandbox.
_FOLDERS = (
    *("/usr/bin", "/usr/local/bin", "/bin", "/run/wrappers/bin", "/run/current-system/sw/bin"),
    *("/nix/var/nix/profiles/default/bin", "/home/linuxbrew/.linuxbrew/bin"),
)
_OLDEST = (0, 5)  # the first with --perms
_INSTALL = (
    "install it: `apt-get install bubblewrap` (Debian, Ubuntu), `dnf install bubblewrap` (Fedora, RHEL), "
    "`apk add bubblewrap` (Alpine), `pacman -S bubblewrap` (Arch), `zypper install bubblewrap` (SUSE)"
)
_NAMESPACES = ("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts")


def find() -> Path:
    """The program, 0.5 or later. Raises `ConfigError` with the package to install."""
    path = next((path for folder in _FOLDERS if (path := Path(folder, "bwrap")).is_file()), None)
    if path is None:
        raise ConfigError("bubblewrap is not installed", _INSTALL)
    try:
        done = subprocess.run(
            [path, "--version"],
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        raise ConfigError("bubblewrap cannot be started", _INSTALL, str(path)) from None
    found = re.search(r"(\d+)\.(\d+)", done.stdout)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        said = found[0] if found else "an unknown version"
        raise ConfigError(f"bubblewrap is too old: {said}, and 0.5 is needed", _INSTALL, str(path))
    return path


def arguments(bwrap: Path, layout: Layout, *, seccomp: int, hostname: str) -> list[str]:
    """The command up to and including `--`. `seccomp` is the number of a descriptor with the filter.

    No --new-session: agents need their terminal and its Ctrl-C, so the filter keeps them from typing into it.
    """
    return [
        *(str(bwrap), *_NAMESPACES, "--unshare-cgroup-try", "--die-with-parent", "--cap-drop", "ALL"),
        *("--hostname", hostname, "--seccomp", str(seccomp)),
        *(word for mount in layout.mounts for word in _words(mount)),
        *("--remount-ro", "/", "--chdir", layout.workdir, "--"),
    ]


def _words(mount: Mount) -> Iterator[str]:
    match mount.kind:
        case MountKind.RO:
            yield from ("--ro-bind", mount.source, mount.target)
        case MountKind.RW:
            yield from ("--bind", mount.source, mount.target)
        case MountKind.TMPFS:
            yield from ("--perms", _mode(mount.target), "--tmpfs", mount.target)
        case MountKind.HIDDEN if mount.source:
            yield from ("--ro-bind", mount.source, mount.target)
        case MountKind.HIDDEN:
            yield from ("--perms", "0555", "--tmpfs", mount.target, "--remount-ro", mount.target)
        case MountKind.PROC:
            yield from ("--proc", mount.target)
        case MountKind.DEV:
            yield from ("--dev", mount.target)
        case MountKind.SYMLINK:
            yield from ("--symlink", mount.source, mount.target)


def _mode(target: str) -> str:
    return "1777" if target in ("/tmp", "/var/tmp") else "0755"  # noqa: S108  paths inside the sandbox


def explain(stderr: str) -> ConfigError:
    """What bubblewrap said, in our words."""
    from proxy.sandbox.hindrance import hindrance

    return hindrance(stderr)
