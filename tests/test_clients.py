"""The variables for clients, and the document that lists them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.ca import create
from proxy.clients import NAMES, TRUSTSTORE_PASSWORD, VARIABLES, Value, environment
from proxy.truststore import truststore

DOCUMENT = Path(__file__).parents[1] / "docs" / "clients.md"
ENVIRONMENT = environment("http://127.0.0.1:8899", "/s/ca.pem", "/s/ca-bundle.pem", "/s/truststore.p12")


def test_every_value_is_filled_in() -> None:
    assert set(ENVIRONMENT) == NAMES
    assert len(VARIABLES) == len(NAMES)
    assert not set(ENVIRONMENT.values()) & {value.value for value in Value if value is not Value.LOOPBACK}


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


def test_java_gets_host_and_port_of_the_proxy_and_the_trust_store() -> None:
    token = environment("http://box:secret@[::1]:8899", "/c", "/b", "/a b/truststore.p12")["JAVA_TOOL_OPTIONS"]
    assert "secret" not in token
    assert token.split(" -D") == [
        "-Dhttps.proxyHost=::1",
        "https.proxyPort=8899",
        "http.proxyHost=::1",
        "http.proxyPort=8899",
        'javax.net.ssl.trustStore="/a b/truststore.p12"',
        "javax.net.ssl.trustStorePassword=changeit",
    ]


@pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed")
def test_java_takes_its_options_and_the_trust_store(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    store = folder / "truststore.p12"
    store.write_bytes(truststore([create().certificate]))
    # keytool is a Java program: it starts only if its machine takes the options, and lists what it trusts.
    options = environment("http://127.0.0.1:8899", "/c", "/b", str(store))["JAVA_TOOL_OPTIONS"]
    command = ["keytool", "-list", "-keystore", store, "-storepass", TRUSTSTORE_PASSWORD]
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "JAVA_TOOL_OPTIONS": options},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "trustedCertEntry" in done.stdout, done.stdout + done.stderr


def test_the_document_and_the_table_agree() -> None:
    text = DOCUMENT.read_text()
    rows = re.findall(r"^\| `([A-Za-z0-9_]+)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert [(name, value.strip("`"), clients) for name, value, clients in rows] == [
        (variable.name, str(variable.value) if variable.value != Value.CA else "our CA", variable.clients)
        for variable in VARIABLES
    ]
