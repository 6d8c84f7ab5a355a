"""Look up, fetch and unpack Debian's packages into a folder, without installing them, as any user."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class Unavailable(Exception):  # noqa: N818
    """This machine lacks something; the message says how to get it."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return its output. Unavailable if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def report(what: str) -> None:
    """Progress on stderr, apart from the output of a guest's command."""
    print(f"lab: {what}", file=sys.stderr, flush=True)


def numbers(name: str) -> list[int]:
    """A sort key: the numbers in a name."""
    return [int(part) for part in re.findall(r"\d+", name)]


def newest(start: str, pattern: str, options: Sequence[str] = ()) -> str | None:
    """The newest package whose name starts with `start` and matches `pattern` as a whole, or None."""
    names = run("apt-cache", *options, "pkgnames", start)
    found = [name for name in names.split() if re.fullmatch(pattern, name)]
    return max(found, key=numbers, default=None)


def with_dependencies(package: str, wanted: str, options: Sequence[str] = ()) -> list[str]:
    """`package` and its dependencies whose names match `wanted`."""
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
    """Fetch packages and extract their files into `into`, which is created."""
    into.mkdir(parents=True)
    report(f"fetching {' '.join(packages)}")
    run("apt-get", *options, "--quiet", "download", *packages, cwd=into)
    for archive in into.glob("*.deb"):
        run("dpkg-deb", "--extract", archive, into)
        archive.unlink()
