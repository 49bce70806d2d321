"""Puts a report under a pull request as one comment, and updates that comment ever after.

Usage: comment.py REPORT, with GITHUB_API_URL, GITHUB_REPOSITORY, GITHUB_TOKEN and PULL_REQUEST (its number) in the
environment. The comment is known by the first line of the report, a mark, and by who wrote it: a person who copies
the mark does not get a comment overwritten. Where the token may not write, as for a pull request from a fork, it
says so and exits 0: the report is in the job's summary too. Exits 1 for any other failure.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = 100
MOST_PAGES = 50
TIMEOUT = 30


def main(report: str) -> int:
    """Post or update. Returns the exit code."""
    body = Path(report).read_text(encoding="utf-8")
    try:
        api = Api.of_environment()
        mine = next(api.mine(body.partition("\n")[0]), None)
        if mine is None:
            api.send("POST", api.thread, body)
        else:
            api.send("PATCH", f"/issues/comments/{mine}", body)
    except Forbidden:
        print("::notice::the token may not comment here; the report is in the job's summary")
        return 0
    except (KeyError, ValueError, OSError) as error:
        print(f"comment: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


class Forbidden(Exception):
    """The token may read, and not write."""


class Api:
    """GitHub's REST API, as far as comments of one pull request go (docs.github.com, "REST API, issue comments")."""

    def __init__(self, url: str, repository: str, token: str, number: str) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or not re.fullmatch(r"[1-9][0-9]*", number):
            raise ValueError("GITHUB_REPOSITORY is owner/name, and PULL_REQUEST a number")
        self._base = f"{url.rstrip('/')}/repos/{repository}"
        self._token = token
        self.thread = f"/issues/{number}/comments"

    @classmethod
    def of_environment(cls) -> "Api":
        names = ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN", "PULL_REQUEST")
        return cls(*(os.environ[name] for name in names))

    def mine(self, mark: str) -> Iterator[int]:
        """The comments of a bot that begin with the mark, oldest first."""
        for page in range(1, MOST_PAGES + 1):
            found = self._call("GET", f"{self.thread}?per_page={PAGE}&page={page}")
            for comment in found:
                if comment["user"]["type"] == "Bot" and comment["body"].startswith(mark):
                    yield int(comment["id"])
            if len(found) < PAGE:
                return

    def send(self, method: str, path: str, body: str) -> None:
        self._call(method, path, {"body": body})

    def _call(self, method: str, path: str, document: dict[str, str] | None = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self._base + path, data, method=method)  # noqa: S310  the runner's own URL
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Accept", "application/vnd.github+json")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.build_opener().open(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 403:
                raise Forbidden from None
            raise OSError(f"{method} {path.partition('?')[0]}: {error.code} {error.reason}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
