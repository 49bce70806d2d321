"""The client's side: run a probe against the proxy and note what comes back."""

import gzip
import socket
import ssl
import zlib
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from tests.boundary.case import H2, Anew, Become, Connect, Read, ReadRaw, Record, Send, Step, Tls
from tests.boundary.subjects import Subject
from tests.support.rawclient import Answer, ClosedError, RawClient

TIMEOUT = 4.0


@dataclass
class Seen:
    """`outcomes` has one text for each step that reads; `ports` are the client's own; `got` is all that came back."""

    outcomes: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    got: bytearray = field(default_factory=bytearray)


class Probe:
    """Runs the steps of one case.

    An outcome is `connect 200`, `tls`, `403` (of the proxy), `world 200` (of an upstream), `cut` (an answer that ends
    early), `closed`, `raw` (bytes that are no HTTP) or `hang`.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._seen = subject, Seen()
        self._client: RawClient | None = None
        self._h2: H2Connection | None = None
        self._tls: ssl.SSLSocket | None = None

    def run(self, steps: tuple[Step, ...]) -> Seen:
        self._open()
        skipping = False
        for step in steps:
            if isinstance(step, Anew):
                self._open()
                skipping = False
            elif isinstance(step, Become):
                self._subject.become(step.policy)
            elif not skipping:
                skipping = not self._step(step)
        self._close()
        return self._seen

    def _open(self) -> None:
        self._close()
        self._client = RawClient(self._subject.address, TIMEOUT)
        self._seen.ports.add(self._client._socket.getsockname()[1])

    def _close(self) -> None:
        if self._client:
            self._client.close()

    def _step(self, step: Step) -> bool:
        """Whether there is anything to go on with."""
        try:
            outcome = self._do(step)
        except TimeoutError:
            outcome = "hang"
        except ssl.SSLError as error:
            outcome = "hang" if "timed out" in str(error) else "closed"
        except (ClosedError, ProtocolError, OSError):
            outcome = "closed"
        except (ValueError, AssertionError):
            outcome = "raw"
        if outcome:
            self._seen.outcomes.append(outcome)
        return outcome not in ("hang", "closed", "raw") and not (
            isinstance(step, Connect) and not outcome.startswith("connect 2")
        )

    def _do(self, step: Step) -> str:
        assert self._client
        match step:
            case Connect(target, head, headers):
                target = self._subject.fill(target)
                text = head or f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{headers}\r\n"
                self._client.send(self._subject.fill(text).encode())
                return f"connect {self._note(self._client.read('CONNECT')).status}"
            case Tls(name, alpn):
                self._tls = self._client.tls(name, alpn=alpn)
                return "tls"
            case Send(data, times):
                filled = self._subject.fill(data).encode() if isinstance(data, str) else data
                self._send(filled * times)
                return ""
            case Read(method):
                return _outcome(self._note(self._client.read(method)))
            case ReadRaw():
                data = self._client.read_exactly(1) + self._client._buffer
                self._seen.got += data
                return "raw" if not data.startswith(b"HTTP/1.1 4") else data[9:12].decode()
            case Record():
                record = self._client.read_exactly(5)
                self._seen.got += record + self._client.read_exactly(int.from_bytes(record[3:]))
                return ""
            case H2():
                return self._ask(step)
            case Anew() | Become():
                raise AssertionError("handled by run")

    def _send(self, data: bytes) -> None:
        assert self._client
        try:
            self._client.send(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            # The proxy has said what it had to say and stopped reading; what it said is still to be read.
            if not isinstance(self._client._socket, socket.socket):
                raise

    def _note(self, answer: Answer) -> Answer:
        head = "\r\n".join([answer.reason, *(f"{name}: {value}" for name, value in answer.headers + answer.trailers)])
        self._seen.got += head.encode("latin-1") + b"\r\n\r\n" + answer.body
        if answer.header("content-encoding") == "gzip":
            self._seen.got += gzip.decompress(answer.body)
        if answer.header("content-encoding") == "deflate, gzip":
            self._seen.got += zlib.decompress(gzip.decompress(answer.body))
        return answer

    def _ask(self, step: H2) -> str:
        assert self._tls
        if self._h2 is None:
            if self._tls.selected_alpn_protocol() != "h2":
                return "closed"
            config = H2Configuration(
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
            self._h2 = H2Connection(config)
            self._h2.initiate_connection()
        h2, stream = self._h2, self._h2.get_next_available_stream_id()
        fields = [(name, self._subject.fill(value)) for name, value in step.fields]
        h2.send_headers(stream, fields, end_stream=not step.body and not step.trailers)
        for at in range(0, len(step.body), 16384):
            part = step.body[at : at + 16384]
            last = at + 16384 >= len(step.body) and not step.trailers
            if h2.local_flow_control_window(stream) < len(part):
                break
            h2.send_data(stream, part, end_stream=last)
        if step.trailers:
            h2.send_headers(stream, list(step.trailers), end_stream=True)
        self._tls.sendall(h2.data_to_send())
        return self._answered(h2, self._tls)

    def _answered(self, h2: H2Connection, tls: ssl.SSLSocket) -> str:
        status = "closed"
        while data := tls.recv(65536):
            for event in h2.receive_data(data):
                if isinstance(event, ResponseReceived):
                    fields = {str(name): str(value) for name, value in event.headers}
                    self._seen.got += repr(fields).encode("latin-1")
                    status = ("world " if "x-world" in fields else "") + fields[":status"]
                elif isinstance(event, DataReceived):
                    self._seen.got += event.data
                elif isinstance(event, StreamEnded):
                    return status
                elif isinstance(event, StreamReset | ConnectionTerminated):
                    return status if status != "closed" else "closed"
            tls.sendall(h2.data_to_send())
        return status


def _outcome(answer: Answer) -> str:
    if not answer.complete:
        return "cut"
    world = any(name.lower() == "x-world" for name, _ in answer.headers)
    return f"world {answer.status}" if world else str(answer.status)
