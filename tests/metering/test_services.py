"""Which exchanges are calls of a model, and what their answers are handed to the meter as."""

import gzip
from dataclasses import replace

import pytest

from proxy import answer
from proxy.answer import BodyFilter, meter_of
from proxy.audit.event import event_of
from proxy.credentials.scrub import Mask
from proxy.credentials.secret import Secret
from proxy.exchange import Exchange
from proxy.metering.services import Call, recognise
from proxy.policy.credential import CredentialSpec
from proxy.policy.host import parse_host
from proxy.policy.rules import Policy
from tests.metering.recorded import CHAT_USAGE, chat, js

VALUE = b"canary-value-0123456789"
CHAT_HEADERS = ((b"Content-Type", b"application/json"),)


@pytest.mark.parametrize(
    ("host", "path", "call"),
    [
        ("api.anthropic.com", "/v1/messages", Call("anthropic", "messages")),
        ("api.openai.com", "/v1/chat/completions", Call("openai", "chat")),
        ("api.openai.com", "/v1/embeddings", Call("openai", "chat")),
        ("api.openai.com", "/v1/responses", Call("openai", "responses")),
        ("chatgpt.com", "/backend-api/codex/responses", Call("openai", "responses")),
        ("api.groq.com", "/openai/v1/chat/completions", Call("groq", "chat")),
        ("openrouter.ai", "/api/v1/chat/completions", Call("openrouter", "chat")),
        ("openrouter.ai", "/api/v1/messages", Call("openrouter", "messages")),
        ("api.deepseek.com", "/chat/completions", Call("deepseek", "chat")),
        ("api.deepseek.com", "/anthropic/v1/messages", Call("deepseek", "messages")),
        ("acme.openai.azure.com", "/openai/deployments/d/chat/completions", Call("azure", "chat")),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-3-pro:streamGenerateContent",
            Call("google", "gemini", "gemini-3-pro"),
        ),
        ("cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent", Call("google", "gemini")),
        (
            "us-east5-aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude-4:streamRawPredict",
            Call("google", "messages", "claude-4"),
        ),
        (
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/us.amazon.nova%3A0/converse-stream",
            Call("aws", "converse", "us.amazon.nova:0"),
        ),
        ("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/invoke", Call("aws", "invoke", "m")),
        ("ollama.com", "/api/chat", Call("ollama", "ollama")),
        ("gateway.corp.example", "/v1/chat/completions", Call("other", "chat")),
        ("gateway.corp.example", "/anthropic/v1/messages", Call("other", "messages")),
        ("gateway.corp.example", "/api/chat", None),
        ("gateway.corp.example", "/model/m/invoke", None),
        ("gateway.corp.example", "/completions", None),
        ("gateway.corp.example", "/responses", None),
        ("api.anthropic.com", "/v1/messages/count_tokens", None),
        ("api.anthropic.com", "/v1/messages/batches", None),
        ("api.openai.com", "/v1/files", None),
        ("github.com", "/o/r.git/git-upload-pack", None),
        ("evil-bedrock-runtime.us-east-1.amazonaws.com.example", "/model/m/invoke", None),
    ],
)
def test_host_and_path_tell_the_call(host: str, path: str, call: Call | None) -> None:
    assert recognise(host, 443, path) == call


def test_ollama_is_known_by_its_port_wherever_it_runs() -> None:
    assert recognise("localhost", 11434, "/api/generate") == Call("ollama", "ollama")


def test_only_openais_responses_are_metered_on_a_websocket() -> None:
    assert recognise("api.openai.com", 443, "/v1/responses", websocket=True) == Call("openai", "responses", None, True)
    assert recognise("api.openai.com", 443, "/v1/chat/completions", websocket=True) is None


@pytest.mark.parametrize(("provider", "named"), [("openai", "openai"), ("github", "other"), (None, "other")])
def test_behind_an_unknown_host_the_credential_tells_the_provider(provider: str | None, named: str) -> None:
    call = recognise("gateway.corp.example", 443, "/v1/chat/completions", credential=provider)
    assert call == Call(named, "chat")
    assert recognise("openrouter.ai", 443, "/v1/chat/completions", credential=provider) == Call("openrouter", "chat")


# --- the meter of an exchange ---


def exchange(provider: str | None = None) -> Exchange:
    spec = CredentialSpec(name="key", source="env:KEY", hosts=(), provider=provider)
    made = Exchange(sandbox="s", policy=Policy(name="p", credentials={"key": spec}), method="POST", port=443)
    made.path, made.host = "/v1/chat/completions", parse_host("gateway.corp.example")
    made.credential = "key"
    return made


def test_an_exchange_that_is_no_call_has_no_meter_and_null_in_its_event() -> None:
    one = exchange()
    one.path = "/v1/files"
    assert meter_of(one, 200, CHAT_HEADERS, None) is None
    one = exchange()
    one.method = "GET"
    assert meter_of(one, 200, CHAT_HEADERS, None) is None
    assert event_of(one)["llm"] is None


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("coded", [False, True])
def test_the_client_gets_the_same_bytes_with_a_meter_and_without(masked: bool, coded: bool) -> None:
    body = js(chat("gpt-" + VALUE.decode(), CHAT_USAGE))
    wire = gzip.compress(body) if coded else body
    mask = Mask([Secret(VALUE)]) if masked else None
    headers = (*CHAT_HEADERS, (b"Content-Encoding", b"gzip")) if coded else CHAT_HEADERS
    one = exchange("openai")
    one.meter = meter_of(one, 200, headers, mask)
    sent = []
    for meter in (None, one.meter):
        passing = BodyFilter(mask, b"gzip" if coded else b"", lambda _: None, meter)
        pieces = [piece for start in range(0, len(wire), 13) for piece in passing.feed(wire[start : start + 13])]
        sent.append(b"".join([*pieces, *passing.flush()]))
    assert sent[0] == sent[1]
    one.end = "complete"
    llm = event_of(one)["llm"]
    assert isinstance(llm, dict)
    assert (llm["provider"], llm["input"], llm["not_metered"], llm["partial"]) == ("openai", 100, None, False)
    assert llm["model"] == "gpt-" + ("*" * len(VALUE) if masked else VALUE.decode())


def test_a_fault_in_finding_out_what_an_exchange_is_does_not_fail_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "recognise", None)
    one = exchange()
    one.meter = meter_of(one, 200, CHAT_HEADERS, None)
    assert list(BodyFilter(None, b"", lambda _: None, one.meter).feed(b"bytes")) == [b"bytes"]
    llm = event_of(one)["llm"]
    assert isinstance(llm, dict)
    assert (llm["provider"], llm["not_metered"]) == ("unknown", "fault")


def test_a_fault_in_the_report_does_not_cost_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    one = exchange()
    one.meter = meter_of(one, 200, CHAT_HEADERS, None)
    whole = event_of(one)["llm"]
    monkeypatch.setattr("proxy.metering.meter.Meter._report", None)
    llm = event_of(one)["llm"]
    assert isinstance(llm, dict)
    assert isinstance(whole, dict)
    assert llm == whole | {"not_metered": "fault"}


def test_calls_are_values() -> None:
    assert replace(Call("a", "chat"), model="m") == Call("a", "chat", "m")
