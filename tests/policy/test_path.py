"""Paths: one reading or none; patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.path import AmbiguousPath, PathPattern, parse_pattern, read_path, split_encoded_slashes
from proxy.policy.spelling import folded_text

texts = st.text(st.sampled_from("ab./%25efEF;\\*\x00?#~é\uff0f\u2024\ud800"), max_size=12)
texts |= st.text(st.sampled_from("a./ \u200b\xad\xa0"), max_size=6)


@given(texts)
def test_a_path_is_read_or_ambiguous_and_nothing_else(raw: str) -> None:
    for keep in (False, True):
        try:
            segments = read_path("/" + raw, keep_encoded_slash=keep)
        except AmbiguousPath:
            continue
        assert "" not in segments[:-1]
        pieces = "/".join(segments).split("/")
        assert not any("." in piece and not folded_text(piece).strip(". ") for piece in pieces)
        assert not any("\\" in segment or ";" in segment or "\x00" in segment for segment in segments)
        assert keep or not any("/" in segment for segment in segments)


@given(texts)
def test_a_path_that_reads_strictly_reads_the_same_when_slashes_are_kept(raw: str) -> None:
    try:
        strict = read_path("/" + raw)
    except AmbiguousPath:
        return
    assert read_path("/" + raw, keep_encoded_slash=True) == strict


@given(
    st.lists(st.tuples(st.sampled_from(["/", "%2F", "%2f%2F", "/%2F", "%2F/"]), st.sampled_from(["a", "Admin", "x"]))),
    st.sampled_from(["", "/", "%2F", "%2F%2F"]),
    st.sampled_from([parse_pattern(text) for text in ("/admin/**", "/a/admin", "/*/a", "/a/", "/")]),
)
def test_slashes_hide_nothing_from_a_deny_rule(parts: list[tuple[str, str]], end: str, pattern: PathPattern) -> None:
    plain = "".join(f"/{word}" for _, word in parts) + ("/" if end or not parts else "")
    raw = "".join(slash + word for slash, word in parts) + end
    try:
        split = split_encoded_slashes("/" + raw.lstrip("/"))
    except AmbiguousPath:
        return
    assert pattern.denies(split) is pattern.denies(read_path(plain))


@given(st.text(max_size=20))
def test_a_pattern_parses_or_says_why(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except ValueError:
        return
    if "%" not in text:
        assert str(parse_pattern(str(pattern))) == str(pattern)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/", "/", True),
        ("/", "/a", False),
        ("/**", "/", True),
        ("/**", "/a/b", True),
        ("/a/**", "/a", True),
        ("/a/**", "/a/", True),
        ("/a/**", "/ab", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/", False),
        ("/a/*", "/a/b/c", False),
        ("/a/*/c", "/a/b/c", True),
        ("/a/", "/a/", True),
        ("/a/", "/a", False),
        ("/%61", "/a", True),
    ],
)
def test_pattern(pattern: str, path: str, matches: bool) -> None:
    assert parse_pattern(pattern).matches(read_path(path)) is matches


@pytest.mark.parametrize("text", ["", "a", "/a*", "/**/a", "/a?b", "/a//b", "/../a", "/a%2fb", "*", "/a#b"])
def test_a_pattern_that_could_mislead_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_pattern(text)


@pytest.mark.parametrize(
    "path",
    [
        *("/admin%3Fx", "/admin%3fx/y", "/admin%23", "/%25u0061dmin", "/public/%25u002e%25u002e/secret"),
        *("/public/..%C2%A5secret", "/public/..%E2%82%A9secret", "/public/..%E2%88%95secret", "/x%E2%81%84y"),
        *("/x%E2%88%96y", "/x%EF%BC%9Fy", "/x%EF%BC%83y", "/x%C2%85y"),
    ],
)
def test_what_another_decoding_would_split_has_no_reading(path: str) -> None:
    for keep in (False, True):
        with pytest.raises(AmbiguousPath):
            read_path(path, keep_encoded_slash=keep)


def test_a_deny_pattern_is_folded_once() -> None:
    pattern = parse_pattern("/Admin/**")
    assert pattern.blind is pattern.blind
    assert pattern == parse_pattern("/Admin/**")
