"""Debian's kernels and their headers, in a cache outside the work tree."""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import apt, trixie
from tests.lab.apt import Unavailable

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nlbus"
IMAGE = r"linux-image-{series}\.\d\S*-cloud-amd64"
PARTS = r"linux-(image|binary|modules|headers|kbuild|compiler|base)-\d\S*"


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot and to build modules for."""

    name: str  # a series of Debian's, or "debug"
    release: str
    image: Path  # for QEMU
    headers: Path  # for make -C
    modules: Path  # /lib/modules of the guest
    options: str = ""  # for the kernel's command line
    settings: tuple[str, ...] = ()  # for make of modules
    memory: int = 2048  # MiB of a guest
    shell: tuple[str, ...] = ()  # prefix of make


@contextlib.contextmanager
def alone(name: str) -> Iterator[Path]:
    """The cache folder `name`, locked against other processes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield CACHE / name


def kernel(series: str) -> Kernel:
    """Debian's newest kernel of a series ("6.1"); without network, the newest in the cache."""
    with alone(f"debian-{series}") as folder:
        try:
            release = fetch(series, folder)
        except Unavailable:
            have = [path.name for path in folder.glob("[0-9]*") if (path / ".complete").exists()]
            if not have:
                raise
            release = max(have, key=apt.numbers)
        return load(series, release, folder / release)


def fetch(series: str, folder: Path) -> str:
    start, pattern, options = f"linux-image-{series}.", IMAGE.format(series=re.escape(series)), []
    package = apt.newest(start, pattern)
    if package is None:
        with alone("trixie") as newer:
            options = trixie.lists(newer)
            package = apt.newest(start, pattern, options)
    if package is None:
        raise Unavailable(f"Debian has no linux-image-{series}.*-cloud-amd64; try apt-get update")
    release = package.removeprefix("linux-image-")
    there = folder / release
    if (there / ".complete").exists():
        return release
    shutil.rmtree(there, ignore_errors=True)
    packages = {
        *apt.with_dependencies(package, PARTS, options),
        *apt.with_dependencies(f"linux-headers-{release}", PARTS, options),
    }
    apt.unpack(sorted(packages - {f"{package}-unsigned"}), there, options)
    if options:
        with alone("trixie") as newer:
            (there / ".tools").symlink_to(trixie.tools(newer, options))
    relocate(there)
    modules = next(there.glob(f"**/lib/modules/{release}"))
    apt.run("depmod", "--basedir", str(modules.parents[2]), release)
    (there / ".complete").touch()
    return release


def load(series: str, release: str, there: Path) -> Kernel:
    modules = next(there.glob(f"**/lib/modules/{release}")).parent
    image = next(there.glob("**/vmlinuz*"))
    headers = there / f"usr/src/linux-headers-{release}"
    tools = there / ".tools"
    shell = trixie.within(tools.resolve(), CACHE, ROOT) if tools.exists() else ()
    return Kernel(series, release, image, headers, modules, shell=shell)


def relocate(there: Path) -> None:
    """Headers include others by their installed path: adapt it."""
    for path in there.glob("usr/src/linux-headers-*/**/Makefile"):
        text = path.read_text()
        if "/usr/src/" in text and not path.is_symlink():
            path.write_text(re.sub(r"(?<![\w/.])/usr/src/", f"{there}/usr/src/", text))
