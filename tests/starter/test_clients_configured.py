"""What each client is configured to use, by its own files and variables. All names are examples."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.starter import debian, golang, node, python, rust
from proxy.starter.findings import Look, look
from proxy.starter.machine import Machine

LOOKS: Mapping[str, Look] = {
    "pip": python.pip,
    "uv": python.uv,
    "npm": node.npm,
    "cargo": rust.cargo,
    "go": golang.go,
    "apt": debian.apt,
}
SECRET = "https://user:S3C/RET@a.example.com/"
DEB822 = """\
# a comment
Types: deb
URIs: http://deb.example.com/debian
  http://deb.example.com/debian-security
Suites: stable

Types: deb
Enabled: no
URIs: http://off.example.com/debian

Types: deb
URIs: cdrom:[x]/ https://tls.example.com/debian
"""
ONE_LINE = """\
deb [arch=amd64 signed-by=/x] http://line.example.com/debian stable main
# deb http://comment.example.com/debian stable main
deb-src https://src.example.com/debian stable main
"""
REPLACED = """\
[source.crates-io]
replace-with = "a"
[source.a]
replace-with = "b"
[source.b]
registry = "sparse+https://crates.example.com/team/index/"
[source.unused]
registry = "https://unused.example.com/"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for name in ("project", "home", "etc"):
        (tmp_path / name).mkdir()
    return Machine(tmp_path / "project", tmp_path / "home", {}, tmp_path / "etc")


def put(machine: Machine, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = machine.etc.parent / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


PIP_ROWS: list[tuple[str, dict[str, str], dict[str, str], list[str]]] = [
    (
        "pip",
        {"home/.config/pip/pip.conf": "[global]\nindex-url=https://a.example.com/x/simple\n"},
        {},
        ["https://a.example.com/x"],
    ),
    (
        "pip",
        {"home/.pip/pip.conf": "[install]\nindex_url: https://a.example.com/simple/\n"},
        {},
        ["https://a.example.com"],
    ),
    (
        "pip",
        {"etc/pip.conf": "[global]\nextra-index-url=\n  https://a.example.com/\n  https://b.example.com/\n"},
        {},
        ["https://a.example.com", "https://b.example.com"],
    ),
    (
        "pip",
        {
            "etc/pip.conf": "[global]\nindex-url=https://a.example.com\n",
            "home/.config/pip/pip.conf": "[global]\nindex-url=https://b.example.com\n",
        },
        {},
        ["https://b.example.com"],
    ),
    (
        "pip",
        {"etc/pip.conf": "[global]\nindex-url=https://a.example.com\n"},
        {"PIP_INDEX_URL": "https://env.example.com:8443"},
        ["https://env.example.com:8443"],
    ),
    ("pip", {"etc/pip.conf": "[global]\nindex-url=https://a.example.com\n"}, {"PIP_CONFIG_FILE": os.devnull}, []),
    (
        "pip",
        {"project/own.conf": "[global]\nfind-links=https://a.example.com/wheels /local\n"},
        {"PIP_CONFIG_FILE": "own.conf"},
        ["https://a.example.com/wheels"],
    ),
    ("pip", {"etc/pip.conf": "[uninstall]\nindex-url=https://a.example.com\n"}, {}, []),
    ("uv", {}, {"UV_DEFAULT_INDEX": "https://a.example.com/simple"}, ["https://a.example.com"]),
    (
        "uv",
        {},
        {"UV_INDEX": "mine=https://a.example.com https://b.example.com/simple"},
        ["https://a.example.com", "https://b.example.com"],
    ),
    (
        "uv",
        {
            "home/.config/uv/uv.toml": '[[index]]\nurl = "https://a.example.com/q/simple"\n[pip]\nindex-url="https://b.example.com"'
        },
        {},
        ["https://a.example.com/q", "https://b.example.com"],
    ),
    (
        "uv",
        {"project/pyproject.toml": '[[tool.uv.index]]\nurl = "https://a.example.com"'},
        {},
        ["https://a.example.com"],
    ),
    (
        "uv",
        {"project/pyproject.toml": '[[tool.uv.index]]\nurl = "https://a.example.com"', "project/uv.toml": ""},
        {},
        [],
    ),
    ("uv", {"etc/uv/uv.toml": 'extra-index-url = ["https://a.example.com"]'}, {}, ["https://a.example.com"]),
    ("uv", {"etc/uv/uv.toml": 'index-url = "https://a.example.com"'}, {"UV_NO_CONFIG": "1"}, []),
]
NODE_ROWS: list[tuple[str, dict[str, str], dict[str, str], list[str]]] = [
    ("npm", {"home/.npmrc": "; c\nregistry = https://a.example.com/npm/\n"}, {}, ["https://a.example.com/npm"]),
    ("npm", {"home/.npmrc": "@acme:registry=https://a.example.com/\n"}, {}, ["https://a.example.com"]),
    (
        "npm",
        {"home/.npmrc": "registry=https://a.example.com"},
        {"npm_config_registry": "https://env.example.com"},
        ["https://env.example.com"],
    ),
    ("npm", {"home/.npmrc": "registry=${MINE}/x"}, {"MINE": "https://a.example.com"}, ["https://a.example.com/x"]),
    (
        "npm",
        {"home/.npmrc": "registry=https://a.example.com", "etc/npmrc": "registry=https://b.example.com"},
        {},
        ["https://a.example.com"],
    ),
    (
        "npm",
        {"home/.npmrc": "registry=https://a.example.com", "project/.npmrc": "registry=https://b.example.com"},
        {},
        ["https://a.example.com", "https://b.example.com"],
    ),
    (
        "npm",
        {"home/other": "registry=https://a.example.com"},
        {"NPM_CONFIG_USERCONFIG": "../home/other"},
        ["https://a.example.com"],
    ),
]
OTHER_ROWS: list[tuple[str, dict[str, str], dict[str, str], list[str]]] = [
    ("cargo", {"home/.cargo/config.toml": REPLACED}, {}, ["https://crates.example.com/team"]),
    ("cargo", {"home/.cargo/config": REPLACED}, {}, ["https://crates.example.com/team"]),
    (
        "cargo",
        {"own/config.toml": '[registries.x]\nindex = "sparse+https://a.example.com/i/"'},
        {"CARGO_HOME": "CARGO"},
        [],
    ),
    (
        "cargo",
        {"home/.cargo/config.toml": '[registries.x]\nindex = "sparse+https://a.example.com/i/"'},
        {},
        ["https://a.example.com/i"],
    ),
    ("cargo", {}, {"CARGO_REGISTRIES_MINE_INDEX": "sparse+https://a.example.com/index/"}, ["https://a.example.com"]),
    ("cargo", {"home/.cargo/config.toml": '[source.crates-io]\nreplace-with = "crates-io"'}, {}, []),
    ("cargo", {"home/.cargo/config.toml": "[source]\ncrates-io = 3\n[registries]\nx = []\n"}, {}, []),
    (
        "go",
        {},
        {"GOPROXY": "https://a.example.com|https://b.example.com/go,direct", "GOSUMDB": "off"},
        ["https://a.example.com", "https://b.example.com/go"],
    ),
    (
        "go",
        {
            "home/.config/go/env": "GOPROXY=https://a.example.com\nGOSUMDB=sum.example.com+abc+def https://b.example.com/sum\n"
        },
        {},
        ["https://a.example.com", "https://b.example.com/sum"],
    ),
    ("go", {}, {"GOSUMDB": "sum.example.com"}, ["https://sum.example.com"]),
    ("go", {"home/.config/go/env": "GOPROXY=https://a.example.com"}, {"GOENV": "off"}, []),
    (
        "apt",
        {"etc/apt/sources.list.d/x.sources": DEB822},
        {},
        ["http://deb.example.com/debian", "http://deb.example.com/debian-security", "https://tls.example.com/debian"],
    ),
    (
        "apt",
        {"etc/apt/sources.list": ONE_LINE},
        {},
        ["http://line.example.com/debian", "https://src.example.com/debian"],
    ),
    ("apt", {"etc/apt/sources.list.d/x.list.disabled": ONE_LINE}, {}, []),
]


@pytest.mark.parametrize(("client", "files", "environ", "wanted"), [*PIP_ROWS, *NODE_ROWS, *OTHER_ROWS])
def test_the_addresses_of_a_client(
    machine: Machine, client: str, files: dict[str, str], environ: dict[str, str], wanted: list[str]
) -> None:
    put(machine, files)
    machine.environ = environ
    assert [str(each.place) for each in LOOKS[client](machine)] == wanted


def test_what_the_project_says_is_told_apart_from_what_its_user_says(machine: Machine) -> None:
    put(machine, {"project/.npmrc": "registry=https://b.example.com", "home/.npmrc": "registry=https://a.example.com"})
    assert {str(each.place): each.project for each in node.npm(machine)} == {
        "https://a.example.com": False,
        "https://b.example.com": True,
    }
    machine.project = machine.home  # type: ignore[assignment]
    assert [each.project for each in node.npm(machine)] == [False]


def test_a_broken_file_is_a_remark_and_repeats_nothing(machine: Machine) -> None:
    put(
        machine,
        {
            "home/.config/pip/pip.conf": "S3CRET",
            "home/.config/uv/uv.toml": "S3CRET",
            "home/.cargo/config.toml": "[" * 5000,
            "home/.npmrc": f"registry={SECRET}\n",
        },
    )
    assert look(machine).found == ()
    assert machine.remarks == [
        "~/.config/pip/pip.conf: not a configuration file of pip",
        "~/.config/uv/uv.toml: not TOML",
        "npm, registry in ~/.npmrc: it holds an `@` behind its host",
        "~/.cargo/config.toml: not TOML",
    ]


def test_unreadable_files_are_remarks(machine: Machine) -> None:
    assert machine.home is not None
    (machine.home / ".npmrc").symlink_to(machine.home / ".npmrc")
    (machine.home / ".config/pip/pip.conf").mkdir(parents=True)
    (machine.home / ".cargo").mkdir()
    (machine.home / ".cargo/config.toml").write_bytes(b"\xff\xfe\xff")
    (machine.etc / "pip.conf").write_text("x" * ((1 << 20) + 1))
    os.mkfifo(machine.etc / "npmrc")
    assert look(machine).found == ()
    reasons = {line.rpartition(": ")[2] for line in machine.remarks}
    assert reasons == {"too many levels of symbolic links", "not a regular file", "not UTF-8", "larger than 1 MiB"}


def test_clients_are_asked_only_for_what_nothing_says(machine: Machine) -> None:
    asked: list[str] = []

    def ask(command: object) -> str | None:
        assert isinstance(command, tuple)
        asked.append(command[0])
        return {
            "python3": "https://py.example.com/simple\n",
            "npm": "https://js.example.com/\n",
            "go": json.dumps({"GOPROXY": "https://go.example.com,direct", "GOSUMDB": "sum.example.com"}),
        }.get(command[0])

    machine.ask = ask
    put(machine, {"project/package.json": "{}", "project/setup.py": "", "project/go.mod": "", "project/Cargo.toml": ""})
    found = look(machine)
    assert [str(each.place) for each in found.found] == [
        "https://py.example.com", "https://js.example.com", "https://go.example.com", "https://sum.example.com",
    ]  # fmt: skip
    assert found.unknown == ("cargo",)
    asked.clear()
    put(machine, {"home/.npmrc": "registry=https://a.example.com", "home/.cargo/config.toml": REPLACED})
    machine.environ = {"PIP_INDEX_URL": "file:///wheels", "GOPROXY": "off", "GOSUMDB": "off"}
    assert [str(each.place) for each in look(machine).found] == [
        "https://a.example.com",
        "https://crates.example.com/team",
    ]
    assert asked == ["git"]


def test_an_extra_index_does_not_replace_the_default(machine: Machine) -> None:
    machine.ask = lambda command: "https://py.example.com/simple" if command[0] == "python3" else None
    machine.environ = {"PIP_EXTRA_INDEX_URL": "https://extra.example.com"}
    put(machine, {"project/setup.py": ""})
    assert [str(each.place) for each in look(machine).found] == ["https://extra.example.com", "https://py.example.com"]


def test_without_a_home_the_rest_is_looked_at(machine: Machine) -> None:
    machine.home = None
    machine.environ = {"PIP_INDEX_URL": "https://a.example.com"}
    assert [str(each.place) for each in look(machine).found] == ["https://a.example.com"]
