"""Instructions that nlbus's compiled objects execute in each hot loop, beside those of the baseline.

    make bench-gate             compare; exit code 1 where a loop takes more than 2 % more
    make bench-gate RENEW=1     write baseline.json anew; commit it with the reason

Callgrind counts, and the least of several turns is taken, so it does not matter how busy the machine is. Only
instructions within nlbus/_core and nlbus/_wire count, so neither Python, numpy, libc nor the kernel matters;
but the compiler, Cython and Python's headers do. Releases of the same series make the same of these loops, or
nearly so; which differ, is said. With another series there is nothing to compare: it says so, and exits with
0, but in CI (where $CI is set) with 1, for a gate that is never closed is none.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from nlbus.bench.native import compiled

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
TOLERANCE = 0.02
IMPLAUSIBLE = 0.5  # saved at once
OWN = re.compile(r"/nlbus/_(core|wire)/.+\.so$")

# Of each tool: how its version begins that must agree.
SERIES = {
    "architecture": r".*",
    "compiler": r"\w+ \d+",  # gcc 12
    "cython": r"\d+\.\d+",
    "python": r"\d+\.\d+",
}

Counts = dict[str, dict[str, int]]  # of each loop: events, instructions


def toolchain() -> dict[str, str]:
    """What the number of instructions depends on, beside nlbus."""
    compiler = os.environ.get("CC") or "cc"
    told = subprocess.run([compiler, "-dumpfullversion"], check=True, capture_output=True, text=True)
    name = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
    return {
        "architecture": platform.machine(),
        "compiler": f"{'clang' if 'clang' in name else 'gcc'} {told.stdout.strip()}",
        "cython": metadata.version("cython"),
        "python": platform.python_version(),
    }


def differing(baseline: dict[str, str], here: dict[str, str]) -> tuple[list[str], bool]:
    """What differs, a line each, and whether there is anything to compare nevertheless."""
    lines = [
        f"{name}: {baseline.get(name)} in the baseline, {here.get(name)} here"
        for name in SERIES
        if baseline.get(name) != here.get(name)
    ]
    return lines, all(
        _series(name, baseline.get(name, "")) == _series(name, here.get(name, "")) for name in SERIES
    )


def _series(name: str, version: str) -> str:
    found = re.match(SERIES[name], version)
    return found[0] if found else version


def count() -> Counts:
    """Run the loops within valgrind."""
    client = compiled(HERE / "client.c", shared=True)
    with TemporaryDirectory(prefix="nlbus-instructions-") as folder:
        subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                "--instr-atstart=no",
                "--compress-strings=no",
                "--separate-threads=yes",  # a publisher's timer ticks when it likes
                f"--callgrind-out-file={folder}/out",
                "--quiet",
                sys.executable,
                str(HERE / "loops.py"),
                str(client),
            ],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
        )
        least: Counts = {}
        for path in Path(folder).iterdir():
            text = path.read_text()
            if "Client Request" in text and "\nthread: 1\n" in text:
                name, here = counted(text)
                least[name] = min(here, least.get(name, here), key=lambda one: one["instructions"])
        return dict(sorted(least.items()))


def counted(text: str) -> tuple[str, dict[str, int]]:
    """A loop's name, events and instructions, from one of callgrind's files."""
    found = re.search(r"^desc: Trigger: Client Request: (.*)=(\d+)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit("callgrind does not say which loop this is")
    return found[1], {"events": int(found[2]), "instructions": sum(own_costs(text.splitlines()))}


def own_costs(lines: list[str]) -> Iterator[int]:
    """What each line within nlbus's objects cost, calls into others not included."""
    own = of_call = False
    for line in lines:
        if line.startswith("ob="):
            own = OWN.search(line) is not None
        elif line.startswith("calls="):
            of_call = True  # the next line is what was called
        elif line[:1] in "+-*0123456789" and line:
            if own and not of_call:
                yield int(line.split()[1])
            of_call = False


def compare(baseline: Counts, now: Counts) -> list[str]:
    """Print both; return what is wrong."""
    wrong = []
    print(f"{'instructions an event':28}{'baseline':>10}{'now':>10}{'change':>9}")
    for name in sorted({*baseline, *now}):
        if name not in baseline or name not in now:
            wrong.append(f"{name}: {'not in the baseline' if name in now else 'no such loop any more'}")
            continue
        before, after = (each["instructions"] / each["events"] for each in (baseline[name], now[name]))
        change = after / before - 1
        print(f"{name:28}{before:10,.1f}{after:10,.1f}{change:+9.1%}")
        if change < -IMPLAUSIBLE:
            wrong.append(f"{name}: {change:+.1%} instructions: are all of them counted?")
        if change > TOLERANCE:
            wrong.append(f"{name}: {change:+.1%} instructions")
    return wrong


def main() -> int:
    if shutil.which("valgrind") is None or not Path("/usr/include/valgrind/callgrind.h").exists():
        print("bench-gate: no valgrind with its headers: install valgrind", file=sys.stderr)
        return 1
    here = toolchain()
    if "--renew" in sys.argv:
        BASELINE.write_text(json.dumps({"toolchain": here, "loops": count()}, indent=1) + "\n")
        print(f"bench-gate: {BASELINE.name} is of {here}; commit it, and say why")
        return 0
    told = json.loads(BASELINE.read_text())
    differences, comparable = differing(told["toolchain"], here)
    for line in differences:
        print(f"bench-gate: {line}", file=sys.stderr)
    if not comparable:
        print(
            "bench-gate: NOTHING IS COMPARED. To have a baseline of these: `make bench-gate RENEW=1` on a "
            "commit that passed with the old ones",
            file=sys.stderr,
        )
        return 1 if os.environ.get("CI") else 0
    wrong = compare(told["loops"], count())
    for line in wrong:
        print(f"bench-gate: {line}", file=sys.stderr)
    if wrong:
        print("bench-gate: mend it, or `make bench-gate RENEW=1` and say why in the commit", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
