"""Text from outside as Markdown that only shows it. Pure."""

from collections.abc import Iterable, Iterator

from proxy.terminal import clean

_MARKUP = frozenset("\\`*_[]()|~#@!")


def escaped(text: str) -> str:
    """The text on one line: nothing in it is markup, a mention, a reference or a link, in GitHub's Markdown too."""
    from html import escape  # not at the start of every command

    text = escape(clean(text, lines=False), quote=False)
    text = "".join(f"&#{ord(char)};" if char in _MARKUP else char for char in text)
    return text.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table, in lines with their breaks, as the rows come."""
    titles = [escaped(title) for title in titles]
    yield "| " + " | ".join(titles) + " |\n"
    yield "|" + "---|" * len(titles) + "\n"
    for row in rows:
        yield "| " + " | ".join(map(escaped, row)) + " |\n"
