"""The home folder of a sandbox: new and empty, but for what the profile reads of the real one and keeps of its own."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from proxy.errors import ConfigError
from proxy.sandbox.links import links
from proxy.sandbox.masks import holds_secret
from proxy.sandbox.mount import Mount, MountKind, hidden
from proxy.sandbox.profile import Profile

# Never shown, whatever a profile reads: here is where programs keep keys, sessions and passwords.
SECRETS = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".password-store", ".pki", ".config/gcloud", ".config/gh"),
    *(".config/glab-cli", ".config/hub", ".config/op", ".config/rclone", ".config/github-copilot", ".config/sops"),
    *(".local/share/keyrings", ".mozilla", ".config/google-chrome", ".config/chromium", ".thunderbird", ".vault-token"),
    *(
        ".git-credentials",
        ".config/git/credentials",
        ".netrc",
        ".pgpass",
        ".my.cnf",
        ".pypirc",
        ".yarnrc.yml",
    ),
    *(".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials", ".m2/settings.xml"),
    *(".m2/settings-security.xml", ".gradle/gradle.properties", ".docker/config.json", ".config/containers/auth.json"),
    *(".terraform.d/credentials.tfrc.json", ".terraformrc", ".composer/auth.json", ".config/composer/auth.json"),
    *(".config/configstore", ".huggingface/token", ".cache/huggingface/token", ".config/hcloud", ".config/doctl"),
    *(".claude/.credentials.json", ".codex/auth.json", ".gemini/oauth_creds.json", ".local/share/opencode/auth.json"),
    *(".bash_history", ".zsh_history", ".python_history", ".node_repl_history", ".psql_history", ".mysql_history"),
)


def home_mounts(home: Path, kept: Path, profile: Profile, writable: Path, notes: list[str]) -> Iterator[Mount]:
    """The home folder and what is in it. `writable` is the project, which the last sandbox may have changed.

    `notes` gets what was left out for what is in it. Raises `ConfigError` for an entry that would show a place of
    secrets, or that cannot be kept.
    """
    yield Mount(MountKind.TMPFS, str(home))
    for name in profile.read:
        if (place := secret_place(name)) is not None:
            hint = "remove it: the sandbox gets a fake, and the proxy sends the real one where the policy says"
            raise ConfigError(f"the profile {profile.name} reads {name}, where secrets are ({place})", hint)
        yield from _read(home, name, writable, notes)
    for name in profile.keep:
        yield Mount(MountKind.RW, str(home / name), str(_kept(kept, name)))


def secret_place(name: str) -> str | None:
    """The place of secrets that a path from the home folder on is, or is in."""
    path = f"{Path(name)}/"
    return next((place for place in SECRETS if path.startswith(f"{place}/")), None)


def _read(home: Path, name: str, writable: Path, notes: list[str]) -> Iterator[Mount]:
    """One entry, if it is there, with masks for the secrets in it."""
    place = home / name
    real = Path(os.path.realpath(place))
    if not real.exists() or not _may_show(home, place, real, writable):
        return
    if real.is_file():
        if holds_secret(real, place.name):
            notes.append(f"~/{name} is left out: it holds a key or a password")
        else:
            yield Mount(MountKind.RO, str(place), str(real))
        return
    yield Mount(MountKind.RO, str(place), str(real))
    for each in _names(real):
        if holds_secret(real / each, each) and (real / each).is_file():
            notes.append(f"~/{name}/{each} looks empty: it holds a key or a password")
            yield hidden(place / each, folder=False)
    for secret in SECRETS:
        inside = home / secret
        if inside.is_relative_to(place) and (found := real / inside.relative_to(place)).exists():
            if not found.is_symlink():
                yield hidden(inside, folder=found.is_dir())


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  names are enough
    except OSError:
        return []


def _may_show(home: Path, place: Path, real: Path, writable: Path) -> bool:
    """Whether what a path leads to may be shown: it stays in the home or the system, and no link on its way was ours.

    A sandbox that could write a link in its project could otherwise have turned it to a place of secrets.
    """
    if real == home or home.is_relative_to(real):
        return False
    if real.is_relative_to(home) and secret_place(str(real.relative_to(home))) is not None:
        return False
    if any(link.is_relative_to(writable) for link, _ in links(place)):
        return False
    return real.is_relative_to(home) or re.match(r"/(?:usr|opt|nix|gnu|home/linuxbrew)/", str(real)) is not None


def kept_folder(kept: Path, name: str) -> Path:
    """The folder of the host behind an entry of `keep`.

    All of them lie side by side, so that none is in one that a sandbox writes: it could put a link in its place.
    """
    return kept / name.replace("%", "%25").replace("/", "%2F")


def _kept(kept: Path, name: str) -> Path:
    folder = kept_folder(kept, name)
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        raise ConfigError("what a sandbox keeps is a folder, and this is none", "move it away", str(folder))
    return folder
