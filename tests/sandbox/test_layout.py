"""Where a sandbox's files come from: laid out, and not made."""

import os
import socket
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.sandbox.layout import Layout, Mount, MountKind, kept_folder, lay_out
from proxy.sandbox.masks import MAX_MASKS
from tests.sandbox.box import Box


def at(layout: Layout, path: Path) -> Mount | None:
    return next((mount for mount in layout.mounts if mount.target == str(path)), None)


def kinds(layout: Layout, root: Path) -> dict[str, str]:
    """The entries in a folder, by their path from there on."""
    below = [mount for mount in layout.mounts if Path(mount.target).is_relative_to(root)]
    return {str(Path(mount.target).relative_to(root)): mount.kind.name for mount in below}


def test_parents_come_before_what_is_in_them(paper: Box) -> None:
    paper.write("project/a/b/policy.yaml")
    layout = lay_out(paper.wanted(protected=(paper.project / "a/b/policy.yaml",)))
    targets = [Path(mount.target) for mount in layout.mounts]
    assert len(set(targets)) == len(targets)
    for index, target in enumerate(targets):
        assert not set(targets[index + 1 :]) & set(target.parents)


def test_every_folder_above_what_is_held_is_a_mount_point(paper: Box) -> None:
    paper.write("project/a/b/policy.yaml")
    paper.write("project/a/c/token")
    paper.write("project/.vscode/tasks.json")
    layout = lay_out(
        paper.wanted(protected=(paper.project / "a/b/policy.yaml",), secret=(paper.state, paper.project / "a/c/token"))
    )
    assert kinds(layout, paper.project) == {
        ".": "RW",
        ".vscode": "RO",
        "a": "RW",
        "a/b": "RO",
        "a/c": "HIDDEN",
    }
    assert (layout.hidden, layout.readonly) == (("a/c",), (".vscode", "a/b"))


@pytest.mark.parametrize("kind", ["protected", "secret"])
def test_a_file_that_the_host_could_replace_in_the_project_itself_is_refused(paper: Box, kind: str) -> None:
    """A rename over a mount point takes the mount away, and the project's own folder has to be writable."""
    file = paper.write("project/policy.yaml")
    with pytest.raises(ConfigError, match="project's own folder, where it cannot be held"):
        lay_out(paper.wanted(**{kind: (file,)}))


def test_a_policy_in_a_read_only_folder_does_not_open_it(paper: Box) -> None:
    policy = paper.write("project/.vscode/deep/policy.yaml")
    layout = lay_out(paper.wanted(protected=(policy,)))
    assert kinds(layout, paper.project) == {".": "RW", ".vscode": "RO", ".vscode/deep": "RO"}


def test_a_policy_in_a_masked_folder_stays_masked(paper: Box) -> None:
    policy = paper.write("project/.aws/policy.yaml")
    layout = lay_out(paper.wanted(protected=(policy,)))
    assert kinds(layout, paper.project) == {".": "RW", ".aws": "HIDDEN"}


@pytest.mark.parametrize(
    "place",
    ["/", "/usr", "/usr/lib/x", "/etc", "/tmp", "/home", "/var/lib", "/proc/1", "/usr/src"],  # noqa: S108
)
def test_a_folder_of_the_system_is_no_project(paper: Box, place: str) -> None:
    if not Path(place).is_dir():
        pytest.skip("not on this machine")
    with pytest.raises(ConfigError, match=r"the project is a folder (of the system|that holds the home)"):
        lay_out(paper.wanted(project=Path(place), workdir=Path(place)))


def test_the_home_is_no_project_and_neither_is_what_holds_it(paper: Box) -> None:
    for place in (paper.home, paper.root):
        with pytest.raises(ConfigError, match="the home folder"):
            lay_out(paper.wanted(project=place, workdir=place))


def test_a_project_in_the_home_is_shown_and_its_neighbours_are_not(paper: Box) -> None:
    project = paper.write("home/src/app/main.py").parent
    paper.write("home/src/other/main.py")
    layout = lay_out(paper.wanted(project=project, workdir=project))
    assert {name: kind for name, kind in kinds(layout, paper.home).items() if "." not in name[1:]} == {
        ".": "TMPFS",
        "src/app": "RW",
    }


@pytest.mark.parametrize("link", ["project/policies", "project/policies/web.yaml"])
def test_a_policy_behind_a_link_in_the_project_is_refused(paper: Box, link: str) -> None:
    paper.write("elsewhere/web.yaml")
    place = paper.root / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(paper.root / "elsewhere" / ("web.yaml" if link.endswith("yaml") else ""))
    for options in (
        {"protected": (paper.project / "policies/web.yaml",)},
        {"secret": (paper.project / "policies/web.yaml",)},
    ):
        with pytest.raises(ConfigError, match="a symbolic link in the project"):
            lay_out(paper.wanted(**options))


def test_a_policy_that_is_reached_through_the_project_from_outside_is_refused(paper: Box) -> None:
    paper.write("project/real/web.yaml")
    (paper.project / "turn").symlink_to("real")
    (paper.root / "policy.yaml").symlink_to(paper.project / "turn/web.yaml")
    with pytest.raises(ConfigError, match="a symbolic link in the project"):
        lay_out(paper.wanted(protected=(paper.root / "policy.yaml",)))


def test_what_could_be_made_inside_is_refused(paper: Box) -> None:
    with pytest.raises(ConfigError, match="does not exist, so the sandbox could make it"):
        lay_out(paper.wanted(protected=(paper.project / "later.yaml",)))


def test_a_secret_that_holds_the_project_is_refused(paper: Box) -> None:
    for options in ({"secret": (paper.project,)}, {"secret": (paper.root,)}, {"protected": (paper.project,)}):
        with pytest.raises(ConfigError, match="the project is in a folder that the sandbox must not change or see"):
            lay_out(paper.wanted(**options))


def test_a_secret_that_holds_what_is_needed_is_refused(paper: Box) -> None:
    paper.write("project/sub/file")
    with pytest.raises(ConfigError, match="needs, is in it"):
        lay_out(paper.wanted(workdir=paper.project / "sub", secret=(paper.project / "sub",)))
    with pytest.raises(ConfigError, match="needs, is in it"):
        lay_out(paper.wanted(secret=(paper.home,)))


def test_with_nested_nothing_in_the_project_can_be_protected(paper: Box) -> None:
    policy = paper.write("project/policy.yaml")
    for options in ({"protected": (policy,)}, {"secret": (policy,)}):
        with pytest.raises(ConfigError, match="could be replaced"):
            lay_out(paper.wanted(profile=paper.profile(nested=True), **options))


@pytest.mark.parametrize(
    "folder",
    ["/run", "/tmp/x", "/proc", "/sys/fs", "/", "/var/run/docker.sock", "~", "~/x", "state"],  # noqa: S108
)
def test_a_profile_opens_no_folder_that_leads_out(paper: Box, folder: str) -> None:
    text = str(paper.state) if folder == "state" else folder.replace("~", str(paper.home))
    with pytest.raises(ConfigError, match="`system` cannot show"):
        lay_out(paper.wanted(profile=paper.profile(system=(text,))))


def test_a_profile_adds_a_folder_of_the_system(paper: Box) -> None:
    layout = lay_out(paper.wanted(profile=paper.profile(system=("/var/lib", "/var/lib/none"))))
    assert at(layout, Path("/var/lib")) == Mount(MountKind.RO, "/var/lib", "/var/lib")


@pytest.mark.parametrize("name", [".ssh", ".ssh/config", ".aws/credentials", ".config/gh"])
def test_a_profile_reads_no_place_of_secrets(paper: Box, name: str) -> None:
    with pytest.raises(ConfigError, match="where secrets are"):
        lay_out(paper.wanted(profile=paper.profile(read=(name,))))


def test_a_link_in_the_home_is_followed_where_that_is_safe(paper: Box) -> None:
    paper.write("home/dotfiles/gitconfig", "[user]\n")
    paper.write("home/.ssh/id_rsa")
    paper.write("project/planted")
    paper.write("outside")
    (paper.home / ".gitconfig").symlink_to("dotfiles/gitconfig")
    for name, target in {
        "a": ".ssh/id_rsa",
        "b": paper.project / "turn",
        "c": paper.root / "outside",
        "d": "/etc/passwd",
    }.items():
        (paper.home / name).symlink_to(target)
    (paper.project / "turn").symlink_to(paper.home / "dotfiles/gitconfig")
    layout = lay_out(paper.wanted(profile=paper.profile(read=(".gitconfig", "a", "b", "c", "d", "none"))))
    shown = kinds(layout, paper.home)
    assert shown == {".": "TMPFS", ".gitconfig": "RO"}
    mount = at(layout, paper.home / ".gitconfig")
    assert mount is not None
    assert mount.source == str(paper.home / "dotfiles/gitconfig")


def test_git_settings_with_a_token_in_them_are_not_shown(paper: Box) -> None:
    paper.write("home/.gitconfig", '[url "https://me:token@git.example.com/"]\n\tinsteadOf = x\n')
    assert at(lay_out(paper.wanted()), paper.home / ".gitconfig") is None


def test_what_is_kept_lies_side_by_side(paper: Box) -> None:
    names = (".config/agent", ".config%agent", ".config%2Fagent")
    folders = {kept_folder(paper.kept, name) for name in names}
    assert len(folders) == 3
    assert {folder.parent for folder in folders} == {paper.kept}
    layout = lay_out(paper.wanted(profile=paper.profile(keep=names[:1])))
    mount = at(layout, paper.home / names[0])
    assert mount == Mount(MountKind.RW, str(paper.home / names[0]), str(kept_folder(paper.kept, names[0])))


def test_a_link_in_the_place_of_a_kept_folder_is_refused(paper: Box) -> None:
    kept_folder(paper.kept, ".agent").symlink_to(paper.home)
    with pytest.raises(ConfigError, match="what a sandbox keeps is a folder"):
        lay_out(paper.wanted(profile=paper.profile(keep=(".agent",))))


def test_path_holds_what_can_be_seen(paper: Box) -> None:
    (paper.home / ".local/bin").mkdir(parents=True)
    (paper.home / "private/bin").mkdir(parents=True)
    (paper.project / "bin").mkdir()
    (paper.root / "bin").symlink_to("/usr/bin")
    entries = ("", ".", "bin", f"{paper.home}/.local/bin", f"{paper.home}/private/bin", f"{paper.project}/bin")
    layout = lay_out(paper.wanted(search_path=(*entries, f"{paper.root}/bin", "/usr/bin", "/nowhere", "/run", "/bin")))
    seen = (f"{paper.home}/.local/bin", f"{paper.project}/bin", "/usr/bin", "/bin")
    assert layout.path == seen


def test_the_python_of_outgate_shows_no_home(paper: Box) -> None:
    for place in (paper.home, paper.root):
        with pytest.raises(ConfigError, match="would show the home folder"):
            lay_out(paper.wanted(interpreter=place))


def test_a_hidden_name_that_is_a_link_masks_nothing_that_is_needed(paper: Box) -> None:
    """A sandbox can leave links for the next one."""
    paper.write("project/src/main.py")
    for name, target in {
        ".env": ".",
        ".netrc": "src",
        ".npmrc": "/usr/bin/git",
        "id_rsa": "src/main.py",
        ".aws": "src",
    }.items():
        (paper.project / name).symlink_to(target)
    assert lay_out(paper.wanted()).hidden == ("src/main.py",)


def test_a_folder_that_would_be_masked_is_no_place_to_work(paper: Box) -> None:
    paper.write("project/.aws/sub/x")
    with pytest.raises(ConfigError, match="the working folder is masked"):
        lay_out(paper.wanted(workdir=paper.project / ".aws/sub"))


def test_too_many_files_are_said_and_not_waited_for(paper: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.sandbox.masks.MAX_ENTRIES", 20)
    paper.write("project/.env")
    for index in range(30):
        paper.write(f"project/many/{index}/x")
    layout = lay_out(paper.wanted())
    assert layout.hidden == (".env",)
    assert "was not searched for secrets" in layout.notes[0]


def test_too_many_secrets_are_said(paper: Box) -> None:
    for index in range(MAX_MASKS + 1):
        paper.write(f"project/{index:04}/.env")
    layout = lay_out(paper.wanted())
    assert len(layout.hidden) == MAX_MASKS
    assert "was not searched for secrets" in layout.notes[0]


def test_nothing_on_the_machine_is_changed(paper: Box) -> None:
    paper.write("project/.env")
    before = sorted(os.walk(paper.root))
    lay_out(paper.wanted(profile=paper.profile(keep=(".agent",))))
    assert sorted(os.walk(paper.root)) == before


def test_outgate_itself_is_held_where_it_is_in_the_project(paper: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next run on the host would start what a sandbox left there."""
    paper.write("project/tools/venv/bin/outgate")
    monkeypatch.setattr("sys.prefix", str(paper.project / "tools/venv"))
    layout = lay_out(paper.wanted())
    assert kinds(layout, paper.project) == {".": "RW", "tools": "RW", "tools/venv": "RO"}
    assert layout.readonly == ("tools/venv",)
    assert "Outgate runs from there" in layout.notes[0]
    with pytest.raises(ConfigError, match="could be replaced"):
        lay_out(paper.wanted(profile=paper.profile(nested=True)))


def test_a_working_folder_beyond_the_project_is_refused(paper: Box) -> None:
    with pytest.raises(ConfigError, match="not in the project"):
        lay_out(paper.wanted(workdir=paper.home))
    with pytest.raises(ConfigError, match="the project is not there"):
        lay_out(paper.wanted(project=paper.root / "none"))


def test_a_folder_of_the_host_s_path_is_not_written(paper: Box) -> None:
    """What is put there would be started on the host in the place of other programs."""
    paper.write("project/.venv/bin/python")
    missing = paper.project / "node_modules/.bin"
    found = lay_out(paper.wanted(search_path=(str(paper.project / ".venv/bin"), str(missing), "/usr/bin")))
    assert kinds(found, paper.project) == {".": "RW", ".venv": "RW", ".venv/bin": "RO"}
    assert ".venv/bin is read-only: it is in your PATH" in found.notes
    assert any(note.startswith("node_modules/.bin is in your PATH, and can be written") for note in found.notes)


@pytest.mark.parametrize("folder", [".", ".git", "node_modules/x", "target/.cache"])
def test_a_socket_that_somebody_listens_on_is_masked_wherever_it_is(paper: Box, folder: str) -> None:
    place = paper.project / folder
    place.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "s"))
        mount = at(lay_out(paper.wanted()), place / "s")
    assert mount is not None
    assert mount.kind is MountKind.HIDDEN


def test_settings_of_agents_are_held_where_they_exist(paper: Box) -> None:
    names = {".cursor/mcp.json", ".codex/config.toml", "opencode.json", "a.code-workspace", "outgate.yaml", ".kiro/x"}
    for name in names:
        paper.write(f"project/{name}")
    assert set(lay_out(paper.wanted()).readonly) == names - {".kiro/x"} | {".kiro"}


LOGIN = "https://me:word@r.example.com/"
TOKEN = "https://token@r.example.com/"


@pytest.mark.parametrize(
    ("name", "key", "address"),
    [
        (".npmrc", "//r.example.com/:_authToken=npm_0", "//r.example.com/:_authToken=${NPM_TOKEN}"),
        (".npmrc", "'_auth' = 'bWU6d29yZA=='", "registry=https://r.example.com/"),
        (".config/pip/pip.conf", "index-url = " + TOKEN, "index-url = " + TOKEN.replace("token", "ci:${WORD}")),
        (".config/uv/uv.toml", f'index-url = "{LOGIN}"', 'index-url = "https://r.example.com/"'),
        (".config/go/env", "GOPROXY=https://me:word@r.example.com", "GOPROXY=https://r.example.com"),
        (
            ".cargo/config.toml",
            '[registries.r]\ntoken = "x"',
            '[registries.r]\nindex = "sparse+https://r.example.com/"',
        ),
        (".gitconfig", '[url "https://ghp_0123456789012345678901@github.com/"]', "[user]\nname = Me"),
    ],
)
def test_settings_of_clients_are_shown_unless_they_hold_a_key(paper: Box, name: str, key: str, address: str) -> None:
    file = paper.write(f"home/{name}", key)
    found = lay_out(paper.wanted())
    assert str(file) not in {mount.target for mount in found.mounts}
    assert found.notes == (f"~/{name} is left out: it holds a key or a password",)
    file.write_text(address)
    found = lay_out(paper.wanted())
    assert str(file) in {mount.target for mount in found.mounts}
    assert found.notes == ()


def test_settings_of_git_in_a_folder_look_empty_if_they_hold_a_key(paper: Box) -> None:
    file = paper.write("home/.config/git/config", "[http]\nextraheader = Authorization: Basic x\n")
    paper.write("home/.config/git/ignore", "*.o\n")
    found = lay_out(paper.wanted())
    assert [mount.target for mount in found.mounts if mount.kind is MountKind.HIDDEN and mount.target == str(file)]
    assert found.notes == ("~/.config/git/config looks empty: it holds a key or a password",)


def test_the_index_of_a_virtual_environment_is_masked_if_it_has_a_login(paper: Box) -> None:
    paper.write("project/.venv/pip.conf", "index-url = " + LOGIN)
    paper.write("project/other/venv/pip.conf", "index-url = https://r.example.com/")
    assert lay_out(paper.wanted()).hidden == (".venv/pip.conf",)
