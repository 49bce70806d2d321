"""`outgate run` as its user starts it: a place with a project in it, and a terminal."""

import json
import os
import select
import subprocess
import termios
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.outgate import OUTGATE, clean_environment
from tests.support.pki import Authority
from tests.support.upstream import Upstream

SECRET = "sk-real-0123456789abcdef"
POLICY = """\
version: 1
name: agent
allow:
  - id: model
    why: the model
    hosts: [api.example.com]
    methods: [GET, POST]
    credential: key
credentials:
  key:
    from: env:REAL_KEY
    hosts: [api.example.com]
    inject: {bearer: true}
    placeholder: API_KEY
"""
PATIENCE = 30.0


@dataclass
class Place:
    """A project folder with a policy in it, a home folder and a state folder.

    `host` is the name of the upstream, which goes by `others` as well.
    """

    folder: Path
    upstream: Upstream
    authority: Authority
    environ: Mapping[str, str] = field(default_factory=lambda: {"REAL_KEY": SECRET})

    host: str = "api.example.com"
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for folder in (self.project, self.home, self.policy.parent):
            folder.mkdir(exist_ok=True)
        self.policy.write_text(POLICY)

    @property
    def project(self) -> Path:
        return self.folder / "a project"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def policy(self) -> Path:
        return self.project / "policies" / "agent.yaml"

    def command(self, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        given = ("--policy", str(self.policy), "--state", str(self.state))
        given = (*given, "--upstream-ca", str(self.authority.ca_file))
        for name in (self.host, *self.others):
            given = (*given, "--connect-to", f"{name}:443:127.0.0.1:{self.upstream.port}")
        return [str(OUTGATE), "run", *(options if "--via" in options else (*given, *options)), "--", *command]

    def environment(self) -> dict[str, str]:
        return clean_environment(self.home, self.environ)

    def start(self, *command: str, options: tuple[str, ...] = (), **given: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*command, options=options),
            env=self.environment(),
            cwd=self.project,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, **given},
        )

    def ready(self, *command: str, options: tuple[str, ...] = (), **given: Any) -> "subprocess.Popen[str]":
        """Start a command that says `ready` first, and wait for that."""
        process = self.start(*command, options=options, **given)
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            process.kill()
            raise AssertionError(f"not ready: {process.communicate(timeout=PATIENCE)}")
        assert process.stdout.readline() == "ready\n", process.communicate(timeout=PATIENCE)
        return process

    def run(self, *command: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        process = self.start(*command, options=options)
        out, err = process.communicate(timeout=PATIENCE * 2)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def shell(self, script: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        return self.run("sh", "-c", textwrap.dedent(script), options=options)

    def python(self, script: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        return self.run("python3", "-I", "-c", textwrap.dedent(script), options=options)

    def events(self) -> list[dict[str, Any]]:
        files = sorted(self.state.glob("runs/*/audit/worker-*.jsonl"))
        found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [event for event in found if event["host"] != "outgate.internal"]


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def processes_of(place: Place) -> list[str]:
    """The command lines of what runs with this test's folder in its command line or environment."""
    mark = os.fsencode(place.folder)
    found = []
    for each in Path("/proc").iterdir():
        if not each.name.isdigit() or int(each.name) == os.getpid():
            continue
        try:
            words, environ = (each / "cmdline").read_bytes(), (each / "environ").read_bytes()
        except OSError:
            continue
        if mark in words or mark in environ:
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


class Terminal:
    """A run on a terminal of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self.seen = ""

    def start(self, *command: str) -> None:
        self._fd, theirs = os.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *self._place.command(*command)],
            env=self._place.environment(),
            cwd=self._place.project,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def expect(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert self._read(deadline), f"{text!r} never came: {self.seen}"

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def status(self) -> int:
        """Read until it ends; its exit status."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(PATIENCE)

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._fd)

    def hang_up(self) -> int:
        """Close the terminal; the exit status of what ran on it."""
        assert self._process is not None
        os.close(self._fd)
        self._fd = os.open(os.devnull, os.O_RDONLY)
        return self._process.wait(PATIENCE)

    def _read(self, deadline: float) -> bool:
        """Take what was written; whether the terminal is still open."""
        assert select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0], f"silence: {self.seen}"
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # nobody has it open any more
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            os.close(self._fd)
