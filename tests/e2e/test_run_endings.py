"""How `outgate run` ends, whatever happens: the right exit status, nothing left behind, the terminal as it was."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.outgate import OUTGATE
from tests.support.pki import Authority
from tests.support.running import PATIENCE, Place, Terminal, processes_of, until
from tests.support.upstream import Upstream

pytestmark = pytest.mark.usefixtures("sandboxed")


# --- endings ---


def test_what_the_command_leaves_behind_ends_with_it(place: Place) -> None:
    done = place.shell("(setsid sleep 1000 >/dev/null 2>&1 & ); (sleep 1001 >/dev/null 2>&1 &) ; exit 3")
    assert done.returncode == 3
    until(lambda: not processes_of(place), "processes were left")


def test_a_signal_reaches_the_command_which_may_end_in_its_own_time(place: Place) -> None:
    process = place.ready("sh", "-c", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (out, process.returncode) == ("bye\n", 5)
    until(lambda: not processes_of(place), "processes were left")


def test_nothing_outlives_a_launcher_that_is_killed(place: Place) -> None:
    process = place.ready("sh", "-c", "echo ready; sleep 1000")
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
    # bash does not end while it takes a job for a stopped one, and it learns of an end in its own time.
    terminal.type('kill %1; until [ -z "$(jobs -s)" ]; do sleep 0.05; done; exit 4\n')
    assert terminal.status() == 4
    assert "no job control" not in terminal.seen


# --- bad days ---

HOLD = """
import ctypes, os, signal, sys
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
libc = ctypes.CDLL(None, use_errno=True)
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, 1, None, None):
            os.write(writer, str(ctypes.get_errno()).encode())
            os._exit(1)
    os.waitpid(1, 0x40000000)  # __WALL: until it has stopped
    os.write(writer, b"held")
    for number in (0, 1, 2):
        os.close(number)
    signal.pause()
print(os.read(reader, 16).decode(), flush=True)
os._exit(5)
"""


def test_who_holds_the_first_process_of_the_sandbox_does_not_keep_the_run_from_its_end(place: Place) -> None:
    done = place.python(HOLD)
    if done.stdout != "held\n":
        pytest.skip(f"this kernel lets nobody hold it: {done.stdout}")
    assert done.returncode == 5, done.stderr
    assert processes_of(place) == []


def test_two_runs_at_once_on_a_folder_and_one_in_it(place: Place) -> None:
    (place.project / "sub folder").mkdir()
    script = "echo ready; read line; echo $line > from-$OUTGATE_SANDBOX; exit 3"
    inner = place.project / "sub folder"
    runs = [
        place.ready("sh", "-c", script, options=("--name", name, *options), stdin=subprocess.PIPE)
        for name, options in (("one", ()), ("two", ()), ("three", ("--project", str(inner))))
    ]
    for process in runs:
        process.communicate("hello\n", timeout=PATIENCE)
    assert [process.returncode for process in runs] == [3, 3, 3]
    assert [(place.project / f"from-{name}").read_text() for name in ("one", "two")] == ["hello\n"] * 2
    assert (inner / "from-three").read_text() == "hello\n"
    assert processes_of(place) == []


def test_a_terminal_that_is_closed_ends_it(terminal: Terminal, place: Place) -> None:
    terminal.start("sh", "-c", "echo ready; exec sleep 1000")
    terminal.expect("ready")
    assert terminal.hang_up() == 128 + signal.SIGHUP
    until(lambda: not processes_of(place), "processes were left")


def test_a_terminal_that_is_closed_does_not_wait_for_a_command_that_does_not_care(
    terminal: Terminal, place: Place
) -> None:
    terminal.start("sh", "-c", "trap '' HUP; echo ready; while :; do sleep 0.2; done")
    terminal.expect("ready")
    assert terminal.hang_up() == 128 + signal.SIGKILL
    until(lambda: not processes_of(place), "processes were left")


def test_the_terminal_is_as_it_was(terminal: Terminal) -> None:
    terminal.start("sh", "-c", "stty raw -echo; echo ready; kill -9 $$")
    before = terminal.modes()
    assert terminal.status() == 137
    assert terminal.modes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["messages", "sandbox", "command"])
def test_a_signal_at_any_moment_leaves_nothing(place: Place, number: signal.Signals, moment: str) -> None:
    """When its proxy is begun, when the sandbox is there, when the command runs."""
    process = place.start("sleep", "1000")

    def come() -> bool:
        found = processes_of(place)
        signs = {
            "messages": list(place.state.glob("runs/*/proxy.log")),
            "sandbox": [each for each in found if "bwrap" in each],
            "command": [each for each in found if each == "sleep 1000 "],
        }
        return bool(signs[moment]) or process.poll() is not None

    until(come, "it did not begin")
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode in {128 + number, -number}, err
    assert "Traceback" not in err
    until(lambda: not processes_of(place), f"processes were left: {processes_of(place)}")


def _in_own_mounts(place: Place, *steps: str, command: tuple[str, ...], **given: Any) -> tuple[int, str, str]:
    """Run behind changes of the file system that only it sees."""
    script = "\n".join(["set -e", *steps, 'exec "$@"'])
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mounts of a user's own on this machine")
    done = subprocess.run(
        [*unshare, *place.command(*command)],
        env=place.environment(),
        cwd=place.project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        **given,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_home_folder_that_is_read_only(place: Place) -> None:
    home = str(place.home)
    steps = (f"mount --bind '{home}' '{home}'", f"mount -o remount,ro,bind '{home}'")
    code, _, err = _in_own_mounts(place, *steps, command=("sh", "-c", "echo x > ~/file && exit 6"))
    assert code == 6, err
    assert not list(place.home.iterdir())


@pytest.fixture
def elsewhere(upstream: Upstream) -> Iterator[Place]:
    """A place of which nothing is in /tmp, with an authority that nobody asks."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="outgate test ") as folder:
        yield Place(Path(folder), upstream, Authority(Path(folder)))


def test_a_full_tmp(elsewhere: Place) -> None:
    if OUTGATE.is_relative_to("/tmp"):  # noqa: S108
        pytest.skip("Outgate itself is in /tmp")
    steps = ("mount -t tmpfs -o size=4k tmpfs /tmp", "head -c 100000 /dev/zero > /tmp/full 2>/dev/null || true")
    code, _, err = _in_own_mounts(elsewhere, *steps, command=("sh", "-c", "echo x > /tmp/file && exit 6"))
    assert code == 6, err
    until(lambda: not processes_of(elsewhere), "processes were left")


def test_a_state_folder_that_cannot_be_written(place: Place) -> None:
    place.state.mkdir(mode=0o700)
    state = str(place.state)
    steps = (f"mount -t tmpfs -o size=4k tmpfs '{state}'", f"chmod 700 '{state}'", f"mount -o remount,ro '{state}'")
    code, _, err = _in_own_mounts(place, *steps, command=("touch", "started"))
    assert code == 2, err
    assert "hint:" in err
    assert not (place.project / "started").exists()
