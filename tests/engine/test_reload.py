"""Reload inside one process, with one part of it broken: the last good policies stay, or the worker is given up."""

import json
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from proxy import watch
from proxy.audit import policy as policy_log
from proxy.config.load import load_policies, load_policy
from proxy.engine import control
from proxy.engine.control import FAILED, FORCE, IN_FORCE, OFFER, PREPARED, ask, pack
from proxy.engine.reload import Reloader
from proxy.gate import Gate
from proxy.policy.rules import Policy
from proxy.serving import Serving
from proxy.settings import Settings
from proxy.watch import Watch, snapshot
from tests.support.engine import Engine, make_services, running
from tests.support.pki import Authority
from tests.support.rawclient import ClosedError, RawClient
from tests.support.upstream import Upstream

EXAMPLES = Path(__file__).parents[2] / "policies"
OLD = """
version: 1
name: live
allow:
  - {id: good, why: w, hosts: [good.example], access: any, paths: [/old]}
"""
NEW = OLD.replace("/old", "/new")
NUMBER = 7


@pytest.fixture
def new(tmp_path: Path) -> Policy:
    (tmp_path / "new.yaml").write_text(NEW)
    return load_policy(tmp_path / "new.yaml")


def test_what_is_packed_is_what_was_compiled() -> None:
    policies = load_policies([EXAMPLES])
    unpacked = pickle.loads(pack(policies))  # noqa: S301
    assert unpacked == policies
    for policy in unpacked:
        with pytest.raises(TypeError):
            policy.credentials["x"] = None


# --- a worker ---


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Upstream(tmp_path, authority=Authority(tmp_path)) as upstream:
        services = make_services(tmp_path / "engine", OLD, {("good.example", 443): upstream.port}, upstream.ca_file, {})
        with running(tmp_path / "engine", services) as it:
            yield it


@contextmanager
def client_of(engine: Engine) -> Iterator[RawClient]:
    with RawClient(engine.address) as client:
        assert client.connect("good.example:443").status == 200
        client.tls("good.example", ca_file=engine.ca_file)
        yield client


def statuses(client: RawClient) -> tuple[int, int]:
    return tuple(client.request("GET", path, "good.example").status for path in ("/old", "/new"))  # type: ignore[return-value]


def tell(engine: Engine, what: bytes, body: bytes = b"") -> bytes:
    return ask({1: engine.supervisor}, what, NUMBER, body)[1]


def test_an_offer_changes_nothing_before_it_is_put_into_force(engine: Engine, new: Policy) -> None:
    with client_of(engine) as client:
        assert tell(engine, OFFER, pack([new])) == PREPARED
        assert statuses(client) == (200, 403)
        assert tell(engine, FORCE) == IN_FORCE
        assert statuses(client) == (403, 200)


def test_a_worker_that_cannot_prepare_keeps_what_it_has(
    engine: Engine, new: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("broken on purpose")

    with client_of(engine) as client:
        monkeypatch.setattr(Serving, "read", broken)
        assert tell(engine, OFFER, pack([new])) == FAILED
        assert tell(engine, OFFER, b"not a pickle") == FAILED
        assert statuses(client) == (200, 403)
        monkeypatch.undo()
        assert tell(engine, OFFER, pack([new])) == PREPARED
        assert tell(engine, FORCE) == IN_FORCE
        assert statuses(client) == (403, 200)


def test_a_worker_that_fails_while_it_swaps_gives_up_and_never_goes_back(
    engine: Engine, new: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("broken on purpose")

    with client_of(engine) as client:
        assert tell(engine, OFFER, pack([new])) == PREPARED
        monkeypatch.setattr(Gate, "cut_outgrown", broken)
        assert tell(engine, FORCE) == b""
        with suppress(ClosedError, OSError):
            assert client.request("GET", "/old", "good.example").status == 403


# --- the supervisor's side ---


@pytest.fixture
def reloader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Reloader]]:
    """Make a reloader with one worker that answers with these words, one for each question; none at all if empty."""
    monkeypatch.setattr(watch, "POLL_TIME", 0.0)
    monkeypatch.setattr(control, "ANSWER_TIME", 0.5)
    ours, theirs = socket.socketpair()
    threads: list[threading.Thread] = []

    def make(*words: bytes) -> Reloader:
        folder = tmp_path / "policies"
        folder.mkdir()
        (folder / "live.yaml").write_text(OLD)
        settings = Settings(policy=(folder,))

        def answer() -> None:
            stream = theirs.makefile("rb")
            for word in words:
                _, number, size = control._QUESTION.unpack(stream.read(control._QUESTION.size))
                stream.read(size)
                theirs.sendall(control._ANSWER.pack(FAILED, number - 1))  # of an earlier question, and passed over
                theirs.sendall(control._ANSWER.pack(word, number))

        threads.append(threading.Thread(target=answer))
        threads[0].start()
        seen = snapshot(settings.policy)
        serving = Serving.read(load_policies(settings.policy), {})
        made = Reloader(settings, serving, Watch(settings.policy, seen), tmp_path / "audit", lambda: {1: ours})
        (folder / "live.yaml").write_text(NEW)
        return made

    yield make
    ours.close()
    for thread in threads:
        thread.join(5)
    theirs.close()


def records(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "audit" / "policy.jsonl").read_bytes().splitlines()]


def test_a_change_is_put_into_force_once_every_worker_has_prepared(
    reloader: Callable[..., Reloader], tmp_path: Path
) -> None:
    it = reloader(PREPARED, IN_FORCE)
    before = it.serving.policies["live"].digest
    assert it.look(asked=False) == (False, set())
    assert it.look(asked=False) == (True, set())
    assert it.status.result == "reloaded"
    assert it.look(asked=False) == (False, set())
    assert [record["result"] for record in records(tmp_path)] == ["loaded", "reloaded"]
    assert records(tmp_path)[1]["old_digest"] == before != it.serving.policies["live"].digest


@pytest.mark.parametrize("words", [(), (FAILED,), (PREPARED,)])
def test_a_worker_that_does_not_follow_must_be_replaced(reloader: Callable[..., Reloader], words: tuple[bytes]) -> None:
    it = reloader(*words)
    before = it.serving
    assert it.look(asked=True) == (True, {1})
    assert it.serving is not before
    assert it.status.result == "reloaded"


def test_a_change_that_cannot_be_recorded_is_not_made_before_it_can(
    reloader: Callable[..., Reloader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    it = reloader(PREPARED, PREPARED, IN_FORCE)
    before = it.serving
    with monkeypatch.context() as broken:
        broken.setattr(policy_log, "append", full)
        assert it.look(asked=True) == (True, set())
        assert it.serving is before
        assert it.status.result == "kept"
        assert [it.look(asked=False) for _ in range(3)] == [(False, set())] * 3
    assert [it.look(asked=False) for _ in range(2)] == [(False, set()), (True, set())]
    assert it.status.result == "reloaded"
    assert [record["result"] for record in records(tmp_path)] == ["loaded", "kept", "reloaded"]


def test_an_error_that_nobody_expected_keeps_what_is_in_force_and_shows_no_text(
    reloader: Callable[..., Reloader],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("broken on purpose")

    it = reloader()
    before = it.serving
    monkeypatch.setattr("proxy.engine.reload.load_policies", broken)
    assert it.look(asked=True) == (True, set())
    assert it.serving is before
    assert records(tmp_path)[1]["error"] == "an internal error (RuntimeError)"
    assert "on purpose" not in "".join(capfd.readouterr())


def test_what_a_policy_file_says_cannot_forge_a_line_of_the_record(
    reloader: Callable[..., Reloader], tmp_path: Path
) -> None:
    it = reloader()
    (tmp_path / "policies" / "live.yaml").write_text(OLD.replace("version: 1", '"x\\n{\\"v\\":1}\\u202e": 1'))
    assert it.look(asked=True) == (True, set())
    assert len(records(tmp_path)) == 2
    assert "\n" not in records(tmp_path)[1]["error"]
    assert "\u202e" not in records(tmp_path)[1]["error"]
