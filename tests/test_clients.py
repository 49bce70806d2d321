"""The variables for clients, and the document that lists them."""

import re
from pathlib import Path

from proxy.clients import NAMES, VARIABLES, Value, environment

DOCUMENT = Path(__file__).parents[1] / "docs" / "clients.md"
ENVIRONMENT = environment("http://127.0.0.1:8899", "/s/ca.pem", "/s/ca-bundle.pem")


def test_every_value_is_filled_in() -> None:
    assert set(ENVIRONMENT) == NAMES
    assert len(VARIABLES) == len(NAMES)
    assert not set(ENVIRONMENT.values()) & {Value.PROXY.value, Value.CA.value, Value.BUNDLE.value}


def test_proxy_variables_come_in_both_cases() -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        assert ENVIRONMENT[name] == ENVIRONMENT[name.lower()] == "http://127.0.0.1:8899"
    assert ENVIRONMENT["NO_PROXY"] == ENVIRONMENT["no_proxy"]


def test_only_loopback_goes_around_the_proxy() -> None:
    assert ENVIRONMENT["NO_PROXY"].split(",") == ["localhost", "127.0.0.1", "::1"]


def test_variables_that_replace_the_roots_get_the_bundle() -> None:
    adds = {"NODE_EXTRA_CA_CERTS", "DENO_CERT"}
    assert {name for name, value in ENVIRONMENT.items() if value == "/s/ca.pem"} == adds
    assert ENVIRONMENT["SSL_CERT_FILE"] == ENVIRONMENT["REQUESTS_CA_BUNDLE"] == "/s/ca-bundle.pem"


def test_the_document_and_the_table_agree() -> None:
    text = DOCUMENT.read_text()
    rows = re.findall(r"^\| `([A-Za-z0-9_]+)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert [(name, value.strip("`"), clients) for name, value, clients in rows] == [
        (variable.name, str(variable.value) if variable.value != Value.CA else "our CA", variable.clients)
        for variable in VARIABLES
    ]
