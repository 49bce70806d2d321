"""What code inside a sandbox sees and can change: the system, the home, the project; tried in a real one."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.sandbox.box import PYTHON, Box

LOOK = """
for path in sys.argv[1:]:
    found[path] = text(path) if not os.path.isdir(path) else sorted(os.listdir(path))
"""


def test_the_system_is_there_and_cannot_be_written(box: Box) -> None:
    found = box.probe("""
found["top"] = sorted(os.listdir("/"))
for folder in ("/", "/usr", "/usr/bin", "/etc", "/etc/ssl/certs"):
    attempt(folder, lambda: open(folder + "/new", "w").close())
for folder in ("/tmp", "/var/tmp", "/run", "/dev/shm", os.environ["HOME"], os.getcwd()):
    attempt(folder, lambda: open(folder + "/new", "w").close())
attempt("sysctl", lambda: open("/proc/sys/kernel/core_pattern", "w").close())
attempt("remount", lambda: libc.mount(None, b"/", None, 32, None) and call(-1))
found["mode"] = oct(os.stat("/tmp").st_mode)
""")
    assert set(found.pop("top")) & {"boot", "mnt", "media", "srv", "sys", "work", "lost+found"} == set()
    assert [found[folder] for folder in ("/", "/usr", "/usr/bin", "/etc", "/etc/ssl/certs")] == ["EROFS"] * 5
    places = ("/tmp", "/var/tmp", "/run", "/dev/shm", str(box.home), str(box.project))  # noqa: S108
    assert [found[folder] for folder in places] == ["done"] * 6
    assert found["sysctl"] in {"EROFS", "EACCES"}
    assert (found["remount"], found["mode"]) == ("ENOSYS", "0o41777")
    assert not (box.home / "new").exists()
    assert (box.project / "new").exists()


def test_no_socket_of_the_host_is_in_reach(box: Box) -> None:
    found = box.probe("""
for top in ("/run", "/tmp", "/var", "/dev", os.environ["HOME"]):
    for folder, _, files in os.walk(top):
        for name in files:
            found.setdefault("files", []).append(os.path.join(folder, name))
found["abstract"] = open("/proc/net/unix").read().count("@")
found["interfaces"] = [name for _, name in socket.if_nameindex()]
found["processes"] = [name for name in os.listdir("/proc") if name.isdigit()]
""")
    assert [name for name in found["files"] if not name.startswith(("/run/outgate/", "/dev/"))] == []
    assert [name for name in found["files"] if name.startswith("/run/")] == [
        "/run/outgate/" + name for name in ("truststore.p12", "ca-bundle.pem", "ca.pem")
    ] or len([name for name in found["files"] if name.startswith("/run/")]) == 3
    assert (found["abstract"], found["interfaces"]) == (0, ["lo"])
    assert len(found["processes"]) <= 3


def test_files_of_root_are_masked_also_for_root(box: Box) -> None:
    found = box.probe("""
found["readable"] = [os.path.join(folder, name) for folder, _, files in os.walk("/etc") for name in files
    if not os.path.islink(os.path.join(folder, name)) and not os.stat(os.path.join(folder, name)).st_mode & 4
    and os.access(os.path.join(folder, name), os.R_OK)]
found["shadow"] = text("/etc/shadow")
found["raw"] = [name for name in os.listdir("/dev") if name in ("sda", "vda", "mem", "kmsg", "fuse", "kvm", "vsock")]
""")
    assert found["readable"] == []
    assert found["shadow"] in {"", "EACCES", "ENOENT"}
    assert found["raw"] == []


def test_the_kernel_s_settings_are_read_only_also_for_root(box: Box) -> None:
    """Root's user id is enough for most of them; `core_pattern` names a program that the kernel starts outside."""
    found = box.probe("""
found["writable"] = []
for top in os.listdir("/proc"):
    if top.isdigit() or os.path.islink("/proc/" + top):
        continue
    for folder, _, files in os.walk("/proc/" + top):
        for name in files:
            try:
                os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
                found["writable"].append(os.path.join(folder, name))
            except OSError:
                pass
    if os.path.isfile("/proc/" + top):
        for way in (os.O_RDONLY, os.O_WRONLY):
            try:
                os.close(os.open("/proc/" + top, way))
            except OSError:
                continue
            if way == os.O_WRONLY or not os.stat("/proc/" + top).st_mode & 4:
                found["writable"].append(top)
""")
    # An ordinary user may set what belongs to its own namespaces.
    own = re.compile(r"/proc/(pressure|sys/(fs/mqueue|user|net|kernel/(shm|msg|sem|auto_msgmni|ns_last_pid|pid_max)))")
    root = os.getuid() == 0 and not box.nobody
    assert [name for name in found["writable"] if root or not own.match(name)] == []


def test_there_is_no_power_to_take(box: Box) -> None:
    """No process inside has a capability or a way to one, the first of them as little as the others."""
    found = box.probe("""
for process in ("1", "self"):
    lines = dict(line.split(":\\t") for line in text(f"/proc/{process}/status").splitlines() if ":\\t" in line)
    found[process] = [lines[key] for key in ("NoNewPrivs", "Seccomp", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
    folder = f"/proc/{process}/fd/"
    found["open " + process] = [os.path.realpath(folder + number) for number in os.listdir(folder)]
found["root"] = sorted(os.listdir("/proc/1/root")) == sorted(os.listdir("/"))
for name, flags in (("bind", 4096), ("remount", 32 | 4096)):
    libc.mount(b"/usr", b"/tmp", None, flags, None)
    found[name] = errno.errorcode[ctypes.get_errno()]
libc.umount2(b"/etc", 2)
found["unmount"] = errno.errorcode[ctypes.get_errno()]
attempt("chroot", os.chroot, "/tmp")
attempt("device", os.mknod, "device", 0o60600, os.makedev(8, 0))
""")
    powerless = ["1", "2", *["0" * 16] * 4]
    assert found["1"] == found["self"] == powerless
    opened = [path for path in (*found["open 1"], *found["open self"]) if path != "/dev/null"]
    assert all(path.startswith("/proc/") for path in opened), opened  # pipes of ours; no folder of the host
    assert found["root"] is True
    assert {found[name] for name in ("bind", "remount", "unmount", "chroot", "device")} == {"EPERM"}


def test_trust_is_the_system_s_and_the_key_is_nowhere(box: Box) -> None:
    found = box.probe(
        LOOK, "/run/outgate/ca.pem", "/etc/ssl/certs/ca-certificates.crt", box.state, box.state / "ca-key.pem"
    )
    assert found["/run/outgate/ca.pem"] == "the ca.pem\n"
    if Path("/etc/ssl/certs/ca-certificates.crt").exists():
        assert found["/etc/ssl/certs/ca-certificates.crt"] == "the ca-bundle.pem\n"
    assert found[str(box.state)] == found[str(box.state / "ca-key.pem")] == "ENOENT"


def test_the_home_is_new_but_for_what_the_profile_reads_and_keeps(box: Box) -> None:
    for name in (".ssh/id_ed25519", ".aws/credentials", ".bashrc", ".cargo/credentials.toml", ".cargo/bin/tool"):
        box.write(f"home/{name}", "mine\n")
    box.write("home/.gitconfig", "[user]\n\tname = Me\n")
    box.write("home/.config/git/credentials", "https://u:p@h\n")
    box.write("home/.config/git/ignore", "*.o\n")
    box.write("home/.claude/.credentials.json", "mine\n")
    (box.home / ".local/bin").mkdir(parents=True)
    (box.home / ".local/bin/tool").symlink_to(box.home / ".cargo/bin/tool")
    paths = (".ssh", ".aws", ".bashrc", ".cargo", ".cargo/bin/tool", ".gitconfig", ".config/git/credentials")
    more = (".config/git/ignore", ".claude", ".local/bin/tool")
    profile = box.profile(keep=(".claude", ".cache/agent"), read=(*box.profile().read, ".cargo"))
    found = box.probe(
        LOOK + 'attempt("keep", lambda: open(os.path.expanduser("~/.claude/x"), "w").close())',
        *(box.home / name for name in (*paths, *more)),
        profile=profile,
    )
    told = {str(Path(path).relative_to(box.home)): text for path, text in found.items() if path.startswith("/")}
    assert told == {
        **dict.fromkeys((".ssh", ".aws", ".bashrc"), "ENOENT"),
        ".cargo": ["bin", "credentials.toml"],
        ".cargo/bin/tool": "mine\n",
        ".gitconfig": "[user]\n\tname = Me\n",
        ".config/git/credentials": "",
        ".config/git/ignore": "*.o\n",
        ".claude": [],
        ".local/bin/tool": "mine\n",
    }
    assert (box.kept / ".claude/x").exists()
    assert not (box.home / ".claude/x").exists()
    assert box.probe(LOOK, box.home / ".claude", profile=profile) == {str(box.home / ".claude"): ["x"]}


def test_what_a_sandbox_leaves_in_its_own_folder_leads_nowhere(box: Box) -> None:
    """A link in a kept folder is the next sandbox's own affair: no mount goes through it."""
    profile = box.profile(keep=(".config/agent",))
    box.write("home/.ssh/id_ed25519", "mine\n")
    code = 'os.rmdir(sys.argv[1]) if False else os.symlink(sys.argv[2], sys.argv[1] + "/link")'
    box.probe(code, box.home / ".config/agent", box.home / ".ssh", profile=profile)
    found = box.probe(LOOK, box.home / ".config/agent/link/id_ed25519", box.home / ".config/agent", profile=profile)
    assert list(found.values()) == ["ENOENT", ["link"]]


def test_names_with_secrets_look_empty(box: Box) -> None:
    box.write("project/.env", "KEY=1\n")
    box.write("project/deep/er/.env.local", "KEY=1\n")
    box.write("project/.env.example", "KEY=\n")
    box.write("project/key.pem", "-----BEGIN PRIVATE KEY-----\n")
    box.write("project/cert.pem", "-----BEGIN CERTIFICATE-----\n")
    box.write("project/.aws/credentials", "KEY=1\n")
    box.write("project/plain/inner.txt", "KEY=1\n")
    (box.project / "link").symlink_to(".env")
    (box.project / "plain/.env").symlink_to("inner.txt")
    (box.project / "id_rsa").symlink_to("/etc/hostname")
    names = (".env", "deep/er/.env.local", "key.pem", ".aws", "link", "plain/inner.txt", ".env.example", "cert.pem")
    found = box.probe(LOOK + 'attempt("write", lambda: open(".env", "w").close())', *names)
    assert {name: found[name] for name in names[:6]} == {**dict.fromkeys(names[:6], ""), ".aws": []}
    assert (found[".env.example"], found["cert.pem"]) == ("KEY=\n", "-----BEGIN CERTIFICATE-----\n")
    assert found["write"] == "EROFS"
    assert (box.project / ".env").read_text() == "KEY=1\n"


def test_a_socket_in_the_project_does_not_lead_out(box: Box) -> None:
    listener = socket.socket(socket.AF_UNIX)
    path = box.project / "app.sock"
    listener.bind(str(path))
    listener.listen()
    path.chmod(0o777)
    found = box.probe('attempt("connect", socket.socket(socket.AF_UNIX).connect, "app.sock")')
    listener.close()
    assert found["connect"] in {"ECONNREFUSED", "EACCES"}


@pytest.mark.parametrize("name", ["with space", "ümläut-日本", "quote'\"$(x)", "-dash"])
def test_a_project_works_under_any_name(box: Box, name: str) -> None:
    project = box.write(f"{name}/policies/web.yaml").parents[1]
    found = box.probe(
        'found["here"] = os.getcwd()\nattempt("write", lambda: open("x", "w").close())',
        project=project,
        workdir=project,
        protected=(project / "policies/web.yaml",),
    )
    assert found == {"here": str(project), "write": "done"}


def test_a_home_and_a_project_behind_links_are_found_by_both_names(box: Box) -> None:
    (box.root / "h").symlink_to("home")
    (box.home / "work").symlink_to(box.project)
    found = box.probe(
        'found["home"] = os.environ["HOME"]\nfound["here"] = os.getcwd()\n'
        'attempt("write", lambda: open(sys.argv[1] + "/x", "w").close())',
        box.root / "h/work",
        home=box.root / "h",
        project=box.root / "h/work",
        workdir=box.root / "h/work",
    )
    assert found == {"home": str(box.home), "here": str(box.project), "write": "done"}


def test_git_works_inside(box: Box) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "init", "-q", "-b", "main", box.project], check=True, env=environment)
    (box.project / ".git/hooks").rename(box.project / ".git/not-hooks")
    script = """set -e
git config --global user.email a@b; git config --global user.name n
echo 1 > a; git add a; git commit -qm one; git switch -qc topic; git mv a b; git commit -qm two
git stash list; git gc -q; git worktree list | wc -l; git log --oneline | wc -l
! git config core.hooksPath /tmp/evil 2>/dev/null && ! touch .git/hooks/post-commit 2>/dev/null && echo held"""
    done = box.run(["sh", "-c", script])
    assert (done.stdout.split(), done.returncode) == (["1", "2", "held"], 0), done.stderr
    assert list((box.project / ".git/hooks").iterdir()) == []


def test_a_worktree_works_and_the_hooks_of_its_repository_are_held(box: Box) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "GIT_CONFIG_GLOBAL": "/dev/null"}
    environment |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    main = box.root / "main"
    for command in (["init", "-q", "."], ["commit", "-qm", "x", "--allow-empty"], ["worktree", "add", "-q", "../tree"]):
        main.mkdir(exist_ok=True)
        subprocess.run(["git", *command], cwd=main, check=True, env=environment)
    tree = box.root / "tree"
    script = """git config --global user.email a@b; git config --global user.name n
echo 1 > a && git add a && git commit -qm two && git log --oneline | wc -l
touch ../main/.git/hooks/x || echo x > .git || mv ../main/.git/worktrees/tree/commondir /tmp || echo held"""
    done = box.run(["sh", "-c", script], project=tree, workdir=tree)
    assert done.stdout.split() == ["2", "held"], done.stderr


def test_the_interpreter_is_there(box: Box) -> None:
    box.write("python/bin/tool", "ours\n")
    found = box.probe(LOOK, box.root / "python/bin/tool", interpreter=box.root / "python")
    assert list(found.values()) == ["ours\n"]
    assert box.run([PYTHON, "-c", "print(1)"]).stdout == "1\n"
