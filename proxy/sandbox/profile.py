"""A profile: what of the home and of the environment an agent gets, and what of a project it must not see or change."""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from proxy.config.files import read_bytes
from proxy.config.tree import Document, failure, shown
from proxy.errors import ConfigError
from proxy.sandbox.profile_schema import PROFILE, read_file


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile with all that it extends.

    `keep` and `read` are paths from the home folder on, `readonly` from the project's root on, `system` absolute;
    `hide` are patterns for names in the project, where `!` makes an exception to those before it. `passed` are names
    of the host's variables, `variables` fixed ones, where a leading `~/` is the home folder. `nested` lets the agent
    make sandboxes of its own.
    """

    name: str
    source: Path
    keep: tuple[str, ...]
    read: tuple[str, ...]
    system: tuple[str, ...]
    hide: tuple[str, ...]
    readonly: tuple[str, ...]
    passed: tuple[str, ...]
    variables: Mapping[str, str]
    nested: bool = False


def folder() -> Path:
    """Where Outgate's own profiles are: in the installed package, or in the source tree."""
    installed = Path(__file__).with_name("profiles")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "policies" / "profiles"


def load_profile(named: str | None, command: str) -> Profile:
    """The profile of a name or a path; without one, that of the command, else `default`. Raises `ConfigError`."""
    if named is None:
        return _load(folder() / f"{_for_command(PurePath(command).name)}.yaml")
    known = _names()
    if named in known:
        return _load(folder() / f"{named}.yaml")
    if os.sep in named or named.endswith((".yaml", ".yml")):
        return _load(Path(named).absolute())
    raise ConfigError(f"there is no profile {shown(named)}", _nearest(named, known) + "; a file is named by its path")


def _names() -> list[str]:
    return sorted(path.stem for path in folder().glob("*.yaml"))


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{near[0]}`?" if near else "the profiles are " + ", ".join(known)


def _for_command(command: str) -> str:
    if command in _names():
        return command
    for name in _names():
        file = folder() / f"{name}.yaml"
        if command in read_file(read_bytes(file, PROFILE), str(file))[1].commands:
            return name
    return "default"


def _load(file: Path) -> Profile:
    """A file with what it extends, which is one of Outgate's own: no file that a sandbox could write has a say."""
    document, model = read_file(read_bytes(file, PROFILE), str(file))
    base = Profile("", file, (), (), (), (), (), (), {})
    if model.extends is not None:
        if model.extends not in _names() or model.extends == model.profile:
            hint = _nearest(model.extends, _names())
            raise failure([document.problem(("extends",), f"there is no profile {shown(model.extends)}", hint)])
        base = _load(folder() / f"{model.extends}.yaml")
    profile = Profile(
        name=model.profile,
        source=file,
        keep=_both(base.keep, model.home.keep),
        read=_both(base.read, model.home.read),
        system=_both(base.system, model.system),
        hide=_both(base.hide, model.project.hide),
        readonly=_both(base.readonly, model.project.readonly),
        passed=_both(base.passed, model.environment.passed),
        variables={**base.variables, **model.environment.variables},
        nested=base.nested if model.nested is None else model.nested,
    )
    _check_kept(document, profile)
    return profile


def _both(base: tuple[str, ...], own: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*base, *own)))


def _check_kept(document: Document, profile: Profile) -> None:
    """Nothing is put into what a sandbox keeps: it could have left a link there that leads the mount elsewhere."""
    for kept in profile.keep:
        for other in (*profile.keep, *profile.read):
            if other != kept and PurePath(other).is_relative_to(kept):
                hint = "keep the one or the other"
                message = f"{other} is in {kept}, which the sandbox keeps for itself"
                raise failure([document.problem(("home",), message, hint)])
