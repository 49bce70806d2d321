"""Identity: the key, tokens, and how a token travels."""

import base64
import contextlib
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.identity import (
    MAX_TTL,
    BadToken,
    Keys,
    load_or_create_keys,
    mint,
    parse_proxy_authorization,
    verify,
)
from proxy.state import StateDir, open_state

ROOT = Path(__file__).parents[1]
KEY = b"k" * 32
NOW = 1_800_000_000.5
CLAIMS: dict[str, Any] = {
    "iss": "outgate",
    "aud": "outgate",
    "sub": "task-1",
    "pol": "web",
    "jti": "1",
    "iat": int(NOW),
    "exp": int(NOW) + 60,
}
TYPE = {"typ": "outgate-sandbox+jwt"}


def race(code: str, root: Path) -> set[str]:
    """What processes print that all run `code` on the folder at the same moment."""
    start = f"import sys; from pathlib import Path; {code.partition(';')[0]}; from proxy.state import StateDir"
    run = f"print('up', flush=True); sys.stdin.readline(); print({code.partition(';')[2]})"
    command = [sys.executable, "-c", f"{start}; {run}", str(root)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(6)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return {process.communicate(timeout=60)[0].strip() for process in processes}


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return open_state(tmp_path / "state")


# --- the identity key ---


def test_the_keys_are_made_once_and_differ(state: StateDir) -> None:
    keys = load_or_create_keys(state)
    assert load_or_create_keys(state) == keys
    assert len(keys.tokens) == len(keys.placeholders) == 32
    assert len({keys.tokens, keys.placeholders, state.identity_key.read_bytes()}) == 3
    assert stat.S_IMODE(state.identity_key.stat().st_mode) == 0o600


def test_keys_are_not_in_their_repr(state: StateDir) -> None:
    assert repr(load_or_create_keys(state)) == "Keys()"


def test_the_derivation_is_stable() -> None:
    from proxy.identity import _derive

    assert _derive(bytes(32), b"outgate sandbox tokens v1").hex() == TOKENS_VECTOR


TOKENS_VECTOR = "f33a16b444809ae588ae83a09a12fa665f4f7c2ff316505378b79fb3a1a929da"


def test_processes_that_start_at_once_agree_on_one_key(state: StateDir) -> None:
    code = (
        "from proxy.identity import load_or_create_keys; load_or_create_keys(StateDir(Path(sys.argv[1]))).tokens.hex()"
    )
    assert race(code, state.root) == {load_or_create_keys(state).tokens.hex()}


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_damaged_identity_key_is_an_error_and_stays(state: StateDir, content: bytes) -> None:
    state.identity_key.write_bytes(content)
    state.identity_key.chmod(0o600)
    with pytest.raises(ConfigError, match="the identity key is damaged"):
        load_or_create_keys(state)
    assert state.identity_key.read_bytes() == content


def test_an_identity_key_that_others_can_read_is_an_error(state: StateDir) -> None:
    load_or_create_keys(state)
    state.identity_key.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read the key"):
        load_or_create_keys(state)


def test_a_dangling_link_is_not_taken_for_a_missing_key(state: StateDir, tmp_path: Path) -> None:
    state.identity_key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot read the key"):
        load_or_create_keys(state)
    assert not (tmp_path / "elsewhere").exists()


# --- tokens ---


def test_a_minted_token_verifies_until_it_expires() -> None:
    token = mint(KEY, "task-1", "web", 60, NOW)
    claims = verify(KEY, token, NOW + 59)
    assert (claims.sandbox, claims.policy, claims.issued, claims.expires) == (
        "task-1",
        "web",
        int(NOW),
        int(NOW) + 60,
    )
    with pytest.raises(BadToken, match="the token has expired"):
        verify(KEY, token, int(NOW) + 60)


def test_each_token_has_its_own_id() -> None:
    assert len({verify(KEY, mint(KEY, "a", "b", 9, NOW), NOW).id for _ in range(50)}) == 50


def test_a_token_stands_in_a_url_as_it_is() -> None:
    token = mint(KEY, "a", "b", 9, NOW)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a/b", "a:b", "a@b", "é", "a\n", "x" * 64])
def test_a_bad_sandbox_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not a sandbox name"):
        mint(KEY, name, "web", 60, NOW)


@pytest.mark.parametrize("ttl", [0, -1, MAX_TTL + 1])
def test_a_time_to_live_out_of_bounds_is_refused(ttl: int) -> None:
    with pytest.raises(ConfigError, match="out of bounds"):
        mint(KEY, "a", "web", ttl, NOW)


def test_a_policy_name_that_makes_the_token_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="too long"):
        mint(KEY, "a", "x" * 3000, 60, NOW)


def signed(claims: dict[str, Any] | None = None, *, without: str = "", **headers: Any) -> str:
    payload = CLAIMS | (claims or {})
    payload.pop(without, None)
    return jwt.encode(payload, KEY, algorithm="HS256", headers=TYPE | headers)


def by_hand(header: object, payload: object, signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, payload))
    return ".".join((*parts, signature))


def test_the_token_that_the_next_tests_change_is_good() -> None:
    assert verify(KEY, signed(), NOW).sandbox == "task-1"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "not a sandbox token"),
        ("a.b.c", "not a sandbox token"),
        ("x" * 3000, "not a token"),
        ("é", "not a token"),
        (signed() + "é", "not a token"),
        (by_hand({"alg": "none"} | TYPE, CLAIMS), "not a sandbox token"),
        (by_hand({"alg": "HS256"} | TYPE, CLAIMS), "not signed by this proxy"),
        (jwt.encode(CLAIMS, KEY * 2, algorithm="HS512", headers=TYPE), "not a sandbox token"),
        (jwt.encode(CLAIMS, KEY, algorithm="HS256"), "not a sandbox token"),
        (jwt.encode(CLAIMS, b"o" * 32, algorithm="HS256", headers=TYPE), "not signed by this proxy"),
        (signed(kid="1"), "not a sandbox token"),
        (signed(crit=["b64"]), "not a sandbox token"),
        (signed()[:-3], "not signed by this proxy"),
        (signed({"iss": "other"}), "not a sandbox token"),
        (signed({"aud": "other"}), "not a sandbox token"),
        (signed({"aud": ["outgate", "other"]}), "not a sandbox token"),
        *((signed(without=claim), "not a sandbox token") for claim in CLAIMS),
        (signed({"exp": int(NOW)}), "out of bounds"),
        (signed({"iat": int(NOW) - 60, "exp": int(NOW)}), "expired"),
        (signed({"exp": float(NOW) + 60}), "not whole seconds"),
        (signed({"exp": True}), "not whole seconds"),
        (signed({"exp": str(int(NOW) + 60)}), "not whole seconds"),
        (signed({"iat": int(NOW) + 90, "exp": int(NOW) + 120}), "out of bounds"),
        (signed({"exp": int(NOW) + MAX_TTL + 1}), "out of bounds"),
        (signed({"pol": 7}), "not text"),
        (signed({"pol": ""}), "no sandbox or no policy"),
        (signed({"sub": "a b"}), "no sandbox or no policy"),
    ],
)
def test_every_other_token_is_refused_for_its_reason(token: str, why: str) -> None:
    with pytest.raises(BadToken, match=why):
        verify(KEY, token, NOW)


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}"))
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(BadToken):
        verify(KEY, text, NOW)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), st.sampled_from(sorted(CLAIMS)))
def test_signed_claims_of_any_type_raise_nothing_else(value: Any, claim: str) -> None:
    try:
        token = signed({claim: value})
    except (TypeError, ValueError, OverflowError):  # the library does not sign it either
        return
    with contextlib.suppress(BadToken):
        verify(KEY, token, NOW)


@given(st.data())
def test_a_token_with_one_changed_character_is_refused(data: st.DataObject) -> None:
    token = signed()
    # The last character of a 32-byte signature carries two bits that base64 ignores, so it is left out.
    index = data.draw(st.integers(0, len(token) - 2))
    char = data.draw(st.sampled_from("ABCxyz019-_.").filter(lambda c: c != token[index]))
    with pytest.raises(BadToken):
        verify(KEY, token[:index] + char + token[index + 1 :], NOW)


# --- Proxy-Authorization ---


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (basic(b"task-1:tok.en"), "tok.en"),
        (basic(b":tok.en"), "tok.en"),
        (basic(b"tok.en:"), "tok.en"),
        (basic(b"a:b:c"), "b:c"),
        (b"bAsIc " + base64.b64encode(b"a:b"), "b"),
        (b"Basic   " + base64.b64encode(b"a:b") + b" ", "b"),
        (b"Bearer tok.en", "tok.en"),
        (b"bearer tok_en-", "tok_en-"),
    ],
)
def test_a_token_is_found_where_clients_put_it(value: bytes, token: str) -> None:
    assert parse_proxy_authorization([value]) == token


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([], "no token"),
        ([basic(b"a:b"), basic(b"a:b")], "more than one"),
        ([b""], "neither Basic nor Bearer"),
        ([b"Basic"], "neither Basic nor Bearer"),
        ([b"Basic "], "neither Basic nor Bearer"),
        ([b"Digest abc"], "neither Basic nor Bearer"),
        ([b"Basicabc"], "neither Basic nor Bearer"),
        ([b"Basic a b"], "neither Basic nor Bearer"),
        ([b"Bearer a,b"], "neither Basic nor Bearer"),
        ([b"Bearer " + b"a" * 5000], "neither Basic nor Bearer"),
        ([b"Bearer a\x00"], "neither Basic nor Bearer"),
        ([b"Basic abc"], "not base64"),
        ([b"Basic YTpi="], "base64"),
        ([b"Basic YTpiYg"], "not base64"),
        ([b"Basic YTq="], "canonical"),
        ([b"Basic YT-_"], "not base64"),
        ([basic("é:b".encode())], "not base64 of ASCII"),
        ([basic(b"tok.en")], "no colon"),
        ([basic(b":")], "no token"),
    ],
)
def test_everything_else_is_refused_for_its_reason(values: list[bytes], why: str) -> None:
    with pytest.raises(BadToken, match=why):
        parse_proxy_authorization(values)


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(basic) | st.from_regex(rb"(?i)basic [\w+/=]*")))
def test_no_header_does_more_than_give_a_token_or_the_one_error(values: list[bytes]) -> None:
    try:
        token = parse_proxy_authorization(values)
    except BadToken:
        return
    assert token
    assert token.isascii()


@given(st.from_regex(r"[A-Za-z0-9._-]+", fullmatch=True), st.from_regex(r"[A-Za-z0-9._-]*", fullmatch=True))
def test_password_user_and_bearer_carry_the_same_token(token: str, user: str) -> None:
    for value in (f"{user}:{token}", f"{token}:"):
        assert parse_proxy_authorization([basic(value.encode())]) == token
    assert parse_proxy_authorization([b"Bearer " + token.encode()]) == token


def test_a_minted_token_makes_the_round_trip_through_a_proxy_url() -> None:
    token = mint(KEY, "task-1", "web", 60, NOW)
    carried = parse_proxy_authorization([basic(f"task-1:{token}".encode())])
    assert verify(KEY, carried, NOW).policy == "web"


def test_the_two_keys_are_not_interchangeable() -> None:
    keys = Keys(b"a" * 32, b"b" * 32)
    with pytest.raises(BadToken, match="not signed by this proxy"):
        verify(keys.placeholders, mint(keys.tokens, "a", "b", 9, NOW), NOW)
