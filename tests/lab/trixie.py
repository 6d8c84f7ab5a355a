"""Kernels newer than this machine's Debian, and their compiler, by package lists of our own."""

import os
import time
from pathlib import Path

from tests.lab import apt
from tests.lab.apt import Unavailable

SUITES = ("trixie", "trixie-backports")
# Tools to build modules; objtool needs libelf.
TOOLS = (
    "gcc-14",
    "make",
    "bash",
    "coreutils",
    "sed",
    "grep",
    "mawk",
    "findutils",
    "dash",
    "perl-base",
    "libelf1t64",
)
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
DAY = 86400

# Arguments: the root of the tools, folders of this machine to bind there, "--" and a command.
ENTER = """
root=$1; shift
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    shift
done
shift
exec chroot "$root" "$@"
"""


def lists(folder: Path) -> list[str]:
    """Options for apt to use these suites from this machine's mirror."""
    folder = folder / "apt"
    sources = folder / "sources.list"
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    (folder / "archives/partial").mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists", "Dir::State::status": "/dev/null",
        "Dir::Cache::archives": folder / "archives", "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "", "Debug::NoLocking": "true",
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    if not sources.exists() or time.time() - sources.stat().st_mtime > DAY:
        known = apt.run("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)").splitlines()
        here = sorted({line.split()[1] for line in known if line.startswith("Debian ")})
        if not here:
            raise Unavailable("apt's lists are not Debian's, or there are none; try apt-get update")
        sources.write_text("".join(f"deb [signed-by={KEYS}] {here[0]} {suite} main\n" for suite in SUITES))
        try:
            apt.run("apt-get", *options, "update")
        except Unavailable:
            sources.unlink()
            raise
    return options


def tools(folder: Path, options: list[str]) -> Path:
    """A root file system with the compiler."""
    root = folder / "root"
    if (root / ".complete").exists():
        return root
    apt.run("apt-get", *options, "--yes", "--no-install-recommends", "--download-only", "install", *TOOLS)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for archive in (folder / "apt/archives").glob("*.deb"):
        apt.run("dpkg-deb", "--extract", archive, root)
        archive.unlink()
    (root / "usr/bin/awk").symlink_to("mawk")
    (root / "tmp").mkdir(exist_ok=True)
    (root / ".complete").touch()
    return root


def within(root: Path, *folders: Path) -> tuple[str, ...]:
    """The prefix that runs a command with these tools and folders."""
    user = () if os.geteuid() == 0 else ("--map-root-user",)
    needed = ("/dev", "/proc", *map(str, folders))
    return ("unshare", "--mount", *user, "sh", "-ec", ENTER, "sh", str(root), *needed, "--")
