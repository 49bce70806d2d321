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
_DOTS = {
    "dots-three": ("three dots, of which Windows sees none", "/public/.../x"),
    "dots-space": ("dots with a space behind them", "/public/..%20/secret"),
    "dots-unseen": ("dots with a character between them that is not shown", "/public/.%e2%80%8b./secret"),
}
_UNDER_DENY = {
    "deny-slash": ("an encoded slash hides a denied path: many servers take several for one", "GET", "/%2Fadmin"),
    "deny-slash-below": ("the same for a path below it", "GET", "/%2Fadmin/x"),
    "deny-slashes": ("the same with two encoded slashes", "GET", "/%2F%2Fadmin"),
    "deny-slash-end": ("the same behind the path", "GET", "/admin%2F%2Fx"),
    "deny-method-nul": ("a NUL hides the method that a query names", "POST", "/x?_method=DELETE%00"),
    "deny-method-quoted": ("quotes hide it", "POST", "/x?_method=%22DELETE%22"),
    "deny-method-wide": ("full-width letters hide it", "POST", "/x?_method=%EF%BC%A4ELETE"),
    "deny-method-word": ("a query names it by a plain word, as the Graph API takes it", "POST", "/x?method=delete"),
    "deny-method-tunneled": ("another key names it", "POST", "/x?x-tunneled-method=DELETE"),
}
_DENIED = {
    "other": ("a path that no rule names", "/secret"),
    "case": ("a path in another case", "/PUBLIC/x"),
    "prefix": ("a path that only begins like an allowed one", "/publicity"),
    "double-start": ("two slashes at the start: a host to some", "//evil.example/public/"),
    "encoded-start": ("an allowed path behind an encoded slash", "/%2fpublic/x"),
}

_PLACES = {
    "destination": ("a copy is written to a path that no rule allows", "/secret"),
    "destination-host": ("a copy is written to another host", "https://evil.example/public/x"),
    "destination-double": ("a copy is written to a path that some servers take for a host", "//evil.example/public/x"),
    "destination-dots": ("a copy is written to a path with two readings", "/public/%2e%2e/secret"),
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
        for name, (threat, path) in (_PATHS | _DOTS | _DENIED).items()
    ),
    *(
        Case(
            f"paths-{name}",
            threat,
            inside("denies.example", request("denies.example", target, method=method), method=method),
            (origin,),
        )
        for origin, (name, (threat, method, target)) in (
            ("f4.26" if "method" in each[0] else "f4.21", each) for each in _UNDER_DENY.items()
        )
    ),
    *(
        Case(
            f"paths-{name}",
            threat,
            inside(_HOST, request(_HOST, "/public/x", method="MOVE", more=f"Destination: {place}\r\n"), method="MOVE"),
            ("f4.21",),
        )
        for name, (threat, place) in _PLACES.items()
    ),
    Case(
        "paths-deny-control",
        "what no deny rule means: an encoded slash, and a key that names no method",
        inside("denies.example", request("denies.example", "/a%2Fb?method=flickr.photos.delete", method="POST")),
        ("f4.21",),
        Expect("answered", (Wanted("denies.example", "/a%2Fb?method=flickr.photos.delete", "POST"),)),
        kept=CONTROL,
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
