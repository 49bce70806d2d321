"""Symbolic links on the way to a path: a mount follows them, and whoever writes in their folder can turn them."""

from collections.abc import Iterator
from pathlib import Path

_MOST = 40  # as the kernel


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """Every symbolic link on the way to a path, in order, with what it says."""
    waiting = list(reversed(path.absolute().parts[1:]))
    here, seen = Path("/"), 0
    while waiting and seen < _MOST:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = here.parent
            continue
        step = here / part
        if not step.is_symlink():
            here = step
            continue
        said = str(step.readlink())
        yield step, said
        seen += 1
        here = Path("/") if said.startswith("/") else here
        waiting.extend(reversed(Path(said).parts[1:] if said.startswith("/") else Path(said).parts))
