"""The system's own folders as a sandbox sees them: read-only, without what is root's or leads out."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from proxy.errors import ConfigError
from proxy.sandbox.mount import Mount, MountKind, hidden, same

_FOLDERS = ("bin", "etc", "gnu", "lib", "lib32", "lib64", "libx32", "nix", "opt", "sbin", "usr")
_BREW = Path("/home/linuxbrew/.linuxbrew")
# New and empty. The host's hold sockets: of container engines, buses, agents, name services, displays.
_FRESH = ("/run", "/tmp", "/var", "/var/tmp")  # noqa: S108  paths inside the sandbox
_NEVER = tuple(Path(path) for path in ("/run", "/tmp", "/var/run", "/proc", "/sys", "/dev", "/var/tmp", "/boot"))  # noqa: S108
# Beside what others cannot read. Nix's daemon builds with a network of its own for everybody who reaches its socket.
_HIDDEN = (
    *("/nix/var/nix/daemon-socket", "/etc/docker", "/etc/kubernetes", "/etc/rancher", "/etc/letsencrypt"),
    *("/etc/ssl/private", "/etc/pki/tls/private"),
)
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",  # SUSE; a link to /var/lib
    "/etc/ssl/certs/ca-bundle.crt",  # NixOS
    "/etc/ssl/cert.pem",  # Alpine
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",  # Arch
)
MAX_ENTRIES = 20_000
"""So many entries of /etc are looked at."""


def system(uid: int, root: Path = Path("/")) -> Iterator[Mount]:
    """The system's folders, and fresh ones. `root` is where they are looked for."""
    for name in _FOLDERS:
        folder = root / name
        if folder.is_symlink():
            yield Mount(MountKind.SYMLINK, f"/{name}", str(folder.readlink()))
        elif folder.is_dir():
            yield Mount(MountKind.RO, f"/{name}", str(folder))
    if _BREW.is_dir():
        yield same(MountKind.RO, _BREW)
    yield Mount(MountKind.PROC, "/proc")
    if uid == 0:
        yield from _kernel()
    yield Mount(MountKind.DEV, "/dev")
    for target in _FRESH:
        yield Mount(MountKind.TMPFS, target)
    yield from (hidden(path, folder=True) for path in map(Path, _HIDDEN) if _real_folder(path))
    yield from private(Path("/etc"), uid)


def private(folder: Path, uid: int) -> Iterator[Mount]:
    """Masks for what in a folder not everybody may read, but we may: as root that is every key on the machine."""
    waiting, left = [folder], MAX_ENTRIES
    while waiting and left > 0:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        left -= len(entries)
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                if mode & 0o005 == 0o005:
                    waiting.append(Path(entry.path))
                elif uid == 0 or os.access(entry.path, os.X_OK):
                    yield hidden(Path(entry.path), folder=True)
            elif stat.S_ISREG(mode) and not mode & 0o004 and (uid == 0 or os.access(entry.path, os.R_OK)):
                yield hidden(Path(entry.path), folder=False)


def _kernel() -> Iterator[Mount]:
    """What root's user id alone, without any capability, could change or read of the kernel by /proc.

    Where a core file goes to is one of these settings, and the kernel starts a program that is named there, outside.
    """
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() or entry.is_symlink():
            continue
        if entry.is_dir():
            yield same(MountKind.RO, Path(entry.path))
        elif not (mode := entry.stat().st_mode) & 0o004:
            yield hidden(Path(entry.path), folder=False)
        elif mode & 0o222:
            yield same(MountKind.RO, Path(entry.path))


def trusted(bundle: Path) -> Iterator[Mount]:
    """Our bundle in the place of the system's, wherever this one keeps it."""
    found = dict.fromkeys(os.path.realpath(path) for path in _BUNDLES if Path(path).is_file())
    for path in found:
        if path.startswith(("/etc/", "/usr/", "/nix/", "/var/lib/")):
            yield Mount(MountKind.RO, path, str(bundle))


def added(folders: Iterable[str], home: Path, secret: Iterable[Path]) -> Iterator[Mount]:
    """The folders that a profile adds. Raises `ConfigError` for one that would open what is closed."""
    closed = (*_NEVER, home, *secret)
    for text in folders:
        path = Path(os.path.realpath(text))
        for each in closed:
            if each.is_relative_to(path) or path.is_relative_to(each):
                hint = "name a folder below /opt, /srv or /var/lib, or `home: read:` for one of the home folder"
                raise ConfigError(f"`system` cannot show {text}: it is, holds or is in {each}", hint)
        if path.exists():
            yield same(MountKind.RO, path)
            if str(path) != text:
                yield Mount(MountKind.SYMLINK, text, str(path))


def is_system(path: Path) -> bool:
    """Whether a path, free of links, is one of the system's folders, is in one, or holds one."""
    if path.is_relative_to("/usr/src") or path.is_relative_to("/usr/local/src"):
        return len(path.parts) <= len(Path("/usr/local/src" if "local" in path.parts[:3] else "/usr/src").parts)
    inside = ("/usr", "/etc", "/boot", "/dev", "/proc", "/sys", "/run", "/bin", "/sbin", "/nix", "/gnu")
    exactly = ("/", "/opt", "/var", "/var/lib", "/var/tmp", "/tmp", "/home", "/srv", "/mnt", "/media")  # noqa: S108
    return str(path) in exactly or str(path).startswith("/lib") or any(path.is_relative_to(each) for each in inside)


def _real_folder(path: Path) -> bool:
    return path.is_dir() and os.path.realpath(path) == str(path)
