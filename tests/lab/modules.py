"""Build the project's modules for one kernel in a folder of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab import apt
from tests.lab.kernels import ROOT, Kernel


class BuildError(Exception):
    """The modules do not compile; the message is the compiler's output."""


def folder(kernel: Kernel) -> Path:
    """The folder where modules are built for tests."""
    return ROOT / "build" / "kmod" / kernel.name


def build(kernel: Kernel) -> Path:
    """Compile what changed, and return the folder with all modules, the tests' own included."""
    apt.report(f"building the modules for {kernel.release}")
    print(make(kernel, folder(kernel), *kernel.settings), end="", file=sys.stderr)
    return folder(kernel)


def make(kernel: Kernel, there: Path, *settings: str) -> str:
    """Build all modules in one folder and return the compiler's output."""
    probe = there / "probe"
    copy(ROOT / "kmod", there)
    copy(ROOT / "tests" / "guest" / "probe", probe)
    said = ""
    symbols = f"KBUILD_EXTRA_SYMBOLS={there}/Module.symvers"
    for where, more in ((there, []), (probe, [f"NLBUS={there}", symbols])):
        # Without this setting, kernels with BTF require pahole.
        make = ["make", "-s", "-C", kernel.headers, f"M={where}", "CONFIG_DEBUG_INFO_BTF_MODULES="]
        command = [*kernel.shell, *make, f"-j{os.cpu_count()}", *more, *settings, "modules"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr
        if done.returncode:
            raise BuildError(said)
    return said


def copy(source: Path, there: Path) -> None:
    """Copy changed files, so that make compiles only those."""
    there.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        target = there / path.relative_to(source)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists() or target.stat().st_mtime_ns != path.stat().st_mtime_ns:
            shutil.copy2(path, target)
