"""A stand-in for the Anthropic Messages API: TLS, JSON and streams, and 401 unless the real key arrives.

The shapes are those of docs.anthropic.com, "Messages" and "Streaming messages".
"""

import hmac
import json
import ssl
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import certificates

HOST = "api.anthropic.com"
WORDS = [
    "I can hear you ",
    "through the proxy. ",
    "The key that I was called with ",
    "is the real one; ",
    "yours is not.",
]
PACE = 0.12  # seconds between two pieces, so that a person sees them arrive
PATIENCE = 10.0
USAGE = {"input_tokens": 12, "output_tokens": 24}


@dataclass(frozen=True)
class Call:
    """One request as it arrived. `real_key` says whether it carried the real key; the key itself is not kept."""

    method: str
    path: str
    real_key: bool
    tls: str


class ModelServer:
    """The stand-in, on a free port of 127.0.0.1. `calls` is what arrived.

    A stream stops after its first words until `go_on` is set: a proxy that held the stream back would never finish.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.ca_file, leaf = certificates.make(folder, HOST)
        self.key, self.calls, self.go_on = key, list[Call](), threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(leaf)
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.model = self
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return self._http.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._http.shutdown()
        self._http.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    model: ModelServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about connections that end early; what matters shows in the story."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """No log of its own: the audit log is the story's."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        model = self.server.model
        call = Call(self.command, self.path, self._real_key(), str(self.connection.version()))
        model.calls.append(call)
        if not call.real_key:
            self._json(
                401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
            )
        elif self.path != "/v1/messages":
            self._json(200, {"id": "file_1", "type": "file"})
        elif json.loads(body).get("stream"):
            self._stream()
        else:
            self._json(200, _message([{"type": "text", "text": "".join(WORDS)}], "end_turn"))

    def _real_key(self) -> bool:
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        offered = self.headers.get("x-api-key", bearer)
        return hmac.compare_digest(offered.encode(), self.server.model.key.encode())

    def _json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._event("message_start", message=_message([], None))
        self._event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        self._event("ping")
        for number, words in enumerate(WORDS):
            self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})
            if number == 0 and not self.server.model.go_on.wait(PATIENCE):
                return  # the first words never reached the agent: leave the stream unfinished
            time.sleep(PACE)
        self._event("content_block_stop", index=0)
        self._event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE)
        self._event("message_stop")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, kind: str, **fields: Any) -> None:
        data = f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()


def _message(content: list[dict[str, str]], stop: str | None) -> dict[str, object]:
    return {
        "id": "msg_demo",
        "type": "message",
        "role": "assistant",
        "model": "claude-demo",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE if stop else {"input_tokens": 12, "output_tokens": 1},
    }
