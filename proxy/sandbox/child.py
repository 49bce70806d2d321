"""The command of a run, from start to end: signals reach it, its exit status is ours, the terminal is put back."""

import _thread
import contextlib
import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

ENDING = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP})
"""The signals by which a terminal or a person ends a program."""

GRACE = 10
"""Seconds that a command has to end after a signal asks it to."""

_MOMENT = 0.2  # seconds, in which the function that was interrupted has come to its end


class Command(Protocol):
    """A command that runs; `subprocess.Popen` is one."""

    def wait(self) -> int: ...

    def send_signal(self, number: int, /) -> None: ...

    def kill(self) -> None: ...


class Stopped(BaseException):
    """A signal came before the command had started. `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn signals that end a process into `Stopped`, so that what was begun is undone."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in ENDING - {signal.SIGQUIT}}
    hook, sys.unraisablehook = sys.unraisablehook, _send_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _send_again(lost: "sys.UnraisableHookArgs") -> None:
    """Python drops what a handler raises while it collects garbage or has a lock of its own: the signal comes again."""
    if not isinstance(lost.exc_value, Stopped):
        sys.__unraisablehook__(lost)
        return
    _thread.start_new_thread(_send_later, (lost.exc_value.number,))


def _send_later(number: int) -> None:
    time.sleep(_MOMENT)
    os.kill(os.getpid(), number)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Those signals wait until the block ends. A process that is started in it never sees them, until it asks to.

    For what may not be cut in two: between a fork and what is made of it, Python loses what a handler raises.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait(start: Callable[[], Command]) -> int:
    """Start the command and wait for its end; its exit status as a shell would say it.

    What a terminal sends by keys reaches the command by itself; then it is the command's to say what follows. Other
    signals are passed on, and those that come while it starts, when it has.
    """
    command: Command | None = None
    early: list[int] = []

    def forward(number: int, _: FrameType | None = None) -> None:
        if command is None:
            early.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            command.send_signal(number)
        if number in (signal.SIGTERM, signal.SIGHUP):
            signal.alarm(GRACE)

    def interrupt(number: int, _: FrameType | None) -> None:
        if not _in_foreground():
            forward(number)

    def expire(_: int, __: FrameType | None) -> None:
        if command is not None:
            command.kill()

    handlers = {
        signal.SIGINT: interrupt,
        signal.SIGQUIT: interrupt,
        signal.SIGTERM: forward,
        signal.SIGHUP: forward,
        signal.SIGALRM: expire,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        command = start()
        for number in early:
            forward(number)
        status = command.wait()
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


@contextlib.contextmanager
def terminal_kept() -> Iterator[None]:
    """Put the terminal back as it was, whatever the command made of it."""
    try:
        fd = sys.stdin.fileno()
        modes = termios.tcgetattr(fd)
        group = os.tcgetpgrp(fd)
    except (OSError, ValueError, termios.error, AttributeError):
        yield
        return
    try:
        yield
    finally:
        # A process in the background that changes its terminal is stopped, unless it ignores this.
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        with contextlib.suppress(OSError, termios.error):
            if group == os.getpgrp():
                os.tcsetpgrp(fd, group)
            termios.tcsetattr(fd, termios.TCSADRAIN, modes)
        signal.signal(signal.SIGTTOU, before)


def _in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
