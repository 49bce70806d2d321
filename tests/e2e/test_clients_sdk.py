"""The Anthropic and OpenAI SDKs through the proxy, with the fake keys of `outgate env`, against stand-ins."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import models
from tests.support.outgate import Outgate
from tests.support.pki import Authority
from tests.support.sandbox import Run, Sandbox
from tests.support.upstream import Upstream

ANTHROPIC_KEY = "sk-ant-api03-the-real-key-0123456789"
OPENAI_KEY = "sk-proj-the-real-key-0123456789"
TEXT = "hello through the proxy"
POLICY = """
version: 1
name: agent
allow:
  - id: claude
    why: the model
    hosts: [api.anthropic.com]
    methods: [POST]
    paths: [/v1/messages]
    credential: anthropic
  - id: gpt
    why: the other model
    hosts: [api.openai.com]
    methods: [POST]
    paths: [/v1/chat/completions, /v1/responses]
    credential: openai
credentials:
  anthropic:
    provider: anthropic
    from: env:ANTHROPIC_KEY
    hosts: [api.anthropic.com]
    placeholder: ANTHROPIC_API_KEY
  openai:
    provider: openai
    from: env:OPENAI_KEY
    hosts: [api.openai.com]
    placeholder: OPENAI_API_KEY
"""
# A program of an SDK's user, around one or more of the calls below.
PROGRAM = """
import sys, {library}
client = {library}.{client}()
try:
    {call}
except {library}.APIStatusError as error:
    print(type(error).__name__, error.status_code, error.message)
"""
CLIENTS = {"anthropic": "Anthropic", "openai": "OpenAI"}
ASK = "model='m', max_tokens=16, messages=[{'role': 'user', 'content': 'hi'}]"
ASK_OPENAI = "model='m', messages=[{'role': 'user', 'content': 'hi'}]"
CALLS = {
    "messages": ("anthropic", f"print(client.messages.create({ASK}).content[0].text)"),
    "messages stream": (
        "anthropic",
        f"with client.messages.stream({ASK}) as stream: print(''.join(stream.text_stream).strip())",
    ),
    "chat": ("openai", f"print(client.chat.completions.create({ASK_OPENAI}).choices[0].message.content)"),
    "chat stream": (
        "openai",
        f"print(''.join(part.choices[0].delta.content or '' for part in "
        f"client.chat.completions.create(stream=True, {ASK_OPENAI})).strip())",
    ),
    "responses": ("openai", "print(client.responses.create(model='m', input='hi').output_text)"),
    "responses stream": (
        "openai",
        "print(''.join(event.delta for event in client.responses.create(model='m', input='hi', stream=True) "
        "if event.type == 'response.output_text.delta'))",
    ),
}
OWN = {"ANTHROPIC_API_KEY": "sk-ant-api03-someone-elses", "OPENAI_API_KEY": "sk-proj-someone-elses"}
ELSEWHERE = {"ANTHROPIC_BASE_URL": "https://evil.example", "OPENAI_BASE_URL": "https://evil.example/v1"}
REFUSED = {
    "anthropic, a method": ("anthropic", "client.models.list()", {}, "method_not_allowed"),
    "anthropic, a path": ("anthropic", "client.messages.batches.create(requests=[])", {}, "path_not_allowed"),
    "anthropic, another host": (*CALLS["messages"], ELSEWHERE, "host_not_allowed"),
    "anthropic, a stream with a key of its own": (*CALLS["messages stream"], OWN, "client_credential_refused"),
    "openai, a path": ("openai", "client.embeddings.create(model='m', input='hi')", {}, "path_not_allowed"),
    "openai, another host": (*CALLS["chat"], ELSEWHERE, "host_not_allowed"),
    "openai, a stream with a key of its own": (*CALLS["responses stream"], OWN, "client_credential_refused"),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("api"), authority=authority) as server:
        server.on("/v1/messages", models.anthropic_messages(ANTHROPIC_KEY, TEXT))
        server.on("/v1/chat/completions", models.openai_chat(OPENAI_KEY, TEXT))
        server.on("/v1/responses", models.openai_responses(OPENAI_KEY, TEXT))
        yield server


@pytest.fixture(scope="module")
def outgate(tmp_path_factory: pytest.TempPathFactory, authority: Authority, api: Upstream) -> Iterator[Outgate]:
    with Outgate(
        tmp_path_factory.mktemp("outgate"),
        POLICY,
        connect_to={"api.anthropic.com:443": api.port, "api.openai.com:443": api.port},
        upstream_ca=(authority.ca_file,),
        environ={"ANTHROPIC_KEY": ANTHROPIC_KEY, "OPENAI_KEY": OPENAI_KEY},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def variables(outgate: Outgate) -> dict[str, str]:
    return outgate.env()


@pytest.fixture
def sandbox(outgate: Outgate, variables: dict[str, str], tmp_path: Path) -> Sandbox:
    return Sandbox(outgate, tmp_path, variables)


def run(sandbox: Sandbox, library: str, call: str, extra: dict[str, str] | None = None) -> Run:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    program = PROGRAM.format(library=library, client=CLIENTS[library], call=call)
    done = sandbox.run(sys.executable, "-c", program, extra=extra)
    assert done.code == 0, done.output
    return done


@pytest.mark.parametrize(("library", "real"), [("anthropic", ANTHROPIC_KEY), ("openai", OPENAI_KEY)])
def test_whole_and_streamed_calls_work_with_the_fake_key(
    sandbox: Sandbox, api: Upstream, library: str, real: str
) -> None:
    before = len(api.record.requests)
    calls = [code for of, code in CALLS.values() if of == library]
    done = run(sandbox, library, "\n    ".join(calls))
    assert done.stdout.splitlines() == [TEXT] * len(calls), done.output
    for sent in api.record.requests[before:]:
        assert [*sent.values("x-api-key"), *sent.values("authorization")] in ([real], [f"Bearer {real}"])
    events = [(event["verdict"], event["injected"], event["end"]) for event in sandbox.events()]
    assert events == [("allow", True, "complete")] * len(calls)
    assert real not in str(sandbox.variables)


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_is_the_sdks_own_error_and_is_not_retried(sandbox: Sandbox, api: Upstream, what: str) -> None:
    library, code, extra, reason = REFUSED[what]
    before = len(api.record.requests)
    done = run(sandbox, library, code, extra)
    assert done.stdout.startswith("PermissionDeniedError 403 ")
    assert f"({reason}): " in done.stdout
    # The guidance is in the error object of the providers' own hosts; elsewhere the SDKs show `message`.
    assert "deliberate policy decision" in done.stdout or extra is ELSEWHERE
    sandbox.refused_once(reason)
    assert len(api.record.requests) == before
