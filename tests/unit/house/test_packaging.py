"""Distributions are complete: packages, stubs, type markers, the wire document."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from nlbus.cli.man import pages

ROOT = Path(__file__).parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPILED = sorted(ROOT.glob("nlbus/**/*.pyx"))


def test_every_package_is_included() -> None:
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("nlbus/**/__init__.py")}
    found = find_packages(str(ROOT), **PYPROJECT["tool"]["setuptools"]["packages"]["find"])
    assert set(found) == packages


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_a_compiled_module_has_its_stub(path: Path) -> None:
    assert path.with_suffix(".pyi").exists()


def test_the_package_has_a_type_marker() -> None:
    assert (ROOT / "nlbus/py.typed").exists()


def test_numpy_is_the_only_dependency_at_run_time() -> None:
    assert [need.split(">")[0] for need in PYPROJECT["project"]["dependencies"]] == ["numpy"]


def test_the_benchmarks_c_sources_are_included_and_compile(tmp_path: Path, wheel: Path) -> None:
    native = wheel / "nlbus/bench/native"
    assert not (native / "nlbus.h").is_symlink()
    for name in ("floor", "latency"):
        command = ["cc", "-Werror", f"-I{native}", "-c", "-o", str(tmp_path / f"{name}.o")]
        subprocess.run([*command, str(native / f"{name}.c")], check=True)
    libraries = {path.name for path in (wheel / "nlbus/bench/libraries").glob("*.[ch]")}
    assert libraries == {"library.h", "libmnl.c", "libnl.c"}


def test_a_wheel_has_the_manual_pages_where_man_finds_them(wheel: Path) -> None:
    (folder,) = wheel.glob("*.data/data/share/man/man1")
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict(pages())


def test_a_wheel_has_every_module_and_the_command_and_nothing_else(wheel: Path) -> None:
    names = {path.relative_to(wheel).parts[0] for path in wheel.rglob("*") if path.is_file()}
    version = PYPROJECT["project"]["version"]
    assert names == {"nlbus", "pytest_nlbus.py", f"nlbus-{version}.data", f"nlbus-{version}.dist-info"}
    for pattern in ("*.py", "*.pyi", "*.pxd", "*.so", "py.typed", "words.json"):
        assert inside(wheel, pattern) == inside(ROOT, pattern)
    assert not inside(wheel, "*.pyx")
    for words in (["-m", "nlbus", "sources", "bus"], ["-c", "import nlbus; print(nlbus.__file__)"]):
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=True, cwd=wheel.parent,
            env={**os.environ, "PYTHONPATH": str(wheel)},
        )  # fmt: skip
    assert done.stdout.startswith(str(wheel))


def inside(folder: Path, pattern: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in (folder / "nlbus").rglob(pattern)}
