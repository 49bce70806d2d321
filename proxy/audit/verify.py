"""Whether audit logs are what was written: every chain, every checkpoint, and what they say of each other."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Literal

from proxy.audit.checkpoint import FILE, MAX_CHECKPOINT, NOTHING, Checkpoint, parse
from proxy.audit.key import signed_by
from proxy.audit.pieces import Piece, named, pieces
from proxy.audit.segments import SUFFIX, Segment, segment_of
from proxy.audit.verify_chain import Anchor, ChainCheck, ChainReport
from proxy.errors import ConfigError, Problem

type Verdict = Literal["intact", "not intact", "not covered"]


@dataclass
class Signed:
    """The checkpoints of one or more files: how many, the time of the last one, what they say, what is wrong."""

    count: int = 0
    last: str = ""
    anchors: dict[str, list[Anchor]] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass
class Report:
    """What was found. `strangers` are files that could hold events and are no part of any chain."""

    chains: list[ChainReport]
    signed: Signed
    strangers: list[str]

    @property
    def problems(self) -> list[Problem]:
        return [*self.signed.problems, *(each for chain in self.chains for each in chain.problems)]

    @property
    def verdict(self) -> Verdict:
        if self.problems:
            return "not intact"
        return "not covered" if self.strangers or any(chain.uncovered for chain in self.chains) else "intact"


def verify_folder(
    folder: Path,
    keys: Collection[str],
    *,
    checkpoints: Sequence[Path] = (),
    pruned: bool = False,
    told: Callable[[int], None] | None = None,
) -> Report:
    """Verify the logs in a folder, also while they are written. `keys` are public keys as hex.

    `checkpoints` stand in for the file of the folder. Raises `ConfigError` for what cannot be read.
    """
    _check_readable(checkpoints)
    try:
        # First what was signed, then the logs: they only grow.
        signed = read_checkpoints(checkpoints or [folder / FILE], keys)
        files = pieces(folder)
        strangers = sorted(str(path) for path in folder.iterdir() if _is_stranger(path))
    except OSError as error:
        raise _unreadable(folder, error) from None
    return _verify(files, signed, strangers, pruned=pruned, told=told)


def verify_files(
    chosen: Sequence[Path], keys: Collection[str], *, pruned: bool = False, told: Callable[[int], None] | None = None
) -> Report:
    """Verify files that were named one by one, as if nothing else belonged to them. Raises `ConfigError`."""
    logs: list[Segment] = []
    checkpoints = []
    for path in chosen:
        segment = segment_of(path)
        if is_checkpoints(path):
            checkpoints.append(path)
        elif segment is None:
            hint = f"keep the names: worker-0{SUFFIX}, worker-0.000000004711{SUFFIX}.gz, policy{SUFFIX}, {FILE}"
            raise ConfigError("the name says neither log nor checkpoints", hint, str(path))
        else:
            logs.append(segment)
    _check_readable(chosen)
    return _verify(named(logs), read_checkpoints(checkpoints, keys), [], pruned=pruned, told=told)


def _verify(
    files: Sequence[Piece], signed: Signed, strangers: list[str], *, pruned: bool, told: Callable[[int], None] | None
) -> Report:
    chains = []
    for log in sorted({each.segment.log for each in files} | set(signed.anchors)):
        check = ChainCheck(log, signed.anchors.get(log, ()), pruned=pruned, told=told)
        chains.append(check.run([each for each in files if each.segment.log == log]))
    return Report(chains, signed, strangers)


def read_checkpoints(paths: Sequence[Path], keys: Collection[str]) -> Signed:
    """Read and verify checkpoints. Raises `OSError` if a file that is there cannot be read."""
    signed = Signed()
    for path in paths:
        try:
            with path.open("rb") as stream:
                _read(str(path), stream, keys, signed)
        except FileNotFoundError:
            continue
    if not signed.count and not signed.problems:
        where = str(paths[0]) if paths else ""
        signed.problems.append(Problem(f"there is no checkpoint, so nothing vouches for the log ({FILE})", where=where))
    return signed


def _read(name: str, stream: BinaryIO, keys: Collection[str], signed: Signed) -> None:
    last: Checkpoint | None = None
    odd: tuple[str, str] | None = None  # place and SHA-256 of a line that is no checkpoint: half of one, perhaps
    number = 0
    while line := stream.readline(MAX_CHECKPOINT + 1):
        number += 1
        where = f"{name}:{number}"
        if not line.endswith(b"\n") and len(line) <= MAX_CHECKPOINT:
            break  # it is being written, or its writer was killed
        found = parse(line)
        if found is not None and odd is not None and found.torn == odd[1]:
            signed.torn.append(odd[0])
        elif odd is not None:
            signed.problems.append(Problem("not a checkpoint", where=odd[0]))
        elif found is not None and found.torn is not None:
            signed.problems.append(Problem("the half line that it tells of is not before it", where=where))
        odd = None
        if found is None:
            odd = where, sha256(line.removesuffix(b"\n")).hexdigest()
        elif _take(found, last, where, keys, signed):
            last = found
    if odd is not None:
        signed.problems.append(Problem("not a checkpoint", where=odd[0]))


def _take(found: Checkpoint, last: Checkpoint | None, where: str, keys: Collection[str], signed: Signed) -> bool:
    """Take note of a checkpoint; whether it really is one, wherever it stands."""
    if found.key not in keys:
        signed.problems.append(Problem(f"signed with another key: {found.key}", where=where))
        return False
    if not signed_by(found.key, found.signature, found.signed):
        signed.problems.append(Problem("rewritten: the signature does not belong to it", where=where))
        return False
    wrong = _misplaced(found, last)
    if wrong:
        signed.problems.append(Problem(wrong, where=where))
    signed.count, signed.last = signed.count + 1, found.time
    for log, head in found.heads.items():
        signed.anchors.setdefault(log, []).append(Anchor(head.seq, head.value, where, found.time))
    return True


def _misplaced(found: Checkpoint, last: Checkpoint | None) -> str:
    number, prev = (0, NOTHING) if last is None else (last.number, last.digest)
    if found.number > number + 1:
        return f"checkpoints {number + 1} to {found.number - 1} are missing before it"
    if found.number <= number:
        return f"checkpoint {found.number} stands where checkpoint {number + 1} belongs"
    return "" if found.prev == prev else "it does not follow the checkpoint before it"


def is_checkpoints(path: Path) -> bool:
    """Whether the name of a file says that it holds checkpoints: `checkpoints.jsonl`, `checkpoints-copy.jsonl`."""
    return path.name.startswith("checkpoints") and path.name.endswith(SUFFIX)


def _check_readable(files: Sequence[Path]) -> None:
    for path in files:
        try:
            path.open("rb").close()
        except OSError as error:
            raise _unreadable(path, error) from None


def _is_stranger(path: Path) -> bool:
    named_so = SUFFIX in path.name and not path.name.startswith(".") and path.name != FILE
    return named_so and segment_of(path) is None and path.is_file()


def _unreadable(path: Path, error: OSError) -> ConfigError:
    why = (error.strerror or "not readable").lower()
    return ConfigError(f"cannot read the audit log: {why}", "check the path and who may read it", str(path))
