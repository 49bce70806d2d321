"""Sandboxes as root and as an ordinary user; where the machine makes none, a reason."""

import os
from collections.abc import Iterator

import pytest

from tests.sandbox.box import Box, why_not


@pytest.fixture(params=["self", "nobody"] if os.getuid() == 0 else ["self"])
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    """A box in which sandboxes can be made."""
    if reason := why_not():
        pytest.skip(f"no sandbox on this machine: {reason}")
    box = Box.make(nobody=request.param == "nobody")
    yield box
    box.remove()


@pytest.fixture
def paper() -> Iterator[Box]:
    """A box to lay sandboxes out for, on any machine."""
    box = Box.make(nobody=False)
    yield box
    box.remove()
