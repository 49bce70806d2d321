"""The supervisor: checks and opens everything, forks the workers, replaces those that die, stops them all.

It stays single-threaded and serves nobody, so that forking again is safe. What can be wrong is found
here, before the first worker exists.
"""

import contextlib
import ctypes
import os
import resource
import select
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from proxy import ca, limits, logs, terminal
from proxy.audit import files, sink, stdout
from proxy.audit.checkpoint import FILE as CHECKPOINTS
from proxy.dial import Dialer
from proxy.endpoint import Listen
from proxy.engine import worker
from proxy.engine.accepting import Load, Loads
from proxy.engine.certificates import ClientContexts, UpstreamContext
from proxy.engine.handover import Handover
from proxy.engine.keeping import Keeping
from proxy.engine.reload import Reloader
from proxy.engine.state import Services
from proxy.engine.watchdog import START_TIME, Watchdog
from proxy.errors import ConfigError, OutgateError
from proxy.fastlane.tls import LeafContexts, upstream_context
from proxy.gate import Gate
from proxy.identity import Keys, load_or_create_keys, parse_proxy_authorization, verify
from proxy.policy.rules import Policy
from proxy.ready import Ready, ReadyPolicy, write_ready
from proxy.serving import Serving
from proxy.settings import Settings, default_state
from proxy.state import StateDir, open_state, serving
from proxy.watch import POLL_TIME, Snapshot, Watch

if TYPE_CHECKING:
    from proxy.engine.observing import Observing

log = structlog.get_logger("supervisor")

_PR_SET_DUMPABLE = 4
_PIPE_SIZE = 1 << 16  # bytes, one for each signal: all that can wait, so that none hides behind others
_RESTART_PAUSE = 1.0  # seconds between a worker's death and the next one, if it died young
_FLUSH_TIME = 2.0  # seconds that a worker tries to write its last events
_EVENTS_LEFT = 74  # the exit status of a worker that could not, and that of the proxy (EX_IOERR of sysexits.h)


def serve(
    settings: Settings,
    policies: Sequence[Policy],
    seen: Snapshot,
    *,
    run: str = "",
    launcher: socket.socket | None = None,
) -> int:
    """Run the proxy until SIGTERM or SIGINT; returns the exit status: 0, or 74 if events are not in the audit log.

    Raises `ConfigError` for what is wrong at the start.

    `seen` is the state of the policy files before they were read; changes from there on are reloaded. With `launcher`
    it serves the sandbox that comes over it, as the run of that name, and ends with it.
    """
    logs.configure()
    protect_process()
    state = open_state(settings.state, run=run)
    with serving(state):
        return _Supervisor(settings, policies, seen, state, launcher).run()


def protect_process() -> None:
    """Keep secrets out of core files and out of reach of other processes of this user (prctl(2), PR_SET_DUMPABLE)."""
    for name in ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"):
        os.environ.pop(name, None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True, slots=True)
class _Worker:
    number: int
    control: socket.socket
    sandboxes: socket.socket
    watchdog: Watchdog
    started: float = field(default_factory=time.monotonic)


class _Supervisor:
    def __init__(
        self,
        settings: Settings,
        policies: Sequence[Policy],
        seen: Snapshot,
        state: StateDir,
        launcher: socket.socket | None,
    ) -> None:
        self.settings = settings
        self.state = state
        self.workers: dict[int, _Worker] = {}  # by process id
        self.loads = Loads(settings.workers)
        self.vacant: list[int] = []  # numbers of workers that ended and have no successor yet
        self.status = 0
        self.hangup = False  # SIGHUP came, and was not answered yet
        self.unsaid = False  # the ready file does not say yet what holds
        self.authority = ca.load_or_create(state)
        self.keys = load_or_create_keys(state)
        served = Serving.read(policies, os.environ)
        self.upstream = UpstreamContext(settings.upstream_ca)
        self.upstream_tls = upstream_context(settings.upstream_ca)
        self.options = _audit_options(settings, run=state.run)
        self._check_audit()
        self.keeping = Keeping(state, settings.audit_fsync, self._become_keeper)
        self.listening = None if settings.listen is None else _listen(settings.listen)
        self.observing: Observing | None = None
        if settings.metrics is not None and not state.run:  # the numbers of a run are in its summary
            from proxy.engine import observing  # a web server, which a run need not load

            metrics = _listen(settings.metrics, "--metrics")
            checkpoints = state.audit / CHECKPOINTS
            self.observing = observing.Observing(metrics, settings.workers, checkpoints, self._become_keeper)
        self.ended = self.crashed = 0  # workers that ended, and what they left unfinished
        self.handover = Handover(state.control, launcher)
        self.reloader = Reloader(settings, served, Watch(settings.policy, seen), state.audit, self._controls)

    @property
    def policies(self) -> list[Policy]:
        return [*self.reloader.serving.policies.values()]

    def _controls(self) -> dict[int, socket.socket]:
        return {pid: each.control for pid, each in self.workers.items()}

    def _sandboxes(self) -> dict[int, socket.socket]:
        return {pid: each.sandboxes for pid, each in self.workers.items()}

    def run(self) -> int:
        ready_read, self.ready = os.pipe()
        self.parent, self.alive = os.pipe()
        stop_read, stop_write = os.pipe()
        for fd in (stop_read, stop_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(stop_write)
        self.terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(signum, lambda *_: None)
        self.close_in_child = (ready_read, self.alive, stop_read, stop_write)
        self.keeping.begin()
        try:
            for number in range(self.settings.workers):
                self._fork(number)
            if self._wait_ready(ready_read, stop_read):
                self._announce()
                self._watch(stop_read)
        finally:
            self._stop()
        return self.status

    def _check_audit(self) -> None:
        """End what an earlier run left in flight, and open every audit file once."""
        for journal in sorted(self.state.audit.glob("worker-*.journal")):
            try:
                left = sink.recover(self.state.audit, int(journal.stem.removeprefix("worker-")), self.options)
            except sink.AuditUnavailable as error:
                raise ConfigError(
                    f"cannot write to the audit log: {error}", "make room for it, or name another folder with --state"
                ) from error
            if left:
                log.warning("exchanges of an earlier run were ended in the audit log", exchanges=left)
        for number in range(self.settings.workers):
            sink.AuditSink(self.state.audit, number, self.options).close()
        if self.options.stdout:
            stdout.prepare()

    # --- workers ---

    def _fork(self, number: int) -> None:
        ours, control = socket.socketpair()
        our_sandboxes, sandboxes = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        watchdog = Watchdog()
        try:
            pid = os.fork()
        except OSError:
            for each in (ours, control, our_sandboxes, sandboxes):
                each.close()
            raise
        if pid:
            control.close()
            sandboxes.close()
            self.workers[pid] = _Worker(number, ours, our_sandboxes, watchdog)
            return
        status = 70
        try:
            self._become_child()
            ours.close()
            our_sandboxes.close()
            board = None if self.observing is None else self.observing.boards[number]
            load = Load(self.loads, number)
            ties = worker.Ties(
                self.ready, self.parent, control, sandboxes, self.handover.opened, watchdog.pulse, load, board
            )
            status = self._work(number, ties)
        except Exception as error:
            log.exception("worker failed", error=type(error).__name__)
        finally:
            os._exit(status)

    def _become_child(self) -> None:
        """Let go, after a fork, of what is the supervisor's alone."""
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is the supervisor's to say what follows from it
        for fd in self.close_in_child:
            os.close(fd)
        for each in (*self._controls().values(), *self._sandboxes().values(), *self.handover.sockets):
            each.close()
        if self.observing is not None:
            self.observing.listening.close()

    def _become_keeper(self) -> None:
        """The same for a child that serves nobody."""
        self._become_child()
        os.close(self.ready)
        os.close(self.parent)
        if self.listening is not None:
            self.listening.close()
        protect_process()

    def _work(self, number: int, ties: worker.Ties) -> int:
        protect_process()
        # What the last worker of this number left, and nobody could write, is written before anything is forwarded.
        audit = sink.AuditSink(self.state.audit, number, self.options)
        gate = Gate(
            serving=self.reloader.serving,
            placeholder_key=self.keys.placeholders,
            audit=audit,
            authenticate=_authenticator(self.keys),
            tokens_required=self.reloader.tokens,
        )
        if ties.board is not None and (counted := ties.board.get()):
            gate.counters.resume(counted)
        services = Services(
            gate=gate,
            dialer=Dialer(self.settings.connect_map, self._private()),
            client_contexts=ClientContexts(self.authority),
            upstream_context=self.upstream,
            leaf_contexts=LeafContexts(self.authority),
            upstream_tls=self.upstream_tls,
        )
        worker.run(services, self.listening, ties)
        return _EVENTS_LEFT if audit.close(_FLUSH_TIME) else 0

    def _reap(self) -> None:
        """Take note of workers that ended, and record what they left in flight."""
        while self.workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.keeping.reaped(pid, status) or (self.observing is not None and self.observing.reaped(pid)):
                continue
            if pid not in self.workers:  # as the first process of a container we inherit orphans
                continue
            ended = self.workers.pop(pid)
            ended.control.close()
            ended.sandboxes.close()
            self.vacant.append(ended.number)
            self.loads.forget(ended.number)
            left = self._recover(ended.number)
            self.ended, self.crashed = self.ended + 1, self.crashed + (left or 0)
            log.error("worker ended; starting another", worker=ended.number, status=status, unfinished=left)
            if time.monotonic() - ended.started < _RESTART_PAUSE:
                time.sleep(_RESTART_PAUSE)

    def _recover(self, number: int) -> int | None:
        """Record what a dead worker left in flight; how much that was, None if the log cannot be written now."""
        try:
            return sink.recover(self.state.audit, number, self.options)
        except sink.AuditUnavailable as error:
            log.error("exchanges of a worker that ended are in its journal alone", worker=number, error=str(error))  # noqa: TRY400 - a full disk is no bug
            return None

    def _fill(self) -> None:
        """Start workers in the place of those that ended."""
        while self.vacant:
            try:
                self._fork(self.vacant[0])
            except OSError as error:
                log.error("a worker could not be started yet", worker=self.vacant[0], error=str(error))  # noqa: TRY400 - the machine is short of something
                return
            del self.vacant[0]

    # --- the life of the proxy ---

    def _wait_ready(self, ready: int, stop: int) -> bool:
        """Wait until every worker accepts. False if a signal to stop came first."""
        waiting = self.settings.workers
        deadline = time.monotonic() + START_TIME
        while waiting:
            readable, _, _ = select.select([ready, stop], [], [], max(0.0, deadline - time.monotonic()))
            if ready in readable:
                waiting -= len(os.read(ready, waiting))
            elif stop in readable:
                if self._stopping(stop):
                    return False
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if self.workers.pop(pid, None):
                    raise OutgateError("a worker could not start", "the lines above say why")
            else:
                raise OutgateError("the workers did not start in time")
        return True

    def _watch(self, stop: int) -> None:
        while not self._stopping(stop) and not self.handover.ended:
            self._reap()
            self._fill()
            self._look()
            self._end_hung()
            self.keeping.turn()
            self._tell(serving=True)
            self._wait(stop)

    def _tell(self, *, serving: bool) -> None:
        """Say what there is to measure of the proxy as a whole."""
        if self.observing is not None:
            self.observing.turn(
                {
                    "serving": serving,
                    "workers": len(self.workers),
                    "configured": self.settings.workers,
                    "ended": self.ended,
                    "crashed": self.crashed,
                    "reload": self.reloader.status.result,
                }
            )

    def _private(self) -> tuple[Listen, ...]:
        """Addresses where nobody is led: the operator's own, and that of the proxy, which would ask itself."""
        own = () if self.listening is None else (_bound_to(self.listening),)
        return own if self.observing is None else (*own, self.observing.address)

    def _wait(self, stop: int) -> None:
        """Until there is something to do, or to look whether there is."""
        waiting = {sock.fileno(): sock for sock in self.handover.sockets}
        poll = select.poll()  # `select` cannot wait for more than 1,024 descriptors
        for fd in (stop, *waiting):
            poll.register(fd, select.POLLIN)
        readable = [waiting[fd] for fd, _ in poll.poll(POLL_TIME * 1000) if fd in waiting]
        for pid in self.handover.look(readable, self.reloader.serving.policies, self._sandboxes()):
            log.error("a worker could not be told of a sandbox; it is replaced", worker=self.workers[pid].number)
            _end(pid)

    def _look(self) -> None:
        """Reload what changed, or what SIGHUP asks for."""
        asked, self.hangup = self.hangup, False
        before = self.reloader.serving
        try:
            changed, lost = self.reloader.look(asked=asked)
        except Exception as error:
            log.exception("reload failed", error=type(error).__name__)
            changed, lost = True, set() if self.reloader.serving is before else set(self.workers)
        for pid in lost:
            log.error("a worker did not take the new policies; it is replaced", worker=self.workers[pid].number)
            _end(pid)
        if changed or self.unsaid:
            self.unsaid = not self._rewrite_ready(quiet=not changed)

    def _rewrite_ready(self, *, quiet: bool) -> bool:
        """Write the ready file again; false if that must be tried again."""
        try:
            self._write_ready()
        except (OutgateError, OSError) as error:
            if not quiet:
                log.error("the ready file could not be written yet", error=str(error))  # noqa: TRY400 - a full disk is no bug
            return False
        return True

    def _end_hung(self) -> None:
        """End workers that do not turn any more: what they hold would wait for ever."""
        now = time.monotonic()
        for pid, each in self.workers.items():
            if each.watchdog.hangs(now):
                log.error("a worker hangs; it is replaced", worker=each.number)
                _end(pid)

    def _stopping(self, stop: int) -> bool:
        with contextlib.suppress(BlockingIOError):
            received = set(os.read(stop, _PIPE_SIZE))
            self.hangup = self.hangup or signal.SIGHUP in received
            # A terminal that is closed sends the same signal as an operator who wants a reload.
            gone = self.hangup and self.terminal and not _has_terminal()
            return gone or bool({signal.SIGTERM, signal.SIGINT} & received)
        return False

    def _stop(self) -> None:
        self._tell(serving=False)
        os.close(self.alive)  # reaches a worker that has no signal handler yet, too
        for pid in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + limits.DRAIN_TIME + 5
        for pid, each in self.workers.items():
            while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)
            unwritten = os.waitstatus_to_exitcode(ended[1]) == _EVENTS_LEFT
            if self._recover(each.number) is None or unwritten:
                self.status = _EVENTS_LEFT
        for number in self.vacant:
            if self._recover(number) is None:
                self.status = _EVENTS_LEFT
        self.keeping.end()
        if self.observing is not None:
            self.observing.end()
        with contextlib.suppress(OSError):
            self.handover.close()
            self.state.ready.unlink(missing_ok=True)
            if self.settings.ready_file is not None:
                self.settings.ready_file.unlink(missing_ok=True)

    def _announce(self) -> None:
        self._write_ready()
        if self.state.run:
            return  # its launcher has the word
        named = ", ".join(f"{policy.name} ({policy.digest[:12]})" for policy in self.policies)
        where, clients = f"listens on {self._address()}", f'eval "$({self._env_command()})"'
        if self.listening is None:
            where, clients = "listens nowhere", f"outgate run --via {shlex.quote(str(self.state.root))} -- COMMAND"
        log.info("checkpoints of the audit log are signed", public_key=self.keeping.public_key)
        tell = terminal.note if self.options.stdout else terminal.say
        tell(f"outgate {where} · policy {named} · CA {self.state.ca_cert} · clients: {clients}")

    def _write_ready(self) -> None:
        policies = tuple(
            ReadyPolicy(policy.name, policy.digest, str(Path(policy.source).absolute())) for policy in self.policies
        )
        status = self.reloader.status
        metrics = None if self.observing is None else str(self.observing.address)
        ready = Ready(
            self._address(), str(self.state.ca_cert), policies, os.getpid(), self.reloader.tokens, status, metrics
        )
        for path in (self.state.ready, self.settings.ready_file):
            if path is not None:
                write_ready(path, ready)

    def _address(self) -> str:
        """`HOST:PORT`, empty if there are only sandboxes with sockets of their own."""
        return "" if self.listening is None else str(_bound_to(self.listening))

    def _env_command(self) -> str:
        """The command that prints a sandbox's environment, with the options that it needs here."""
        words = ["outgate", "env"]
        if self.settings.state != default_state(os.environ):
            words += ["--state", str(self.settings.state)]
        if len(self.policies) > 1:
            words += ["--policy", "NAME"]
        if self.settings.listen is not None and self.settings.listen.address.is_unspecified:
            words += ["--proxy", "HOST:PORT"]
        return shlex.join(words)


def _bound_to(listening: socket.socket) -> Listen:
    host, port = listening.getsockname()[:2]
    return Listen(ip_address(host.partition("%")[0]), port)


def _audit_options(settings: Settings, *, run: str) -> files.Options:
    """How the audit log is written. Standard output belongs to the command that a run starts."""
    to_stdout = settings.audit == "stdout" and not run
    return files.Options(settings.audit_max_bytes, settings.audit_max_age, settings.audit_fsync, stdout=to_stdout)


def _listen(listen: Listen, option: str = "--listen") -> socket.socket:
    family = socket.AF_INET6 if listen.address.version == 6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((str(listen.address), listen.port))
        listening.listen(limits.BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {listen}: {os.strerror(error.errno or 0)}",
            f"choose another address with {option} HOST:PORT; port 0 picks a free one",
        ) from None
    return listening


def _end(pid: int) -> None:
    """End a process, whatever it does or if it is stopped."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _authenticator(keys: Keys) -> Callable[[Sequence[bytes]], tuple[str, str, float]]:
    def authenticate(values: Sequence[bytes]) -> tuple[str, str, float]:
        claims = verify(keys.tokens, parse_proxy_authorization(values), time.time())
        return claims.sandbox, claims.policy, claims.expires

    return authenticate
