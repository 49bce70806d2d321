"""Package indexes of files, each with tiny packages: for pip and uv, npm, cargo, Go and apt."""

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping

from tests.support import answers
from tests.support.record import Received
from tests.support.upstream import Answer
from tests.support.wire import Wire

type Site = Mapping[str, tuple[str, bytes]]
"""Paths, each with a media type and a body."""


def serve(site: Site, authorization: str) -> Answer:
    """Answer GET and HEAD from `site`; 401 unless the Authorization field is `authorization`, 404 for the rest."""

    async def answer(request: Received, wire: Wire) -> None:
        kind, body = site.get(request.target.partition("?")[0], ("text/plain", b""))
        status = 200 if body else 404
        if request.header("authorization") != authorization:
            status, body = 401, b""
        await answers.reply(status, body, {"Content-Type": kind})(request, wire)

    return answer


def simple_index(*names: str) -> Site:
    """A simple repository (packaging.python.org, "Simple repository API") with version 1.0 of each name as a wheel."""
    site: dict[str, tuple[str, bytes]] = {}
    for name in names:
        file, data = f"{name}-1.0-py3-none-any.whl", wheel(name)
        link = f'<a href="/files/{file}#sha256={hashlib.sha256(data).hexdigest()}">{file}</a>'
        page = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()
        site[f"/simple/{name.replace('_', '-')}/"] = ("text/html", page)
        site[f"/files/{file}"] = ("application/octet-stream", data)
    return site


def wheel(name: str) -> bytes:
    """A wheel with one module that says where it came from (packaging.python.org, "Binary distribution format")."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "WHERE = 'through the proxy'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_urlsafe(text.encode())},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made.getvalue()


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def registry(origin: str, *names: str) -> Site:
    """A registry with version 1.0.0 of each name. npm asks for a scoped name as `/@scope%2fname`."""
    site: dict[str, tuple[str, bytes]] = {}
    for name in names:
        data = tarball(name)
        path = f"/{name}/-/{name.rpartition('/')[2]}-1.0.0.tgz"
        sha512 = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        dist = {"tarball": origin + path, "integrity": sha512}
        version = {"name": name, "version": "1.0.0", "dist": dist}
        document = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        site["/" + name.replace("/", "%2f")] = ("application/json", json.dumps(document).encode())
        site[path] = ("application/octet-stream", data)
    return site


def tarball(name: str) -> bytes:
    """An npm package with one module that says where it came from."""
    return _archive(
        {
            "package/package.json": json.dumps({"name": name, "version": "1.0.0", "main": "index.js"}),
            "package/index.js": "module.exports = 'through the proxy';\n",
        }
    )


def sparse_index(origin: str, name: str) -> Site:
    """A sparse registry below `/index/` with version 1.0.0 of a crate (doc.rust-lang.org/cargo, "Registry Index").

    The name has four letters or more.
    """
    crate = _archive(
        {
            f"{name}-1.0.0/Cargo.toml": f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n',
            f"{name}-1.0.0/src/lib.rs": 'pub const WHERE: &str = "through the proxy";\n',
        }
    )
    version = {"name": name, "vers": "1.0.0", "deps": [], "features": {}, "yanked": False}
    version["cksum"] = hashlib.sha256(crate).hexdigest()
    return {
        "/index/config.json": ("application/json", json.dumps({"dl": f"{origin}/crates"}).encode()),
        f"/index/{name[:2]}/{name[2:4]}/{name}": ("text/plain", json.dumps(version).encode()),
        f"/crates/{name}/1.0.0/download": ("application/gzip", crate),
    }


def module_proxy(name: str) -> Site:
    """A module proxy with v1.0.0 of a Go module (go.dev/ref/mod, "Module proxies")."""
    files = {"go.mod": f"module {name}\n", "tiny.go": 'package tiny\n\nconst Where = "through the proxy"\n'}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(f"{name}@v1.0.0/{path}", text)
    info = json.dumps({"Version": "v1.0.0", "Time": "2024-01-01T00:00:00Z"})
    return {
        f"/{name}/@v/list": ("text/plain", b"v1.0.0\n"),
        f"/{name}/@v/v1.0.0.info": ("application/json", info.encode()),
        f"/{name}/@v/v1.0.0.mod": ("text/plain", files["go.mod"].encode()),
        f"/{name}/@v/v1.0.0.zip": ("application/zip", made.getvalue()),
    }


def _archive(files: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()
