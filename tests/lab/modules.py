"""The project's modules, built for one kernel in a folder of its own."""

import os
import shutil
from pathlib import Path

from tests.lab import apt
from tests.lab.kernels import Kernel

ROOT = Path(__file__).resolve().parents[2]


def build(kernel: Kernel, *settings: str) -> Path:
    """The folder with nlbus.ko and the others; compiles what changed. Prints what the compiler has to say."""
    there = ROOT / "build" / "kmod" / kernel.name
    wanted = set()
    for path in (ROOT / "kmod").rglob("*"):
        copy = there / path.relative_to(ROOT / "kmod")
        wanted.add(copy)
        if path.is_file() and not (copy.exists() and copy.stat().st_mtime_ns == path.stat().st_mtime_ns):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    for path in there.rglob("*.[ch]"):
        if path not in wanted and not path.name.endswith(".mod.c"):
            path.unlink()
    if not (there / "Kbuild").exists():
        return there  # nothing to build yet
    # Without the second setting kernels with BTF want pahole.
    apt.run("make", "-s", "-C", kernel.headers, f"M={there}", "CONFIG_DEBUG_INFO_BTF_MODULES=",
            f"-j{os.cpu_count()}", *kernel.settings, *settings, "modules")  # fmt: skip
    return there
