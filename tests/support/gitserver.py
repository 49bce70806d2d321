"""A smart-HTTP git server for `Upstream`: git's own CGI program, `git http-backend` (git-http-backend(1))."""

import asyncio
import base64
import os
import subprocess
from pathlib import Path

from tests.support import answers
from tests.support.record import Received
from tests.support.upstream import Answer
from tests.support.wire import Wire


def git(*command: str | Path, cwd: Path) -> str:
    """Run git for the test itself: no configuration of the machine's, no proxy. Fails the test if git fails."""
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.com",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.com",
    }
    parts = ["git", *(str(part) for part in command)]
    done = subprocess.run(parts, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(root: Path, name: str) -> str:
    """A bare repository `root/name` with one commit on `main`, which is returned; pushes are accepted."""
    bare = root / name
    bare.mkdir(parents=True)
    git("init", "--quiet", "--bare", "--initial-branch=main", ".", cwd=bare)
    git("config", "http.receivepack", "true", cwd=bare)
    work = root / f"{name}.work"
    git("clone", "--quiet", bare, work, cwd=root)
    (work / "README.md").write_text("a small repository\n")
    git("add", ".", cwd=work)
    git("commit", "--quiet", "-m", "first", cwd=work)
    git("push", "--quiet", "origin", "HEAD:main", cwd=work)
    return git("rev-parse", "HEAD", cwd=work)


def git_server(root: Path, username: str, password: str) -> Answer:
    """Serve the repositories below `root`; 401 with the challenge that git waits for, unless both words are right."""
    right = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
    challenge = {"WWW-Authenticate": 'Basic realm="git"'}

    async def answer(request: Received, wire: Wire) -> None:
        if request.header("authorization") != right:
            await answers.reply(401, b"who are you?\n", challenge)(request, wire)
            return
        body = await wire.body(request)
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            env=_cgi(request, root, len(body)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(body)
        head, _, content = output.partition(b"\r\n\r\n")
        fields = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")]
        headers = {name: value for name, _, value in fields if name != "Status"}
        status = next((int(value[:3]) for name, _, value in fields if name == "Status"), 200)
        await answers.reply(status, content, headers)(request, wire)

    return answer


def _cgi(request: Received, root: Path, length: int) -> dict[str, str]:
    """The request as CGI tells it (RFC 3875, section 4.1)."""
    path, _, query = request.target.partition("?")
    return {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROTOCOL": request.header("git-protocol") or "",
        "REQUEST_METHOD": request.method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": request.header("content-type") or "",
        "CONTENT_LENGTH": str(length),
        "HTTP_CONTENT_ENCODING": request.header("content-encoding") or "",
    }
