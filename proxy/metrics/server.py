"""The operator's page: `/metrics`, `/healthz` and `/readyz`, on an address of its own, from a process of its own.

It reads boards and nothing else, so whoever reaches it can neither slow a worker down nor learn more than counts and
names of policies and credentials. Times are seconds since the epoch.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any

from proxy.metrics.board import Board
from proxy.metrics.text import CONTENT_TYPE, exposition

MAX_READERS = 16  # who is answered at once
READ_TIME = 5.0  # seconds for a reader to say what it wants and to take the answer, in all
FRESH = 10.0  # seconds after which numbers are too old to say that somebody is at work
ALIVE = 60.0  # the same for the supervisor, whom a reload can take some time

_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Page:
    """What can be told: the boards of workers and supervisor, and the file with the checkpoints."""

    workers: Sequence[Board]
    supervisor: Board
    checkpoints: Path

    def answer(self, path: str, now: float) -> tuple[HTTPStatus, str, str]:
        """Status, content type and body."""
        if path == "/metrics":
            found = [each.get() for each in self.workers]
            return HTTPStatus.OK, CONTENT_TYPE, exposition(found, self.supervisor.get(), self._checkpoint_age(now))
        if path in {"/healthz", "/readyz"}:
            wrong = self._ill(now) if path == "/healthz" else self._not_ready(now)
            return HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK, _PLAIN, f"{wrong or 'ok'}\n"
        return HTTPStatus.NOT_FOUND, _PLAIN, "/metrics, /healthz, /readyz\n"

    def _ill(self, now: float) -> str:
        return "" if now - self.supervisor.get().get("at", 0.0) < ALIVE else "the supervisor does not turn"

    def _not_ready(self, now: float) -> str:
        supervisor = self.supervisor.get()
        if not supervisor.get("serving"):
            return "stopping" if supervisor else "starting"
        found = [each for each in (board.get() for board in self.workers) if now - each.get("at", 0.0) < FRESH]
        if not found:
            return "no worker is at work"
        return "" if any(not each["waiting"] for each in found) else "the audit log cannot be written"

    def _checkpoint_age(self, now: float) -> float | None:
        try:
            return round(max(0.0, now - self.checkpoints.stat().st_mtime), 3)
        except OSError:
            return None


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    server_version, sys_version = "outgate", ""

    def do_GET(self) -> None:
        status, kind, text = self.server.page.answer(self.path.partition("?")[0], time.time())
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Who reads is of no interest."""


def _cut(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, page: Page, goes_on: Callable[[], bool]) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.page, self._goes_on = page, goes_on
        self._places = threading.BoundedSemaphore(MAX_READERS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A time-out of the socket begins anew with each byte.
        cut = threading.Timer(READ_TIME, _cut, (request,))
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._places.release()

    def handle_error(self, *_: Any) -> None:
        """A reader that went away."""

    def service_actions(self) -> None:
        if not self._goes_on():
            raise SystemExit


def serve(listening: socket.socket, page: Page, goes_on: Callable[[], bool]) -> None:
    """Answer readers. Ends with `SystemExit` when it must not go on."""
    _Server(listening, page, goes_on).serve_forever()
