"""`outgate doctor`: what holds, proved from inside a sandbox of its own, or of the one that it is started in."""

import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from proxy.errors import OutgateError
from proxy.quantity import counted
from proxy.sandbox import inside, launch, probes, probing, served
from proxy.sandbox.confined import Proof, interpreter
from proxy.sandbox.standin import StandIn, stand_in

_FAKE = "OUTGATE_DOCTOR_FAKE"
_POLICY = """\
version: 1
name: doctor
allow:
  - id: reached
    why: what outgate doctor asks for
    hosts: [{host}]
    methods: [GET, HEAD, POST]
    credential: key
credentials:
  key:
    from: file:{key}
    hosts: [{host}]
    inject: {{bearer: true}}
    placeholder: {fake}
"""
_LITTLE = 200 * 1024 * 1024  # bytes
_BOUNDARY = (
    "use `outgate run` without --no-sandbox; in a container, give it a network whose only other member is Outgate"
)


class State(StrEnum):
    """How one thing stands. `FAIL`: the policy is not enforced, or nothing works. `WARN`: one client, or soon."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what part it is of, its name, how it stands, what was seen, and what to change."""

    part: str
    name: str
    state: State
    said: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def boundary(proof: Proof) -> Iterator[Finding]:
    """Each way around the proxy, and the proxy itself where it does not answer."""
    for name, opened in proof.ways.items():
        state = State.FAIL if opened else State.OK
        yield Finding("boundary", name, state, opened or "closed", _BOUNDARY if opened else "")
    if proof.unreached:
        yield Finding("proxy", "answers", State.FAIL, proof.unreached, "look at proxy.log of the run, and at the log")


def examine(
    state: str | None,
    profile_name: str | None,
    environ: Mapping[str, str],
    clients: Sequence[probes.Client],
    *,
    sandboxed: bool,
) -> Iterator[Finding]:
    """Start a proxy and a sandbox for this alone, and look from inside. Raises `OutgateError` if there can be none."""
    from proxy.sandbox.profile import load_profile

    name = f"doctor-{secrets.token_hex(2)}"
    with tempfile.TemporaryDirectory(prefix="outgate-doctor-") as temporary:
        folder = Path(temporary).resolve()
        project = folder / "project"
        project.mkdir()
        with stand_in(probes.REACHED, folder) as upstream:
            secret = _write_policy(folder)
            flags = {
                "policy": str(folder / "doctor.yaml"),
                "state": state,
                "upstream_ca": (str(upstream.ca_file),),
                "connect_to": (f"{probes.REACHED}:443:127.0.0.1:{upstream.port}",),
            }
            command = _command([*probes.others(_FAKE), *probes.commands(clients)])
            plan = launch.Plan(command, project, project, name, load_profile(profile_name, "outgate-doctor"))
            with served.by_own(flags, environ, None) as serve:
                proxy = serve(name)
                upstream.serve()
                proof, found = _look(plan, proxy, environ, sandboxed=sandboxed)
                fake = proxy.fakes(name)[_FAKE]
            findings = [
                *boundary(proof),
                *_about_the_proxy(found, upstream, secret, fake),
                *_about_clients(found, {path for path, _ in upstream.came}),
                *_about_the_machine(proxy.state.root, proxy.state.audit),
            ]
        if proxy.state.run and all(each.state is not State.FAIL for each in findings):
            # Nobody who reviews the log wants to read of made-up hosts; what did not hold stays to be looked at.
            shutil.rmtree(proxy.state.own, ignore_errors=True)
        yield from findings


def examine_here(environ: Mapping[str, str], clients: Sequence[probes.Client]) -> Iterator[Finding]:
    """Look from inside the sandbox that this runs in: a container, or `outgate run`."""
    yield from boundary(Proof(dict(inside.ways(alone=False)), ""))
    # Outgate answers for this name itself, over TLS with its CA, whatever the policy says.
    commands = probes.commands([client for client in clients if client.plain], _INTERNAL, "/")
    direct = [each for each in probes.others("") if each[0] == "direct"]
    asked = ("asked", ["python3", "-c", _ASK])
    done = subprocess.run(
        _command([asked, *direct, *commands]), env=dict(environ), capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout)
    code, said = found.pop("asked")
    reached = code == 0 and _INTERNAL in said
    yield Finding("proxy", "answers", State.OK if reached else State.FAIL, said.strip()[-200:] if not reached else "",
                  "" if reached else "give this container the variables that `outgate env` prints")  # fmt: skip
    yield _direct(found.pop("direct"))
    for name, (code, said) in found.items():
        yield _client(name, code, said, reached=code == 0)


_INTERNAL = "outgate.internal"
_ASK = f"import urllib.request as r; print(r.urlopen('http://{_INTERNAL}/', timeout=10).read().decode())"


def _write_policy(folder: Path) -> str:
    secret = secrets.token_urlsafe(32)
    key = folder / "key"
    key.touch(0o600)
    key.write_text(secret)
    (folder / "doctor.yaml").write_text(_POLICY.format(host=probes.REACHED, key=key, fake=_FAKE))
    return secret


def _command(commands: list[tuple[str, list[str]]]) -> tuple[str, ...]:
    source = Path(probing.__file__).read_text(encoding="utf-8")
    return (interpreter(), "-I", "-S", "-c", source, json.dumps(commands))


def _look(
    plan: launch.Plan, proxy: served.Served, environ: Mapping[str, str], *, sandboxed: bool
) -> tuple[Proof, dict[str, tuple[int, str]]]:
    """The boundary, and how each probe ended."""
    from proxy.sandbox import child

    with tempfile.TemporaryFile() as output:
        if sandboxed:
            with launch.held(plan, proxy, launch.lay(plan, proxy, environ), environ, output.fileno()) as sandbox:
                proof = sandbox.prove(plan.name)
                status = child.wait(sandbox.go)
        else:
            proof = Proof(dict(inside.ways(alone=True)), "")
            status = launch.run_unconfined(plan, proxy, environ, output.fileno())
        output.seek(0)
        try:
            return proof, json.loads(output.read())
        except ValueError:
            raise OutgateError(f"the look from inside ended with status {status}", "outgate run -- true") from None


def _about_the_proxy(found: dict[str, tuple[int, str]], upstream: StandIn, secret: str, fake: str) -> Iterator[Finding]:
    log = "look at the audit log of this run, in `runs` of the state folder"
    code, said = found.pop("key")
    sent = [header for path, header in upstream.came if path == "/key"]
    passed = sent == [f"Bearer {secret}"]
    yield Finding("proxy", "allowed passes, with the key", State.OK if passed else State.FAIL,
                  "" if passed else said.strip()[-200:] or f"status {code}", "" if passed else log)  # fmt: skip
    _, said = found.pop("refused")
    refused = said.startswith("403") and '"host_not_allowed"' in said
    yield Finding("proxy", "refused is refused, and says why", State.OK if refused else State.FAIL,
                  "" if refused else said.strip()[-200:], "" if refused else log)  # fmt: skip
    yield _direct(found.pop("direct"))
    kept = fake != secret and fake.isascii() and fake.isprintable() and " " not in fake
    yield Finding("proxy", "the sandbox holds a fake", State.OK if kept else State.FAIL)


def _direct(result: tuple[int, str]) -> Finding:
    name = "without the proxy's variables nothing is reached"
    if "reached" in result[1].split():
        return Finding("boundary", name, State.FAIL, "a request passed", _BOUNDARY)
    return Finding("boundary", name, State.OK)


def _about_clients(found: dict[str, tuple[int, str]], came: set[str]) -> Iterator[Finding]:
    for name, (code, said) in found.items():
        yield _client(name, code, said, reached=any(path.startswith(f"/client/{name}") for path in came))


def _client(name: str, code: int, said: str, *, reached: bool) -> Finding:
    if reached:
        return Finding("clients", name, State.OK)
    if probes.is_missing(code, said):
        return Finding("clients", name, State.SKIP, "not here")
    fix = next(client.fix for client in probes.CLIENTS if client.name == name)
    words = [line.strip() for line in said.splitlines() if line.strip()]
    telling = next((line for line in words if "error" in line.lower()), words[-1] if words else f"status {code}")
    return Finding("clients", name, State.WARN, telling[:200], fix)


def _about_the_machine(root: Path, audit: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(root).free
    enough = free > _LITTLE
    yield Finding("machine", "disk", State.OK if enough else State.WARN, f"{free // 2**20} MiB free",
                  "" if enough else f"make room on the disk of {root}: without it nothing passes")  # fmt: skip
    written = any(file.stat().st_size for file in audit.glob("worker-*.jsonl"))
    yield Finding("machine", "log", State.OK if written else State.FAIL, "",
                  "" if written else f"nothing was written to {audit}")  # fmt: skip
    # A clock that was never set is far behind: certificates would not be valid yet.
    right = time.time() > Path(__file__).stat().st_mtime - 86400
    yield Finding("machine", "clock", State.OK if right else State.WARN, "" if right else "behind Outgate's own files",
                  "" if right else "set the clock, or start a time service")  # fmt: skip


def about_policy(paths: list[Path], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether policies load, their secrets can be read, and each fake looks as its clients want it."""
    from proxy.config.load import load_policies
    from proxy.credentials.placeholder import placeholder
    from proxy.credentials.sources import SecretStore

    for policy in load_policies(paths):
        try:
            SecretStore(policy.credentials, environ).load_all()
        except OutgateError as error:
            for each in error.problems:
                yield Finding("policy", policy.name, State.FAIL, each.message, each.hint or "")
        else:
            yield Finding(
                "policy", policy.name, State.OK, f"{counted(len(policy.credentials), 'credential')} can be read"
            )
        for name, spec in policy.credentials.items():
            fake = placeholder(b"doctor", "doctor", policy.name, spec)
            fine = fake.isascii() and fake.isprintable() and len(fake) > 16
            yield Finding("policy", f"fake of {name}", State.OK if fine else State.WARN, fake[:12] + "…")


def is_sandbox(environ: Mapping[str, str]) -> bool:
    """Whether this looks like a sandbox already: `outgate run` says so."""
    return bool(environ.get("OUTGATE_SANDBOX"))
