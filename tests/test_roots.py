"""Whether the files that clients trust are those of the CA of a state folder."""

from pathlib import Path

import pytest

from proxy import ca, roots
from proxy.state import StateDir, open_state


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = open_state(tmp_path)
    ca.load_or_create(state)
    return state


def test_they_are_current_once_they_are_made(state: StateDir) -> None:
    assert roots.are_current(state)


@pytest.mark.parametrize("name", ["ca_cert", "ca_key", "ca_bundle", "truststore"])
def test_they_are_not_if_one_is_missing(state: StateDir, name: str) -> None:
    getattr(state, name).unlink()
    assert not roots.are_current(state)


def test_they_are_not_if_the_bundle_holds_another_ca(state: StateDir) -> None:
    state.ca_cert.write_bytes(ca.create().pem)
    assert not roots.are_current(state)
