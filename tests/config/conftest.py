from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config.load import load_policy
from proxy.errors import ConfigError, Problem
from proxy.policy.rules import Policy

type Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a policy file; without a header of its own it gets version and name."""

    def write(text: str, name: str = "agent") -> Path:
        head = "" if text.startswith("version") else f"version: 1\nname: {name}\n"
        path = tmp_path / f"{name}.yaml"
        path.write_text(head + text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def load(write: Write) -> Callable[[str], Policy]:
    return lambda text: load_policy(write(text))


@pytest.fixture
def problems(write: Write) -> Callable[[str], list[Problem]]:
    """The problems of a file that must not load, with `file` cut off from their places."""

    def problems(text: str) -> list[Problem]:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            load_policy(path)
        prefix = f"{path}:"
        assert all(problem.where.startswith(str(path.parent)) for problem in caught.value.problems)
        return [
            Problem(each.message, each.hint, each.where.removeprefix(prefix), each.key)
            for each in caught.value.problems
        ]

    return problems
