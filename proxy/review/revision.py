"""Policies as a git revision holds them: its files in a folder of their own, so that the work tree is never touched.

Links are laid out only where they name a file beside them, so nothing outside the revision's folder is ever read.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from proxy.config.load import load_policies
from proxy.config.parse import MAX_BYTES
from proxy.errors import ConfigError
from proxy.policy.rules import Policy

_TIME = 60  # seconds for one call of git
_SHOWN = 200
_ENTRY = re.compile(rb"([0-7]{6}) (\w+) ([0-9a-f]{40,64}) +(-|[0-9]+)\t(.+)", re.DOTALL)
_LINK = b"120000"


def policies_of(revision: str, path: str) -> tuple[Policy, ...] | None:
    """The policies of the file or folder at `path` in a revision, with places as git names them.

    `path` is seen from the working folder. None where the revision has nothing there. Raises `ConfigError` for what is
    wrong with the policies, for a revision that does not exist, outside a repository, and without git.
    """
    with tempfile.TemporaryDirectory(prefix="outgate-") as name:
        folder = Path(os.path.realpath(name))
        laid = _lay_out(revision, path, folder)
        if laid is None:
            return None
        file, shown = laid

        def place(text: str) -> str:
            return text.replace(f"{folder}{os.sep}", shown).replace(str(folder), shown)

        try:
            policies = load_policies([file])
        except ConfigError as error:
            raise ConfigError.of(
                tuple(replace(each, where=place(each.where), hint=place(each.hint)) for each in error.problems)
            ) from None
    return tuple(
        replace(
            policy,
            source=place(policy.source),
            rules=tuple(replace(rule, where=place(rule.where)) for rule in policy.rules),
        )
        for policy in policies
    )


def _lay_out(revision: str, path: str, folder: Path) -> tuple[Path, str] | None:
    """Write what stands at `path` of a revision, and beside it, into a folder: where it stands now, and its prefix."""
    commit = _commit(revision)
    inside = os.path.relpath(path)
    kind = _git("cat-file", "-t", f"{commit}:./{inside}", fails=True).strip()
    if kind not in (b"blob", b"tree"):
        return None
    parent, name = (inside, "") if kind == b"tree" else os.path.split(inside)
    shown = f"{revision}:{'' if parent in ('', '.') else f'{parent}/'}"
    listing = _git(
        "ls-tree", "--full-tree", "-z", "-l", f"{commit}:./{parent}" if parent not in ("", ".") else f"{commit}:./"
    )
    for line in listing.split(b"\0"):
        entry = _ENTRY.fullmatch(line)
        if entry is not None and (name or entry[5].endswith((b".yaml", b".yml"))):
            _write(entry, folder, shown)
    return folder / name, shown


def _write(entry: re.Match[bytes], folder: Path, shown: str) -> None:
    mode, kind, blob, size = entry[1], entry[2], entry[3].decode(), entry[4]
    if kind != b"blob":
        return
    file = folder / os.fsdecode(entry[5])
    if int(size) > MAX_BYTES:
        with file.open("wb") as stream:  # its reader refuses it for its size
            stream.truncate(MAX_BYTES + 1)
        return
    data = _git("cat-file", "blob", blob)
    if mode != _LINK:
        file.write_bytes(data)
        return
    if b"/" in data or data in (b"", b".", b"..") or b"\0" in data:
        message = "a link that leads out of the folder"
        raise ConfigError(message, "copy the file into the folder", f"{shown}{file.name}")
    file.symlink_to(os.fsdecode(data))


def _commit(revision: str) -> str:
    missing = ConfigError(
        f"there is no file, folder or git revision {revision[:_SHOWN]!r}",
        "in a clone without history, fetch the revision first",
    )
    if not revision or revision.startswith("-") or "\0" in revision:
        raise missing
    found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", fails=True).decode().strip()
    if not found:
        raise missing
    return found


def _git(*arguments: str, fails: bool = False) -> bytes:
    """What git prints. With `fails`, a plain failure is an empty answer. Raises `ConfigError` for any other."""
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    command = ("git", "--no-pager", *arguments)
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=_TIME)
    except FileNotFoundError:
        raise ConfigError("git is not installed", "give two files or folders instead of revisions") from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"git did not answer: {type(error).__name__}", "give two files or folders") from None
    words = done.stderr.decode(errors="replace").strip()
    if done.returncode and (not fails or "not a git repository" in words or "dubious ownership" in words):
        first = words.partition("\n")[0].removeprefix("fatal: ")[:_SHOWN]
        raise ConfigError(
            f"git cannot read the revision: {first}", "revisions need a git repository around this folder"
        )
    return b"" if done.returncode else done.stdout
