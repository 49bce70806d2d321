"""`outgate run`: a real command in a real sandbox, behind a real proxy, in front of an upstream that records."""

import json
import subprocess
import textwrap

import pytest

from tests.e2e.conftest import StartOutgate
from tests.support.running import PATIENCE, POLICY, SECRET, Place

pytestmark = pytest.mark.usefixtures("sandboxed")


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
    assert "refused 1 time: evil.example" in done.stderr
    assert len(done.stderr.splitlines()) <= 12
    told = json.loads(summary.read_text())
    assert told["sandbox"] == "job-7"
    assert told["refused"] == [{"host": "evil.example", "port": 443, "reason": "host_not_allowed", "requests": 1}]


def test_the_summary_lands_where_it_was_named_whatever_the_sandbox_makes_of_the_folder(place: Place) -> None:
    out, victim = place.project / "out", place.folder / "victim"
    out.mkdir()
    victim.mkdir()
    done = place.shell(f"mv out old; ln -s {victim} out", options=("--summary-file", str(out / "summary.json")))
    assert done.returncode == 0, done.stderr
    assert not list(victim.iterdir())
    assert json.loads((place.project / "old" / "summary.json").read_text())["refused"] == []


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
        (("",), 127),
    ],
)
def test_the_exit_status_is_that_of_the_command(place: Place, command: tuple[str, ...], status: int) -> None:
    assert place.run(*command).returncode == status


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_standard_streams_that_are_closed(place: Place, closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *place.command("sh", "-c", "cat; echo ran; exit 7")]
    done = subprocess.run(command, env=place.environment(), cwd=place.project, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (7, b"ran\n"), done.stderr


def test_a_working_folder_that_is_gone(place: Place) -> None:
    command = ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *place.command("true")]
    (gone := place.folder / "gone").mkdir()
    done = subprocess.run(command, env=place.environment(), cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot look at the working folder")


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


def test_no_policy_of_a_proxy_that_runs_can_be_changed_or_added(place: Place, start_outgate: StartOutgate) -> None:
    policies = {"agent.yaml": POLICY, "other.yaml": POLICY.replace("name: agent", "name: other")}
    outgate = start_outgate(policies, environ={"REAL_KEY": SECRET})
    done = place.shell(
        """
        cd policies || exit 1
        for file in agent.yaml other.yaml new.yaml; do (: >> $file) && echo "wrote $file"; done
        mv ../policies ../old && echo moved
        """,
        ("--via", str(outgate.state), "--policy", "agent", "--project", str(outgate.policies.parent)),
    )
    assert (done.stdout, done.returncode) == ("", 1), done.stderr
    assert done.stderr.count("Read-only file system") == 3
    assert {file.name: file.read_text() for file in outgate.policies.iterdir()} == policies


def test_what_a_run_trusts_cannot_be_changed_from_inside(place: Place) -> None:
    """The next run reads it again: the settings that were named, and what upstream certificates are signed by."""
    (place.project / "trust").mkdir()
    (place.project / "trust/ca.pem").write_text(place.authority.ca_file.read_text())
    (place.project / "own").mkdir()
    (place.project / "own/settings.yaml").write_text("upstream_ca: [../trust/ca.pem]\n")
    place.environ = {**place.environ, "OUTGATE_CONFIG": str(place.project / "own/settings.yaml")}
    script = "for file in own/settings.yaml trust/ca.pem; do (: >> $file) && echo wrote $file; done; cat own/*"
    done = subprocess.run(
        [*place.command()[:2], "--policy", str(place.policy), "--state", str(place.state), "--", "sh", "-c", script],
        env=place.environment(),
        cwd=place.project,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 2,
    )
    assert done.stdout == "upstream_ca: [../trust/ca.pem]\n", done.stderr


def test_a_name_is_for_one_sandbox_at_a_time(place: Place, start_outgate: StartOutgate) -> None:
    outgate = start_outgate(POLICY, environ={"REAL_KEY": SECRET})
    options = ("--via", str(outgate.state), "--name", "guest")
    first = place.ready("sh", "-c", "echo ready; sleep 1000", options=options)
    second = place.run("true", options=options)
    assert second.returncode == 2
    assert "--name" in second.stderr
    first.terminate()
    first.communicate(timeout=PATIENCE)


def test_two_runs_at_once_do_not_meet(place: Place) -> None:
    script = "echo ready; read line; curl -sS http://outgate.internal/"
    runs = {
        name: place.ready("sh", "-c", script, options=("--name", name), stdin=subprocess.PIPE)
        for name in ("one", "two")
    }
    for name, process in runs.items():
        out, err = process.communicate("go\n", timeout=PATIENCE)
        assert json.loads(out)["sandbox"] == name, err


def test_a_run_with_a_proxy_that_does_not_answer(place: Place) -> None:
    done = place.run("true", options=("--via", str(place.folder / "nowhere")))
    assert done.returncode == 2
    assert "hint:" in done.stderr
