"""Distributions are complete: packages, stubs, type markers, the wire document."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

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


def test_the_benchmarks_c_sources_are_included_and_compile(tmp_path: Path) -> None:
    setup = ["setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path), "build_py"]
    subprocess.run([sys.executable, *setup, "--build-lib", str(tmp_path / "lib")], check=True, cwd=ROOT)
    native = tmp_path / "lib/nlbus/bench/native"
    assert not (native / "nlbus.h").is_symlink()
    for name in ("floor", "latency"):
        command = ["cc", "-Werror", f"-I{native}", "-c", "-o", str(tmp_path / f"{name}.o")]
        subprocess.run([*command, str(native / f"{name}.c")], check=True)
    libraries = {path.name for path in (tmp_path / "lib/nlbus/bench/libraries").glob("*.[ch]")}
    assert libraries == {"library.h", "libmnl.c", "libnl.c"}
