"""The name `outgate.internal` belongs to Outgate: no policy, no mapping and no review is about it."""

import json

import pytest

from proxy.config.hosts import read_host
from proxy.config.wrong import Wrong
from proxy.endpoint import ConnectTo
from proxy.errors import ConfigError
from proxy.policy.host import INTERNAL
from proxy.review.asked import parse_asked
from proxy.review.seen import read_event
from tests.review.events import passed, tunnel


@pytest.mark.parametrize("text", [INTERNAL, f"x.{INTERNAL}", f"*.{INTERNAL}", "*.internal"])
def test_no_policy_can_name_it(text: str) -> None:
    with pytest.raises(Wrong):
        read_host(text)


def test_names_that_only_look_like_it_can_be_named() -> None:
    assert str(read_host(f"not{INTERNAL}")) == f"not{INTERNAL}"
    assert str(read_host(f"{INTERNAL}.example.com")) == f"{INTERNAL}.example.com"


@pytest.mark.parametrize("host", [INTERNAL, "OUTGATE.INTERNAL."])
def test_it_cannot_be_led_elsewhere(host: str) -> None:
    with pytest.raises(ValueError, match="answered by the proxy itself"):
        ConnectTo.parse(f"{host}:443:127.0.0.1:8443")


@pytest.mark.parametrize(("method", "target"), [("GET", f"https://{INTERNAL}/"), ("CONNECT", f"{INTERNAL}:443")])
def test_no_policy_is_asked_about_it(method: str, target: str) -> None:
    with pytest.raises(ConfigError, match="no policy decides"):
        parse_asked(method, target)


def test_what_was_asked_of_it_is_no_traffic_for_a_review() -> None:
    asked = [passed("r", url=f"http://{INTERNAL}/policy"), tunnel(f"{INTERNAL}:443")]
    assert [read_event(json.dumps(line).encode()) for line in asked] == [None, None]
