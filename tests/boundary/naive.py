"""The allow-list addon that everybody writes first, for stock mitmdump: a list of hosts, looked up in `request`."""

import json
import os
from pathlib import Path

from mitmproxy import http

CONFIG = json.loads(Path(os.environ["NAIVE"]).read_text())


def _denied(asked: http.Request, path: str, method: str) -> bool:
    return bool(path) and (asked.path.startswith(path) or asked.method == method)


def request(flow: http.HTTPFlow) -> None:
    host = flow.request.pretty_host
    if host not in CONFIG["hosts"] and not host.endswith(tuple(CONFIG["suffixes"])):
        flow.response = http.Response.make(403, b"not on the allow list\n")
    elif not flow.request.path.startswith(CONFIG["paths"].get(host, "/")):
        flow.response = http.Response.make(403, b"not an allowed path\n")
    elif _denied(flow.request, *CONFIG["denied"].get(host, ("", ""))):
        flow.response = http.Response.make(403, b"denied\n")
    elif host in CONFIG["secrets"]:
        flow.request.headers["Authorization"] = f"Bearer {CONFIG['secrets'][host]}"
