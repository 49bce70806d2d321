"""Signals before the command of a run has started."""

import signal
import threading

import pytest

from proxy.sandbox.child import Stopped, stoppable


class Hit:
    """The signal comes while this is thrown away, where Python drops what its handler raises."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def begin() -> None:
    with stoppable():
        Hit()
        for _ in range(300):
            threading.Event().wait(0.1)


def test_a_signal_that_python_drops_comes_again(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Stopped) as stopped:
        begin()
    assert stopped.value.number == signal.SIGTERM
    assert capfd.readouterr().err == ""
