"""The project's modules, built for one kernel in a folder of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab import apt
from tests.lab.kernels import ROOT, Kernel


class BuildError(Exception):
    """The modules do not compile; with all that was said."""


def folder(kernel: Kernel) -> Path:
    """Where they are built for tests."""
    return ROOT / "build" / "kmod" / kernel.name


def build(kernel: Kernel) -> Path:
    """The folder with nlbus.ko and the others, and with the tests' own module; compiles what changed."""
    apt.report(f"building the modules for {kernel.release}")
    print(make(kernel, folder(kernel), *kernel.settings), end="", file=sys.stderr)
    return folder(kernel)


def make(kernel: Kernel, there: Path, *settings: str) -> str:
    """Build all in one folder. What the compiler says."""
    probe = there / "probe"
    copy(ROOT / "kmod", there)
    copy(ROOT / "tests" / "guest" / "probe", probe)
    said = ""
    symbols = f"KBUILD_EXTRA_SYMBOLS={there}/Module.symvers"
    for where, more in ((there, []), (probe, [f"NLBUS={there}", symbols])):
        # Without this setting kernels with BTF want pahole.
        make = ["make", "-s", "-C", kernel.headers, f"M={where}", "CONFIG_DEBUG_INFO_BTF_MODULES="]
        command = [*kernel.shell, *make, f"-j{os.cpu_count()}", *more, *settings, "modules"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr
        if done.returncode:
            raise BuildError(said)
    return said


def copy(source: Path, there: Path) -> None:
    """What has changed since the last time, so that make compiles no more than that."""
    there.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        target = there / path.relative_to(source)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists() or target.stat().st_mtime_ns != path.stat().st_mtime_ns:
            shutil.copy2(path, target)
