"""Fixtures of the end-to-end tests: an upstream and a way to start the real proxy in front of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.box import why_not
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.running import Place
from tests.support.upstream import Upstream
from tests.support.upstream_h2 import H2Upstream

type StartOutgate = Callable[..., Outgate]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this folder starts the real proxy."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def sandboxed() -> None:
    """Skips what needs a sandbox where none can be made."""
    if reason := why_not():
        pytest.skip(f"no sandbox on this machine: {reason}")


@pytest.fixture
def place(tmp_path: Path, upstream: Upstream, authority: Authority) -> Place:
    """A project and a home for `outgate run`."""
    return Place(tmp_path, upstream, authority)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the upstreams, which the proxy is told to trust."""
    return Authority(tmp_path_factory.mktemp("upstream-ca"))


@pytest.fixture
def upstream(tmp_path: Path, authority: Authority) -> Iterator[Upstream]:
    """A TLS upstream with a good certificate for whatever name it is asked for."""
    with Upstream(tmp_path, authority=authority) as server:
        yield server


@pytest.fixture
def plain_upstream(tmp_path: Path, authority: Authority) -> Iterator[Upstream]:
    """An upstream that speaks HTTP without TLS."""
    with Upstream(tmp_path, tls=False, authority=authority) as server:
        yield server


@pytest.fixture
def h2_upstream(tmp_path: Path, authority: Authority) -> Iterator[H2Upstream]:
    """A TLS upstream that speaks HTTP/2 only."""
    with H2Upstream(tmp_path, authority=authority) as server:
        yield server


@pytest.fixture
def start_outgate(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[StartOutgate]:
    """Start `outgate serve` with a policy; what is left of it at the end of the test must stop with exit code 0.

    The arguments are those of `Outgate` without its folder; the upstreams' CA is trusted unless a test says otherwise.
    """
    with ExitStack() as running:

        def start(policy: str | dict[str, str], **given: Any) -> Outgate:
            given.setdefault("upstream_ca", (authority.ca_file,))
            return running.enter_context(Outgate(tmp_path_factory.mktemp("outgate"), policy, **given))

        yield start
