"""One reading of a path: where a rule names paths, what two servers could read differently is refused."""

from tests.boundary.case import Case, Expect, Wanted, inside, request
from tests.boundary.cases.identity import CONTROL

_HOST = "paths.example"
_PATHS = {
    "dots": ("dot segments", "/public/../secret"),
    "dots-end": ("a dot segment at the end", "/public/x/.."),
    "dot": ("a single dot segment", "/public/./x"),
    "dots-encoded": ("encoded dots", "/public/%2e%2e/secret"),
    "dots-encoded-upper": ("encoded dots, upper case", "/public/%2E%2E/secret"),
    "dots-half": ("half-encoded dots", "/public/.%2e/secret"),
    "dots-double": ("doubly encoded dots", "/public/%252e%252e/secret"),
    "dots-params": ("dots with parameters", "/public/..;/secret"),
    "slash-encoded": ("an encoded slash", "/public/..%2fsecret"),
    "slash-encoded-upper": ("an encoded slash, upper case", "/public/..%2Fsecret"),
    "slash-double": ("a doubly encoded slash", "/public/..%252fsecret"),
    "slashes": ("two slashes", "/public//../secret"),
    "slashes-only": ("two slashes inside", "/public//secret"),
    "backslash": ("a backslash", "/public/..\\secret"),
    "backslash-encoded": ("an encoded backslash", "/public/..%5csecret"),
    "params": ("path parameters", "/public/x;a=b"),
    "nul": ("an encoded NUL", "/public/x%00.html"),
    "percent-broken": ("a broken escape", "/public/%zz"),
    "percent-end": ("an escape that ends", "/public/%2"),
    "overlong": ("overlong UTF-8 for a slash", "/public/..%c0%afsecret"),
    "wide-dots": ("full-width dots", "/public/%ef%bc%8e%ef%bc%8e/secret"),
    "wide-slash": ("a full-width slash", "/public/..%ef%bc%8fsecret"),
    "newline": ("an encoded line break", "/public/x%0d%0aHost:%20evil.example"),
    "unicode-escape": ("a %u escape", "/public/%u002e%u002e/secret"),
    "unicode-escape-double": ("a doubly encoded %u escape", "/public/%25u002e%25u002e/secret"),
    "question-mark": ("an encoded question mark, at which some servers cut", "/public/x%3F/y"),
    "number-sign": ("an encoded number sign", "/public/x%23/y"),
    "yen": ("a yen sign, a backslash in code pages of Japan", "/public/..%c2%a5secret"),
    "division-slash": ("a division slash, a slash to some systems", "/public/..%e2%88%95secret"),
}
_DENIED = {
    "other": ("a path that no rule names", "/secret"),
    "case": ("a path in another case", "/PUBLIC/x"),
    "prefix": ("a path that only begins like an allowed one", "/publicity"),
    "double-start": ("two slashes at the start: a host to some", "//evil.example/public/"),
    "encoded-start": ("an allowed path behind an encoded slash", "/%2fpublic/x"),
}

CASES = (
    Case(
        "paths-control",
        "an allowed path",
        inside(_HOST, request(_HOST, "/public/x?y=../z")),
        ("f4.21",),
        Expect("answered", (Wanted(_HOST, "/public/x?y=../z"),)),
        kept=CONTROL,
    ),
    *(
        Case(f"paths-{name}", threat, inside(_HOST, request(_HOST, path)), ("f4.21",))
        for name, (threat, path) in (_PATHS | _DENIED).items()
    ),
    Case(
        "paths-keep-alive",
        "the second request of a tunnel has a denied path",
        inside(_HOST, request(_HOST, "/public/first"), request(_HOST, "/secret")),
        ("f4.21", "f4.37"),
        Expect("refused", (Wanted(_HOST, "/public/first"),)),
        kept="judging once for each tunnel is the known mistake (onecli); the naive addon judges each request",
    ),
)
