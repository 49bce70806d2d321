"""The process that becomes the proxy of a run: it waits for its work, and is gone without it."""

import os
import pickle
import signal
from io import BytesIO
from pathlib import Path

import pytest

from proxy.config.load import load_policy
from proxy.sandbox import own
from proxy.settings import Settings
from proxy.state import open_state
from proxy.watch import snapshot

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", sorted((ROOT / "policies").glob("*.yaml")), ids=lambda file: file.stem)
def test_work_comes_through_a_pipe_as_it_was(file: Path, tmp_path: Path) -> None:
    settings = Settings(policy=(file,), state=tmp_path, listen=None)
    work = own.Work(settings, load_policy(file), snapshot([file]), open_state(tmp_path, run="r"))
    pipe = BytesIO()
    own._Pickler(pipe).dump(work)
    assert pickle.loads(pipe.getvalue()) == work  # noqa: S301  what was written two lines above


def test_a_proxy_that_got_no_work_is_ended_at_once() -> None:
    assert own.start().end() == -signal.SIGKILL


@pytest.mark.parametrize("said", [b"", pickle.dumps([1, 2, 3])[:-4]], ids=["nothing", "half"])
def test_a_proxy_whose_launcher_went_away_ends_quietly(said: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    proxy = own.start()
    proxy.waiting.write(said)
    proxy.waiting.close()
    _, status = os.waitpid(proxy.pid, 0)
    proxy.control.close()
    assert os.waitstatus_to_exitcode(status) == 0
    assert capfd.readouterr().err == ""


def test_a_run_without_a_folder_for_its_messages_says_so(tmp_path: Path) -> None:
    state = open_state(tmp_path, run="r")
    (state.own / own.MESSAGES).mkdir()
    file = ROOT / "policies" / "python-sdk.yaml"
    proxy = own.start()
    proxy.begin(own.Work(Settings(policy=(file,), state=tmp_path, listen=None), load_policy(file), {}, state))
    said = proxy.control.recv(4096)
    assert b"cannot write to the folder of the run" in said
    assert str(state.own).encode() in said
    assert proxy.end() == 2
