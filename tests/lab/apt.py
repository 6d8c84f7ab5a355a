"""Debian's packages without installing them: looked up, fetched and unpacked into a folder, as any user."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class Unavailable(Exception):  # noqa: N818
    """What this machine lacks, and what would help."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """The output of a command that must succeed."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def report(what: str) -> None:
    """Tell the user what is waited for, beside the output of a guest's command."""
    print(f"lab: {what}", file=sys.stderr, flush=True)


def numbers(name: str) -> list[int]:
    """To sort names by the versions in them."""
    return [int(part) for part in re.findall(r"\d+", name)]


def newest(start: str, pattern: str, options: Sequence[str] = ()) -> str | None:
    """The newest package whose name begins so and matches as a whole, or None."""
    names = run("apt-cache", *options, "pkgnames", start)
    found = [name for name in names.split() if re.fullmatch(pattern, name)]
    return max(found, key=numbers, default=None)


def with_dependencies(package: str, wanted: str, options: Sequence[str] = ()) -> list[str]:
    """`package` and what it depends on, as far as the names match `wanted`."""
    found, ahead = [], [package]
    while ahead:
        name = ahead.pop()
        if name in found:
            continue
        found.append(name)
        for line in run("apt-cache", *options, "depends", "--important", name).splitlines():
            kind, _, other = line.strip().partition(" ")
            if kind in ("Depends:", "PreDepends:") and re.fullmatch(wanted, other):
                ahead.append(other)
    return sorted(found)


def unpack(packages: Sequence[str], into: Path, options: Sequence[str] = ()) -> None:
    """Fetch packages and lay their files below `into`, which is made."""
    into.mkdir(parents=True)
    report(f"fetching {' '.join(packages)}")
    run("apt-get", *options, "--quiet", "download", *packages, cwd=into)
    for archive in into.glob("*.deb"):
        run("dpkg-deb", "--extract", archive, into)
        archive.unlink()
