"""Any bytes at every parser, and the kept corpus: what once was found, or leads a fuzzer to deep places."""

import os
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
SECONDS = 4
MAX_CORPUS = 64 * 1024

seeds = {name: sorted((CORPUS / name).iterdir()) for name in TARGETS if (CORPUS / name).is_dir()}


def mutations(name: str) -> st.SearchStrategy[bytes]:
    """Any bytes, and entries of the corpus with a part of them changed."""
    kept = [file.read_bytes() for file in seeds.get(name, [])]
    changed = st.tuples(st.sampled_from(kept), st.integers(0, 200), st.integers(0, 8), st.binary(max_size=8)).map(
        lambda drawn: drawn[0][: drawn[1]] + drawn[3] + drawn[0][drawn[1] + drawn[2] :]
    )
    return st.binary(max_size=120) | changed


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_corpus_and_passes_it(name: str) -> None:
    assert seeds.get(name), "keep at least one good input"
    for file in seeds[name]:
        TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_raise_anything_but_the_one_error(name: str) -> None:
    @settings(max_examples=30 if name == "policy" else 150, deadline=None)
    @given(mutations(name))
    @example(b"")
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


def test_the_corpus_is_small() -> None:
    assert sum(file.stat().st_size for files in seeds.values() for file in files) < MAX_CORPUS
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed: it has no build for this Python")
@pytest.mark.parametrize("name", TARGETS)
def test_a_coverage_guided_run_finds_nothing(name: str, tmp_path: Path) -> None:
    fresh = tmp_path / "corpus"
    fresh.mkdir()
    command = [
        sys.executable,
        str(HERE / "guided.py"),
        name,
        f"-max_total_time={SECONDS}",
        f"-seed={random.randrange(1, 1 << 31)}",
        f"-artifact_prefix={tmp_path}/",
        "-timeout=20",
        str(fresh),
        str(CORPUS / name),
    ]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "INFO: seed corpus" in done.stderr
