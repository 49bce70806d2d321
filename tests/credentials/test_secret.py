"""A `Secret` can be carried about without being shown."""

import copy
import json
import pickle
import re
import traceback
from pathlib import Path

import pytest

from proxy.credentials.secret import Secret
from proxy.errors import ConfigError

ROOT = Path(__file__).parents[2]
VALUE = b"s3cr3t-v4lue"


def test_only_injection_and_masking_reveal_a_secret() -> None:
    callers = {
        str(path.relative_to(ROOT))
        for folder in ("proxy", "addons")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\.\s*reveal\b", path.read_text())
    }
    assert callers == {"proxy/credentials/inject.py", "proxy/credentials/scrub.py"}


def test_no_way_of_printing_shows_the_value() -> None:
    secret = Secret(VALUE)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", "%s" % secret, f"{[secret]}", f"{secret:>40}"]  # noqa: UP031
    assert all("s3cr3t" not in text for text in shown)
    assert secret.reveal() == VALUE


def test_a_secret_has_no_dict_and_no_readable_attribute() -> None:
    secret = Secret(VALUE)
    assert not hasattr(secret, "__dict__")
    assert not hasattr(secret, "value")
    assert not hasattr(secret, "_value")
    with pytest.raises(AttributeError):
        secret.other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps, lambda s: pickle.dumps(s, 0), json.dumps])
def test_a_secret_is_not_copied_pickled_or_serialised(take: object) -> None:
    with pytest.raises(TypeError) as caught:
        take(Secret(VALUE))  # type: ignore[operator]
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_is_not_compared_or_hashed() -> None:
    secret = Secret(VALUE)
    for other in (secret, Secret(VALUE), VALUE, None):
        with pytest.raises(TypeError, match="not compared"):
            _ = secret == other
        with pytest.raises(TypeError, match="not compared"):
            _ = secret != other
    with pytest.raises(TypeError):
        hash(secret)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" \t\n\n"])
def test_white_space_at_the_end_is_stripped(end: bytes) -> None:
    assert Secret(VALUE + end).reveal() == VALUE


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the value is empty"),
        (b" \n", "the value is empty"),
        (b"1234567", "shorter than 8"),
        (b"1234567\n", "shorter than 8"),
        (b"two words", "white space, control or non-ASCII"),
        (b" leading-space", "white space, control or non-ASCII"),
        (b"first-line\nsecond-line", "white space, control or non-ASCII"),
        (b"value\r\nX-Other: 1", "white space, control or non-ASCII"),
        (b"with\0nul-in-it", "white space, control or non-ASCII"),
        ("pässword-ä".encode(), "white space, control or non-ASCII"),
        (b"delete\x7f-char", "white space, control or non-ASCII"),
    ],
)
def test_what_cannot_stand_in_a_header_is_no_secret(raw: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Secret(raw)
    problem = caught.value.problems[0]
    assert problem.hint
    for word in raw.decode("latin-1").split():
        assert len(word) < 6 or word not in problem.message + problem.hint
