"""What a host's answers are masked for: all policies that bind it, and for a while what was in force before."""

from pathlib import Path

import pytest

from proxy import limits
from proxy.credentials.masks import Masks
from proxy.credentials.secret import Secret
from proxy.credentials.sources import FileSource, Readings
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import HostPattern, parse_host

HOST = parse_host("api.example.com")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spec(source: str, name: str = "one", host: str = "api.example.com") -> CredentialSpec:
    return CredentialSpec(
        name,
        source,
        (HostPattern(host.removeprefix("*."), wildcard=host.startswith("*.")),),
        inject=Inject(bearer=True),
    )


def write(path: Path, value: str) -> str:
    (path.parent / "new").write_text(value)
    (path.parent / "new").replace(path)
    return f"file:{path}"


def shown(masks: Masks, *values: str) -> list[str]:
    """Those of the values that a client of the host gets to see."""
    mask = masks.of(HOST)
    return [value for value in values if mask is None or mask.apply(value.encode()) == value.encode()]


def test_every_policy_that_binds_the_host_counts_and_no_other(tmp_path: Path) -> None:
    environ = {"A": "value-of-a", "B": "value-of-b", "C": "value-of-c"}
    specs = [spec("env:A"), spec("env:A"), spec("env:B"), spec("env:C", host="other.example"), spec("file:/missing/x")]
    masks = Masks(specs, Readings(environ))
    assert shown(masks, *environ.values()) == ["value-of-c"]
    assert masks.of(parse_host("elsewhere.example")) is None


def test_a_mask_is_compiled_once_for_the_same_secrets(tmp_path: Path) -> None:
    path = tmp_path / "token"
    masks = Masks(
        [spec(write(path, "first-value"), host="*.example.com"), spec("env:A")], Readings({"A": "value-of-a"})
    )
    mask = masks.of(HOST)
    assert masks.of(HOST) is mask
    assert masks.of(parse_host("x.example.com")) is masks.of(parse_host("y.example.com"))
    write(path, "other-value")
    changed = masks.of(HOST)
    assert changed is not mask
    path.unlink()
    assert masks.of(HOST) is changed, "the host may still know what it was sent"


def test_a_value_that_was_rotated_away_is_masked_for_a_while(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "token"
    masks = Masks([spec(write(path, "first-value"))], Readings({}), clock)
    assert shown(masks, "first-value", "other-value") == ["other-value"]
    write(path, "other-value")
    assert shown(masks, "first-value", "other-value") == []
    clock.now += limits.EARLIER_TIME - 1
    assert shown(masks, "first-value", "other-value") == []
    clock.now += 2
    assert shown(masks, "first-value", "other-value") == ["first-value"]


def test_a_value_that_was_read_by_a_request_alone_is_masked_after_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "token"
    readings = Readings({})
    masks = Masks([spec(write(path, "first-value"))], readings)
    readings.read(FileSource(str(path)))
    write(path, "second-value")
    readings.read(FileSource(str(path)))
    write(path, "third-value")
    assert shown(masks, "first-value", "second-value", "third-value") == []


def test_the_newest_of_many_earlier_values_are_masked(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "token"
    values = [f"value-number-{number:03}" for number in range(limits.MAX_EARLIER_SECRETS + 3)]
    masks = Masks([spec(write(path, values[0]))], Readings({}), clock)
    for value in values:
        write(path, value)
        masks.of(HOST)
        write(path, value)  # the same again takes no place
        masks.of(HOST)
    assert shown(masks, *values) == values[:2]


def test_a_reload_carries_over_what_was_in_force(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "token"
    environ = {"A": "value-of-a"}
    first = Masks([spec(write(path, "first-value")), spec("env:A")], Readings(environ), clock)
    first.of(HOST)
    write(path, "other-value")
    first.of(HOST)
    without = Masks([], Readings(environ), clock)
    without.take_over(first)
    assert shown(without, "first-value", "other-value", "value-of-a") == []
    clock.now += limits.EARLIER_TIME - 1
    again = Masks([spec("env:A")], Readings(environ), clock)
    again.take_over(without)
    assert shown(again, "first-value", "other-value", "value-of-a") == []
    clock.now += 2
    assert shown(again, "first-value", "other-value", "value-of-a") == ["first-value", "other-value"]


def test_many_reloads_with_the_same_secrets_displace_nothing(tmp_path: Path) -> None:
    path = tmp_path / "token"
    specs = [spec(write(path, "first-value"))]
    masks = Masks(specs, Readings({}))
    masks.of(HOST)
    write(path, "other-value")
    for _ in range(2 * limits.MAX_EARLIER_SECRETS):
        readings = Readings({})
        readings.read(FileSource(str(path)))
        former, masks = masks, Masks(specs, readings)
        masks.take_over(former)
    assert shown(masks, "first-value", "other-value") == []


def test_a_secret_bound_elsewhere_by_a_reload_is_still_masked_where_it_was(clock: Clock) -> None:
    first = Masks([spec("env:A")], readings := Readings({"A": "value-of-a"}), clock)
    first.of(HOST)
    moved = Masks([spec("env:A", host="other.example")], Readings({"A": "value-of-a"}), clock)
    moved.take_over(first)
    assert readings.held is not None
    assert shown(moved, "value-of-a") == []


def test_a_secret_that_was_sent_under_another_policy_is_noted() -> None:
    masks = Masks([], Readings({}))
    masks.note(spec("env:A"), Secret(b"value-of-a"))
    assert shown(masks, "value-of-a") == []
    assert "value-of-a" not in repr(vars(masks))
