"""A secret that comes back is masked in each of its forms, whatever the chunks are, and lengths stay true."""

import base64
import copy
import html
import json
import pickle
import re
import time
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.credentials.forms import forms_of
from proxy.credentials.scrub import LiveMask, Mask, Scrubber
from proxy.credentials.secret import Secret

PLAIN = b"ghp_0123456789abcdefghijklmnopqrstuvwxyz"
SPECIAL = b'a+b/c=d~e!f"g\\h%i&j<k>*?'
REPEATING = b"abababab"


def json_with(secret: bytes, escaped: str, style: str) -> bytes:
    """JSON in which some characters, besides those that must be, are escaped in this style."""
    text = json.dumps(secret.decode())[1:-1]
    if '"' in escaped:
        text = text.replace('\\"', '"')
    return "".join(style % ord(char) if char in escaped else char for char in text).encode()


def masked(secret: bytes, data: bytes) -> bytes:
    return Mask([Secret(secret)]).apply(data)


@pytest.mark.parametrize("secret", [PLAIN, SPECIAL, REPEATING, b"########"])
@pytest.mark.parametrize(
    "encode",
    [
        lambda s: s,
        lambda s: s.hex().encode(),
        lambda s: s.hex().upper().encode(),
        lambda s: quote(s).encode(),
        lambda s: quote(s, safe="").encode(),
        lambda s: quote(s, safe="!*'()").encode(),
        lambda s: quote_plus(s).encode(),
        lambda s: urlencode({"": s.decode()})[1:].encode(),
        lambda s: quote(s, safe="*").replace("~", "%7E").encode(),
        lambda s: re.sub("%..", lambda match: match[0].lower(), quote(s, safe="")).encode(),
        lambda s: b"".join(b"%%%02X" % byte for byte in s),
        lambda s: b"".join(b"%%%02x" % byte for byte in s),
        lambda s: json.dumps(s.decode())[1:-1].encode(),
        lambda s: json.dumps(s.decode())[1:-1].replace("/", "\\/").encode(),
        lambda s: "".join(f"\\u{byte:04x}" for byte in s).encode(),
        lambda s: "".join(f"\\u{byte:04X}" for byte in s).encode(),
        lambda s: b"".join(b"&#%d;" % byte for byte in s),
        lambda s: b"".join(b"&#x%x;" % byte for byte in s),
        lambda s: json_with(s, "<>&", "\\u%04x"),  # Go
        lambda s: json_with(s, "<>&'\"+`", "\\u%04X"),  # .NET
        lambda s: json_with(s, "<>&='", "\\u%04x"),  # Gson
        lambda s: json_with(s, "<>/", "\\u%04X"),  # serialize-javascript
        lambda s: html.escape(s.decode()).encode(),
        lambda s: html.escape(s.decode(), quote=False).encode(),
        lambda s: html.escape(s.decode()).replace("&#x27;", "&#39;").replace("&quot;", "&#34;").encode(),  # Jinja
        lambda s: html.escape(s.decode()).replace("&#x27;", "&#039;").encode(),  # PHP
        lambda s: html.escape(s.decode()).replace("&#x27;", "&#39;").replace("+", "&#43;").encode(),  # Go
        lambda s: html.escape(s.decode()).replace("+", "&#x2B;").encode(),  # .NET
    ],
)
def test_a_form_is_masked_whole_and_its_surroundings_are_not(secret: bytes, encode: object) -> None:
    form: bytes = encode(secret)  # type: ignore[operator]
    assert masked(secret, b'{"key": "' + form + b'", "z": 1}') == b'{"key": "' + b"*" * len(form) + b'", "z": 1}'


@pytest.mark.parametrize("secret", [PLAIN, SPECIAL, REPEATING, b"12345678", b"123456789", b"~~~~???>>>"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"u", b"us", b"use", b"x-access-token:"])
@pytest.mark.parametrize("after", [b"", b"z", b"zz", b"zzz"])
def test_in_base64_each_character_that_the_secret_determines_is_masked(
    secret: bytes, encode: object, before: bytes, after: bytes
) -> None:
    encoded: bytes = encode(before + secret + after)  # type: ignore[operator]
    left = masked(secret, encoded)
    assert len(left) == len(encoded)
    start, end = -(-len(before) * 8 // 6), (len(before) + len(secret)) * 8 // 6
    assert left == encoded[:start] + b"*" * (end - start) + encoded[end:]


def test_of_a_secret_in_base64_no_whole_byte_can_be_read() -> None:
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + PLAIN)
        left = masked(PLAIN, encoded).replace(b"*", b"A")
        assert not set(base64.b64decode(left)[before:]) & set(PLAIN)


def test_overlapping_occurrences_are_masked_as_one() -> None:
    assert masked(REPEATING, b"xabababababx") == b"x**********x"


def test_several_secrets_are_masked_at_once() -> None:
    mask = Mask([Secret(PLAIN), Secret(b"other-secret")])
    assert mask.apply(b"1 other-secret 2 " + PLAIN) == b"1 ************ 2 " + b"*" * len(PLAIN)


def test_without_secrets_everything_passes() -> None:
    scrubber = Scrubber(Mask([]))
    assert scrubber.feed(b"abc") == [b"abc"]
    assert scrubber.flush() == []


def test_a_secret_over_three_chunks_is_masked() -> None:
    scrubber = Scrubber(Mask([Secret(PLAIN)]))
    assert scrubber.feed(b"data: " + PLAIN[:7]) == [b"data: "]
    assert scrubber.feed(PLAIN[7:20]) == []
    assert scrubber.feed(PLAIN[20:] + b" tail") == [b"*" * 40 + b" tail"]
    assert scrubber.flush() == []


def test_only_a_tail_that_can_grow_into_a_form_is_held_back() -> None:
    scrubber = Scrubber(Mask([Secret(PLAIN)]))
    assert scrubber.feed(b"event: message\n\n") == [b"event: message\n\n"]
    assert scrubber.feed(b"ghp_01234567 gh") == [b"ghp_01234567 "]
    assert scrubber.feed(b"ghost") == [b"ghgh" + b"ost"]
    assert scrubber.feed(PLAIN[:-1]) == []
    assert scrubber.flush() == [PLAIN[:-1]]
    assert scrubber.flush() == []


def test_what_was_masked_stays_masked_when_it_may_also_begin_another_form() -> None:
    """The secret ends as it begins: its end is held back, and is part of the secret all the same."""
    scrubber = Scrubber(Mask([Secret(b"abcd-xyz-abcd")]))
    pieces = [scrubber.feed(b"abcd-xyz-abcd"), scrubber.feed(b"-xyz"), scrubber.feed(b"!"), scrubber.flush()]
    assert b"".join(piece for feed in pieces for piece in feed) == b"*" * 13 + b"-xyz!"


def test_an_empty_chunk_gives_nothing() -> None:
    scrubber = Scrubber(Mask([Secret(PLAIN)]))
    assert scrubber.feed(b"") == []
    assert scrubber.flush() == []


def test_a_mask_that_changes_meanwhile_holds_from_the_next_chunk_on() -> None:
    masks = [Mask([Secret(PLAIN)])]
    scrubber = Scrubber(LiveMask(lambda: masks[-1]))
    assert scrubber.feed(b"NEW-SECRE!") == [b"NEW-SECRE!"]
    masks.append(Mask([Secret(b"NEW-SECRE!")]))
    assert scrubber.feed(b" NEW-SE") == [b" "]
    assert scrubber.feed(b"CRE! " + PLAIN) == [b"*" * 10 + b" " + PLAIN]


def test_what_was_held_back_is_masked_though_the_mask_has_changed() -> None:
    masks: list[Mask | None] = [Mask([Secret(PLAIN)])]
    scrubber = Scrubber(LiveMask(lambda: masks[-1]))
    assert scrubber.feed(b"x" + PLAIN[:10]) == [b"x"]
    masks.append(None)
    assert scrubber.feed(PLAIN[10:20]) == []
    masks.append(Mask([Secret(b"NEW-SECRE!")]))
    assert scrubber.feed(PLAIN[20:] + b"NEW") == [b"*" * len(PLAIN)]
    masks.append(None)
    assert scrubber.feed(b"-SECRE!") == [b"*" * 10]
    assert scrubber.feed(PLAIN) == [PLAIN], "nothing is held back for it any more"
    assert scrubber.flush() == []


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_mask_shows_nothing(take: object) -> None:
    mask = Mask([Secret(PLAIN)])
    scrubber = Scrubber(mask)
    scrubber.feed(PLAIN[:-1])
    assert "0123" not in repr(mask) + str(mask) + repr(scrubber) + repr(LiveMask(lambda: mask))
    assert not hasattr(mask, "__dict__")
    with pytest.raises(TypeError):
        take(mask)  # type: ignore[operator]


_SECRETS = st.one_of(
    st.sampled_from([PLAIN, SPECIAL, REPEATING, b"aaaaaaaa", b"abcd-xyz-abcd", b"61616161"]),
    st.binary(min_size=8, max_size=24).map(lambda raw: bytes(0x21 + byte % 94 for byte in raw)),
    st.text("ab/%", min_size=8, max_size=12).map(str.encode),
)


@st.composite
def _streams(draw: st.DrawFn) -> tuple[list[bytes], bytes, list[int]]:
    """Secrets, a body of their forms, parts of forms and noise, and where the body is cut into chunks."""
    secrets = draw(st.lists(_SECRETS, min_size=1, max_size=3, unique=True))
    forms = sorted(form for secret in secrets for form in forms_of(secret))
    whole = st.sampled_from(forms)
    part = st.tuples(whole, st.integers(1, 60)).map(lambda pair: pair[0][: pair[1]])
    end = st.tuples(whole, st.integers(1, 60)).map(lambda pair: pair[0][-pair[1] :])
    body = b"".join(draw(st.lists(st.one_of(whole, part, end, st.binary(max_size=6)), max_size=12)))
    cuts = draw(st.lists(st.integers(0, len(body)), max_size=12))
    return secrets, body, sorted(cuts)


def _plain_mask(secrets: list[bytes], body: bytes) -> bytes:
    """The meaning of masking, by the shortest way to say it: every byte of every occurrence."""
    hidden = {
        at + offset
        for secret in secrets
        for form in forms_of(secret)
        for at in range(len(body))
        if body.startswith(form, at)
        for offset in range(len(form))
    }
    return bytes(0x2A if at in hidden else byte for at, byte in enumerate(body))


@given(_streams())
@example(([b"abcd-xyz-abcd"], b"abcd-xyz-abcd-xyz-abc", [13, 14]))
def test_any_chunking_gives_the_mask_of_the_whole(stream: tuple[list[bytes], bytes, list[int]]) -> None:
    secrets, body, cuts = stream
    mask = Mask([Secret(secret) for secret in secrets])
    scrubber = Scrubber(mask)
    longest = max(len(form) for secret in secrets for form in forms_of(secret))
    sent, fed = b"", 0
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        pieces = scrubber.feed(body[start:end])
        assert b"" not in pieces
        sent += b"".join(pieces)
        fed += end - start
        assert fed - len(sent) < longest
    pieces = scrubber.flush()
    assert b"" not in pieces
    sent += b"".join(pieces)
    assert sent == _plain_mask(secrets, body) == mask.apply(body)
    assert len(sent) == len(body)
    assert not any(form in sent for secret in secrets for form in forms_of(secret) if form.strip(b"*"))


@given(_streams())
def test_nothing_is_held_back_that_could_not_grow_into_a_form(stream: tuple[list[bytes], bytes, list[int]]) -> None:
    secrets, body, _ = stream
    forms = {form for secret in secrets for form in forms_of(secret)}
    cut = Mask([Secret(secret) for secret in secrets]).unfinished(body)
    openings = [at for at in range(len(body)) if any(f.startswith(body[at:]) and f != body[at:] for f in forms)]
    assert cut == min(openings, default=len(body))


@pytest.mark.slow
def test_a_body_without_a_secret_is_scrubbed_fast() -> None:
    """At least 100 MB/s here, a third of what an idle core does, so that a busy machine does not fail it."""
    secret = b"sk-ant-api03-" + base64.urlsafe_b64encode(bytes(range(71)))
    chunk = json.dumps([{"index": index, "text": "the quick brown fox %d" % index} for index in range(1600)])  # noqa: UP031
    data = chunk.encode()[: 64 * 1024]
    scrubber = Scrubber(Mask([Secret(secret)]))
    started = time.process_time()
    for _ in range(400):
        scrubber.feed(data)
    assert 400 * len(data) / (time.process_time() - started) > 100e6
