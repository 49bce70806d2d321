"""One canary as every credential of a run, in the environment and in a file; then everything that is left is searched.

Searched is whatever a sandbox, an operator's screen or a later reader could see: answers and refusals, logs, the
record, state and ready files, command lines, environments, output. In plain, base64, hex, percent and JSON form.
"""

import base64
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.test_http2 import Client, fields
from tests.support import answers
from tests.support.outgate import Outgate, clean_environment, run_outgate
from tests.support.pki import Authority
from tests.support.rawclient import ClosedError
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Answer, H2Upstream

# Signs that percent-encoding and JSON change, so that each form is another text.
CANARY = 'canary/"value"+0123456789&abcdef\\end'
POLICY = """
version: 1
name: canary
allow:
  - {id: env, why: w, hosts: [env.example], access: any, credential: in-env}
  - {id: file, why: w, hosts: [file.example], access: any, credential: in-file}
  - {id: gone, why: w, hosts: [gone.example], access: any, credential: in-file}
  - {id: query, why: w, hosts: [query.example], access: any, credential: in-query}
  - {id: basic, why: w, hosts: [basic.example], access: any, credential: in-basic}
  - {id: github, why: w, hosts: [github.com], access: any, credential: provided}
  - {id: h2, why: w, hosts: [h2.example], access: any, http2: true, credential: in-h2}
credentials:
  in-env: {from: "env:CANARY", hosts: [env.example], inject: {bearer: true}}
  in-file: {from: "file:{path}", hosts: [file.example, gone.example], inject: {header: x-api-key}, placeholder: KEY}
  in-query: {from: "env:CANARY", hosts: [query.example], inject: {query: key}}
  in-basic: {from: "env:CANARY", hosts: [basic.example], inject: {basic: {username: user}}}
  provided: {from: "env:CANARY", hosts: [github.com], provider: github, placeholder: GITHUB_TOKEN}
  in-h2: {from: "env:CANARY", hosts: [h2.example], inject: {bearer: true}}
"""
HOSTS = ("env.example", "file.example", "query.example", "basic.example", "github.com")


def forms(value: str) -> dict[str, bytes]:
    """Every form to look for, by name."""
    raw = value.encode()
    found = {
        "plain": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "percent": quote(value, safe="").encode(),
        "percent, lower": quote(value, safe="").lower().encode(),
        "JSON": json.dumps(value)[1:-1].encode(),
        "repr": repr(value)[1:-1].encode(),
        "every byte in percent": "".join(f"%{byte:02X}" for byte in raw).encode(),
    }
    for shift in range(3):
        # Without the characters at the ends, which its neighbours determine too.
        encoded = base64.b64encode(b"x" * shift + raw)[4 if shift else 0 :].rstrip(b"=")[:-1]
        found |= {
            f"base64 at {shift}": encoded,
            f"base64url at {shift}": encoded.translate(bytes.maketrans(b"+/", b"-_")),
        }
    return found


def search(name: str, data: bytes) -> list[str]:
    return [f"{form} in {name}" for form, text in forms(CANARY).items() if text in data]


@dataclass
class Run:
    """What a run left behind, by name."""

    outgate: Outgate
    seen: dict[str, bytes] = field(default_factory=dict)

    def keep(self, name: str, data: bytes) -> None:
        self.seen[f"{len(self.seen)} {name}"] = data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("canary")
    authority = Authority(folder)
    secret = folder / "secret"
    secret.write_text(CANARY + "\n")
    with Upstream(folder, authority=authority) as upstream, H2Upstream(folder, authority=authority) as h2_upstream:
        echoes(upstream, h2_upstream)
        mapping = {f"{host}:443": upstream.port for host in HOSTS} | {"h2.example:443": h2_upstream.port}
        outgate = Outgate(
            folder / "proxy",
            POLICY.replace("{path}", str(secret)),
            connect_to=mapping | {"gone.example:443": 1},
            upstream_ca=(authority.ca_file,),
            environ={"CANARY": CANARY, "OUTGATE_DEBUG": "1"},
            workers=2,
        )
        outgate.folder.mkdir()
        with outgate:
            run = Run(outgate)
            ask_everything(run, upstream)
            break_things(run, secret)
            look_from_outside(run)
        yield run


def echoes(upstream: Upstream, h2_upstream: H2Upstream) -> None:
    """Answers that give the canary back in each form, in the head and in the body."""
    whole = [form for name, form in forms(CANARY).items() if name != "repr" and "base64" not in name]
    whole += [base64.b64encode(b"x" * shift + CANARY.encode()) for shift in range(3)]
    whole += [base64.urlsafe_b64encode(b"x" * shift + CANARY.encode()) for shift in range(3)]
    body = b"\n".join(whole)
    upstream.on(
        "/echo", answers.reply(200, body, {"X-Echo": CANARY, "X-Base64": base64.b64encode(CANARY.encode()).decode()})
    )
    upstream.on("/head", answers.raw(b"HTTP/1.1 200 " + CANARY.encode() + b"\r\nContent-Length: 0\r\n\r\n"))
    upstream.on(
        "/odd",
        answers.raw(b"HTTP/1.1 200 OK\r\nX: " + CANARY.encode() + b"\r\nnonsense " + CANARY.encode() + b"\r\n\r\n"),
    )
    upstream.on("/cut", answers.cut(CANARY.encode(), 1000))
    upstream.on("/coded", answers.reply(200, CANARY.encode(), {"Content-Encoding": "unheard-of"}))
    upstream.on("/broken", answers.reply(200, CANARY.encode(), {"Content-Encoding": "gzip"}))
    h2_upstream.answers["/echo"] = H2Answer(
        headers=(("x-echo", CANARY),), parts=(body,), trailers=(("x-last", CANARY),)
    )


def ask_everything(run: Run, upstream: Upstream) -> None:
    for host in HOSTS:
        for path in ("/echo", "/head", "/odd", "/cut", "/coded", "/broken"):
            run.keep(f"answer of {host}{path}", asked(run.outgate, host, path))
        assert any(
            CANARY in value or quote(CANARY, safe="") in request.target or "Basic" in value
            for request in upstream.record.requests
            for value in request.values("authorization") or [""]
        ), host
    reply = Client(run.outgate, "h2.example").ask(fields("/echo", host="h2.example"))
    run.keep("answer over HTTP/2", repr(reply).encode())
    run.keep("answer of a dead host", asked(run.outgate, "gone.example", "/"))
    run.keep("answer of a denied host", asked(run.outgate, "evil.example", "/"))
    own = {"Authorization": f"Bearer {CANARY}"}
    with run.outgate.tunnel("env.example:443") as client:
        refused = client.request("GET", f"/?key={quote(CANARY, safe='')}", "env.example", own)
    run.keep("answer to a client that has it", repr(refused).encode() + refused.body)


def asked(outgate: Outgate, host: str, path: str) -> bytes:
    with outgate.tunnel(f"{host}:443") as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        try:
            return client.read_to_end()
        except (ClosedError, OSError):
            return b""


def break_things(run: Run, secret: Path) -> None:
    """A source that goes away or turns bad, a worker that dies with a request in flight."""
    for content in (None, CANARY + " and white space", "", CANARY + "\x00", CANARY):
        secret.unlink(missing_ok=True)
        if content is not None:
            secret.write_text(content)
        run.keep("answer with a broken source", asked(run.outgate, "file.example", "/echo"))
    pid = run.outgate.ready["pid"]
    for worker in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(worker), signal.SIGABRT)


def look_from_outside(run: Run) -> None:
    outgate = run.outgate
    for command in (["env"], ["env", "--name", "box", "--format", "json"], ["explain", "GET https://env.example/"]):
        arguments = ["--state", str(outgate.state)] if command[0] == "env" else ["--policy", str(outgate.policies)]
        done = run_outgate(outgate.folder, *command, *arguments, environ=outgate.environ)
        run.keep(" ".join(command), (done.stdout + done.stderr).encode())
    pid = outgate.ready["pid"]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (str(pid), *children):
        run.keep("cmdline", Path(f"/proc/{process}/cmdline").read_bytes())
        run.keep("owner of environ", str(Path(f"/proc/{process}/environ").stat().st_uid).encode())
        assert Path(f"/proc/{process}/limits").read_text().split("Max core file size")[1].split()[:2] == ["0", "0"]
    # What the sandbox gets for its own processes.
    sandbox = clean_environment(outgate.folder, outgate.env("--name", "box"))
    run.keep("environment of the sandbox", json.dumps(sandbox).encode() + repr(sandbox).encode())


def test_the_search_finds_what_it_looks_for() -> None:
    for name, form in forms(CANARY).items():
        assert search("here", b"around " + form + b" and after"), name
    assert search("here", base64.b64encode(b"user:" + CANARY.encode()))


def test_no_answer_and_no_command_shows_the_canary(run: Run) -> None:
    assert len(run.seen) > 40
    assert [found for name, data in run.seen.items() for found in search(name, data)] == []


def test_no_file_that_is_left_shows_the_canary(run: Run) -> None:
    folder = run.outgate.folder
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"stderr", "stdout", "worker-0.jsonl", "worker-1.jsonl", "ca-key.pem"} <= names
    assert [found for path in files for found in search(str(path.relative_to(folder)), path.read_bytes())] == []


def test_other_processes_cannot_read_its_environment(run: Run) -> None:
    """A process that is not dumpable belongs to root in /proc, whoever its user is (proc(5))."""
    assert {data for name, data in run.seen.items() if name.endswith("owner of environ")} == {b"0"}


def test_the_run_did_use_the_canary(run: Run) -> None:
    events = run.outgate.events()
    assert {event["credential"] for event in events if event["injected"]} == {
        "in-env",
        "in-file",
        "in-query",
        "in-basic",
        "provided",
        "in-h2",
    }
    assert {event["reason"] for event in events} >= {
        "credential_unavailable",
        "client_credential_refused",
        "host_not_allowed",
        "upstream_unreachable",
    }
