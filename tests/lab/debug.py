"""A kernel with checkers, built once from Debian's source and cached."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab import apt
from tests.lab.apt import Unavailable
from tests.lab.kernels import Kernel, alone

SERIES = "6.1"
CONFIG = Path(__file__).parent / "debug.config"
# In an emulator, RCU stalls are the host's.
OPTIONS = "rcupdate.rcu_cpu_stall_suppress=1"
FILTER = "\tdepends on FAULT_INJECTION_DEBUG_FS && STACKTRACE_SUPPORT\n"


def kernel() -> Kernel:
    """The debug kernel, built by debug.config unless it is cached."""
    package = f"linux-source-{SERIES}"
    with alone("debug") as folder:
        tree = folder / package
        want = hashlib.sha256(CONFIG.read_bytes()).hexdigest()
        built = tree / ".built"
        if not (built.exists() and built.read_text() == want):
            if not (tree / "Makefile").exists():
                unpack(package, folder)
            make(tree)
            built.write_text(want)
        release = (tree / "include/config/kernel.release").read_text().strip()
    image = tree / "arch/x86/boot/bzImage"
    return Kernel("debug", release, image, tree, folder / "none", OPTIONS, ("GCOV_PROFILE=y",), 3072)


def unpack(package: str, folder: Path) -> None:
    shutil.rmtree(folder / "package", ignore_errors=True)
    apt.unpack([package], folder / "package")
    apt.run("tar", "--extract", "--directory", folder, "--file", *folder.glob("package/usr/src/*.tar.xz"))
    shutil.rmtree(folder / "package")


def make(tree: Path) -> None:
    apt.report(f"building a debug kernel in {tree}, ten minutes of two processors")
    # Let failslab filter by stack, so that only our allocations fail; frame pointers suffice for that.
    kconfig = tree / "lib/Kconfig.debug"
    kconfig.write_text(kconfig.read_text().replace(f"{FILTER}\tdepends on !X86_64\n", FILTER))
    environment = {**os.environ, "KCONFIG_ALLCONFIG": str(CONFIG)}
    for target in (["allnoconfig"], ["bzImage", "vmlinux", "modules_prepare"]):
        command = ["nice", "make", "-s", f"-j{os.cpu_count()}", "ARCH=x86_64", *target]
        done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise Unavailable("no debug kernel: it needs Debian's bc bison flex libelf-dev libssl-dev")
    config = (tree / ".config").read_text().splitlines()
    if lost := [line for line in wanted() if line not in config]:
        raise Unavailable(f"this kernel lacks options of debug.config: {' '.join(lost)}")
    shutil.copy(tree / "vmlinux.symvers", tree / "Module.symvers")


def wanted() -> list[str]:
    return [line for line in CONFIG.read_text().splitlines() if line.endswith("=y")]
