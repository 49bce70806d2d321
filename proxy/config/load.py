"""Policy files and folders -> `Policy` values. What is wrong with a policy shows here, before anything starts."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from proxy.collector import uncollected
from proxy.config.check import check_alone, check_together
from proxy.config.compile import Part, assemble, read_part
from proxy.config.files import base_of, expand, read_bytes
from proxy.config.tree import failure, shown
from proxy.config.wrong import Wrong
from proxy.errors import ConfigError, Problem
from proxy.policy.rules import Policy

MAX_CHAIN = 32


def load_policy(path: Path) -> Policy:
    """Load the policy of one file, with all that it extends. Raises `ConfigError` with every problem found."""
    return load_policies([path])[0]


@uncollected()
def load_policies(paths: Sequence[Path]) -> tuple[Policy, ...]:
    """Load files and folders, in this order; a folder means each `*.yaml` and `*.yml` directly in it, sorted.

    Raises `ConfigError` with the problems of all files: a missing or unreadable path, a folder without a policy,
    two policies of one name, and whatever is wrong in a file.
    """
    library, problems = _Library(), _Problems()
    files = [file for files in problems.each(expand, paths) for file in files]
    loaded = list(problems.each(library.policy, files))
    problems.add(_same_names([parts[0] for parts in loaded]))
    problems.raise_any()
    return tuple(assemble(parts) for parts in loaded)


@uncollected()
def survey(paths: Sequence[Path]) -> tuple[tuple[tuple[Part, ...], ...], tuple[Problem, ...]]:
    """What is right and what is wrong in files and folders, side by side; nothing is raised.

    Each file that is right, and each that it extends, comes once: the file itself first, then all that it extends.
    The problems are those that `load_policies` raises, though a file that is given twice is no problem here.
    """
    library, problems = _Library(), _Problems()
    files = {os.path.realpath(file): file for files in problems.each(expand, paths) for file in files}
    loaded = [(file, parts) for file in files.values() for parts in problems.each(library.policy, [file])]
    problems.add(_same_names([parts[0] for _, parts in loaded]))
    closures = {key: parts for file, _ in loaded for key, parts in library.closures(file)}
    return tuple(closures.values()), problems.found


class _Problems:
    """What was found so far, each once: two policies that extend a broken one say the same."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        self._found.update(dict.fromkeys(problems))

    def each[A, B](self, do: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """What `do` makes of each item, without those for which it raises; their problems are kept."""
        for item in items:
            try:
                yield do(item)
            except ConfigError as error:
                self.add(error.problems)

    @property
    def found(self) -> tuple[Problem, ...]:
        return tuple(self._found)

    def raise_any(self) -> None:
        if self._found:
            raise failure(list(self._found))


class _Library:
    """The files of one load, each read once."""

    def __init__(self) -> None:
        self._parts: dict[str, Part | ConfigError] = {}
        self._checked: set[str] = set()

    def policy(self, file: Path) -> tuple[Part, ...]:
        """A file and all that it extends, each once and itself first. Raises `ConfigError` unless all is well."""
        closure = self._closure(file)
        problems = _Problems()
        for key, (each, part) in closure.items():
            if key not in self._checked:
                problems.add(check_alone(part, [base for _, base in self._closure(each).values()]))
        parts = tuple(part for _, part in closure.values())
        problems.add(check_together(parts))
        problems.raise_any()
        self._checked.update(closure)
        return parts

    def closures(self, file: Path) -> Iterator[tuple[str, tuple[Part, ...]]]:
        """For a file and each that it extends: its real path, and its parts, itself first. All of them are right."""
        for key, (each, _) in self._closure(file).items():
            yield key, tuple(part for _, part in self._closure(each).values())

    def _closure(self, file: Path) -> dict[str, tuple[Path, Part]]:
        found: dict[str, tuple[Path, Part]] = {}
        problems = _Problems()
        self._collect(file, (), found, problems)
        problems.raise_any()
        return found

    def _collect(
        self, file: Path, trail: tuple[str, ...], found: dict[str, tuple[Path, Part]], problems: _Problems
    ) -> None:
        key = os.path.realpath(file)
        if key in found:
            return
        part = self._read(file, key)
        if isinstance(part, ConfigError):
            problems.add(part.problems)
            return
        found[key] = (file, part)
        for index, name in enumerate(part.model.extends):
            try:
                base = base_of(file, name)
                _refuse_circle((*trail, key), base)
            except Wrong as wrong:
                problems.add([part.document.problem(("extends", index), wrong.message, wrong.hint)])
            else:
                self._collect(base, (*trail, key), found, problems)

    def _read(self, file: Path, key: str) -> Part | ConfigError:
        if key not in self._parts:
            try:
                self._parts[key] = read_part(read_bytes(file), str(file))
            except ConfigError as error:
                self._parts[key] = error
        return self._parts[key]


def _refuse_circle(trail: tuple[str, ...], base: Path) -> None:
    key = os.path.realpath(base)
    if key in trail:
        names = [Path(each).stem for each in (*trail[trail.index(key) :], key)]
        raise Wrong(f"`extends` goes in a circle: {shown(' -> '.join(names))}", "remove one of the links")
    if len(trail) > MAX_CHAIN:
        raise Wrong(f"`extends` goes deeper than {MAX_CHAIN} files", "extend the last of them directly")


def _same_names(parts: Sequence[Part]) -> Iterator[Problem]:
    first: dict[str, Part] = {}
    for part in parts:
        name = part.model.name
        if name in first:
            where = first[name].document.where(("name",)).rpartition(":")[0]
            hint = f"the other one stands at {where}; rename one of them"
            yield part.document.problem(("name",), f"two policies have the name {shown(name)}", hint)
        first.setdefault(name, part)
