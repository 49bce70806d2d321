"""A command, led through a proxy: in a sandbox or as it is, from its start to its end."""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy import clients, terminal
from proxy.boundary import Boundary
from proxy.errors import OutgateError
from proxy.sandbox import aftermath, child
from proxy.sandbox.confined import PORT, Confined, NotStarted, confined
from proxy.sandbox.environment import environment, left_out
from proxy.sandbox.layout import Certificates, Layout, Wanted, kept_folder, lay_out
from proxy.sandbox.made import made
from proxy.sandbox.profile import Profile
from proxy.sandbox.served import Served


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run: `command` in `workdir`, which is `project` or in it, as the sandbox `name`."""

    command: tuple[str, ...]
    project: Path
    workdir: Path
    name: str
    profile: Profile


def lay(plan: Plan, served: Served, environ: Mapping[str, str]) -> Layout:
    """The file system of the sandbox. Makes the folders that it keeps. Raises `ConfigError`."""
    home = Path(environ.get("HOME") or Path.home())
    kept = served.state.homes / hashlib.sha256(os.fsencode(plan.project)).hexdigest()[:24] / plan.profile.name
    for name in plan.profile.keep:
        kept_folder(kept, name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return lay_out(
        Wanted(
            project=plan.project,
            workdir=plan.workdir,
            home=home,
            kept=kept,
            profile=plan.profile,
            protected=(*served.files, plan.profile.source),
            secret=(served.state.root, *served.secret_files),
            certificates=Certificates(served.state.ca_cert, served.state.ca_bundle, served.state.truststore),
            interpreter=Path(sys.base_prefix),
            search_path=tuple(environ.get("PATH", os.defpath).split(os.pathsep)),
            uid=os.geteuid(),
        )
    )


@contextlib.contextmanager
def held(
    plan: Plan, served: Served, layout: Layout, environ: Mapping[str, str], output: int | None = None
) -> Iterator[Confined]:
    """A sandbox that waits to become its command, and that the proxy serves. Raises `OutgateError`."""
    variables = environment(
        environ,
        layout,
        plan.profile,
        proxy_url=f"http://127.0.0.1:{PORT}",
        fakes=served.fakes(plan.name),
        sandbox=plan.name,
        secrets=served.secret_variables,
    )
    nested = plan.profile.nested
    with (
        child.terminal_kept(),
        made(layout.made),
        confined(layout, variables, plan.command, plan.name, nested=nested, output=output) as it,
    ):
        served.attach(plan.name, Boundary.NAMESPACE, it.listening)
        yield it


def run_confined(plan: Plan, served: Served, layout: Layout, environ: Mapping[str, str]) -> int:
    """Run the command in a sandbox; its exit status. Raises `OutgateError` if it was never started."""
    then = aftermath.before(plan.project, layout, plan.profile)
    with held(plan, served, layout, environ) as sandbox:
        wrong = sandbox.prove(plan.name).wrong
        if wrong:
            raise OutgateError("the boundary is not there: " + "; ".join(wrong), "outgate doctor tells more")
        status = child.wait(sandbox.go)
    for line in aftermath.left(then, environ.get("PATH", os.defpath).split(os.pathsep)):
        terminal.note(line)
    return status


def run_unconfined(plan: Plan, served: Served, environ: Mapping[str, str], output: int | None = None) -> int:
    """Run the command as it is, led to the proxy by its environment alone; its exit status."""
    listening = socket.create_server(("127.0.0.1", 0))
    state = served.state
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    served.attach(plan.name, Boundary.NONE, listening)
    variables = {
        **{name: value for name, value in environ.items() if name not in served.secret_variables},
        **clients.environment(address, str(state.ca_cert), str(state.ca_bundle), str(state.truststore)),
        **served.fakes(plan.name),
        "OUTGATE_SANDBOX": plan.name,
    }
    found = shutil.which(plan.command[0], path=environ.get("PATH"))
    if found is None:
        raise NotStarted(f"there is no command {plan.command[0]!r}", "", 127)

    def start() -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen([found, *plan.command[1:]], env=variables, cwd=plan.workdir, stdout=output)
        except OSError as error:
            raise NotStarted(
                f"cannot run {plan.command[0]!r}: {os.strerror(error.errno or 0).lower()}", "", 126
            ) from None

    with child.terminal_kept():
        return child.wait(start)


def describe(plan: Plan, served: Served, layout: Layout | None, environ: Mapping[str, str]) -> None:
    """Say on stderr what the command is held by, before it starts."""
    if layout is None:
        terminal.note(
            "warning: --no-sandbox: nothing keeps the command from going around the proxy, or from your files"
        )
        return
    terminal.note(f"outgate: sandbox {plan.name} · policy {served.policy.name} · project {plan.project}")
    if layout.hidden:
        terminal.note("outgate: hidden in the project: " + _few(layout.hidden))
    for note in (*layout.notes, *(f"{name} is left out: it holds a login" for name in left_out(environ))):
        terminal.note(f"outgate: {note}")


def _few(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
