"""Why bubblewrap could not make a sandbox on this machine, and what to change."""

from pathlib import Path

from proxy.errors import ConfigError

_RESTRICTED = "kernel/apparmor_restrict_unprivileged_userns"
_CLONE = "kernel/unprivileged_userns_clone"
_MOST = "user/max_user_namespaces"
_APPARMOR = """\
write these lines to /etc/apparmor.d/bwrap and run `apparmor_parser -r /etc/apparmor.d/bwrap` as root:
  abi <abi/4.0>,
  profile bwrap /usr/bin/bwrap flags=(unconfined) {
    userns,
  }"""
_CONTAINER = (
    "this looks like a container that may make none: start it with --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined --security-opt systempaths=unconfined, or run Outgate outside of it"
)
_NO_NAMESPACES = (
    "new namespace",
    "uid map",
    "gid map",
    "make / slave",
    "loopback",
    "pivot_root",
    "mount proc",
    "setgroups",
)


def hindrance(stderr: str, sysctl: Path = Path("/proc/sys"), root: Path = Path("/")) -> ConfigError:
    """What bubblewrap's own words mean here. `sysctl` and `root` are where the machine's settings are read."""
    words = " ".join(stderr.replace("bwrap: ", "").split())[:300] or "it said nothing"
    said = "".join(letter if letter.isprintable() else "?" for letter in words)
    if any(words in said for words in _NO_NAMESPACES):
        return ConfigError(f"this machine lets no user make a sandbox: {said}", _namespaces(sysctl, root))
    if "execvp" in said:
        return ConfigError(f"the command cannot be started in the sandbox: {said}", _PROGRAM)
    if "Can't find source path" in said or "Can't create file" in said or "Can't mkdir" in said:
        return ConfigError(f"the sandbox's files changed while it was made: {said}", "try again")
    if "seccomp" in said:
        return ConfigError(
            f"the kernel takes no filter of system calls: {said}", "use a kernel with CONFIG_SECCOMP_FILTER"
        )
    if "Unknown option" in said:
        return ConfigError(f"bubblewrap is too old: {said}", "install a newer one")
    return ConfigError(f"the sandbox could not be made: {said}", "`outgate doctor` looks at each part of it")


_PROGRAM = (
    "inside there are the system's folders, the project and what the profile reads of the home folder; "
    "install the command there, or add its folder to `home: read:` of a profile"
)


def _namespaces(sysctl: Path, root: Path) -> str:
    """The setting that stands in the way, with what changes it."""
    if _value(sysctl / _CLONE) == "0":
        return "run as root: sysctl -w kernel.unprivileged_userns_clone=1 (and put it into /etc/sysctl.d/)"
    if _value(sysctl / _MOST) == "0":
        return "run as root: sysctl -w user.max_user_namespaces=15000 (and put it into /etc/sysctl.d/)"
    if _value(sysctl / _RESTRICTED) == "1":
        return _APPARMOR
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return _CONTAINER
    return "user namespaces are closed here: ask who runs this machine, or use a container (docs/run.md)"


def _value(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
