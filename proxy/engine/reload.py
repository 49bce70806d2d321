"""Reload: changed policies are compiled aside, then put into force in every worker, or not at all.

A worker that does not follow is replaced by one that starts with them.

In the supervisor itself: what it holds is what a worker that is replaced later starts with, and it serves nobody, so
nobody waits. Parsing is bounded, and whatever it raises keeps the last good policies.
"""

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from proxy.audit.policy import PolicyLog, Trigger, policy_records
from proxy.audit.sanitise import sanitise
from proxy.audit.sink import AuditUnavailable
from proxy.credentials.sources import FileSource, parse_source
from proxy.engine import control
from proxy.errors import ConfigError, OutgateError
from proxy.policy.rules import Policy
from proxy.ready import ReadyReload
from proxy.serving import Serving
from proxy.settings import Settings, tokens_required
from proxy.watch import Watch

log = structlog.get_logger("supervisor")

_MAX_PROBLEMS = 20


def load_policies(paths: Sequence[Path]) -> tuple[Policy, ...]:
    """See `proxy.config.load`, which is slow to load itself; most runs end without a reload."""
    from proxy.config import load

    return load.load_policies(paths)


class Reloader:
    """What is in force, and how it came to be. `workers` gives the sockets to the workers of now, by process id.

    `tokens` is whether clients need one: as it was at the start.
    """

    def __init__(
        self,
        settings: Settings,
        serving: Serving,
        watch: Watch,
        audit: Path,
        workers: Callable[[], Mapping[int, socket.socket]],
    ) -> None:
        self.serving = serving
        self.tokens = tokens_required(settings, len(serving.policies))
        self.watch = watch
        self.status = ReadyReload("loaded", _now())
        self._settings = settings
        self._workers = workers
        self._number = 0
        self._log = PolicyLog(audit)
        self._log.note(policy_records({}, serving.policies, "start"))

    def look(self, *, asked: bool) -> tuple[bool, set[int]]:
        """Reload if `asked` to (by SIGHUP) or if the files say so.

        Returns whether `serving` or `status` is a new one, and the workers that did not follow and must be replaced.
        """
        if not asked and not (self._log.catch_up() and self.watch.due()):
            return False, set()
        if not self._settings.policy:
            return False, set()  # the proxy of a run serves to its end what its launcher read
        return self._reload("SIGHUP" if asked else "file")

    def _reload(self, trigger: Trigger) -> tuple[bool, set[int]]:
        self.watch.begin()
        policies: tuple[Policy, ...] | None = None
        try:
            policies = load_policies(self._settings.policy)
            if not self.watch.steady():
                # Perhaps half of the old and half of the new: not worth a word before they rest.
                return False, set()
            if trigger == "file" and self.status.error is None and [*policies] == [*self.serving.policies.values()]:
                return False, set()
            self._check_tokens(len(policies))
            # From before they are read: one that comes just after is a change, too.
            self.watch.wait_for(_secret_files(policies))
            serving = Serving.read(policies, os.environ).after(self.serving)
            prepared = self._prepare(serving, trigger)
        except Exception as error:  # noqa: BLE001 - whatever it is, what is in force stays
            self._keep(error, policies, trigger)
            return True, set()
        return True, self._put(serving, prepared, trigger)

    def _check_tokens(self, count: int) -> None:
        """Clients cannot learn while they run that they need tokens. That they would no longer need any is no matter:
        what was asked for at the start is asked for until the end."""
        if tokens_required(self._settings, count) and not self.tokens:
            raise ConfigError(
                f"with {count} policies clients need sandbox tokens, and they were started without",
                "restart outgate serve for that, and give each sandbox a token with `outgate env`",
            )

    def _prepare(self, serving: Serving, trigger: Trigger) -> set[int]:
        """The workers that are ready for these policies, after the change was recorded.

        Raises if there is no record. A worker that cannot, or says nothing, is replaced, and has no veto: what is
        wrong with it (no file descriptors left, say) may be its clients' work, and policies are checked here.
        """
        self._number += 1
        packed = control.pack([*serving.policies.values()])
        answers = control.ask(self._workers(), control.OFFER, self._number, packed)
        self._log.write(policy_records(self.serving.policies, serving.policies, trigger))
        return {pid for pid, answer in answers.items() if answer == control.PREPARED}

    def _put(self, serving: Serving, prepared: set[int], trigger: Trigger) -> set[int]:
        """Put policies into force, with no way back; returns the workers that did not follow.

        Each of these must be replaced by one that starts with what is served now.
        """
        removed = sorted(set(self.serving.policies) - set(serving.policies))
        self.serving, self.status = serving, ReadyReload("reloaded", _now())
        workers = self._workers()
        ready = {pid: sock for pid, sock in workers.items() if pid in prepared}
        done = control.ask(ready, control.FORCE, self._number)
        followed = {pid for pid, answer in done.items() if answer == control.IN_FORCE}
        names = {policy.name: policy.digest for policy in serving.policies.values()}
        log.info("policies reloaded", trigger=trigger, workers=len(followed), policies=names)
        if removed:
            log.warning("sandboxes of policies that are gone are refused from now on", policies=removed)
        return set(workers) - followed

    def _keep(self, error: Exception, policies: Iterable[Policy] | None, trigger: Trigger) -> None:
        """Say that the last good policies stay in force."""
        said = _words(error)
        text = sanitise("; ".join(said))
        if isinstance(error, OutgateError | AuditUnavailable):
            log.error("reload failed; the last good policies stay in force", trigger=trigger, problems=said)
        else:
            log.exception("reload failed; the last good policies stay in force", trigger=trigger)
        refused = None if policies is None else {policy.name: policy for policy in policies}
        self._log.note(policy_records(self.serving.policies, refused, trigger, error=text))
        self.status = ReadyReload("kept", _now(), _places(error))
        if isinstance(error, AuditUnavailable):
            self.watch.again()


def _words(error: Exception) -> list[str]:
    """What a person needs to mend it. Of unexpected errors the type alone: their text can hold anything."""
    if isinstance(error, AuditUnavailable):
        return [f"the audit log cannot be written: {error}"]
    if not isinstance(error, OutgateError):
        return [f"an internal error ({type(error).__name__})"]
    parts = [(problem.where, problem.key, problem.message) for problem in error.problems[:_MAX_PROBLEMS]]
    return [sanitise(": ".join(filter(None, part))) for part in parts]


def _places(error: Exception) -> str:
    """Where to look. The ready file is for everybody to read, and a message may quote a secret that was put in a wrong
    place."""
    problems = error.problems if isinstance(error, OutgateError) else ()
    places = dict.fromkeys(problem.where for problem in problems[:_MAX_PROBLEMS] if problem.where)
    return sanitise(", ".join(places)) or "the log says what"


def _secret_files(policies: Iterable[Policy]) -> list[Path]:
    """The files that secrets come from: the policy and its secrets may change one after the other."""
    found = []
    for policy in policies:
        for spec in policy.credentials.values():
            source = parse_source(spec.source)
            if isinstance(source, FileSource):
                found.append(Path(source.path))
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
