"""Check the modules by the kernel's tools: sparse, W=1, checkpatch.pl, coccinelle."""

import shutil
import subprocess
from pathlib import Path

from tests.lab import apt, modules
from tests.lab.apt import Unavailable
from tests.lab.kernels import ROOT, Kernel, alone

# Exceptions: compat.h compares versions, a test may busy-wait, and there is no MAINTAINERS.
IGNORED = "LINUX_VERSION_CODE,USLEEP_RANGE,FILE_PATH_CHANGES"


def lint(kernel: Kernel) -> list[str]:
    """All complaints about our files, one per line."""
    scripts = kernel_scripts()
    folders = [ROOT / "kmod", ROOT / "tests" / "guest" / "probe"]
    sources = [path for folder in folders for path in sorted(folder.rglob("*.[ch]"))]
    return [*compiled(kernel), *checkpatch(scripts, sources), *coccinelle(scripts, folders[0])]


def kernel_scripts() -> Path:
    """scripts/ of Debian's kernel source: checkpatch.pl and the semantic patches."""
    package = "linux-source-6.1"
    with alone("scripts") as folder:
        there = folder / package / "scripts"
        if not (there / "checkpatch.pl").exists():
            shutil.rmtree(folder, ignore_errors=True)
            apt.unpack([package], folder / "package")
            archive = next(folder.glob("package/usr/src/*.tar.xz"))
            apt.run("tar", "--extract", "--directory", folder, "--file", archive, f"{package}/scripts")
            shutil.rmtree(folder / "package")
    return there


def compiled(kernel: Kernel) -> list[str]:
    """Compile everything from scratch with W=1 and sparse."""
    there = modules.folder(kernel).with_name(f"{kernel.name}-lint")
    shutil.rmtree(there, ignore_errors=True)
    need("sparse")
    apt.report("compiling with W=1 and sparse")
    said = modules.make(kernel, there, "W=1", "C=2", "CF=-D__CHECK_ENDIAN__ -Wcontext")
    return [line for line in said.splitlines() if str(there) in line]


def checkpatch(scripts: Path, sources: list[Path]) -> list[str]:
    apt.report("checkpatch")
    options = ["--no-tree", "--strict", "--terse", "--show-types", "--no-summary"]
    options += [f"--ignore={IGNORED}", "--file"]
    return say("perl", scripts / "checkpatch.pl", *options, *sources).splitlines()


def coccinelle(scripts: Path, folder: Path) -> list[str]:
    """Run all semantic patches of the kernel that have a report mode."""
    need("spatch", "coccinelle")
    apt.report("coccinelle, two minutes")
    options = ["-D", "report", "--very-quiet", "--no-show-diff", "--dir", folder, "--cocci-file"]
    found = []
    for patch in sorted((scripts / "coccinelle").rglob("*.cocci")):
        if "virtual report" in patch.read_text(errors="replace"):
            said = say("spatch", *options, patch)
            found += [f"{patch.name}: {line}" for line in said.splitlines() if line.strip()]
    return found


def say(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout


def need(program: str, package: str | None = None) -> None:
    if shutil.which(program) is None:
        raise Unavailable(f"{program} is not installed (Debian: apt-get install {package or program})")
