"""Shapes of paths: what becomes `*`, and what must not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.path import PathPattern, Segments, parse_pattern, read_path
from proxy.review.shapes import SEVERAL, fold, generalise, kinds_of, shape_of
from proxy.review.snippet import path_text

HASH = "0123456789abcdef0123456789abcdef0123456{}"
UUID = "1b4e28ba-2fa1-11d2-883f-0016d3cca42{}"


def patterns(*paths: str) -> list[str]:
    return [path_text(one) for one in generalise(read_path(path, keep_encoded_slash=True) for path in paths)]


@pytest.mark.parametrize(
    ("segment", "kind"),
    [
        ("42", "number"),
        (UUID.format(7), "uuid"),
        (HASH.format(7), "hash"),
        ("sha256:" + HASH.format(7), "hash"),
        ("0A1B2C3", "hash"),
        ("2026-11-20", "day"),
        ("v1", "version"),
        ("1.2.3", "version"),
        ("v1.2.3-rc.1", "version"),
        ("1.2.3.zip", "artifact"),
        ("thing-1.0-py3-none-any.whl", "artifact"),
        ("thing-1.0.tar.gz", "artifact"),
        ("msg_01XFDUDYJgAACzvnptvVoYEL", "id"),
        ("users", None),
        ("deadbeef", None),
        ("decade", None),
        ("app.git", None),
        ("index.html", None),
        ("v1beta", None),
        ("", None),
        ("\uff11\uff12", None),
    ],
)
def test_what_looks_like_an_id(segment: str, kind: str | None) -> None:
    found = kinds_of((segment,))[0]
    assert found == kind or (kind == "artifact" and found in ("artifact", "version"))


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (["/items/1", "/items/2"], ["/items/1", "/items/2"]),
        (["/items/1", "/items/2", "/items/3"], ["/items/*"]),
        (["/items/1", "/items/2", "/items/3", "/items/all"], ["/items/*"]),
        (["/items/1", "/items/2", "/items/x", "/items/y"], ["/items/1", "/items/2", "/items/x", "/items/y"]),
        (["/a", "/b", "/c", "/d"], ["/a", "/b", "/c", "/d"]),
        (["/items/1/x", "/items/2/x", "/items/3/y"], ["/items/1/x", "/items/2/x", "/items/3/y"]),
        (["/a/1", "/b/2", "/c/3"], ["/a/1", "/b/2", "/c/3"]),
        ([f"/o/{HASH.format(n)}" for n in range(3)], ["/o/*"]),
        ([f"/p/{n}/{UUID.format(n)}" for n in range(3)], ["/p/*/*"]),
        ([f"/p/7/{UUID.format(n)}" for n in range(3)], ["/p/7/*"]),
        ([f"/f/a{n}/b{n}/{HASH.format(n)}/x-1.{n}.tar.gz" for n in range(3)], ["/f/*/*/*/*"]),
        (
            ["/items/1", f"/items/{UUID.format(1)}", "/items/1.2"],
            ["/items/1", "/items/1.2", f"/items/{UUID.format(1)}"],
        ),
        (["/items/", "/items/1", "/items/2", "/items/3"], ["/items/", "/items/*"]),
        (["/@acme%2fone", "/%2fx"], ["/%2Fx", "/@acme%2Fone"]),
        (["/"], ["/"]),
    ],
)
def test_only_several_ids_of_one_kind_behind_one_prefix_become_a_star(seen: list[str], wanted: list[str]) -> None:
    assert sorted(patterns(*seen)) == sorted(wanted)


words = st.sampled_from(
    ["a", "b", "users", "1", "2", "3", "4", "v1", "v2", "v3", "x-1.0.zip", "é", "a/b", "[x]", "&", "%"]
)
paths = st.lists(words, min_size=1, max_size=4).map(tuple)
universes = st.sets(paths, min_size=1, max_size=30)


@settings(deadline=None)
@given(universes)
def test_every_path_is_matched_and_each_pattern_is_needed_and_read_back(seen: set[Segments]) -> None:
    made = generalise(seen)
    for path in seen:
        assert any(pattern.matches(path) for pattern in made)
    for pattern in made:
        assert any(pattern.matches(path) for path in seen)
        assert parse_pattern(path_text(pattern), keep_encoded_slash=True) == pattern
    assert generalise(list(seen)[::-1]) == made


@settings(deadline=None)
@given(universes, paths)
def test_what_a_pattern_adds_differs_from_what_was_seen_in_ids_alone(seen: set[Segments], probe: Segments) -> None:
    """Where a `*` stands, several different segments that look like ids were seen, and nothing else differs."""
    for pattern in generalise(seen):
        if not pattern.matches(probe) or probe in seen:
            continue
        stars = [place for place, segment in enumerate(pattern.segments) if segment is None]
        alike = [path for path in seen if pattern.matches(path)]
        assert stars
        for place in stars:
            ids = {path[place] for path in alike if kinds_of(path)[place] is not None}
            assert len(ids) >= SEVERAL


def test_many_paths_fold_at_the_deepest_prefix_that_has_them() -> None:
    made = [parse_pattern(f"/docs/en/page{chr(97 + n % 26)}{chr(97 + n // 26)}") for n in range(60)]
    left, folded = fold([*made, parse_pattern("/other")])
    assert [path_text(one) for one in left] == ["/docs/en/**", "/other"]
    assert list(folded.values()) == [60]
    assert fold(made[:50]) == (sorted(made[:50], key=path_text), {})


@settings(deadline=None)
@given(st.sets(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4).map(tuple), min_size=1, max_size=60))
def test_folding_loses_no_path(seen: set[Segments]) -> None:
    left, _ = fold([PathPattern(path) for path in seen], 5)
    assert all(any(pattern.matches(path) for pattern in left) for path in seen)
    assert sum(None not in pattern.segments and not pattern.rest for pattern in left) <= 5


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/items/42", "/v1/items/*"),
        ("/a/../b", "/a/../b"),
        ("//x", "//x"),
        ("/users/bob", "/users/bob"),
        ("/x%20y", "/x%20y"),
    ],
)
def test_a_shape_is_for_grouping(path: str, shape: str) -> None:
    assert shape_of(path) == shape
