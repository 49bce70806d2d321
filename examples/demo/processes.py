"""The processes of the demo: the agent with nothing but its environment, and ways to wait and to end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import story
from story import StoryError

AGENT = Path(__file__).resolve().with_name("agent.py")
PATIENCE = 20.0


def agent(
    variables: dict[str, str], *arguments: str, on_text: Callable[[str], None] = lambda _: None
) -> tuple[int, str]:
    """Run the agent with what `outgate env` printed and a PATH, nothing else; show its output as it arrives."""
    story.command(" ".join(["agent.py", *(f'"{word}"' if " " in word else word for word in arguments)]))
    show, said = story.live(), ""
    process = subprocess.Popen(
        [sys.executable, str(AGENT), *arguments],
        env={"PATH": os.environ.get("PATH", "")} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None  # noqa: S101  for the type checker: it is a pipe
        while data := os.read(process.stdout.fileno(), 4096):
            text = data.decode("utf-8", "replace")
            said += text
            show(text)
            on_text(said)
        return process.wait(PATIENCE), said
    finally:
        stop(process)


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "LANG": "C.UTF-8"}


def wait(until: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        if time.monotonic() > deadline:
            raise StoryError(complaint)
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process if it still runs: kindly, then not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
