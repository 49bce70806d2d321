"""`outgate run`: a real command in a real sandbox, behind a real proxy, in front of an upstream that records."""

import contextlib
import json
import os
import select
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import StartOutgate
from tests.sandbox.box import why_not
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
    """A project folder with a policy in it, a home folder and a state folder."""

    folder: Path
    upstream: Upstream
    authority: Authority
    environ: Mapping[str, str] = field(default_factory=lambda: {"REAL_KEY": SECRET})

    def __post_init__(self) -> None:
        self.project.mkdir()
        self.home.mkdir()
        (self.project / "policies").mkdir()
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
        mapping = f"api.example.com:443:127.0.0.1:{self.upstream.port}"
        given = ("--policy", str(self.policy), "--state", str(self.state), "--connect-to", mapping)
        given = (*given, "--upstream-ca", str(self.authority.ca_file))
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


@pytest.fixture(autouse=True, scope="module")
def _possible() -> None:
    if reason := why_not():
        pytest.skip(f"no sandbox on this machine: {reason}")


@pytest.fixture
def place(tmp_path: Path, upstream: Upstream, authority: Authority) -> Place:
    return Place(tmp_path, upstream, authority)


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


# --- the main job ---


def test_an_allowed_call_gets_the_key_that_the_sandbox_never_has(place: Place) -> None:
    done = place.shell(
        """
        env | grep -c sk-real
        curl -sS -H "Authorization: Bearer $API_KEY" https://api.example.com/v1/models
        echo "fake $API_KEY"
        """
    )
    assert done.returncode == 0, done.stderr
    (request,) = place.upstream.record.requests
    assert request.header("authorization") == f"Bearer {SECRET}"
    assert done.stdout.splitlines()[0] == "0"
    assert "fake " in done.stdout
    assert SECRET not in done.stdout + done.stderr
    (event,) = place.events()
    assert (event["verdict"], event["injected"], event["boundary"]) == ("allow", True, "namespace")
    assert event["sandbox"].startswith("sh-")


def test_a_refusal_can_be_read_inside_and_is_summed_up_outside(place: Place) -> None:
    summary = place.folder / "summary.json"
    done = place.shell("curl -sS https://evil.example/", options=("--summary-file", str(summary), "--name", "job-7"))
    assert json.loads(done.stdout)["reason"] == "host_not_allowed"
    assert "refused 1 times: evil.example" in done.stderr
    assert len(done.stderr.splitlines()) <= 12
    told = json.loads(summary.read_text())
    assert told["sandbox"] == "job-7"
    assert told["refused"] == [{"host": "evil.example", "port": 443, "reason": "host_not_allowed", "requests": 1}]


# --- the boundary ---

WAYS_OUT = """
import errno, os, socket, json
tried = {}
def attempt(name, act):
    try:
        act()
        tried[name] = "open"
    except OSError as error:
        tried[name] = errno.errorcode.get(error.errno, str(error))
def connect(family, kind, address):
    with socket.socket(family, kind) as sock:
        sock.settimeout(3)
        sock.connect(address)
attempt("tcp", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PORT)))
attempt("udp", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)))
attempt("tcp6", lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 443)))
attempt("metadata", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)))
attempt("dns", lambda: socket.getaddrinfo("api.example.com", 443))
attempt("vsock", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close())
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close())
print(json.dumps(tried))
"""


def test_there_is_no_way_out_but_the_proxy(place: Place) -> None:
    """The upstream listens on the host's loopback: inside, that address leads nowhere."""
    done = place.python(WAYS_OUT.replace("PORT", str(place.upstream.port)))
    assert done.returncode == 0, done.stderr
    tried = json.loads(done.stdout)
    assert "open" not in tried.values(), tried
    assert tried["tcp"] == "ECONNREFUSED"
    assert {tried[name] for name in ("udp", "tcp6", "metadata")} == {"ENETUNREACH"}
    assert place.upstream.record.requests == []


def test_without_its_variables_a_client_reaches_nothing(place: Place) -> None:
    done = place.shell("env -i curl -sS --max-time 5 https://api.example.com/; echo $?")
    assert done.stdout.strip() == "6"
    assert place.upstream.record.requests == []


def test_a_token_or_a_name_of_another_sandbox_changes_nothing(place: Place) -> None:
    done = place.shell(
        "curl -sS -x http://other:token@127.0.0.1:8899 http://outgate.internal/", options=("--name", "me")
    )
    assert json.loads(done.stdout)["sandbox"] == "me"


def test_the_policy_cannot_be_changed_from_inside(place: Place) -> None:
    """Not written, not replaced, and not by a folder put in the place of its own."""
    wide = POLICY.replace("api.example.com", "evil.example")
    done = place.shell(
        f"""
        cat > /tmp/wide.yaml <<'END'
{textwrap.indent(wide, " " * 8)}
        END
        cp /tmp/wide.yaml policies/agent.yaml
        rm -f policies/agent.yaml
        mv policies old && mkdir policies && cp /tmp/wide.yaml policies/agent.yaml
        mv /tmp/wide.yaml policies/agent.yaml
        ln -sf /tmp/wide.yaml policies/agent.yaml
        curl -sS -o /dev/null -w '%{{http_code}}' https://evil.example/
        """
    )
    assert done.stdout.endswith("403"), done.stderr
    assert place.policy.read_text() == POLICY


# --- exit codes ---


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -9 $$"), 137),
        (("no-such-command",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_the_exit_status_is_that_of_the_command(place: Place, command: tuple[str, ...], status: int) -> None:
    assert place.run(*command).returncode == status


def test_what_is_wrong_is_said_before_anything_starts(place: Place) -> None:
    place.policy.write_text(POLICY.replace("methods", "method"))
    done = place.run("touch", "started")
    assert done.returncode == 2
    assert "agent.yaml:7" in done.stderr
    assert "hint:" in done.stderr
    assert not (place.project / "started").exists()


def test_a_secret_that_is_missing_is_said_as_serve_says_it(place: Place) -> None:
    place.environ = {}
    done = place.run("touch", "started")
    assert done.returncode == 2
    assert "REAL_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place.project / "started").exists()


def test_a_sandbox_in_a_sandbox_is_refused(place: Place) -> None:
    place.environ = {**place.environ, "OUTGATE_SANDBOX": "outer"}
    done = place.run("true")
    assert done.returncode == 2
    assert "already" in done.stderr


# --- endings ---


def test_what_the_command_leaves_behind_ends_with_it(place: Place) -> None:
    done = place.shell("(setsid sleep 1000 >/dev/null 2>&1 & ); (sleep 1001 >/dev/null 2>&1 &) ; exit 3")
    assert done.returncode == 3
    until(lambda: not processes_of(place), "processes were left")


def test_a_signal_reaches_the_command_which_may_end_in_its_own_time(place: Place) -> None:
    process = place.start("sh", "-c", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (out, process.returncode) == ("bye\n", 5)
    until(lambda: not processes_of(place), "processes were left")


def test_nothing_outlives_a_launcher_that_is_killed(place: Place) -> None:
    process = place.start("sh", "-c", "echo ready; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(processes_of(place)) > 2
    process.kill()
    process.communicate(timeout=PATIENCE)
    until(lambda: not processes_of(place), f"processes were left: {processes_of(place)}")


def test_a_signal_while_it_starts_leaves_nothing(place: Place) -> None:
    process = place.start("sleep", "1000")
    until(lambda: bool(list(place.state.glob("runs/*"))) or process.poll() is not None, "it did not begin")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode in {143, -signal.SIGTERM}  # before or after it had prepared for signals
    until(lambda: not processes_of(place), "processes were left")


# --- a terminal ---


@pytest.fixture
def terminal(place: Place) -> Iterator["Terminal"]:
    opened = Terminal(place)
    yield opened
    opened.close()


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

    def expect(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.seen.count(text) < times:
            left = deadline - time.monotonic()
            assert left > 0, self.seen
            if select.select([self._fd], [], [], left)[0]:
                self.seen += os.read(self._fd, 65536).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def status(self) -> int:
        """Read until it ends; its exit status."""
        assert self._process is not None
        with contextlib.suppress(OSError):  # the terminal is closed
            while data := os.read(self._fd, 65536):
                self.seen += data.decode(errors="replace")
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            os.close(self._fd)


def test_ctrl_c_reaches_the_command_once_and_it_decides(terminal: Terminal) -> None:
    terminal.start(
        "sh", "-c", "trap 'echo got-$((n=n+1))' INT; echo ready; while [ \"$n\" != 2 ]; do sleep 0.05; done; exit 9"
    )
    terminal.expect("ready")
    terminal.type("\x03")
    terminal.expect("got-1")
    terminal.type("\x03")
    assert terminal.status() == 9
    assert "got-2" in terminal.seen
    assert "got-3" not in terminal.seen


def test_a_shell_has_a_terminal_with_job_control(terminal: Terminal) -> None:
    terminal.start("bash", "--norc", "-i")
    terminal.expect("#" if os.geteuid() == 0 else "$")
    terminal.type("sh -c 'echo on; exec sleep 1000'\n")
    terminal.expect("on\r\n")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.type("kill %1; exit 4\n")
    assert terminal.status() == 4
    assert "no job control" not in terminal.seen


# --- other ways to run ---


def test_without_a_sandbox_it_says_so_loudly_and_in_the_log(place: Place) -> None:
    done = place.shell(
        'curl -sS -o /dev/null -H "Authorization: Bearer $API_KEY" https://api.example.com/; env | grep -c sk-real',
        options=("--no-sandbox",),
    )
    assert "warning: --no-sandbox" in done.stderr
    assert done.stdout.strip() == "0"
    (request,) = place.upstream.record.requests
    assert request.header("authorization") == f"Bearer {SECRET}"
    (event,) = place.events()
    assert event["boundary"] == "none"


def test_by_way_of_a_proxy_that_runs(place: Place, start_outgate: StartOutgate) -> None:
    outgate = start_outgate(
        POLICY, connect_to={"api.example.com:443": place.upstream.port}, environ={"REAL_KEY": SECRET}, workers=2
    )
    place.environ = {}
    options = ("--via", str(outgate.state), "--name", "guest")
    for _ in range(2):  # the name is free again once the sandbox has ended
        done = place.shell('curl -sS -H "Authorization: Bearer $API_KEY" https://api.example.com/', options)
        assert done.returncode == 0, done.stderr
    assert [request.header("authorization") for request in place.upstream.record.requests] == [f"Bearer {SECRET}"] * 2
    outgate.wait_for_events(lambda found: sum(event["host"] == "api.example.com" for event in found) == 2)
    assert {event["sandbox"] for event in outgate.events()} == {"guest"}
    assert {event["boundary"] for event in outgate.events()} == {"namespace"}


def test_a_name_is_for_one_sandbox_at_a_time(place: Place, start_outgate: StartOutgate) -> None:
    outgate = start_outgate(POLICY, environ={"REAL_KEY": SECRET})
    options = ("--via", str(outgate.state), "--name", "guest")
    first = place.start("sh", "-c", "echo ready; sleep 1000", options=options)
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    second = place.run("true", options=options)
    assert second.returncode == 2
    assert "--name" in second.stderr
    first.terminate()
    first.communicate(timeout=PATIENCE)


def test_two_runs_at_once_do_not_meet(place: Place) -> None:
    script = "echo ready; read line; curl -sS http://outgate.internal/"
    runs = {
        name: place.start("sh", "-c", script, options=("--name", name), stdin=subprocess.PIPE)
        for name in ("one", "two")
    }
    for process in runs.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for name, process in runs.items():
        out, err = process.communicate("go\n", timeout=PATIENCE)
        assert json.loads(out)["sandbox"] == name, err


def test_a_run_with_a_proxy_that_does_not_answer(place: Place) -> None:
    done = place.run("true", options=("--via", str(place.folder / "nowhere")))
    assert done.returncode == 2
    assert "hint:" in done.stderr
