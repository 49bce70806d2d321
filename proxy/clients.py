"""The environment variables that lead each common client through the proxy and make it trust the CA.

One table, for `outgate env`, `outgate run` and `docs/clients.md`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

TRUSTSTORE_PASSWORD = "changeit"  # noqa: S105  what Java's own has: it holds certificates, and no secret


class Value(StrEnum):
    """What a variable is set to, where it is not a fixed word."""

    PROXY = "proxy URL"
    LOOPBACK = "localhost,127.0.0.1,::1"
    CA = "our CA"
    BUNDLE = "bundle"
    JAVA = "Java options"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: its name, a `Value` or a fixed word, and the clients that it is for."""

    name: str
    value: str
    clients: str


# A variable that adds to the default roots gets our CA alone; one that replaces them gets the bundle with both.
# Loopback never leaves the sandbox; nothing else may go around the proxy, the metadata address least of all.
VARIABLES: tuple[Variable, ...] = (
    Variable("HTTPS_PROXY", Value.PROXY, "most clients"),
    Variable("https_proxy", Value.PROXY, "wget, apt, gRPC, and most others"),
    Variable("HTTP_PROXY", Value.PROXY, "most clients, for plain HTTP"),
    Variable("http_proxy", Value.PROXY, "curl, wget, apt, for plain HTTP"),
    Variable("NO_PROXY", Value.LOOPBACK, "most clients"),
    Variable("no_proxy", Value.LOOPBACK, "wget, apt, gRPC, and most others"),
    # What these clients are configured with stands over the variables above, and their own variable over that.
    Variable("PIP_PROXY", Value.PROXY, "pip, over a proxy in a pip.conf"),
    Variable("NPM_CONFIG_HTTPS_PROXY", Value.PROXY, "npm, over a proxy in an npmrc"),
    Variable("NPM_CONFIG_PROXY", Value.PROXY, "npm, over a proxy in an npmrc, for plain HTTP"),
    Variable("CARGO_HTTP_PROXY", Value.PROXY, "cargo, over a proxy in its configuration"),
    Variable("NODE_USE_ENV_PROXY", "1", "Node.js 22.21, 24 and later: fetch, http, WebSocket"),
    Variable("YARN_HTTPS_PROXY", Value.PROXY, "Yarn 2 and later"),
    Variable("YARN_HTTP_PROXY", Value.PROXY, "Yarn 2 and later, for plain HTTP"),
    Variable("SSL_CERT_FILE", Value.BUNDLE, "OpenSSL, Go, httpx, aiohttp, pip, uv, gh, terraform, docker CLI, Codex"),
    Variable("REQUESTS_CA_BUNDLE", Value.BUNDLE, "requests, poetry, Aider, AWS CLI, gcloud"),
    Variable("CURL_CA_BUNDLE", Value.BUNDLE, "curl, requests"),
    Variable("GIT_SSL_CAINFO", Value.BUNDLE, "git"),
    Variable("PIP_CERT", Value.BUNDLE, "pip"),
    Variable("UV_SYSTEM_CERTS", "1", "uv, where the CA is in the system's store"),
    Variable("NODE_EXTRA_CA_CERTS", Value.CA, "Node.js, npm, pnpm, Yarn, Bun, Claude Code, Gemini CLI, OpenCode"),
    # A `cafile` in any npmrc replaces Node's roots and the variable above; only npm's own variable stands over it.
    Variable("NPM_CONFIG_CAFILE", Value.BUNDLE, "npm, over a cafile in an npmrc"),
    Variable("NODE_USE_SYSTEM_CA", "1", "Node.js, where the CA is in the system's store"),
    Variable("YARN_HTTPS_CA_FILE_PATH", Value.BUNDLE, "Yarn 2 and later"),
    Variable("DENO_CERT", Value.CA, "Deno"),
    Variable("DENO_TLS_CA_STORE", "system,mozilla", "Deno, where the CA is in the system's store"),
    Variable("CARGO_HTTP_CAINFO", Value.BUNDLE, "cargo"),
    Variable("CODEX_CA_CERTIFICATE", Value.BUNDLE, "Codex"),
    Variable("AWS_CA_BUNDLE", Value.BUNDLE, "AWS CLI, boto3"),
    Variable("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", Value.BUNDLE, "gcloud"),
    Variable("HTTPLIB2_CA_CERTS", Value.BUNDLE, "httplib2, older Google API clients"),
    Variable("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", Value.BUNDLE, "gRPC"),
    Variable("JAVA_TOOL_OPTIONS", Value.JAVA, "Java: proxy and trust store"),
    Variable("AWS_EC2_METADATA_DISABLED", "true", "AWS CLI, boto3: no search for a machine's role"),
    Variable("NO_GCE_CHECK", "true", "google-auth: no search for a machine's role"),
)
NAMES = frozenset(variable.name for variable in VARIABLES)


def environment(proxy_url: str, ca_file: str, bundle_file: str, truststore: str) -> dict[str, str]:
    """Every variable with its value, in the order of the table.

    `ca_file` holds our CA alone, `bundle_file` and `truststore` the public roots and our CA, as PEM and for Java; all
    as the sandbox sees them.
    """
    values = {
        Value.PROXY.value: proxy_url,
        Value.CA.value: ca_file,
        Value.BUNDLE.value: bundle_file,
        Value.JAVA.value: _java(proxy_url, truststore),
    }
    return {variable.name: values.get(variable.value, variable.value) for variable in VARIABLES}


def _java(proxy_url: str, truststore: str) -> str:
    """Options for every Java machine. It spares loopback by itself, and knows no user and password for tunnels."""
    proxy = urlsplit(proxy_url)
    options = [
        f"-D{scheme}.{key}={value}"
        for scheme in ("https", "http")
        for key, value in (("proxyHost", proxy.hostname), ("proxyPort", proxy.port))
    ]
    # The machine splits at blanks, and takes quotes away.
    path = f'"{truststore}"' if re.search(r"\s", truststore) else truststore
    options.append(f"-Djavax.net.ssl.trustStore={path}")
    return " ".join([*options, f"-Djavax.net.ssl.trustStorePassword={TRUSTSTORE_PASSWORD}"])
