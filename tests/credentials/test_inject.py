"""What a client may bring to a request that gets a credential, and what the request looks like with it."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials.inject import ClientCheck, check_client, inject
from proxy.credentials.providers import BEARER, PROVIDERS
from proxy.credentials.secret import Secret
from proxy.credentials.slots import Content, Headers, read_slots, slots_of
from proxy.policy.credential import CredentialSpec, Inject
from proxy.policy.host import HostPattern, parse_host
from proxy.policy.reason import Reason

REFUSED = Reason.CLIENT_CREDENTIAL_REFUSED
FAKE = "outgate_0123456789abcdefghijklmnopqrstuvwxyz"
OTHER_FAKE = "ghu_outgate0123456789abcdefghijklmnopqr"
OWN = "sk-ant-api03-the-clients-own-key"
SECRET = Secret(b"the-real-s3cret")

X_API_KEY = Inject(header="x-api-key")
TOKEN = Inject(header="authorization", format="token {secret}")
BASIC = Inject(basic="x-access-token")

ANTHROPIC = CredentialSpec("main", "env:A", (HostPattern("api.anthropic.com"),), provider="anthropic")
OPENAI = CredentialSpec("main", "env:A", (HostPattern("api.openai.com"),), provider="openai")
GITHUB = CredentialSpec(
    "main", "env:A", (HostPattern("github.com"), HostPattern("github.com", wildcard=True)), provider="github"
)


def generic(host: str = "api.example.com", **where: object) -> CredentialSpec:
    return CredentialSpec("main", "env:A", (HostPattern(host),), inject=Inject(**where))  # type: ignore[arg-type]


GENERIC = generic(bearer=True)
HOST = {
    "anthropic": "api.anthropic.com",
    "openai": "api.openai.com",
    "github": "api.github.com",
    None: "api.example.com",
}


def heads(*pairs: tuple[str, str | bytes]) -> Headers:
    return tuple((name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in pairs)


def check(spec: CredentialSpec, *pairs: tuple[str, str | bytes], target: str = "/", host: str = "") -> ClientCheck:
    where = parse_host(host or HOST[spec.provider])
    return check_client(spec, {"main": FAKE, "other": OTHER_FAKE}, heads(*pairs), target, where)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


KUBERNETES = "base64url.bearer.authorization.k8s.io."


def coded(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("spec", "host", "pairs", "form"),
    [
        (ANTHROPIC, "", [], X_API_KEY),
        (ANTHROPIC, "", [("X-Api-Key", FAKE)], X_API_KEY),
        (ANTHROPIC, "", [("x-api-key", "outgate")], X_API_KEY),
        (ANTHROPIC, "", [("Authorization", f"Bearer {FAKE}")], BEARER),
        (ANTHROPIC, "", [("Authorization", "bearer outgate")], BEARER),
        (ANTHROPIC, "", [("authorization", f"Bearer {FAKE}"), ("x-api-key", FAKE)], X_API_KEY),
        (ANTHROPIC, "", [("authorization", "Bearer "), ("x-api-key", "")], X_API_KEY),
        (ANTHROPIC, "", [("authorization", f"Bearer {FAKE}"), ("x-api-key", "")], BEARER),
        (ANTHROPIC, "", [("authorization", basic("u", FAKE))], X_API_KEY),
        (OPENAI, "", [], BEARER),
        (OPENAI, "", [("Authorization", f"Bearer {FAKE}")], BEARER),
        (OPENAI, "", [("api-key", FAKE)], BEARER),
        (OPENAI, "", [("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{FAKE}")], BEARER),
        (GITHUB, "", [], BEARER),
        (GITHUB, "uploads.github.com", [], BEARER),
        (GITHUB, "github.com", [], BASIC),
        (GITHUB, "gist.github.com", [], BASIC),
        (GITHUB, "", [("Authorization", f"token {FAKE}")], TOKEN),
        (GITHUB, "", [("Authorization", f"TOKEN {FAKE}")], TOKEN),
        (GITHUB, "github.com", [("Authorization", f"Bearer {FAKE}")], BEARER),
        (GITHUB, "", [("Authorization", basic("x-access-token", FAKE))], BASIC),
        (GITHUB, "github.com", [("Authorization", basic("anyone", FAKE))], BASIC),
        (GENERIC, "", [("Authorization", basic("anyone", FAKE))], BEARER),
    ],
)
def test_a_clean_request_passes_and_the_form_is_the_one_the_client_used(
    spec: CredentialSpec, host: str, pairs: list[tuple[str, str]], form: Inject
) -> None:
    assert check(spec, *pairs, host=host) == ClientCheck(form)


@pytest.mark.parametrize("spec", [ANTHROPIC, OPENAI, GITHUB, GENERIC, generic(header="x-key"), generic(query="key")])
@pytest.mark.parametrize(
    "pair",
    [
        ("Authorization", ""),
        ("Authorization", " \t"),
        ("Authorization", "Bearer"),
        ("Authorization", "Bearer   "),
        ("Authorization", "Basic"),
        ("Authorization", basic("", "")),
        ("Authorization", "outgate"),
        ("Authorization", FAKE),
        ("Authorization", OTHER_FAKE),
        ("AUTHORIZATION", f"bEaReR \t {FAKE} "),
        ("Authorization", f"Bearer\t{FAKE}"),
        ("Authorization", basic("", "outgate")),
        ("Authorization", basic("outgate", "")),
        ("Authorization", basic(FAKE, "x-oauth-basic")),
        ("Authorization", basic(FAKE, FAKE)),
        ("Authorization", basic("oauth2", FAKE)),
        ("api-key", "outgate"),
        ("x-goog-api-key", FAKE),
        ("PRIVATE-TOKEN", FAKE),
        ("Cookie", f"session={OWN}"),
        ("Proxy-Authorization", f"Bearer {OWN}"),
        ("X-Custom", OWN),
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Protocol", "openai-insecure-api-key.outgate"),
        ("Sec-WebSocket-Protocol", f"{KUBERNETES}{coded(FAKE)}, v4.channel.k8s.io"),
    ],
)
def test_nobodys_key_passes_with_every_credential(spec: CredentialSpec, pair: tuple[str, str]) -> None:
    assert check(spec, pair).reason is None


ATTACKS = [
    ([("Authorization", f"Bearer {OWN}")], "authorization"),
    ([("authorization", f"bearer {OWN}")], "authorization"),
    ([("AUTHORIZATION", f"BEARER\t{OWN}")], "authorization"),
    ([("Authorization", f"token {OWN}")], "authorization"),
    ([("Authorization", OWN)], "authorization"),
    ([("Authorization", f"Bearer {FAKE}, Bearer {OWN}")], "authorization"),
    ([("Authorization", f"Bearer {FAKE},{OWN}")], "authorization"),
    ([("Authorization", f"Bearer {FAKE} {OWN}")], "authorization"),
    ([("Authorization", f"Bearer outgate {OWN}")], "authorization"),
    ([("Authorization", f"Bearer {FAKE}x")], "authorization"),
    ([("Authorization", f"Bearer {FAKE[:-1]}")], "authorization"),
    ([("Authorization", "Bearer OUTGATE")], "authorization"),
    ([("Authorization", f"Bearer Bearer {FAKE}")], "authorization"),
    ([("Authorization", f'Bearer "{FAKE}"')], "authorization"),
    ([("Authorization", f"Bearer {FAKE}\0{OWN}")], "authorization"),
    ([("Authorization", f"Bearer {FAKE}\r\nx-api-key: {OWN}")], "authorization"),
    ([("Authorization", "Bearer %6futgate")], "authorization"),
    ([("Authorization", f"Digest username={FAKE}")], "authorization"),
    ([("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/s3/aws4_request")], "authorization"),
    ([("Authorization", f"Bearer {FAKE}"), ("Authorization", f"Bearer {OWN}")], "authorization"),
    ([("Authorization", f"Bearer {OWN}"), ("Authorization", f"Bearer {FAKE}")], "authorization"),
    ([("Authorization", f"Bearer {FAKE}"), ("X-API-Key", OWN)], "x-api-key"),
    ([("Authorization", basic("user", OWN))], "authorization"),
    ([("Authorization", basic(OWN, ""))], "authorization"),
    ([("Authorization", basic(OWN, "x-oauth-basic"))], "authorization"),
    ([("Authorization", basic(FAKE, OWN))], "authorization"),
    ([("Authorization", basic("user", f"{FAKE}:{OWN}"))], "authorization"),
    ([("Authorization", "Basic " + base64.b64encode(FAKE.encode()).decode())], "authorization"),  # no colon
    ([("Authorization", "Basic !!!not-base64!!!")], "authorization"),
    ([("Authorization", "Basic " + base64.b64encode(f"u:{FAKE}".encode()).decode().rstrip("=")[:-1])], "authorization"),
    ([("Authorization", basic("u", FAKE) + " " + OWN)], "authorization"),
    ([("Authorization", basic("u", FAKE) + "," + basic("u", OWN))], "authorization"),
    ([("Authorization", "Basic \u00fc\u00fc\u00fc\u00fc")], "authorization"),
    ([("x-api-key", OWN)], "x-api-key"),
    ([("x-api-key", FAKE), ("X-API-KEY", OWN)], "x-api-key"),
    ([("X_Api_Key", OWN)], "x-api-key"),
    ([(" x-api-key ", OWN)], "x-api-key"),
    ([("api-key", OWN)], "api-key"),
    ([("Api_Key", OWN)], "api-key"),
    ([("x.api.key", OWN)], "x-api-key"),
    ([("X!Api~Key", OWN)], "x-api-key"),
    ([("X%2DApi-Key", OWN)], "a header with an encoded name"),
    *(
        ([(name, OWN)], name.lower())
        for name in (
            *("apikey", "X-Token", "Token", "X-Auth-Key", "Ocp-Apim-Subscription-Key", "deploy-token", "X-Auth"),
            *("X-Serverless-Authorization", "X-Vault-Token", "X-Functions-Key"),
        )
    ),
    ([("Sec-WebSocket-Protocol", f"v4.channel.k8s.io, {KUBERNETES}{coded(OWN)}")], "sec-websocket-protocol"),
    ([("sec.websocket.protocol", f"{KUBERNETES.upper()}{coded(OWN)}")], "sec-websocket-protocol"),
    ([("x-goog-api-key", OWN)], "x-goog-api-key"),
    ([("private-token", OWN)], "private-token"),
    ([("job-token", OWN)], "job-token"),
    ([("x-auth-token", OWN)], "x-auth-token"),
    ([("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{OWN}")], "sec-websocket-protocol"),
    ([("sec-websocket-protocol", f"realtime,OpenAI-Insecure-Api-Key.{OWN}")], "sec-websocket-protocol"),
    (
        [
            ("Sec-WebSocket-Protocol", f"openai-insecure-api-key.{FAKE}"),
            ("Sec-WebSocket-Protocol", f"openai-insecure-api-key.{OWN}"),
        ],
        "sec-websocket-protocol",
    ),
]


@pytest.mark.parametrize("spec", [ANTHROPIC, OPENAI, GITHUB, GENERIC, generic(header="x-key"), generic(query="key")])
@pytest.mark.parametrize(("pairs", "slot"), ATTACKS)
def test_a_key_of_the_clients_own_is_refused_with_every_credential(
    spec: CredentialSpec, pairs: list[tuple[str, str]], slot: str
) -> None:
    found = check(spec, *pairs)
    assert (found.reason, found.slot) == (REFUSED, slot)


@pytest.mark.parametrize("spec", [ANTHROPIC, OPENAI, GITHUB, GENERIC, generic(header="x-key"), generic(query="key")])
@pytest.mark.parametrize("pairs", [pairs for pairs, _ in ATTACKS])
def test_a_key_of_the_clients_own_never_reaches_the_upstream(
    spec: CredentialSpec, pairs: list[tuple[str, str]]
) -> None:
    """Whatever the check said, and where `client_credentials: replace` overwrites: nothing of it is left."""
    replacing = replace(spec, replace_client_credentials=True)
    found = check(replacing, *pairs)
    assert found.reason is None
    headers, target = inject(replacing, found.form, SECRET, heads(("accept", "*/*"), *pairs), "/")
    assert headers[0] == (b"accept", b"*/*")
    wire = b"\n".join(name + b": " + value for name, value in headers) + target.encode()
    assert OWN.encode() not in wire
    assert FAKE.encode() not in wire
    assert wire.count(b"the-real-s3cret") == (0 if found.form.basic else 1)


def test_with_replace_the_form_is_still_the_one_the_client_used() -> None:
    replacing = replace(GITHUB, replace_client_credentials=True)
    assert check(replacing, ("Authorization", f"token {OWN}")) == ClientCheck(TOKEN)
    assert check(replacing, ("Authorization", basic("u", OWN))) == ClientCheck(BASIC)


@pytest.mark.parametrize(
    ("spec", "target", "slot"),
    [
        (GITHUB, f"/?access_token={OWN}", "query access_token"),
        (GENERIC, f"/?a=1&access_token={OWN}", "query access_token"),
        (GENERIC, f"/?a=1;access_token={OWN}", "query access_token"),
        (GENERIC, f"/?access_token=outgate&access_token={OWN}", "query access_token"),
        (GENERIC, f"/?%61ccess_token={OWN}", "query access_token"),
        (GENERIC, f"/?Access_Token={OWN}", "query access_token"),
        (GENERIC, f"/?access_token[]={OWN}", "query access_token"),
        (GENERIC, f"/?access_token%5B0%5D={OWN}", "query access_token"),
        (GENERIC, f"/?+access.token={OWN}", "query access_token"),
        (GENERIC, f"/?access_token%00x={OWN}", "a query key with several readings"),
        (GENERIC, f"/?access[token={OWN}", "a query key with several readings"),
        (GENERIC, f"/?%u0061ccess_token={OWN}", "a query key with several readings"),
        (GENERIC, f"/?%2561ccess_token={OWN}", "a query key with several readings"),
        (GENERIC, f"/?[]={OWN}", "a query key with several readings"),
        (GENERIC, f"/?[access_token]={OWN}", "query access_token"),
        (GENERIC, f"/?%5Baccess_token%5D[]={OWN}", "query access_token"),
        (GENERIC, f"/?%EF%BD%81ccess_token={OWN}", "query access_token"),
        (GENERIC, f"/?access%24token={OWN}", "query access_token"),
        (GENERIC, f"/?jwt={OWN}", "query jwt"),
        (GENERIC, f"/?access_token={FAKE}%26{OWN}", "query access_token"),
        (GENERIC, f"/?access_token={FAKE}={OWN}", "query access_token"),
        (GENERIC, f"/?api-key={OWN}", "query api_key"),
        (GENERIC, f"/?private_token={OWN}", "query private_token"),
        (generic(query="sig"), f"/?sig={OWN}", "query sig"),
        (generic(query="Auth-Key"), f"/?auth_key={OWN}", "query auth_key"),
        (generic("storage.googleapis.com", bearer=True), f"/?key={OWN}", "query key"),
        (generic("storage.googleapis.com", bearer=True), f"/?$key={OWN}", "query _key"),
        (
            generic("storage.googleapis.com", bearer=True),
            f"/?%24httpHeaders=X-Goog-Api-Key:{OWN}",
            "query _httpheaders",
        ),
    ],
)
def test_a_key_in_the_query_is_refused_and_never_reaches_the_upstream(
    spec: CredentialSpec, target: str, slot: str
) -> None:
    found = check(spec, target=target)
    assert (found.reason, found.slot) == (REFUSED, slot)
    _, sent = inject(spec, found.form, SECRET, (), target)
    assert OWN not in sent


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        (GITHUB, f"/?access_token={FAKE}"),
        (GENERIC, "/?access_token=outgate"),
        (GENERIC, "/?access_token="),
        (GENERIC, "/?access_token"),
        (GENERIC, f"/?access_token=%6futgate&x={OWN}"),
        (GENERIC, f"/?key={OWN}"),
        (GENERIC, f"/access_token={OWN}"),
        (GENERIC, "*"),
    ],
)
def test_other_queries_pass(spec: CredentialSpec, target: str) -> None:
    assert check(spec, target=target).reason is None


def test_a_header_of_the_policys_own_is_a_slot_in_its_own_format() -> None:
    spec = generic(header="X-Service-Key", format="Key id=a, value={secret}!")
    assert check(spec, ("x-service-key", f"KEY id=a, value={FAKE}!")).reason is None
    assert check(spec, ("x-service-key", FAKE)).reason is None
    for value in (
        OWN,
        f"Key id=a, value={OWN}!",
        f"Key id=a, value={FAKE}",
        f"Key id=a, value={FAKE}?",
        f"Key id=b, value={FAKE}!",
    ):
        assert check(spec, ("x-service-key", value)).reason is REFUSED
    assert check(spec, ("x_service_key", OWN)).reason is REFUSED
    headers, _ = inject(spec, spec.inject or BEARER, SECRET, heads(("X_SERVICE_KEY", FAKE)), "/")
    assert headers == ((b"x-service-key", b"Key id=a, value=the-real-s3cret!"),)


@pytest.mark.parametrize(
    ("spec", "form", "name", "value"),
    [
        (ANTHROPIC, X_API_KEY, b"x-api-key", b"the-real-s3cret"),
        (ANTHROPIC, BEARER, b"authorization", b"Bearer the-real-s3cret"),
        (OPENAI, BEARER, b"authorization", b"Bearer the-real-s3cret"),
        (GITHUB, BEARER, b"authorization", b"Bearer the-real-s3cret"),
        (GITHUB, TOKEN, b"authorization", b"token the-real-s3cret"),
        (GITHUB, BASIC, b"authorization", b"Basic eC1hY2Nlc3MtdG9rZW46dGhlLXJlYWwtczNjcmV0"),
        (generic(header="X-Key"), Inject(header="X-Key"), b"x-key", b"the-real-s3cret"),
        (generic(header="cookie"), Inject(header="cookie", format="s={secret}"), b"cookie", b"s=the-real-s3cret"),
    ],
)
def test_the_secret_is_set_in_one_place_and_every_other_slot_is_cleared(
    spec: CredentialSpec, form: Inject, name: bytes, value: bytes
) -> None:
    kept = heads(("Host", "h"), ("x-api-version", "1"), ("X-Key-Id", "2"))
    slots = heads(
        ("Authorization", "Bearer a"), ("authorization", "b"), ("X-Api-Key", "c"), ("x_api_key", "d"), ("Api-Key", "e"),
        ("X-Goog-Api-Key", "f"), ("Private-Token", "g"), ("X-Auth-Token", "h"), ("Cookie", "i=1"), ("cookie", "j=2"),
        ("Proxy-Authorization", "k"), ("Job-Token", "l"),
    )  # fmt: skip
    assert inject(spec, form, SECRET, kept + slots, "/p?a=%41;b") == ((*kept, (name, value)), "/p?a=%41;b")


def test_the_values_given_are_left_as_they_were() -> None:
    headers = heads(("Authorization", f"Bearer {FAKE}"))
    inject(GENERIC, BEARER, SECRET, headers, "/")
    assert headers == heads(("Authorization", f"Bearer {FAKE}"))


@pytest.mark.parametrize(
    ("offered", "sent"),
    [
        ("realtime, openai-insecure-api-key.x, openai-beta.realtime-v1", [b"realtime, openai-beta.realtime-v1"]),
        ("OPENAI-Insecure-API-Key.x,realtime", [b"realtime"]),
        ("openai-insecure-api-key.x", []),
        ("realtime,  chat", [b"realtime,  chat"]),
    ],
)
def test_a_key_among_the_subprotocols_is_cleared_and_the_others_are_kept(offered: str, sent: list[bytes]) -> None:
    headers, _ = inject(OPENAI, BEARER, SECRET, heads(("Sec-WebSocket-Protocol", offered)), "/")
    assert [value for name, value in headers if name == b"Sec-WebSocket-Protocol"] == sent
    assert headers[-1] == (b"authorization", b"Bearer the-real-s3cret")


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/p", "/p?key=s%2B%26cret%3D%2F%3F"),
        ("/p?", "/p?key=s%2B%26cret%3D%2F%3F"),
        ("/p?a=1", "/p?a=1&key=s%2B%26cret%3D%2F%3F"),
        ("/p?a=1?", "/p?a=1?&key=s%2B%26cret%3D%2F%3F"),
        ("/p?key=x", "/p?key=s%2B%26cret%3D%2F%3F"),
        ("/p?key=x&a=%41+b;c", "/p?a=%41+b;c&key=s%2B%26cret%3D%2F%3F"),
        ("/p?a=1&key=x&key=y;KEY=z&%6bey=w&b", "/p?a=1&b&key=s%2B%26cret%3D%2F%3F"),
        ("/p?a=1;key=x;b=2", "/p?a=1;b=2&key=s%2B%26cret%3D%2F%3F"),
        ("/p?key", "/p?key=s%2B%26cret%3D%2F%3F"),
        ("/p?keys=1&akey=2", "/p?keys=1&akey=2&key=s%2B%26cret%3D%2F%3F"),
    ],
)
def test_a_secret_in_the_query_replaces_every_occurrence_of_its_key(target: str, sent: str) -> None:
    spec = generic(query="key")
    assert inject(spec, Inject(query="key"), Secret(b"s+&cret=/?"), (), target) == ((), sent)


@pytest.mark.parametrize(
    ("form", "target"), [(Inject(), "/"), (Inject(query="key"), "*"), (Inject(header="a", format="x"), "/")]
)
def test_a_form_that_names_no_place_is_an_error(form: Inject, target: str) -> None:
    with pytest.raises(ValueError):
        inject(GENERIC, form, SECRET, (), target)


_NAMES = st.sampled_from(
    ["Authorization", "X-Api-Key", "x_api_key", "api-key", "Sec-WebSocket-Protocol", "Cookie", "X-Other"]
)
_PIECES = st.sampled_from(
    [
        *("Bearer", "Basic", "token", " ", "\t", ",", ":", FAKE, "outgate", OWN, basic("u", FAKE), basic("u", OWN)),
        *("openai-insecure-api-key.", "realtime", "=", '"', ";", "%20"),
    ]
)
_VALUES = st.lists(_PIECES, max_size=6).map("".join)
_KEYS = st.sampled_from(["access_token", "a", "ACCESS_TOKEN[]", "%61pi_key", OWN, FAKE, "", "=", ";", "&"])
_QUERIES = st.lists(st.tuples(_KEYS, st.sampled_from(["=", "&", ";", ""]), _KEYS), max_size=4)


@given(
    st.sampled_from([ANTHROPIC, OPENAI, GITHUB, GENERIC, generic(query="key")]),
    st.lists(st.tuples(_NAMES, _VALUES), max_size=5),
    _QUERIES.map(lambda parts: "/?" + "&".join("".join(part) for part in parts)),
)
def test_after_injection_nothing_but_the_secret_stands_in_a_slot(
    spec: CredentialSpec, pairs: list[tuple[str, str]], target: str
) -> None:
    found = check(spec, *pairs, target=target)
    headers, sent = inject(spec, found.form, SECRET, heads(*pairs), target)
    again = check_client(spec, {"main": "the-real-s3cret"}, headers, sent, parse_host(HOST[spec.provider]))
    assert again.reason is None
    assert FAKE.encode() not in b"".join(
        value for name, value in headers if name.lower() in (b"authorization", b"x-api-key")
    )
    others = [(name, value) for name, value in heads(*pairs) if name == b"X-Other"]
    assert [pair for pair in headers if pair[0] == b"X-Other"] == others


@given(st.binary(max_size=60))
def test_any_bytes_in_authorization_are_empty_a_fake_or_refused(value: bytes) -> None:
    found = check(GENERIC, ("Authorization", value))
    if found.reason is None:
        assert value.strip().lower() in (b"", b"bearer", b"token", b"basic", b"outgate", b"basic og==")


def test_every_provider_is_in_these_tables() -> None:
    assert set(PROVIDERS) == {"anthropic", "openai", "github"}


ANY_SPEC = CredentialSpec("k", "env:K", (HostPattern("api.example.com"),), inject=Inject(bearer=True))


@pytest.mark.parametrize("name", [b"X-Api-Token", b"Access-Token", b"Auth-Token", b"CF-Access-Client-Secret"])
def test_a_key_in_a_header_of_another_service_is_read(name: bytes) -> None:
    found = list(read_slots(slots_of(ANY_SPEC), ((name, b"own"),), "/", frozenset()))
    assert [slot.content for slot in found] == [Content.FOREIGN]


@pytest.mark.parametrize("key", ["hapikey", "api_token", "GoogleAccessId", "Key-Pair-Id"])
def test_a_key_in_a_query_of_another_service_is_read(key: str) -> None:
    found = list(read_slots(slots_of(ANY_SPEC), (), f"/?{key}=own", frozenset()))
    assert [slot.content for slot in found] == [Content.FOREIGN]


SIGNED = "sv=2024-11-04&se=2030-01-01&sr=c&sp=rw&sig=own"
GOOGLE = generic("storage.googleapis.com", bearer=True)


@pytest.mark.parametrize(
    ("spec", "query", "slots"),
    [
        (ANY_SPEC, SIGNED, ["query sig"]),
        (ANY_SPEC, "%53ig=own&SV=2024-11-04", ["query sig"]),
        (ANY_SPEC, "sig=own;sp=rw", ["query sig"]),
        (ANY_SPEC, "sig=own", []),
        (ANY_SPEC, "sig=own&page=2&separator=x", []),
        (ANY_SPEC, "sv=1&se=2", []),
        (ANY_SPEC, "tempauth=own", ["query tempauth"]),
        (ANY_SPEC, "upload_id=7", []),
        (GOOGLE, "uploadType=resumable&upload_id=own", ["query upload_id"]),
        (GOOGLE, "uploadType=resumable&name=a", []),
    ],
)
def test_a_signed_address_is_somebody_s_key(spec: CredentialSpec, query: str, slots: list[str]) -> None:
    found = list(read_slots(slots_of(spec), (), f"/?{query}", frozenset()))
    assert [slot.slot for slot in found] == slots


def test_a_signature_is_cleared_where_the_client_s_key_is_overwritten() -> None:
    spec = replace(ANY_SPEC, replace_client_credentials=True)
    assert check(spec, target=f"/?a=1&{SIGNED}", host="api.example.com").reason is None
    _, target = inject(spec, Inject(bearer=True), SECRET, (), f"/?a=1&{SIGNED}")
    assert target == f"/?a=1&{SIGNED.removesuffix('&sig=own')}"
    assert inject(spec, Inject(bearer=True), SECRET, (), "/?a=1&sig=x")[1] == "/?a=1&sig=x"
