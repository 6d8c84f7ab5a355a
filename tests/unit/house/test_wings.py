"""The floors of DESIGN.md: a file imports only from those below its own, sources never from each other.

A source is a file of nlbus/sources or a package there, whose own modules may import each other.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

FLOORS = {"_abi": 0, "_wire": 1, "_core": 2, "sources": 3, "bench": 5.8, "cli": 6, "__main__": 6}  # packages
INTEGRATIONS = frozenset({"aio", "capture", "diag", "faults", "listener", "procfs"})  # modules of floor 5
BASE = frozenset(
    {"_typing", "columns", "errors", "groups", "netlink", "request", "truesize"}
)  # for all, and themselves on nothing
BUS, INTEGRATION, ROOF = (
    4,
    5,
    5.5,
)  # ROOF: nlbus/__init__.py, which only benchmarks and the command line stand above
SHARED_BY_SOURCES = frozenset({"nlbus.sources.source", "nlbus.sources.present", "nlbus.sources.probe"})

CYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import[ \t]+(\([^)]*\)|[^#\n]*)|c?import[ \t]+([^#\n]+))",
    re.MULTILINE,
)
COMMENT_OR_TEXT = re.compile(r'"""[\s\S]*?"""|#[^\n]*')


def floor(module: str) -> float:
    """-1 for what every floor may import."""
    parts = module.split(".")
    if len(parts) == 1:
        return ROOF
    if parts[1] in BASE:
        return -1
    return FLOORS.get(parts[1], INTEGRATION if parts[1] in INTEGRATIONS else BUS)


def name_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def written(path: Path, package: str) -> Iterator[tuple[str, str]]:
    """(module, name imported from it or "") for every import or cimport, relative ones resolved."""
    text = path.read_text()
    if path.suffix in (".pyx", ".pxd"):
        for source, names, whole in CYTHON.findall(COMMENT_OR_TEXT.sub("", text)):
            for name in (names or whole).strip("()").split(","):
                if plain := name.split(" as ")[0].strip():
                    yield (resolve(source, package), plain) if source else (plain, "")
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve("." * node.level + (node.module or ""), package)
            yield from ((module, alias.name) for alias in node.names)


def resolve(module: str, package: str) -> str:
    dots = len(module) - len(module.lstrip("."))
    if not dots:
        return module
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - dots + 1], *filter(None, [module.lstrip(".")])])


def violations(root: Path) -> list[str]:
    """What the tree under root/nlbus imports and must not, as "importer: imported"."""
    paths = sorted(path for kind in ("py", "pyi", "pyx", "pxd") for path in root.glob(f"nlbus/**/*.{kind}"))
    modules = {name_of(path, root) for path in paths}
    wrong = []
    for path in paths:
        here = name_of(path, root)
        package = here if path.stem == "__init__" else here.rpartition(".")[0]
        for module, name in written(path, package):
            imported = f"{module}.{name}" if f"{module}.{name}" in modules else module
            if imported.split(".")[0] == "nlbus" and imported != here and not allowed(here, imported):
                wrong.append(f"{path.relative_to(root)}: {imported}")
    return wrong


def allowed(here: str, imported: str) -> bool:
    if floor(here) != floor(imported):
        return floor(imported) < floor(here)
    if here.startswith("nlbus.sources."):
        return imported in SHARED_BY_SOURCES or source_of(imported) == source_of(here)
    return True


def source_of(module: str) -> list[str]:
    """["nlbus", "sources", "route"], of the file or package itself and of all within it."""
    return module.split(".")[:3]


def test_nlbus_keeps_its_floors() -> None:
    assert violations(ROOT) == []


def test_there_is_something_to_check() -> None:
    seen = {
        (name_of(path, ROOT), module)
        for path in ROOT.glob("nlbus/**/*.py*")
        if path.suffix in (".py", ".pyx")
        for module, _ in written(path, "nlbus")
    }
    assert {
        ("nlbus._core.walk", "nlbus._abi.nlbus"),  # cimport
        ("nlbus._core.walk", "nlbus._wire.bus"),
        ("nlbus._core.receive", "nlbus._abi.socket"),  # over several lines
        ("nlbus._core.receive", "nlbus.errors"),  # import
        ("nlbus.batch", "nlbus._core.arena"),  # if TYPE_CHECKING
    } <= seen


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "nlbus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


GOOD = {
    "__init__.py": "from nlbus.topic import Topic\nfrom nlbus.aio import A",
    "errors.py": "import os",
    "groups.py": "from nlbus.errors import NlbusError",
    "topic.py": "from nlbus.groups import Groups\nfrom nlbus.sources import find\nfrom nlbus import batch",
    "batch.py": "from nlbus._core import gather",
    "_abi/netlink.pxd": "from libc.stdint cimport uint8_t",
    "_wire/cursor.pxd": "from nlbus._abi.netlink cimport nlmsghdr",
    "_core/gather.pyx": '"""\nfrom nlbus.topic import Topic\n"""\n# import nlbus.batch\ncimport nlbus._core',
    "_core/walk.pyx": "from nlbus.errors import NlbusError",
    "sources/__init__.py": "from nlbus.sources.route import ROUTE\nfrom .uevent import UEVENT",
    "sources/source.py": "from nlbus.groups import Groups",
    "sources/route.py": "from nlbus.sources.source import Source",
    "sources/uevent.py": "from .source import Source",
    "sources/xfrm/__init__.py": "from nlbus.sources.xfrm.names import NAMES\nfrom .names import OTHERS",
    "sources/xfrm/names.py": "from nlbus.sources.source import Source",
    "cli/__init__.py": "import nlbus\nfrom nlbus import Topic\nfrom nlbus.cli.listen import listen",
    "cli/listen.py": "from nlbus.sources import find",
}


def test_a_good_tree_passes(tmp_path: Path) -> None:
    assert violations(tree(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("file", "line", "imported"),
    [
        ("_abi/netlink.pxd", "from nlbus._wire.cursor cimport at", "nlbus._wire.cursor"),
        ("_wire/wire.pyx", "cimport nlbus._core.walk", "nlbus._core.walk"),
        ("_wire/wire.pyx", "from nlbus._core cimport (\n    walk,\n    gather)", "nlbus._core.gather"),
        ("_core/gather.pyx", "def f():\n    from nlbus.topic import Topic", "nlbus.topic"),
        ("_core/gather.pyi", "from nlbus.sources.source import Source", "nlbus.sources.source"),
        ("_core/gather.pyx", "from ..sources import route", "nlbus.sources.route"),
        ("sources/route.py", "from nlbus.sources.uevent import UEVENT", "nlbus.sources.uevent"),
        ("sources/route.py", "from . import uevent", "nlbus.sources.uevent"),
        ("sources/source.py", "from nlbus.sources import find", "nlbus.sources"),
        ("sources/xfrm/names.py", "from nlbus.sources.uevent import UEVENT", "nlbus.sources.uevent"),
        ("sources/xfrm/names.py", "from nlbus.sources import uevent", "nlbus.sources.uevent"),
        ("sources/xfrm/names.py", "from nlbus.sources import find", "nlbus.sources"),
        ("sources/uevent.py", "from nlbus.sources.xfrm.names import NAMES", "nlbus.sources.xfrm.names"),
        ("sources/uevent.py", "import os, nlbus.topic as t", "nlbus.topic"),
        ("sources/uevent.py", "def f():\n    import nlbus.batch", "nlbus.batch"),
        ("topic.py", "from nlbus.cli.listen import listen", "nlbus.cli.listen"),
        ("topic.py", "from nlbus import Subscriber", "nlbus"),
        ("errors.py", "from nlbus.topic import Topic", "nlbus.topic"),
        ("__init__.py", "from nlbus.cli import run", "nlbus.cli"),
    ],
)
def test_a_violation_is_found(file: str, line: str, imported: str, tmp_path: Path) -> None:
    assert f"nlbus/{file}: {imported}" in violations(tree(tmp_path, GOOD | {file: line}))
