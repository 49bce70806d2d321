"""What may know what. The contracts stand in pyproject.toml; the other tests say what import-linter cannot."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PRODUCT = sorted((*ROOT.glob("proxy/**/*.py"), *ROOT.glob("addons/**/*.py")))
WITHOUT_MITMPROXY = [
    file
    for file in (*PRODUCT, *sorted(ROOT.glob("examples/**/*.py")))
    if file.relative_to(ROOT).parts[0] != "addons" and file.relative_to(ROOT).parts[:2] != ("proxy", "engine")
]


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def names_used(file: Path) -> set[str]:
    """Every attribute, name and plain string in a file, so that `getattr(x, "y")` counts as `x.y` does."""
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def test_the_import_contracts_hold() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", WITHOUT_MITMPROXY, ids=name)
def test_only_the_engine_and_the_addons_import_mitmproxy(file: Path) -> None:
    assert [module for module in imported(file) if module.split(".")[0] == "mitmproxy"] == []


@pytest.mark.parametrize("package", ["proxy", "addons"])
def test_no_other_distribution_provides_our_import_names(package: str) -> None:
    # An editable install lists no files, so outgate itself may be missing here.
    assert set(packages_distributions().get(package, [])) <= {"outgate"}


def test_what_the_product_imports_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    modules = {module.split(".")[0] for file in PRODUCT for module in imported(file)}
    providers = packages_distributions()
    for module in modules - sys.stdlib_module_names - {"proxy", "addons"}:
        assert {canonicalize_name(found) for found in providers[module]} & declared, module


def test_our_import_names_are_this_tree() -> None:
    code = "import proxy, addons; print(proxy.__file__); print(addons.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True).stdout
    assert found.splitlines() == [str(ROOT / "proxy/__init__.py"), str(ROOT / "addons/__init__.py")]


@pytest.mark.parametrize("file", PRODUCT, ids=name)
def test_spoofable_names_are_never_read(file: Path) -> None:
    """mitmproxy's `pretty_host` and `pretty_url` prefer the client's Host header to the address that is dialled."""
    assert names_used(file) & {"pretty_host", "pretty_url"} == set()


@pytest.mark.parametrize("file", [file for file in PRODUCT if "credentials" not in file.parts], ids=name)
def test_a_secret_is_revealed_by_the_credentials_package_alone(file: Path) -> None:
    assert "reveal" not in names_used(file)


def test_no_addon_is_named_like_a_module_of_the_standard_library() -> None:
    assert {file.stem for file in ROOT.glob("addons/*.py")} & sys.stdlib_module_names == set()


def test_the_policy_core_loads_nothing_but_pure_modules() -> None:
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in ROOT.glob("proxy/policy/*.py")]
    code = f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {module.split(".")[0] for module in run.stdout.split()}
    assert len(modules) > 5
    assert loaded & {"mitmproxy", "asyncio", "socket", "ssl", "logging", "structlog", "yaml", "pydantic"} == set()
