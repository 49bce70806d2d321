"""A sandbox made for real, with probes of ours as the code inside."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proxy.errors import ConfigError
from proxy.sandbox import bubblewrap, seccomp
from proxy.sandbox.environment import environment
from proxy.sandbox.layout import Certificates, Layout, Wanted, kept_folder, lay_out
from proxy.sandbox.made import made
from proxy.sandbox.profile import Profile, load_profile

NOBODY = 65534
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
# What probes begin with. `attempt` says how a thing went: `done`, or the name of the error.
_PRELUDE = """
import ctypes, errno, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def attempt(name, do, *arguments):
    try:
        do(*arguments)
        found[name] = "done"
    except OSError as error:
        found[name] = errno.errorcode.get(error.errno, str(error))
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
def text(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return errno.errorcode[error.errno]
"""


@functools.cache
def why_not() -> str:
    """Why no sandbox can be made on this machine; empty if one can."""
    if sys.platform != "linux" or not PYTHON:
        return "no Linux, or no python3 of the system"
    try:
        bwrap = bubblewrap.find()
    except ConfigError as error:
        return str(error)
    command = [bwrap, "--unshare-user", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/true"]
    for prefix in ([], as_nobody()) if os.getuid() == 0 else ([],):
        done = subprocess.run([*prefix, *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return str(bubblewrap.explain(done.stderr))
    return ""


def as_nobody() -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


@dataclass
class Box:
    """A project, a home and a state folder of one user, and sandboxes of them."""

    root: Path
    nobody: bool
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(cls, *, nobody: bool) -> "Box":
        # Not below pytest's folder: nobody may not enter that.
        box = cls(Path(os.path.realpath(tempfile.mkdtemp(prefix="box-"))), nobody)
        box.root.chmod(0o755)
        for folder in (box.project, box.home, box.state, box.kept):
            folder.mkdir()
        for file in ("ca.pem", "ca-bundle.pem", "truststore.p12", "ca-key.pem"):
            (box.state / file).write_text(f"the {file}\n")
        return box

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def kept(self) -> Path:
        return self.state / "kept"

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def write(self, path: str, text: str = "x\n") -> Path:
        """A file; its path is from the box on: `project/.env`."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def profile(self, **changes: Any) -> Profile:
        return replace(load_profile("default", "probe"), **changes)

    def wanted(self, **changes: Any) -> Wanted:
        wanted = Wanted(
            project=self.project,
            workdir=self.project,
            home=self.home,
            kept=self.kept,
            profile=self.profile(),
            protected=(),
            secret=(self.state,),
            certificates=Certificates(*(self.state / name for name in ("ca.pem", "ca-bundle.pem", "truststore.p12"))),
            interpreter=Path("/usr"),
            search_path=("/usr/local/bin", "/usr/bin", "/bin"),
            uid=NOBODY if self.nobody else os.getuid(),
        )
        return replace(wanted, **changes)

    def probe(
        self, code: str, *arguments: object, host: Mapping[str, str] | None = None, **changes: Any
    ) -> dict[str, Any]:
        """What the code found inside, as its dictionary `found` says."""
        done = self.run(
            [PYTHON, "-c", f"{_PRELUDE}\n{code}\nprint(json.dumps(found))", *map(str, arguments)], host, **changes
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def run(
        self, command: list[str], host: Mapping[str, str] | None = None, **changes: Any
    ) -> subprocess.CompletedProcess[str]:
        wanted = self.wanted(**changes)
        for name in wanted.profile.keep:
            kept_folder(self.kept, name).mkdir(exist_ok=True)
        if self.nobody:
            for folder, _, files in os.walk(self.root):
                for name in ("", *files):
                    os.chown(os.path.join(folder, name), NOBODY, NOBODY, follow_symlinks=False)  # noqa: PTH118
        return self._start(wanted, lay_out(wanted), command, host or {})

    def _start(
        self, wanted: Wanted, layout: Layout, command: list[str], host: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        variables = environment(
            host, layout, wanted.profile, proxy_url="http://127.0.0.1:1", fakes={}, sandbox="box", secrets=frozenset()
        )
        reader, writer = os.pipe()
        try:
            os.write(writer, seccomp.program(os.uname().machine, nested=wanted.profile.nested))
            os.close(writer)
            words = bubblewrap.arguments(bubblewrap.find(), layout, seccomp=reader, hostname="box")
            with made(layout.made):
                return subprocess.run(
                    [*(as_nobody() if self.nobody else ()), *words, *command],
                    env=variables,
                    pass_fds=(reader,),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=60,
                )
        finally:
            os.close(reader)
