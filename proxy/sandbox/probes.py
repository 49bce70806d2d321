"""What `outgate doctor` has clients do inside a sandbox: one request each, to a path that tells who came."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

REACHED, REFUSED = "reached.example", "refused.example"
"""The host that doctor's own policy allows, and one that it does not. Neither is looked up."""

_PYTHON = "import sys; from urllib.request import urlopen; urlopen(sys.argv[1], timeout=10).read()"
_ANY_STATUS = (
    "import sys, urllib.error, urllib.request as r\n"
    "try: print(r.urlopen(sys.argv[1], timeout=10).read().decode())\n"
    "except urllib.error.HTTPError as error: print(error.code, error.read().decode())"
)
_DIRECT = (
    "import sys, urllib.request as r; "
    "r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=5).read(); print('reached')"
)
_WITH_KEY = (
    "import os, sys, urllib.request as r; "
    "key = {'Authorization': 'Bearer ' + os.environ[sys.argv[2]]}; "
    "r.urlopen(r.Request(sys.argv[1], headers=key), timeout=10).read()"
)
_MISSING = 77
_MODULE = (
    "import importlib.util, sys; name = sys.argv[1]; importlib.util.find_spec(name) or sys.exit(77); "
    "__import__(name).get(sys.argv[2], timeout=10)"
)
_FETCH = "fetch(process.argv[1]).then(r => r.text()).catch(e => { console.error(e.cause ?? e); process.exit(1) })"
_JAVA = (
    "public class P { public static void main(String[] a) throws Exception {"
    " new java.net.URI(a[0]).toURL().openStream().readAllBytes(); } }"
)
_RUN_JAVA = f"command -v java > /dev/null || exit {_MISSING}; echo '{_JAVA}' > P.java; java P.java \"$0\""
_PIP = ("pip", "--disable-pip-version-check", "--retries", "0", "download", "--no-deps", "--index-url", "{url}", "none")
_UV = ("uv", "pip", "install", "--target", "none", "--no-cache", "--index-url", "{url}", "none")
_GO = ("env", "GOPROXY={url}", "GO111MODULE=on", "go", "list", "-m", "-versions", "none.example/none")
_FOR_WGET = "wget of Debian reads the system's store alone: install the CA there (docs/clients.md)"
_FOR_NODE = (
    "Node.js reads the proxy's variables from 22.21 and 24 on; earlier, programs need undici's EnvHttpProxyAgent"
)


@dataclass(frozen=True, slots=True)
class Client:
    """A client and its command; `{url}` stands for an address that ends with its name.

    `plain`: it succeeds with any answer of status 200. `fix` is what to do where it does not get through.
    """

    name: str
    command: tuple[str, ...]
    plain: bool = False
    fix: str = "see its row in docs/clients.md"


CLIENTS: tuple[Client, ...] = (
    Client("curl", ("curl", "-sS", "--max-time", "10", "{url}"), plain=True),
    Client("wget", ("wget", "-q", "-t", "1", "-T", "10", "-O", "-", "{url}"), plain=True, fix=_FOR_WGET),
    Client("git", ("git", "ls-remote", "{url}.git")),
    Client("python", ("python3", "-c", _PYTHON, "{url}"), plain=True),
    Client("requests", ("python3", "-c", _MODULE, "requests", "{url}"), plain=True),
    Client("httpx", ("python3", "-c", _MODULE, "httpx", "{url}"), plain=True),
    Client("pip", _PIP),
    Client("uv", _UV),
    Client("node", ("node", "-e", _FETCH, "{url}"), plain=True, fix=_FOR_NODE),
    Client("npm", ("npm", "view", "--fetch-retries=0", "--registry", "{url}", "none")),
    Client("bun", ("bun", "-e", _FETCH.replace("argv[1]", "argv.at(-1)"), "{url}"), plain=True),
    Client("deno", ("deno", "eval", "await (await fetch(Deno.args[0])).text()", "{url}"), plain=True),
    Client("cargo", ("cargo", "search", "--index", "sparse+{url}/", "none")),
    Client("go", _GO),
    Client("java", ("sh", "-c", _RUN_JAVA, "{url}"), plain=True),
)


def commands(
    clients: Iterable[Client], host: str = REACHED, path: str = "/client/{name}"
) -> Iterator[tuple[str, list[str]]]:
    """Each client by name, with its command."""
    for client in clients:
        url = f"https://{host}{path.format(name=client.name)}"
        yield client.name, [word.replace("{url}", url) for word in client.command]


def others(fake: str) -> Iterator[tuple[str, list[str]]]:
    """What is not about one client. `fake` is the variable of the placeholder."""
    yield "refused", ["python3", "-c", _ANY_STATUS, f"https://{REFUSED}/"]
    yield "direct", ["python3", "-c", _DIRECT, f"https://{REACHED}/direct"]
    yield "key", ["python3", "-c", _WITH_KEY, f"https://{REACHED}/key", fake]


def is_missing(code: int, said: str) -> bool:
    """Whether a client is not on this machine, or is a stub that says so."""
    return code in {127, _MISSING} or (code == 126 and not said)
