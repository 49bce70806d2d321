"""`outgate` with faults that a test arms while it runs, and with limits that a test can wait for.

Started as `python launch.py FOLDER serve ...`. `FOLDER/armed` says `POINT|KIND`; a point that is reached while it is
armed adds a line to `FOLDER/hit` and then raises, hangs, or is cancelled. `FOLDER/limits.json` replaces limits.
Nothing of this is in the product: it is started by these tests alone.
"""

import asyncio
import functools
import inspect
import json
import runpy
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxy import limits

FOLDER = Path(sys.argv[1])
MESSAGE = "broken on purpose"


def armed(name: str) -> str | None:
    """The kind of fault that this point is to have now."""
    try:
        point, _, kind = (FOLDER / "armed").read_text().partition("|")
    except OSError:
        return None
    return kind if point == name else None


def hit(name: str) -> None:
    with (FOLDER / "hit").open("a") as file:
        file.write(f"{name}\n")


def fail(name: str, kind: str) -> None:
    """Raise, or hang as long as it is armed, as a synchronous call does."""
    hit(name)
    if kind == "raise":
        raise RuntimeError(MESSAGE)
    if kind == "full":
        raise OSError(28, "No space left on device")
    if kind == "cancelled":
        raise asyncio.CancelledError
    if kind == "cancel":
        task = _task()
        if task is None:  # in a thread, as the resolver is
            raise asyncio.CancelledError
        task.cancel()
    while kind == "hang" and armed(name) == "hang":
        time.sleep(0.05)


def _task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def broken(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """The original, with its fault in front of it."""
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def replaced(*arguments: Any, **named: Any) -> Any:
            kind = armed(name)
            if kind == "hang":
                hit(name)
                await asyncio.Event().wait()
            elif kind is not None:
                fail(name, kind)
            return await original(*arguments, **named)

    else:

        @functools.wraps(original)
        def replaced(*arguments: Any, **named: Any) -> Any:
            kind = armed(name)
            if kind is not None:
                fail(name, kind)
            return original(*arguments, **named)

    return replaced


def arm() -> None:
    for name, (owner, attribute) in runpy.run_path(str(Path(__file__).with_name("points.py")))["points"]().items():
        setattr(owner, attribute, broken(name, getattr(owner, attribute)))


def main() -> None:
    file = FOLDER / "limits.json"
    for name, value in (json.loads(file.read_text()) if file.exists() else {}).items():
        assert hasattr(limits, name), name
        setattr(limits, name, value)
    arm()
    from proxy.engine.listener import Listener

    Listener.fast = (FOLDER / "lane").read_text() == "fast"
    assert threading.active_count() == 1, "the supervisor forks"
    from proxy.cli import main as outgate

    outgate(sys.argv[2:])


if __name__ == "__main__":
    main()
