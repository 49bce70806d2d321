"""One run of a subject serves all tests of a module: the tests judge what was observed."""

import warnings

import pytest

from tests.boundary.lab import impossible


@pytest.fixture(scope="session")
def laboratory() -> None:
    """Skip, loudly, where the kernel or the machine does not let us make a network of our own."""
    if why := impossible():
        warnings.warn(f"the boundary suite did not run: {why}", stacklevel=1)
        pytest.skip(why)
