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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from proxy import ca, limits, logs, terminal
from proxy.audit import sink
from proxy.credentials.sources import SecretStore
from proxy.dial import Dialer
from proxy.engine.certificates import ClientContexts, UpstreamContext
from proxy.engine.state import Services
from proxy.errors import ConfigError, OutgateError
from proxy.gate import Gate
from proxy.identity import Keys, load_or_create_keys, parse_proxy_authorization, verify
from proxy.policy.rules import Policy
from proxy.ready import Ready, ReadyPolicy, write_ready
from proxy.settings import Settings, default_state, tokens_required
from proxy.state import StateDir, open_state, serving

log = structlog.get_logger("supervisor")

_PR_SET_DUMPABLE = 4
_START_TIME = 60.0  # seconds for the workers to accept
_RESTART_PAUSE = 1.0  # seconds between a worker's death and the next one, if it died young


def serve(settings: Settings, policies: Sequence[Policy]) -> int:
    """Run the proxy until SIGTERM or SIGINT; returns 0. Raises `ConfigError` for what is wrong at the start."""
    logs.configure()
    protect_process()
    state = open_state(settings.state)
    with serving(state):
        return _Supervisor(settings, {policy.name: policy for policy in policies}, state).run()


def protect_process() -> None:
    """Keep secrets out of core files and out of reach of other processes of this user (prctl(2), PR_SET_DUMPABLE)."""
    for name in ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"):
        os.environ.pop(name, None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Supervisor:
    def __init__(self, settings: Settings, policies: Mapping[str, Policy], state: StateDir) -> None:
        self.settings = settings
        self.policies = policies
        self.state = state
        self.workers: dict[int, tuple[int, float]] = {}  # pid -> (number, when it was started)
        self.authority = ca.load_or_create(state)
        self.keys = load_or_create_keys(state)
        self.secrets = {name: SecretStore(policy.credentials, os.environ) for name, policy in policies.items()}
        for store in self.secrets.values():
            store.load_all()
        self.upstream = UpstreamContext(settings.upstream_ca)
        self.tokens = tokens_required(settings, len(policies))
        self._check_audit()
        self.listening = _listen(settings)

    def run(self) -> int:
        ready_read, self.ready = os.pipe()
        self.parent, self.alive = os.pipe()
        stop_read, stop_write = os.pipe()
        for fd in (stop_read, stop_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(stop_write)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(signum, lambda *_: None)
        self.close_in_child = (ready_read, self.alive, stop_read, stop_write)
        try:
            for number in range(self.settings.workers):
                self._fork(number)
            if not self._wait_ready(ready_read, stop_read):
                return 0
            self._announce()
            self._watch(stop_read)
        finally:
            self._stop()
        return 0

    def _check_audit(self) -> None:
        """Open every audit file once, and end what an earlier run left in flight."""
        for number in range(self.settings.workers):
            sink.AuditSink(self.state.audit, number).close()
        for journal in sorted(self.state.audit.glob("worker-*.journal")):
            left = sink.recover(self.state.audit, int(journal.stem.removeprefix("worker-")))
            if left:
                log.warning("exchanges of an earlier run were ended in the audit log", exchanges=left)

    # --- workers ---

    def _fork(self, number: int) -> None:
        pid = os.fork()
        if pid:
            self.workers[pid] = (number, time.monotonic())
            return
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(signum, signal.SIG_DFL)
            for fd in self.close_in_child:
                os.close(fd)
            self._work(number)
            status = 0
        except Exception as error:
            log.exception("worker failed", error=type(error).__name__)
        finally:
            os._exit(status)

    def _work(self, number: int) -> None:
        from proxy.engine import worker

        protect_process()
        gate = Gate(
            policies=self.policies,
            secrets=self.secrets,
            placeholder_key=self.keys.placeholders,
            audit=sink.AuditSink(self.state.audit, number),
            authenticate=_authenticator(self.keys),
            tokens_required=self.tokens,
        )
        services = Services(
            gate=gate,
            dialer=Dialer(self.settings.connect_map),
            client_contexts=ClientContexts(self.authority),
            upstream_context=self.upstream,
        )
        worker.run(services, self.listening, self.ready, self.parent)

    def _reap(self) -> None:
        """Take note of workers that ended, record what they left in flight, and start others in their place."""
        while self.workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid not in self.workers:  # as the first process of a container we inherit orphans
                continue
            number, started = self.workers.pop(pid)
            left = sink.recover(self.state.audit, number)
            log.error("worker ended; starting another", worker=number, status=status, unfinished=left)
            if time.monotonic() - started < _RESTART_PAUSE:
                time.sleep(_RESTART_PAUSE)
            self._fork(number)

    # --- the life of the proxy ---

    def _wait_ready(self, ready: int, stop: int) -> bool:
        """Wait until every worker accepts. False if a signal to stop came first."""
        waiting = self.settings.workers
        deadline = time.monotonic() + _START_TIME
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
        while not self._stopping(stop):
            self._reap()
            select.select([stop], [], [])

    def _stopping(self, stop: int) -> bool:
        with contextlib.suppress(BlockingIOError):
            received = os.read(stop, 64)
            return bool({signal.SIGTERM, signal.SIGINT} & set(received))
        return False

    def _stop(self) -> None:
        os.close(self.alive)  # reaches a worker that has no signal handler yet, too
        for pid in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + limits.DRAIN_TIME + 5
        for pid, (number, _) in self.workers.items():
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)
            sink.recover(self.state.audit, number)
        with contextlib.suppress(OSError):
            self.state.ready.unlink(missing_ok=True)
            if self.settings.ready_file is not None:
                self.settings.ready_file.unlink(missing_ok=True)

    def _announce(self) -> None:
        host, port = self.listening.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        policies = tuple(
            ReadyPolicy(policy.name, policy.digest, str(Path(policy.source).absolute()))
            for policy in self.policies.values()
        )
        ready = Ready(address, str(self.state.ca_cert), policies, os.getpid(), self.tokens)
        for path in (self.state.ready, self.settings.ready_file):
            if path is not None:
                write_ready(path, ready)
        named = ", ".join(f"{policy.name} ({policy.digest[:12]})" for policy in self.policies.values())
        terminal.say(
            f"outgate listens on {address} · policy {named} · CA {self.state.ca_cert}"
            f' · clients: eval "$({self._env_command()})"'
        )

    def _env_command(self) -> str:
        """The command that prints a sandbox's environment, with the options that it needs here."""
        words = ["outgate", "env"]
        if self.settings.state != default_state(os.environ):
            words += ["--state", str(self.settings.state)]
        if len(self.policies) > 1:
            words += ["--policy", "NAME"]
        if self.settings.listen.address.is_unspecified:
            words += ["--proxy", "HOST:PORT"]
        return shlex.join(words)


def _listen(settings: Settings) -> socket.socket:
    listen = settings.listen
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
            "choose another address with --listen HOST:PORT; port 0 picks a free one",
        ) from None
    return listening


def _authenticator(keys: Keys) -> Callable[[Sequence[bytes]], tuple[str, str, float]]:
    def authenticate(values: Sequence[bytes]) -> tuple[str, str, float]:
        claims = verify(keys.tokens, parse_proxy_authorization(values), time.time())
        return claims.sandbox, claims.policy, claims.expires

    return authenticate
