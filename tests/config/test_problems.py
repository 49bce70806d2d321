"""Every fault of a policy file: its place, its key, what is wrong and the right form."""

from collections.abc import Callable

import pytest

from proxy.errors import Problem

type Problems = Callable[[str], list[Problem]]
type Fault = tuple[str, str, str, str, str]  # the text, and the place, the key, the message and the hint of its problem

RULE = "allow:\n  - id: a\n    why: w\n"  # lines 3 to 5 of a file; further keys of the rule start on line 6
DENY = "deny:\n  - id: a\n    why: w\n"
USED = "allow:\n  - {id: a, why: w, hosts: [api.github.com], credential: c}\n"  # lines 3 and 4
CREDENTIAL = USED + "credentials:\n  c:\n    from: env:TOKEN\n    hosts: [api.github.com]\n"  # further keys on line 9

TOP = [
    ("version: 2\nname: x\n", "1:10", "version", "version 2 of the policy language", "version: 1"),
    ('version: "1"\nname: x\n', "1:10", "version", "is a whole number, not text", "version: 1"),
    ("version: yes\nname: x\n", "1:10", "version", "is a whole number, not a truth value", "version: 1"),
    ("version: 1\n", "1:1", "name", "`name` is missing", "name: web-app-agent"),
    ("version: 1\nname: Web_App\n", "2:7", "name", "lower-case letters", "`web-app`"),
    ("version: 1\nname: -a\n", "2:7", "name", "lower-case letters", "`a`"),
    ("version: 1\nname: 7\n", "2:7", "name", "`name` is text, not a number", '"7"'),
    ("name_: x\n", "3:1", "name_", "unknown key `name_`", "did you mean `name`?"),
    ("rules: []\n", "3:1", "rules", "unknown key `rules`", "`allow`, `deny`, `credentials`"),
    ("mode: observed\n", "3:7", "mode", "`mode` is `enforce` or `observe`", "write `observe`"),
    ("mode: off\n", "3:7", "mode", "`mode` is `enforce` or `observe`", ""),
    ("allow:\n", "3:7", "allow", "`allow` has no value", "- id:"),
    ("allow: {}\n", "3:8", "allow", "`allow` is a list, not a mapping", "- id:"),
    ("allow: [x]\n", "3:9", "allow[0]", "an entry of `allow` is a mapping of keys, not text", ""),
    ("credentials: []\n", "3:14", "credentials", "`credentials` is a mapping of keys, not a list", "one mapping"),
    ("accept: [observe]\n", "3:10", "accept[0]", "no warning has the code `observe`", "`observe_mode`"),
    ("accept: [drop_host]\n", "3:10", "accept[0]", "the warning `drop_host` is about rules", "`observe_mode`"),
    ("accept: observe_mode\n", "3:9", "accept", "is a list, not text", "accept: [observe_mode]"),
    ("accept: []\n", "3:9", "accept", "`accept` is empty", "accept: [observe_mode]"),
    ("extends: baseline\n", "3:10", "extends", "`extends` is a list, not text", "extends: [baseline]"),
    ("extends: []\n", "3:10", "extends", "`extends` is empty", "extends: [baseline]"),
    ("extends: [../x]\n", "3:11", "extends[0]", "lower-case letters", "`x`"),
]

RULES = [
    ("", "4:5", "allow[0]", "a rule needs `hosts` or `addresses`", "hosts: [api.example.com]"),
    ("    host: [a.example.com]\n", "6:5", "allow[0].host", "unknown key `host`", "did you mean `hosts`?"),
    ("    hosts: a.example.com\n", "6:12", "allow[0].hosts", "is a list, not text", "hosts: [a.example.com]"),
    ('    hosts: "*.a.com"\n', "6:12", "allow[0].hosts", "is a list, not text", 'hosts: ["*.a.com"]'),
    ("    hosts: []\n", "6:12", "allow[0].hosts", "`hosts` is empty", "hosts: [docs.example.com]"),
    ("    hosts: [1.5]\n", "6:13", "allow[0].hosts[0]", "an entry of `hosts` is text, not a number", '"1.5"'),
    ("    hosts: [~]\n", "6:13", "allow[0].hosts[0]", "an item of a list has no value", ""),
    ("    hosts: [https://a.com]\n", "6:13", "allow[0].hosts[0]", "a host has no scheme", "hosts: [a.com]"),
    ("    addresses: [10.0.0.1/8]\n", "6:17", "allow[0].addresses[0]", "bits set", "`10.0.0.0/8`"),
]

# Faults beside `hosts: [h.example.com]`, which stands on line 6.
BESIDE = [
    ("    access: write\n", "7:13", "access", "`access` is `read` or `any`", ""),
    ("    access: read\n    methods: [GET]\n", "8:5", "methods", "exclude each other", "keep one"),
    ("    methods: [get]\n", "7:15", "methods[0]", "upper-case word", "`GET`"),
    ("    methods: ['*']\n", "7:15", "methods[0]", "upper-case word", "access: any"),
    ("    methods: [CONNECT]\n", "7:15", "methods[0]", "never allowed", "remove"),
    ("    methods: [trace]\n", "7:15", "methods[0]", "never allowed", "remove"),
    ("    methods: [TRACK]\n", "7:15", "methods[0]", "never allowed", "remove"),
    ("    schemes: [ftp]\n", "7:15", "schemes[0]", "is `http` or `https`", ""),
    ("    ports: [0]\n", "7:13", "ports[0]", "0 is not a port", "1 to 65535"),
    ("    ports: [65536]\n", "7:13", "ports[0]", "65536 is not a port", "1 to 65535"),
    ("    ports: ['443']\n", "7:13", "ports[0]", "a whole number, not text", "ports: [8443]"),
    ("    ports: [0x50]\n", "7:13", "ports[0]", "a whole number, not a number", "ports: [8443]"),
    ("    ports: [true]\n", "7:13", "ports[0]", "a whole number, not a truth value", "ports: [8443]"),
    ("    ports: 443\n", "7:12", "ports", "`ports` is a list, not a number", "ports: [443]"),
    ("    paths: [v1/x]\n", "7:13", "paths[0]", "starts with a slash", "`/v1/x`"),
    ("    paths: [https://h.com/v1]\n", "7:13", "paths[0]", "starts with a slash", "`/v1`"),
    ("    paths: [/a//b]\n", "7:13", "paths[0]", "an empty segment", "`/a/b`"),
    ("    paths: [//**]\n", "7:13", "paths[0]", "an empty segment", "`/**`"),
    ("    paths: [/a/../b]\n", "7:13", "paths[0]", "dot segment", "without dot segments"),
    ("    paths: [/a;b]\n", "7:13", "paths[0]", "servers differ", "`;`"),
    ("    paths: [/a%zz]\n", "7:13", "paths[0]", "broken percent-encoding", ""),
    ("    paths: [/a b]\n", "7:13", "paths[0]", "a space", "%20"),
    ("    paths: [/a?b=c]\n", "7:13", "paths[0]", "a path has no query", "paths: [/a]"),
    ("    paths: [/a/*.json]\n", "7:13", "paths[0]", "a whole segment", "`/a/*`"),
    ("    paths: [/**/a]\n", "7:13", "paths[0]", "only at the end", "`/*/a`"),
    ("    paths: [/a/%2A]\n", "7:13", "paths[0]", "an encoded `*`", "any segment"),
    ("    paths: [/@s%2fp]\n", "7:13", "paths[0]", "an encoded slash", "encoded_slash: keep"),
    ("    encoded_slash: keep\n", "7:5", "encoded_slash", "needs `paths`", "paths: [/**]"),
    ("    encoded_slash: yes\n    paths: [/a]\n", "7:20", "encoded_slash", "is `keep`", "encoded_slash: keep"),
    ("    query: {n: 1}\n", "7:16", "query.n", "is text, not a number", '"1"'),
    ("    query: {n: no}\n", "7:16", "query.n", "is text, not a truth value", '"no"'),
    ("    query: {'': a}\n", "7:13", "query['']", "not the key", "state: open"),
    ("    query: {}\n", "7:12", "query", "`query` is empty", "query: {state: open}"),
    ("    http2: 1\n", "7:12", "http2", "`true` or `false`, not a number", "http2: true"),
    ("    expires: tomorrow\n", "7:14", "expires", "not a day: `tomorrow`", "2027-01-31"),
    ("    expires: 2027-02-30\n", "7:14", "expires", "not a day", "2027-01-31"),
    ("    expires: 2027-1-31\n", "7:14", "expires", "not a day", "2027-01-31"),
    ("    expires: 20270131\n", "7:14", "expires", "is text, not a number", ""),
    ("    expires: 2027-01-31T00:00:00Z\n", "7:14", "expires", "not a day", "2027-01-31"),
    ("    credential: githb\n", "7:17", "credential", "no credential is named `githb`", "define"),
    ("    accept: [rule-shadowd]\n", "7:14", "accept[0]", "no warning has the code", "`rule_shadowed`"),
    ("    accept: [acceptance_unneeded]\n", "7:14", "accept[0]", "no warning has the code", ""),
    ("    accept: [observe_mode]\n", "7:14", "accept[0]", "about the whole file", "write it there"),
    ("    accept: [1]\n", "7:14", "accept[0]", "an entry of `accept` is text, not a number", ""),
    ("    credentail: x\n", "7:5", "credentail", "unknown key", "did you mean `credential`?"),
    ("    inspect: false\n    paths: [/a]\n", "8:5", "paths", "cannot be checked in a tunnel", "leave `paths` out"),
    ("    inspect: false\n    access: any\n", "8:5", "access", "cannot be checked in a tunnel", "leave"),
    ("    inspect: false\n    methods: [GET]\n", "8:5", "methods", "cannot be checked in a tunnel", "leave"),
    ("    inspect: false\n    schemes: [https]\n", "8:5", "schemes", "cannot be checked in a tunnel", "leave"),
    ("    inspect: false\n    query: {a: b}\n", "8:5", "query", "cannot be checked in a tunnel", "leave"),
    ("    trace_context: true\n", "7:20", "trace_context", "is `keep`", "trace_context: keep"),
    ("    inspect: false\n    trace_context: keep\n", "8:5", "trace_context", "cannot be checked in a tunnel", "leave"),
    ("    inspect: false\n    http2: true\n", "8:5", "http2", "cannot be checked in a tunnel", "leave"),
    ("    inspect: false\n    credential: c\n", "8:5", "credential", "cannot be checked in a tunnel", "leave"),
]

DENIES = [
    ("    expires: 2027-01-31\n", "7:5", "expires", "a deny rule has no `expires`", "remove"),
    ("    credential: c\n", "7:5", "credential", "a deny rule has no `credential`", "remove"),
    ("    inspect: false\n", "7:5", "inspect", "a deny rule has no `inspect`", "remove"),
    ("    accept: [rule_denied]\n", "7:5", "accept", "a deny rule has no `accept`", "remove"),
    ("    http2: true\n", "7:5", "http2", "a deny rule has no `http2`", "remove"),
    ("    trace_context: keep\n", "7:5", "trace_context", "a deny rule has no `trace_context`", "remove"),
    ("    encoded_slash: keep\n", "7:5", "encoded_slash", "a deny rule has no `encoded_slash`", "remove"),
    ("    mode: observe\n", "7:5", "mode", "unknown key `mode`", ""),
    ("    access: read\n    methods: [GET]\n", "8:5", "methods", "exclude each other", "keep one"),
    ("    paths: [/a%2fb]\n", "7:13", "paths[0]", "an encoded slash", "`/a/b`; a deny rule sees both forms"),
]

CREDENTIALS = [
    ("", "7:5", "", "needs `provider` or `inject`", "inject: {bearer: true}"),
    ("    provider: github\n    inject: {bearer: true}\n", "10:5", "inject", "exclude each other", "provider"),
    ("    provider: gitlab\n", "9:15", "provider", "no such provider", "`anthropic`, `openai`, `github`"),
    ("    inject: {}\n", "9:13", "inject", "in one way", "bearer: true"),
    ("    inject: {bearer: false}\n", "9:22", "inject.bearer", "only be true", "`true`"),
    ("    inject: {bearer: 1}\n", "9:22", "inject.bearer", "`true` or `false`, not a number", "bearer: true"),
    ("    inject: {bearer: true, query: key}\n", "9:28", "inject.query", "exclude each other", "keep one"),
    ("    inject: {format: 'a {secret}', bearer: true}\n", "9:14", "inject.format", "needs `header`", "header:"),
    ("    inject: {header: 'a b'}\n", "9:22", "inject.header", "not the name of a header", "X-Api-Key"),
    ("    inject: {header: Content-Length}\n", "9:22", "inject.header", "belongs to the connection", "X-Api-Key"),
    ("    inject: {header: transfer-encoding}\n", "9:22", "inject.header", "belongs to the connection", "X-Api-Key"),
    ("    inject: {header: HOST}\n", "9:22", "inject.header", "belongs to the connection", "X-Api-Key"),
    ("    inject: {header: A, format: token}\n", "9:33", "inject.format", "exactly once", "token {secret}"),
    ("    inject: {header: A, format: '{secret}{secret}'}\n", "9:33", "inject.format", "exactly once", "{secret}"),
    ("    inject: {header: A, format: '{secret} {x}'}\n", "9:33", "inject.format", "no other braces", "{secret}"),
    ('    inject: {header: A, format: "{secret}\\r\\nB: c"}\n', "9:33", "inject.format", "printable ASCII", "{secret}"),
    ("    inject: {basic: {}}\n", "9:21", "inject.basic.username", "is missing", "username: x-access-token"),
    ("    inject: {basic: {username: 'a:b'}}\n", "9:32", "inject.basic.username", "colon", "x-access-token"),
    ("    inject: {basic: {user: a}}\n", "9:22", "inject.basic.user", "unknown key `user`", "`username`"),
    ("    inject: {bearer: true}\n    placeholder: token\n", "10:18", "placeholder", "upper case", "GITHUB_TOKEN"),
    ("    inject: {bearer: true}\n    client_credentials: drop\n", "10:25", "client_credentials", "`replace`", ""),
    (
        "    inject: {bearer: true}\n    accept: [rule_denied]\n",
        "10:14",
        "accept[0]",
        "about rules",
        "`placeholder_unused`",
    ),
    ("    inject: {bearer: true}\n    value: x\n", "10:5", "value", "unknown key `value`", "the keys here are"),
]


@pytest.mark.parametrize("fault", TOP)
def test_faults_of_a_file(problems: Problems, fault: Fault) -> None:
    _expect(problems(fault[0]), fault)


@pytest.mark.parametrize("fault", RULES)
def test_faults_of_a_rule(problems: Problems, fault: Fault) -> None:
    _expect(problems(RULE + fault[0]), fault)


@pytest.mark.parametrize("fault", BESIDE)
def test_faults_of_an_allow_rule(problems: Problems, fault: Fault) -> None:
    _expect(problems(f"{RULE}    hosts: [h.example.com]\n{fault[0]}"), fault, "allow[0].")


@pytest.mark.parametrize("fault", DENIES)
def test_faults_of_a_deny_rule(problems: Problems, fault: Fault) -> None:
    _expect(problems(f"{DENY}    hosts: [h.example.com]\n{fault[0]}"), fault, "deny[0].")


@pytest.mark.parametrize("fault", CREDENTIALS)
def test_faults_of_a_credential(problems: Problems, fault: Fault) -> None:
    _expect(problems(CREDENTIAL + fault[0]), fault, "credentials.c.")


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("vault:secret/x", "`env:GITHUB_TOKEN`, `file:/run/secrets/github-token`"),
        ("hunter2-in-plain-text", "the secret itself never stands here"),
        ("env:", "env:GITHUB_TOKEN"),
        ("env:A-B", "env:GITHUB_TOKEN"),
        ("file:relative", "file:/run/secrets/github-token"),
        ("file://run/x", "file:/run/secrets/github-token"),
        ("file:/run/../x", "file:/run/secrets/github-token"),
    ],
)
def test_a_source_is_one_of_the_known_ones(problems: Problems, source: str, hint: str) -> None:
    text = f"{CREDENTIAL}    inject: {{bearer: true}}\n".replace("env:TOKEN", f'"{source}"')

    _expect(problems(text), (text, "7:11", "credentials.c.from", "`", hint))


def test_a_secret_in_the_wrong_place_is_not_repeated(problems: Problems) -> None:
    secret = "sk-ant-api03-Tr0ub4dor"
    keys = f"from: {secret}\n    placeholder: {secret}\n    provider: {secret}\n    client_credentials: {secret}\n"
    places = f'header: "{secret} ", format: "{secret}", basic: {{username: "{secret}:"}}, query: "{secret}\\n"'
    inject = f"    inject: {{{places}}}\n"

    found = problems(f"{USED}credentials:\n  c:\n    hosts: [api.github.com]\n    {keys}{inject}")

    assert len(found) > 6
    assert secret not in repr(found)


def test_a_number_in_the_place_of_a_secret_is_not_repeated(problems: Problems) -> None:
    assert "48151623" not in repr(problems(CREDENTIAL.replace("env:TOKEN", "48151623") + "    provider: github\n"))


def test_all_faults_of_a_file_are_told_at_once_in_the_order_of_their_lines(problems: Problems) -> None:
    found = problems(
        "allow:\n  - id: A\n    hosts: [X.com, '*']\n    methods: [get]\n    access: read\n"
        "  - why: w\n    host: [a.b]\ndeny:\n  - {id: d, why: '', hosts: [a.b], inspect: true}\ntypo: 1\n"
    )

    assert [(problem.where, problem.key) for problem in found] == [
        ("4:5", "allow[0].why"),
        ("4:9", "allow[0].id"),
        ("5:13", "allow[0].hosts[0]"),
        ("5:20", "allow[0].hosts[1]"),
        ("6:5", "allow[0].methods"),
        ("6:15", "allow[0].methods[0]"),
        ("8:5", "allow[1]"),
        ("8:5", "allow[1].id"),
        ("9:5", "allow[1].host"),
        ("11:18", "deny[0].why"),
        ("11:36", "deny[0].inspect"),
        ("12:1", "typo"),
    ]


def _expect(found: list[Problem], fault: Fault, prefix: str = "") -> None:
    _, where, key, message, hint = fault
    first = next((problem for problem in found if message in problem.message), found[0])

    assert message in first.message
    assert (first.where, first.key) == (where, (prefix + key).rstrip("."))
    assert hint in first.hint
