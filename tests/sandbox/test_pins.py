"""What is protected in a project cannot be put out of the way: tried by the code inside, looked at from outside."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.sandbox.box import Box

SWAPS = """
import itertools
where, held = sys.argv[1], sys.argv[2]
def swap(way, path):
    other = os.path.join(where, "other-" + way)
    if way == "rename":
        os.rename(path, other)
    elif way == "exchange":
        os.mkdir(other) if os.path.isdir(path) else open(other, "w").close()
        if libc.renameat2(-100, path.encode(), -100, other.encode(), 2):
            raise OSError(ctypes.get_errno(), "")
    elif way == "over":
        os.mkdir(other) if os.path.isdir(path) else open(other, "w").close()
        os.rename(other, path)
    elif way == "unlink":
        os.unlink(path)
    elif way == "rmdir":
        os.rmdir(path)
    elif way == "link":
        os.link(path, other)
    elif way == "symlink":
        os.symlink("/nowhere", path)
    elif way == "truncate":
        os.truncate(path, 0)
    elif way == "write":
        open(path, "a").close()
    elif way == "chmod":
        os.chmod(path, 0o666)
    elif way == "by descriptor":
        folder = os.open(os.path.dirname(path), os.O_PATH)
        os.rename(os.path.basename(path), "other", src_dir_fd=folder, dst_dir_fd=folder)
    elif way == "in root of another":
        os.rename(f"/proc/{os.getppid()}/root{path}", f"/proc/{os.getppid()}/root{other}")
    elif way == "by its mount":
        os.rename(f"/proc/self/cwd/{os.path.relpath(path, os.getcwd())}", other)
ways = ("rename", "exchange", "over", "unlink", "rmdir", "link", "symlink")
ways += ("by descriptor", "in root of another", "by its mount")
path = held
while path != where:
    for way in ways:
        attempt(f"{way} {os.path.relpath(path, where)}", swap, way, path)
    path = os.path.dirname(path)
for way in ("truncate", "write", "chmod"):
    attempt(f"{way} {os.path.relpath(held, where)}", swap, way, held)
"""


def identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


@pytest.mark.parametrize("kind", ["policy file", "policy folder", "secret file", "secret folder"])
def test_nothing_above_what_is_held_can_be_moved(box: Box, kind: str) -> None:
    file = box.write("project/a/b c/held/policy.yaml", "name: mine\n")
    held = file if kind.endswith("file") else file.parent
    before = {path: identity(path) for path in (held, *held.parents)}
    options = {"protected": (held,)} if kind.startswith("policy") else {"secret": (box.state, held)}

    found = box.probe(SWAPS, box.project, held, **options)

    assert {name: how for name, how in found.items() if how == "done"} == {}
    assert {path: identity(path) for path in before} == before
    assert file.read_text() == "name: mine\n"


def test_what_is_protected_can_be_read_and_its_folder_not_written(box: Box) -> None:
    policy = box.write("project/policies/web.yaml", "name: web\n")
    found = box.probe(
        'found["policy"] = text(sys.argv[1])\n'
        'attempt("beside", lambda: open(os.path.dirname(sys.argv[1]) + "/more.yaml", "w").close())\n'
        'attempt("above", os.mkdir, "new")',
        policy,
        protected=(policy,),
    )
    assert found == {"policy": "name: web\n", "beside": "EROFS", "above": "done"}


def test_a_policy_folder_takes_no_new_policy(box: Box) -> None:
    policy = box.write("project/policies/web.yaml")
    found = box.probe(
        'attempt("new", lambda: open(sys.argv[1] + "/more.yaml", "w").close())',
        policy.parent,
        protected=(policy.parent,),
    )
    assert found == {"new": "EROFS"}


def test_the_folder_of_a_secret_in_the_project_looks_empty(box: Box) -> None:
    key = box.write("project/deploy/keys/token", "the secret\n")
    folder = box.write("project/vault/a/b", "the secret\n").parents[1]
    done = box.run(["sh", "-c", "grep -r secret . ; ls -A deploy/keys vault/"], secret=(box.state, key, folder))
    assert (done.stdout.split(), done.stderr) == (["deploy/keys:", "vault/:"], "")


ESCAPE = """
import struct
project = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
attempt("namespaces", call, 272 if os.uname().machine == "x86_64" else 97, 0x10000000 | 0x20000)
def mount(source, target, kind, flags):
    if libc.mount(source, target, kind, flags, None):
        raise OSError(ctypes.get_errno(), "")
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
attempt("groups", write, "/proc/self/setgroups", "deny")
attempt("map", write, "/proc/self/uid_map", f"0 {os.stat(sys.argv[1]).st_uid} 1")
attempt("groups map", write, "/proc/self/gid_map", f"0 {os.stat(sys.argv[1]).st_gid} 1")
attempt("tmpfs", mount, b"tmpfs", b"/tmp", b"tmpfs", 0)
attempt("folder", os.mkdir, "/tmp/old")
attempt("pivot", call, 155 if os.uname().machine == "x86_64" else 41, b"/tmp", b"/tmp/old")
attempt("detach", call, 166 if os.uname().machine == "x86_64" else 39, b"/old", 2)
attempt("rename", lambda: os.rename("policies", "moved", src_dir_fd=project, dst_dir_fd=project))
"""


def test_no_namespace_without_the_mount_points_can_be_reached(box: Box) -> None:
    """In a mount namespace of one's own that lost them, the mount points are folders like any other."""
    policy = box.write("project/policies/web.yaml")
    found = box.probe(ESCAPE, box.project, protected=(policy.parent,))
    assert (found["namespaces"], found["rename"]) == ("EPERM", "EBUSY")
    assert policy.exists()


def test_that_escape_is_real_where_nested_sandboxes_are_allowed(box: Box) -> None:
    """So `nested` refuses to hold what it cannot hold. This says when a kernel has changed that."""
    if os.getuid() == 0 and not box.nobody:
        pytest.skip("root without capabilities can map no user")
    box.write("project/policies/web.yaml")
    found = box.probe(ESCAPE, box.project, profile=box.profile(nested=True, readonly=("policies",)))
    assert found == dict.fromkeys(found, "done")


def test_git_hooks_and_configuration_are_not_writable(box: Box) -> None:
    subprocess.run(["git", "init", "-q", box.project], check=True, env={"PATH": os.environ["PATH"], "HOME": "/"})
    found = box.probe(SWAPS, box.project, box.project / ".git/hooks")
    assert {name: how for name, how in found.items() if how == "done"} == {}
    found = box.probe(SWAPS, box.project, box.project / ".git/config")
    assert {name: how for name, how in found.items() if how == "done"} == {}
