"""The wings of nlbus/: a module imports only from its own wing and those before it; no circle of imports.

Imports for type checking and Cython's cimports count. Sources never import each other: a source is a file of
nlbus/sources or a package there, whose own modules may import each other.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# The way of the data, one line per step; "nlbus" is nlbus/__init__.py with the public names.
WINGS = """
    errors _typing _text
    _abi
    _wire
    _core _core.netsock _core.block
    _core.receive
    _core.send
    _core.output
    _core.columns
    _core.render
    _core.state
    _core.capture
    kernel
    schema
    sources
    ynl
    table
    filters
    bus
    capture
    listener aio diag module faults packet frames
    nlbus
    bench
    cli.render
    cli.shared
    cli.demo
    cli.actions
    cli.commands
    cli.main
    cli
    __main__
"""
ORDER = {wing: step for step, line in enumerate(WINGS.split("\n")) for wing in line.split()}
SHARED_BY_SOURCES = frozenset(
    f"nlbus.sources.{name}" for name in ("source", "existing", "probe", "netfilter")
)
MOST_MODULES = 17  # per folder, without its __init__: few enough to read at a glance

CYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import[ \t]+(\([^)]*\)|[^#\n]*)|c?import[ \t]+([^#\n]+))",
    re.MULTILINE,
)
COMMENT_OR_TEXT = re.compile(r'"""[\s\S]*?"""|#[^\n]*')


def step(module: str) -> int:
    """The position of a module's wing on the way of the data. KeyError for a module outside all wings."""
    parts = module.split(".")[1:] or ["nlbus"]
    return ORDER.get(".".join(parts[:2]), ORDER.get(parts[0], -1))


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


def imports(root: Path) -> dict[str, dict[str, str]]:
    """For each module under root/nlbus: the nlbus modules that it imports, and the importing file."""
    paths = sorted(path for kind in ("py", "pyi", "pyx", "pxd") for path in root.glob(f"nlbus/**/*.{kind}"))
    modules = {name_of(path, root) for path in paths}
    found: dict[str, dict[str, str]] = {module: {} for module in modules}
    for path in paths:
        here = name_of(path, root)
        package = here if path.stem == "__init__" else here.rpartition(".")[0]
        for module, name in written(path, package):
            imported = f"{module}.{name}" if f"{module}.{name}" in modules else module
            if imported.split(".")[0] == "nlbus" and imported != here:
                found[here].setdefault(imported, str(path.relative_to(root)))
    return found


def violations(root: Path) -> list[str]:
    """The forbidden imports under root/nlbus, as "importer: imported"."""
    found = imports(root)
    wrong = [f"{module}: of no wing" for module in sorted(found) if step(module) < 0]
    for here, imported in sorted(found.items()):
        wrong += [
            f"{file}: {module}" for module, file in sorted(imported.items()) if not allowed(here, module)
        ]
    return wrong + [f"circle: {' -> '.join(circle)}" for circle in circles(found)]


def allowed(here: str, imported: str) -> bool:
    if here.startswith("nlbus.sources.") and imported.startswith("nlbus.sources"):
        return imported in SHARED_BY_SOURCES or source_of(imported) == source_of(here)
    return step(imported) <= step(here)


def source_of(module: str) -> list[str]:
    """["nlbus", "sources", "route"] for a source's file or package and every module within."""
    return module.split(".")[:3]


def circles(found: dict[str, dict[str, str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or indirectly."""
    reached: dict[str, set[str]] = {}
    for module in found:
        seen, waiting = set[str](), [module]
        while waiting:
            for imported in found.get(waiting.pop(), {}):
                if imported not in seen:
                    seen.add(imported)
                    waiting.append(imported)
        reached[module] = seen
    groups = defaultdict(list)
    for module in sorted(found):
        if module in reached[module]:
            groups[frozenset(reached[module] & {m for m in found if module in reached[m]})].append(module)
    return sorted(groups.values())


def test_nlbus_keeps_the_order_of_its_wings() -> None:
    assert violations(ROOT) == []


def test_no_folder_has_too_many_modules() -> None:
    for folder in {path.parent for path in ROOT.glob("nlbus/**/*.py*")}:
        modules = {
            path.name.split(".")[0] for kind in ("py", "pyx", "pxd") for path in folder.glob(f"*.{kind}")
        }
        assert len(modules - {"__init__"}) <= MOST_MODULES, folder


def test_known_imports_are_found() -> None:
    seen = {(here, module) for here, imported in imports(ROOT).items() for module in imported}
    assert {
        ("nlbus._core.receive.walk", "nlbus._abi.nlbus"),  # cimport
        ("nlbus._core.receive.walk", "nlbus._wire.bus"),
        ("nlbus._core.receive.receiver", "nlbus._abi.socket"),  # over several lines
        ("nlbus._core.receive.receiver", "nlbus.errors"),  # import
        ("nlbus.table.query", "nlbus.table.received"),  # if TYPE_CHECKING
    } <= seen


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "nlbus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


GOOD = {
    "__init__.py": "from nlbus.schema.topic import Topic\nfrom nlbus.aio import A",
    "errors.py": "import os",
    "kernel/groups.py": "from nlbus.errors import NlbusError",
    "schema/topic.py": "from nlbus.kernel.groups import Groups",
    "bus/batch.py": "from nlbus._core.columns import records\nfrom nlbus.table.query import Query",
    "table/query.py": "from nlbus.sources import find",
    "aio.py": "from nlbus.bus import batch",
    "_abi/netlink.pxd": "from libc.stdint cimport uint8_t",
    "_wire/cursor.pxd": "from nlbus._abi.netlink cimport nlmsghdr",
    "_core/columns/records.pyx": '"""\nfrom nlbus.schema.topic import Topic\n"""\n# import nlbus.bus.batch',
    "_core/receive/walk.pyx": "from nlbus.errors import NlbusError",
    "sources/__init__.py": "from nlbus.sources.route import ROUTE\nfrom .uevent import UEVENT",
    "sources/source.py": "from nlbus.kernel.groups import Groups",
    "sources/route.py": "from nlbus.sources.source import Source",
    "sources/uevent.py": "from .source import Source",
    "sources/xfrm/__init__.py": "from nlbus.sources.xfrm.names import NAMES\nfrom .names import OTHERS",
    "sources/xfrm/names.py": "from nlbus.sources.source import Source",
    "cli/__init__.py": "import nlbus\nfrom nlbus import Topic",
    "cli/commands/listen.py": "from nlbus.sources import find\nfrom nlbus.cli.render import show",
    "cli/render/show.py": "",
}


def test_a_good_tree_passes(tmp_path: Path) -> None:
    assert violations(tree(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("file", "line", "imported"),
    [
        ("_abi/netlink.pxd", "from nlbus._wire.cursor cimport at", "nlbus._wire.cursor"),
        ("_wire/wire.pyx", "cimport nlbus._core.receive.walk", "nlbus._core.receive.walk"),
        (
            "_wire/wire.pyx",
            "from nlbus._core.receive cimport (\n    one,\n    walk)",
            "nlbus._core.receive.walk",
        ),
        ("_core/receive/walk.pyx", "from nlbus._core.columns cimport records", "nlbus._core.columns.records"),
        ("_core/columns/records.pyx", "def f():\n    from nlbus.schema.topic import T", "nlbus.schema.topic"),
        ("_core/columns/records.pyi", "from nlbus.sources.source import Source", "nlbus.sources.source"),
        ("_core/columns/records.pyx", "from ...sources import route", "nlbus.sources.route"),
        ("sources/route.py", "from nlbus.sources.uevent import UEVENT", "nlbus.sources.uevent"),
        ("sources/route.py", "from . import uevent", "nlbus.sources.uevent"),
        ("sources/source.py", "from nlbus.sources import find", "nlbus.sources"),
        ("sources/xfrm/names.py", "from nlbus.sources.uevent import UEVENT", "nlbus.sources.uevent"),
        ("sources/xfrm/names.py", "from nlbus.sources import uevent", "nlbus.sources.uevent"),
        ("sources/xfrm/names.py", "from nlbus.sources import find", "nlbus.sources"),
        ("sources/uevent.py", "from nlbus.sources.xfrm.names import NAMES", "nlbus.sources.xfrm.names"),
        ("sources/uevent.py", "import os, nlbus.bus.batch as t", "nlbus.bus.batch"),
        ("sources/uevent.py", "def f():\n    import nlbus.bus.batch", "nlbus.bus.batch"),
        ("table/query.py", "if TYPE_CHECKING:\n    from nlbus.bus.batch import Batch", "nlbus.bus.batch"),
        ("schema/topic.py", "from nlbus.cli.commands.listen import listen", "nlbus.cli.commands.listen"),
        ("schema/topic.py", "from nlbus import Subscriber", "nlbus"),
        ("cli/render/show.py", "from nlbus.cli.commands.listen import listen", "nlbus.cli.commands.listen"),
        ("errors.py", "from nlbus.schema.topic import Topic", "nlbus.schema.topic"),
        ("__init__.py", "from nlbus.cli import run", "nlbus.cli"),
    ],
)
def test_a_violation_is_found(file: str, line: str, imported: str, tmp_path: Path) -> None:
    assert f"nlbus/{file}: {imported}" in violations(tree(tmp_path, GOOD | {file: line}))


@pytest.mark.parametrize(
    "line",
    [
        "from nlbus.table.query import Q",
        "if TYPE_CHECKING:\n    from . import query",
        "import nlbus.table.query",
    ],
)
def test_a_circle_is_found(line: str, tmp_path: Path) -> None:
    files = GOOD | {"table/query.py": "from nlbus.table import chunks", "table/chunks.py": line}
    assert violations(tree(tmp_path, files)) == ["circle: nlbus.table.chunks -> nlbus.table.query"]


def test_a_module_outside_all_wings_is_found(tmp_path: Path) -> None:
    assert violations(tree(tmp_path, GOOD | {"attic.py": ""})) == ["nlbus.attic: of no wing"]


def foreign_private_names(path: Path) -> list[str]:
    """Private attributes that a module reads from objects of classes defined elsewhere."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    private = [node for node in nodes if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)]
    for node in private:
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            own.add(node.attr)
    return [f"{path.name}: {ast.unparse(node)}" for node in private if node.attr not in own | NAMEDTUPLE]


NAMEDTUPLE = {"_asdict", "_fields", "_replace"}


def test_no_module_reads_private_names_of_another_class() -> None:
    assert [name for path in ROOT.glob("nlbus/**/*.py") for name in foreign_private_names(path)] == []
