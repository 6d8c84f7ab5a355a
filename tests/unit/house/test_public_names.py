"""The public names: imported when they are used, the same for people, type checkers and completion."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import nlbus

ROOT = Path(__file__).parents[3]
MODULES = ("nlbus.schema", "nlbus.schema.types", "nlbus.sources", "nlbus.sources.source")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_public_name_is_found_where_type_checkers_see_it() -> None:
    tree = ast.parse((ROOT / "nlbus/__init__.py").read_text())
    found = [node for each in tree.body if isinstance(each, ast.If) for node in each.body]
    seen = {}
    for node in found:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nlbus."):
            seen |= {alias.name: str(node.module) for alias in node.names}
    assert sorted(seen) == sorted(nlbus.__all__)
    for name, module in seen.items():
        __import__(module)
        assert getattr(nlbus, name) is getattr(sys.modules[module], name)


def test_completion_shows_public_names_only() -> None:
    assert sorted(dir(nlbus)) == sorted([*nlbus.__all__, "__version__"])
    assert not any(isinstance(getattr(nlbus, name), ModuleType) for name in dir(nlbus))


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert nlbus.__version__ == project["version"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'nlbus' has no attribute 'subscriber'"):
        nlbus.subscriber  # type: ignore[attr-defined]  # noqa: B018


def test_importing_nlbus_imports_neither_numpy_nor_compiled_modules() -> None:
    code = "import sys, nlbus; print([n for n in sys.modules if n.split('.')[0] in ('numpy', 'click')"
    assert python(f"{code} or n.startswith('nlbus.')])") == "[]\n"


@pytest.mark.parametrize("module", MODULES)
def test_packages_do_not_hide_the_functions_of_their_names(module: str) -> None:
    """Whichever module of the packages is imported, and before or after the functions are used."""
    code = """
import importlib, nlbus
importlib.import_module({0!r})
assert callable(nlbus.schema) and callable(nlbus.sources)
importlib.import_module({0!r})
assert callable(nlbus.schema) and callable(nlbus.sources)
from nlbus import schema, sources
print(schema("route", "link").name)
"""
    assert python(code.format(module)) == "link\n"


@pytest.mark.parametrize(
    "name", ["aio", "capture", "diag", "errors", "faults", "listener", "module", "packet"]
)
def test_public_modules_need_no_import_of_their_own(name: str) -> None:
    assert python(f"import nlbus; print(nlbus.{name}.__name__)") == f"nlbus.{name}\n"
