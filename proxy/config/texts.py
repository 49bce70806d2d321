"""Single values of a policy file as text: paths, methods, days, names. Each refusal shows the right form."""

import difflib
import re
from datetime import date

from proxy.config.known import CREDENTIAL_WARNINGS, FILE_WARNINGS, PROVIDERS, RULE_WARNINGS, SOURCES
from proxy.config.tree import shown
from proxy.config.wrong import Wrong
from proxy.policy.path import AmbiguousPath, PathPattern, parse_pattern
from proxy.policy.rules import NEVER_METHODS
from proxy.policy.spelling import folded_name

MAX_PATH = 4096
_ID = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*", re.ASCII)
_ANY_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)  # RFC 9110 section 5.6.2
_HEADER_TEXT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
# Framing, routing and hop-by-hop fields (RFC 9110 section 7.6.1): the proxy writes them itself.
_NEVER_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


def read_id(text: str) -> str:
    """Read the name of a policy, a rule or a credential."""
    if not _ID.fullmatch(text):
        right = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "my-name"
        raise Wrong(f"a name is lower-case letters, digits and hyphens, not {shown(text)}", f"write `{right}`")
    return text


def read_why(text: str) -> str:
    """Read the sentence for the reviewer, which must say something."""
    if not text.strip():
        raise Wrong("the reason is empty", "say in one sentence what the rule is for")
    return text.strip()


def read_path_pattern(text: str, *, keep: bool, deny: bool) -> PathPattern:
    """Read `/v1/messages/*`. `keep` is the rule's `encoded_slash`, `deny` says which hint helps."""
    if len(text) > MAX_PATH:
        raise Wrong(f"a path of more than {MAX_PATH} characters")
    if "://" in text or not text.startswith("/"):
        path = "/" + text.partition("://")[2].partition("/")[2] if "://" in text else "/" + text
        raise Wrong(f"a path starts with a slash: {shown(text)}", f"write {shown(path)}")
    if "//" in text:
        raise Wrong(f"an empty segment in {shown(text)}", f"write {shown(re.sub('/+', '/', text))}")
    if not text.isprintable() or " " in text:
        raise Wrong(f"a space or control character in {shown(text)}", "percent-encode it, for example `%20`")
    if re.search("%2a", text, re.IGNORECASE):
        raise Wrong(f"an encoded `*` in {shown(text)}", "a pattern cannot ask for a star; use `*` for any segment")
    if re.search("%2f", text, re.IGNORECASE) and not keep:
        if deny:
            slash = re.sub("%2f", "/", text, flags=re.IGNORECASE)
            raise Wrong(f"an encoded slash in {shown(text)}", f"write {shown(slash)}; a deny rule sees both forms")
        raise Wrong(f"an encoded slash in {shown(text)}", "add `encoded_slash: keep` to the rule")
    try:
        return parse_pattern(text, keep_encoded_slash=keep)
    except AmbiguousPath as error:
        hint = "write the path without dot segments, `;`, backslashes and encoded separators"
        raise Wrong(f"servers differ in how they read {shown(text)}: {error}", hint) from None
    except ValueError as error:
        raise Wrong(f"{error}: {shown(text)}", _path_hint(text)) from None


def _path_hint(text: str) -> str:
    if "?" in text or "#" in text:
        return f"paths: [{re.split('[?#]', text)[0][:80]}]"
    segments = ["*" if "*" in segment else segment for segment in text.split("/")]
    return f"write {shown('/'.join(segments))}, or `/**` at the end for everything below"


def read_method(text: str) -> str:
    """Read an upper-case method."""
    if text.upper() in NEVER_METHODS:
        raise Wrong(f"{shown(text)} is never allowed, so no rule speaks of it", "remove it")
    if not _METHOD.fullmatch(text):
        hint = "for every method write `access: any`" if "*" in text else f"write {shown(text.upper())}"
        raise Wrong(f"a method is an upper-case word, not {shown(text)}", hint)
    return text


def read_day(text: str) -> date:
    """Read an ISO date, the last day on which a rule allows."""
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else date.fromisoformat("")
    except ValueError:
        raise Wrong(f"not a day: {shown(text)}", "write `2027-01-31`") from None


def read_source(text: str) -> str:
    """Read `env:NAME` or `file:/abs/path`. The text is never repeated: it may be a secret, pasted by mistake."""
    scheme, colon, rest = text.partition(":")
    forms = ", ".join(f"`{form}`" for form in SOURCES.values())
    if not colon or scheme not in SOURCES:
        raise Wrong("`from` names no known source", f"write one of {forms}; the secret itself never stands here")
    if scheme == "env" and not _ANY_VARIABLE.fullmatch(rest):
        raise Wrong("`env:` is followed by the name of a variable", f"write `{SOURCES['env']}`")
    odd = not rest.startswith("/") or rest.startswith("//") or not rest.isprintable() or ".." in rest.split("/")
    if scheme == "file" and odd:
        raise Wrong("`file:` is followed by an absolute path without `..`", f"write `{SOURCES['file']}`")
    return text


def read_provider(text: str) -> str:
    """Read the name of a known service."""
    if text not in PROVIDERS:
        known = ", ".join(f"`{name}`" for name in PROVIDERS)
        raise Wrong("no such provider", f"write one of {known}, or say with `inject` where the secret goes")
    return text


def read_placeholder(text: str) -> str:
    """Read the name of the sandbox's variable. The text is not repeated, as in `read_source`."""
    if not _VARIABLE.fullmatch(text):
        raise Wrong("`placeholder` is the name of a variable in upper case", "write `GITHUB_TOKEN`")
    return text


def read_header(text: str) -> str:
    """Read a header name that a secret may stand in."""
    if not _TOKEN.fullmatch(text):
        raise Wrong("not the name of a header", "write `X-Api-Key`")
    if text.lower() in _NEVER_HEADERS:
        raise Wrong(f"the header {shown(text)} belongs to the connection", "write `Authorization` or `X-Api-Key`")
    return text


def read_format(text: str) -> str:
    """Read the text around a secret in a header, with `{secret}` in it exactly once."""
    if not _HEADER_TEXT.fullmatch(text):
        raise Wrong("`format` is printable ASCII without spaces at its ends", "write `token {secret}`")
    if text.count("{secret}") != 1 or re.search(r"[{}]", text.replace("{secret}", "")):
        raise Wrong("`format` holds `{secret}` exactly once and no other braces", "write `token {secret}`")
    return text


def read_username(text: str) -> str:
    """Read a user name for basic authentication, which has no colon (RFC 7617 section 2)."""
    if not _HEADER_TEXT.fullmatch(text) or ":" in text:
        raise Wrong("not a user name: printable ASCII without a colon", "write `x-access-token`")
    return text


def read_query_key(text: str) -> str:
    """Read the key of a query parameter."""
    if not text.isprintable() or not folded_name(text):
        raise Wrong("not the key of a query parameter", "write `state: open` or `key`, decoded and without brackets")
    return text


def read_accepted(text: str, known: tuple[str, ...]) -> str:
    """Read the code of a warning that can be about the entry."""
    if text in known:
        return text
    if text in (*FILE_WARNINGS, *RULE_WARNINGS, *CREDENTIAL_WARNINGS):
        place = "the whole file" if text in FILE_WARNINGS else "rules" if text in RULE_WARNINGS else "credentials"
        raise Wrong(f"the warning {shown(text)} is about {place}", f"write it there; here there are {_listed(known)}")
    near = difflib.get_close_matches(text.lower().replace("-", "_"), known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"the warnings here are {_listed(known)}"
    raise Wrong(f"no warning has the code {shown(text)}", hint)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
