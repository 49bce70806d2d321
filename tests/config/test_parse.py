"""What the reader of YAML accepts, and how it refuses the rest."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config import events
from proxy.config.parse import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse
from proxy.config.tree import Node, Plain
from proxy.errors import ConfigError, Problem


@pytest.fixture(params=["libyaml", "python"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(events, "_LOADER", yaml.SafeLoader)


def plain(text: str) -> Plain:
    document = parse(text.encode(), "p.yaml")
    assert document.problems == []
    return document.plain


def problems(data: bytes | str) -> list[Problem]:
    """All problems of a file, whether it could be read past them or not."""
    try:
        return parse(data.encode() if isinstance(data, str) else data, "p.yaml").problems
    except ConfigError as error:
        return list(error.problems)


def test_every_value_knows_its_line_and_column() -> None:
    document = parse(b"a: 1\nb:\n  - c: [x,\n      y]\n", "p.yaml")

    assert document.where(("b", 0, "c", 1)) == "p.yaml:4:7"
    assert document.where(("b", 0, "c"), at_key=True) == "p.yaml:3:5"
    assert document.where(("b", 0, "none", 7)) == "p.yaml:3:5"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: text", "text"),
        ("a: 443", 443),
        ("a: -1", -1),
        ("a: true", True),
        ("a: no", False),
        ("a: 'no'", "no"),
        ("a: ''", ""),
        ("a: 2027-01-31", "2027-01-31"),
        ("a: '2027-01-31'", "2027-01-31"),
        ("a: 2027-01-31 10:00:00", "2027-01-31 10:00:00"),
        ("a: '*.example.com'", "*.example.com"),
        ("a: =", "="),
        ("a: >\n  folded\n  text", "folded text"),
        ("\ufeffa: 1", 1),
        ("---\na: 1\n...\n", 1),
    ],
)
@pytest.mark.usefixtures("_either_parser")
def test_scalars_mean_what_they_look_like(text: str, value: Plain) -> None:
    assert plain(text) == {"a": value}


@pytest.mark.parametrize("text", ["1.5", "0x1F", "0o17", "017", "1_000", "22:30", ".inf", "1e3", "9" * 5000])
@pytest.mark.usefixtures("_either_parser")
def test_a_number_in_any_but_plain_decimal_form_is_no_whole_number(text: str) -> None:
    node = parse(f"a: {text}".encode(), "p.yaml").node(("a",))

    assert node is not None
    assert not isinstance(node.value, int)
    assert node.text == text


@pytest.mark.parametrize(
    ("data", "where", "message", "hint"),
    [
        (b"", "p.yaml", "an empty policy", "version: 1"),
        (b"  \n# only a comment\n", "p.yaml", "an empty policy", "version: 1"),
        (b"---\n", "p.yaml", "an empty policy", "version: 1"),
        (b"- a\n", "p.yaml:1:1", "a policy is a mapping", "version: 1"),
        (b"text", "p.yaml:1:1", "a policy is a mapping", "version: 1"),
        (b"~", "p.yaml:1:1", "a policy is a mapping", "version: 1"),
        (b"a: 1\nb: \xff\n", "p.yaml:2", "not UTF-8", "save it as UTF-8"),
        ("a: 1".encode("utf-16"), "p.yaml:1", "NUL", "UTF-8"),
        (b"a: 1\nb: \0\n", "p.yaml:2", "NUL", "UTF-8"),
        (b"a: 1\nb: \x01\n", "p.yaml:2", "control character", "remove"),
        (b"a: 1\n---\nb: 2\n", "p.yaml:2:1", "a second document", "one file holds one policy"),
        (b"a: &x 1\n", "p.yaml:1:4", "`&x` is a YAML anchor", ""),
        (b"a: *x\n", "p.yaml:1:4", "`*x` is a YAML alias", '"*x"'),
        (b"a: [*.example.com]\n", "p.yaml:1:5", "not valid YAML", 'quote it: "*.example.com"'),
        (b"a:\n  - *\n", "p.yaml:2:5", "not valid YAML", 'quote it: "*"'),
        (b"a: !!python/object:os.system x\n", "p.yaml:1:4", "is a YAML tag", "plain value"),
        (b"a: !!str 1\n", "p.yaml:1:4", "is a YAML tag", "plain value"),
        (b"a: 1\n\nb: 2\na: 3\n", "p.yaml:4:1", "the key `a` is given twice", "p.yaml:1"),
        (b"<<: {a: 1}\n", "p.yaml:1:1", "`<<` is a YAML merge", "`extends`"),
        (b"no: 1\n", "p.yaml:1:1", "the key `no` is not text", 'quote it: "no"'),
        (b"1: 1\n", "p.yaml:1:1", "the key `1` is not text", 'quote it: "1"'),
        (b"{a: b}: 1\n", "p.yaml:1:1", "a key is a list or a mapping", "plain text"),
        (b"a:\n\t- b\n", "p.yaml:2:1", "not valid YAML", "spaces, not tabs"),
        (b"a: b: c\n", "p.yaml:1:5", "not valid YAML", "quote a text that holds"),
        (b"a: @x\n", "p.yaml:1:4", "not valid YAML", "quote a value that starts with @"),
        (b"a: [::1]\n", "p.yaml:1:5", "not valid YAML", "quote an item"),
        (b"a: " + b"[" * 99 + b"]" * 99, f"p.yaml:1:{MAX_DEPTH + 4}", f"nested deeper than {MAX_DEPTH}", ""),
        (b"a: [" + b"b," * MAX_NODES + b"]", "p.yaml:1:", f"more than {MAX_NODES} values", "extends"),
        (b"#" * (MAX_BYTES + 1), "p.yaml", "larger than 1 MiB", "extends"),
    ],
)
@pytest.mark.usefixtures("_either_parser")
def test_what_is_not_plain_yaml_is_refused_with_its_place(data: bytes, where: str, message: str, hint: str) -> None:
    first = problems(data)[0]

    assert first.where.startswith(where)
    assert message in first.message
    assert hint in first.hint


@pytest.mark.usefixtures("_either_parser")
def test_several_lesser_problems_are_told_together() -> None:
    found = problems("a: &x 1\na: !t 2\nno: 3\n")

    assert [problem.where for problem in found] == ["p.yaml:1:4", "p.yaml:2:4", "p.yaml:2:1", "p.yaml:3:1"]


def test_what_was_found_before_a_syntax_error_is_told_with_it() -> None:
    syntax, anchor = problems("a: &x 1\nb: @\n")

    assert (syntax.where, anchor.where) == ("p.yaml:2:4", "p.yaml:1:4")


def test_places_are_read_for_a_message_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    document = parse(b"a:\n  - x\n  - y\n", "p.yaml")
    monkeypatch.setattr(events, "_LOADER", None)  # nothing can be read from here on

    assert (document.plain, [*document.nulls()], document.lines) == ({"a": ["x", "y"]}, [], {("a",): [2, 3]})
    with pytest.raises(TypeError):
        document.where(("a",))


_ODD = ["{", "}", "[", "]", ": ", ", ", "\n", "  ", "- ", "? ", "a", "b", "no", "~", "<<", "&x ", "*x ", "!t "]


@example("a: &x b\na: no\nno: b\n~: b\n? [a]\n: *x\nb: [no, *x, {a: !t ''}, []]\n")
@given(st.lists(st.sampled_from(_ODD), max_size=40).map("".join))
def test_the_reading_for_places_finds_the_same_values(text: str) -> None:
    try:
        document = parse(text.encode(), "p.yaml")
    except ConfigError:
        return

    assert values(document.root) == document.plain


def values(node: Node) -> Plain:
    if isinstance(node.value, dict):
        assert node.keys.keys() == node.value.keys()
        return {key: values(child) for key, child in node.value.items()}
    return [values(child) for child in node.value] if isinstance(node.value, list) else node.value


def test_the_billion_laughs_are_refused_before_anything_grows() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]

    assert any("YAML alias" in problem.message for problem in problems("\n".join(lines)))


@given(st.binary(max_size=300) | st.text(alphabet="ab:-[]{}*&!|>'\"#%@`,\n\t ?~<=.0\u2028é", max_size=80))
def test_no_bytes_raise_anything_but_a_config_error(data: bytes | str) -> None:
    for problem in problems(data):
        assert problem.message
        assert problem.where.startswith("p.yaml")
