"""CPU of the core for one request, by step: what both lanes share, driven as an engine drives it, without a network.

    python benchmarks/core.py [--folder FOLDER] [--rounds 20]

Prints JSON: microseconds of CPU per request, the best of the rounds. `allowed` is a request with an injected
credential and a JSON answer of 1 kB, everything on; `refused` one that the policy denies. `masked`: nanoseconds of CPU
per byte of an answer, in pieces of 64 KiB, that are searched for one credential. FOLDER holds the audit log.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import proxy
from proxy import logs
from proxy.answer import BodyFilter, coding_of, has_line_breaks, meter_of, returned
from proxy.audit.sink import AuditSink
from proxy.config.load import load_policy
from proxy.credentials.scrub import Mask, Scrubber
from proxy.credentials.secret import Secret
from proxy.exchange import Exchange
from proxy.gate import Gate
from proxy.head import Head
from proxy.identity import BadToken
from proxy.outbound import Outbound
from proxy.refusal import refuse
from proxy.serving import Serving
from proxy.session import Session

POLICY = """
version: 1
name: bench
allow:
  - id: api
    why: the benchmark
    hosts: [api.example.com]
    access: any
    paths: ["/v1/**"]
    credential: key
credentials:
  key: {from: "env:KEY", hosts: [api.example.com], inject: {bearer: true}}
"""
ANSWER = (
    (b"Date", b"Sat, 21 Nov 2026 12:00:00 GMT"),
    (b"Content-Type", b"application/json"),
    (b"Content-Length", b"1000"),
    (b"Connection", b"keep-alive"),
    (b"Server", b"example"),
)
BODY = json.dumps({"data": ["x" * 9] * 76}).encode()[:1000]
BATCH = 100
PIECE = 64 * 1024

type _Steps = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    logs.configure()
    with TemporaryDirectory(dir=args.folder) as folder:
        gate = _gate(Path(folder))
        session, head = _session(gate)
        refused = Head(head.method, b"/v2/things?page=1", head.version, head.headers)
        result = {
            "allowed": _best(args.rounds, lambda steps: _allowed(gate, session, head, steps)),
            "refused": _best(args.rounds, lambda steps: _refused(gate, session, refused, steps)),
            "masked": {name: _masked(args.rounds, piece) for name, piece in _pieces().items()},
        }
    print(json.dumps(result, indent=1))


def _gate(folder: Path) -> Gate:
    (folder / "policy.yaml").write_text(POLICY)
    policy = load_policy(folder / "policy.yaml")
    serving = Serving.read([policy], {"KEY": "benchmark-key-0123456789"})
    audit = AuditSink(folder / "audit", 0)
    return Gate(serving=serving, placeholder_key=b"p" * 32, audit=audit, authenticate=_nobody, tokens_required=False)


def _nobody(_: Sequence[bytes]) -> tuple[str, str, float]:
    raise BadToken("no token")


def _session(gate: Gate) -> tuple[Session, Head]:
    session, name = Session(client="127.0.0.1:40000"), b"api.example.com"
    gate.connect(
        session, Head(b"CONNECT", name + b":443", b"HTTP/1.1", ((b"Host", name + b":443"),), b"", name + b":443")
    )
    assert session.sandbox is not None
    fake = session.sandbox.placeholders["key"].encode()
    fields = (
        (b"Host", name),
        (b"User-Agent", b"example/1.0"),
        (b"Accept", b"*/*"),
        (b"Accept-Encoding", b"gzip, deflate, br"),
        (b"Connection", b"keep-alive"),
        (b"Authorization", b"Bearer " + fake),
    )
    return session, Head(b"GET", b"/v1/things?page=1", b"HTTP/1.1", fields)


def _best(rounds: int, run: Callable[[_Steps], None]) -> dict[str, float]:
    """Microseconds by step, each the best of all rounds, and their sum in the best round."""
    found = []
    for _ in range(rounds):
        steps: _Steps = defaultdict(float)
        run(steps)
        found.append(steps)
    best = {name: min(steps[name] for steps in found) for name in found[0]}
    best["all"] = min(sum(steps.values()) for steps in found)
    return {name: round(seconds * 1e6 / BATCH, 1) for name, seconds in best.items()}


@contextmanager
def _timed(steps: _Steps, name: str) -> Iterator[None]:
    began = time.process_time()
    yield
    steps[name] += time.process_time() - began


def _allowed(gate: Gate, session: Session, head: Head, steps: _Steps) -> None:
    with _timed(steps, "request: judged, on record"):
        outs = [gate.request(session, head, tls=True) for _ in range(BATCH)]
    assert all(isinstance(out, Outbound) for out in outs)
    with _timed(steps, "upstream_head: the secret put in"):
        heads = [gate.upstream_head(out) for out in outs]
    with _timed(steps, "answer: head and body"):
        for out, (_, _, mask) in zip(outs, heads, strict=True):
            _answer(out.exchange, mask)
    with _timed(steps, "finish: the event"):
        for out in outs:
            gate.finish(session, out.exchange, "complete")


def _answer(exchange: Exchange, mask: Mask | None) -> None:
    exchange.sent = True
    exchange.first_byte = time.monotonic()
    assert not has_line_breaks(ANSWER)
    headers = returned(ANSWER, mask, upgrade=False)
    exchange.status = 200
    exchange.meter = meter_of(exchange, 200, headers, mask)
    body = BodyFilter(mask, coding_of(headers), _uncounted, exchange.meter)
    assert b"".join([*body.feed(BODY), *body.flush()]) == BODY


def _uncounted(size: int) -> None:
    pass


def _refused(gate: Gate, session: Session, head: Head, steps: _Steps) -> None:
    with _timed(steps, "request: judged"):
        exchanges = [gate.request(session, head, tls=True) for _ in range(BATCH)]
    with _timed(steps, "refuse: the answer"):
        for exchange in exchanges:
            gate.note_refusal(exchange)
            exchange.status = refuse(exchange).status
    with _timed(steps, "finish: the event"):
        for exchange in exchanges:
            gate.finish(session, exchange, "refused")


def _pieces() -> dict[str, bytes]:
    things = [{"id": at, "name": f"package-{at}", "url": f"https://example.com/p?page={at}&all"} for at in range(1000)]
    source = b"".join(path.read_bytes() for path in sorted(Path(proxy.__path__[0]).rglob("*.py")))
    pieces = {"random": Random(0).randbytes(PIECE), "json": json.dumps(things).encode(), "source": source}  # noqa: S311  the same each time
    # A byte that looks to a search for many forms as one of theirs does.
    return {name: piece[:PIECE] for name, piece in {**pieces, "one byte": b"x" * PIECE}.items()}


def _masked(rounds: int, piece: bytes) -> float:
    scrubber, times = Scrubber(Mask([Secret(b"benchmark-key-0123456789")])), []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(BATCH):
            scrubber.feed(piece)
        times.append(time.process_time() - began)
    return round(min(times) * 1e9 / BATCH / PIECE, 2)


if __name__ == "__main__":
    main()
